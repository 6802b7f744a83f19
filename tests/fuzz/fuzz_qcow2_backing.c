/* SPDX-License-Identifier: Apache-2.0 */

/* The first bytes of a qcow2 image.  A change that is made is read back, touches nothing but the three
 * ranges that it tells of, and can be taken back. */

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "image/qcow2_backing.h"

#define NAME "/dev/mapper/wlagent-image-4f4a2c0e-6f39-4a8e-9d0c-0a2b5d1c7e11"

static bool within(const struct qcow2_range *range, size_t at) {
        return at >= range->offset && at - range->offset < range->size;
}

static void check_change(const uint8_t *before, const uint8_t *after, size_t size,
                         const struct qcow2_backing_change *change) {
        for (size_t i = 0; i < change->name.size; i++)
                FUZZ_CHECK(!within(&change->old, change->name.offset + i));
        for (size_t at = 0; at < size; at++)
                if (at >= QCOW2_HEAD_SIZE && !within(&change->name, at) &&
                    !within(&change->old, at))
                        FUZZ_CHECK(before[at] == after[at]);
}

static void there_and_back(uint8_t *bytes, const uint8_t *data, size_t size,
                           const struct qcow2_backing *backing) {
        struct qcow2_backing_change change;
        struct qcow2_backing again;
        struct wla_error err = {0};

        if (qcow2_backing_change(bytes, size, NAME, IMAGE_CONTENT_QCOW2, &change, &err) < 0) {
                FUZZ_CHECK(memcmp(bytes, data, size) == 0);
                return;
        }
        check_change(data, bytes, size, &change);
        FUZZ_CHECK(qcow2_backing_read(bytes, size, &again, &err) == 0);
        FUZZ_CHECK(strcmp(again.name, NAME) == 0 && again.format == IMAGE_CONTENT_QCOW2);
        FUZZ_CHECK(again.virtual_size == backing->virtual_size);

        FUZZ_CHECK(qcow2_backing_change(bytes, size, backing->name, backing->format, &change,
                                        &err) == 0);
        FUZZ_CHECK(qcow2_backing_read(bytes, size, &again, &err) == 0);
        FUZZ_CHECK(strcmp(again.name, backing->name) == 0 && again.format == backing->format);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct qcow2_backing backing;
        struct wla_error err = {0};

        if (qcow2_backing_read(data, size, &backing, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED);
                return 0;
        }

        uint8_t *bytes = malloc(size);
        FUZZ_CHECK(bytes);
        memcpy(bytes, data, size);
        there_and_back(bytes, data, size, &backing);
        free(bytes);
        return 0;
}
