/* SPDX-License-Identifier: Apache-2.0 */

/* A qcow2 image: whatever it says, reading it stays inside the file and ends. */

#include "fuzz.h"
#include "image/qcow2_source.h"
#include "tests/unit/image/memory_source.h"

#define READ_MAX (256u * 1024u)

static void read_some(const struct disk_source *source, uint64_t at) {
        static uint8_t bytes[READ_MAX];
        uint64_t left = source->size - at;
        struct disk_reader reader;
        struct wla_error err = {0};

        if (disk_reader_open(source, &reader, &err) < 0)
                return;
        if (disk_reader_read(&reader, at, bytes, left < READ_MAX ? (size_t)left : READ_MAX, &err) <
            0)
                FUZZ_CHECK(err.code == WLA_E_INPUT || err.code == WLA_E_BUSY);
        disk_reader_close(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct memory_disk file = {.bytes = data, .size = size};
        struct disk_source file_source = memory_source(&file);
        struct disk_source source;
        struct disk_range range;
        struct wla_error err = {0};

        if (size == 0)
                return 0;
        if (qcow2_source_open(&file_source, &source, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED);
                FUZZ_CHECK(file.closed == 1);
                return 0;
        }

        read_some(&source, 0);
        read_some(&source, source.size / 2);
        read_some(&source, source.size - 1);
        /* The map of a larger disk is as right, but takes its time. */
        if (source.size <= READ_MAX && source.ops->next_data(source.self, 0, &range, &err) == 0)
                FUZZ_CHECK(range.start <= range.end && range.end <= source.size);
        disk_source_close(&source);
        FUZZ_CHECK(file.closed == 1);
        return 0;
}
