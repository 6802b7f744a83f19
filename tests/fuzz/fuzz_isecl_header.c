/* SPDX-License-Identifier: Apache-2.0 */

/* A whole ISecL-VMC image: header, tag and, once decrypted, the head of the disk in it. */

#include <string.h>

#include "fuzz.h"
#include "image/disk_content.h"
#include "image/isecl_image.h"

static void check_content(const uint8_t *data, size_t size) {
        size_t head = size < DISK_CONTENT_HEAD ? size : DISK_CONTENT_HEAD;
        struct disk_content content;
        struct wla_error err = {0};

        if (disk_content_check(data, head, size, &content, &err) == 0)
                FUZZ_CHECK(content.virtual_size > 0 && content.virtual_size % 512 == 0);
        else
                FUZZ_CHECK(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct isecl_image image;
        struct wla_error err = {0};

        check_content(data, size);
        if (size < ISECL_HEADER_SIZE + AES256_GCM_TAG)
                return 0;
        if (isecl_image_check(data, data + size - AES256_GCM_TAG, size, &image, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED);
                return 0;
        }

        FUZZ_CHECK(isecl_image_claimed(data, size));
        FUZZ_CHECK(image.size > 0 && image.size <= ISECL_PLAIN_MAX);
        FUZZ_CHECK(image.data_offset >= ISECL_HEADER_SIZE);
        FUZZ_CHECK(image.data_offset + image.size + AES256_GCM_TAG == size);
        FUZZ_CHECK(strlen(image.identity.text) == UUID_TEXT_SIZE - 1);
        check_content(data + image.data_offset, image.size);
        return 0;
}
