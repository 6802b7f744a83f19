/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>
#include <zlib.h>

#include "fail_allocation.h"
#include "image/qcow2_format.h"
#include "image/qcow2_source.h"
#include "memory_source.h"

/* An image with clusters of 4 KiB: header, L1 table, L2 table, data, a compressed cluster. */
#define CLUSTER  4096u
#define FILE_END (5u * CLUSTER)
#define L1_AT    CLUSTER
#define L2_AT    (2 * CLUSTER)
#define DATA_AT  (3 * CLUSTER)
#define ZLIB_AT  (4 * CLUSTER)
#define DISK     (8 * CLUSTER)

static uint8_t image[FILE_END];

static size_t deflate_into(uint8_t *to, size_t size) {
        static uint8_t plain[CLUSTER];
        z_stream stream = {
                .next_in = plain, .avail_in = CLUSTER, .next_out = to, .avail_out = (uInt)size};

        memset(plain, 0x5a, sizeof(plain));
        ck_assert_int_eq(deflateInit2(&stream, 9, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), Z_OK);
        ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
        (void)deflateEnd(&stream);
        return stream.total_out;
}

/* Cluster 0 is data, 1 a hole, 2 of zeros, 3 compressed; the others are holes. */
static void make_image(void) {
        memset(image, 0, sizeof(image));
        qcow2_store32(image, QCOW2_AT_MAGIC, QCOW2_MAGIC);
        qcow2_store32(image, QCOW2_AT_VERSION, 3);
        qcow2_store32(image, QCOW2_AT_CLUSTER_BITS, 12);
        qcow2_store64(image, QCOW2_AT_VIRTUAL_SIZE, DISK);
        qcow2_store32(image, QCOW2_AT_L1_SIZE, 1);
        qcow2_store64(image, QCOW2_AT_L1_OFFSET, L1_AT);
        qcow2_store32(image, QCOW2_AT_REFCOUNT_ORDER, 4);
        qcow2_store32(image, QCOW2_AT_HEADER_SIZE, QCOW2_V3_HEADER_SIZE);
        qcow2_store64(image, L1_AT, L2_AT | QCOW2_ENTRY_COPIED);
        qcow2_store64(image, L2_AT, DATA_AT | QCOW2_ENTRY_COPIED);
        qcow2_store64(image, L2_AT + 16, DATA_AT | QCOW2_ENTRY_COPIED | QCOW2_ENTRY_ZERO);
        memset(image + DATA_AT, 0xd1, CLUSTER);
        ck_assert_uint_lt(deflate_into(image + ZLIB_AT + 100, 400), 400);
        qcow2_store64(image, L2_AT + 24, QCOW2_ENTRY_COMPRESSED | (ZLIB_AT + 100));
}

static int open_image(struct memory_disk *file, struct disk_source *ret, struct wla_error *err) {
        struct disk_source source = memory_source(file);

        return qcow2_source_open(&source, ret, err);
}

static int read_disk(const struct disk_source *source, uint64_t at, uint8_t *to, size_t size,
                     struct wla_error *err) {
        struct disk_reader reader;

        if (disk_reader_open(source, &reader, err) < 0)
                return -1;
        int outcome = disk_reader_read(&reader, at, to, size, err);
        disk_reader_close(&reader);
        return outcome;
}

START_TEST(every_kind_of_cluster_is_read) {
        struct memory_disk file = {.bytes = image, .size = FILE_END};
        struct disk_source source;
        struct disk_range range;
        uint8_t expected[DISK] = {0};
        uint8_t got[DISK];
        struct wla_error err = {0};

        make_image();
        memset(expected, 0xd1, CLUSTER);
        memset(expected + 3 * CLUSTER, 0x5a, CLUSTER);
        ck_assert_int_eq(open_image(&file, &source, &err), 0);
        ck_assert_uint_eq(source.size, DISK);
        ck_assert_int_eq(read_disk(&source, 0, got, DISK, &err), 0);
        ck_assert_mem_eq(got, expected, DISK);
        for (size_t at = 0; at < DISK - 1000; at += 777) {
                ck_assert_int_eq(read_disk(&source, at, got, 1000, &err), 0);
                ck_assert_mem_eq(got, expected + at, 1000);
        }

        ck_assert_int_eq(source.ops->next_data(source.self, 0, &range, &err), 0);
        ck_assert(range.start == 0 && range.end == CLUSTER);
        ck_assert_int_eq(source.ops->next_data(source.self, range.end, &range, &err), 0);
        ck_assert(range.start == 3 * CLUSTER && range.end == 4 * CLUSTER);
        ck_assert_int_eq(source.ops->next_data(source.self, range.end, &range, &err), 0);
        ck_assert(range.start == DISK && range.end == DISK);
        disk_source_close(&source);
        ck_assert_uint_eq(file.closed, 1);
}
END_TEST

START_TEST(a_short_last_cluster_ends_in_zeros) {
        struct memory_disk file = {.bytes = image, .size = DATA_AT + 10};
        struct disk_source source;
        uint8_t got[CLUSTER];
        struct wla_error err = {0};

        make_image();
        ck_assert_int_eq(open_image(&file, &source, &err), 0);
        ck_assert_int_eq(read_disk(&source, 0, got, CLUSTER, &err), 0);
        ck_assert_int_eq(got[9], 0xd1);
        ck_assert_int_eq(got[10], 0);
        disk_source_close(&source);
}
END_TEST

static const struct {
        size_t at;
        unsigned size; /* of value: 1, 4 or 8 bytes */
        uint64_t value;
        const char *error;
} bad_headers[] = {
        {QCOW2_AT_MAGIC, 4, 0x514649fa, "this is no qcow2 image"},
        {QCOW2_AT_VERSION, 4, 1, "qcow2 version 1"},
        {QCOW2_AT_VERSION, 4, 4, "qcow2 version 4"},
        {QCOW2_AT_BACKING_OFFSET, 8, 200, "the image needs a backing file"},
        {QCOW2_AT_CRYPT_METHOD, 4, 2, "the image is encrypted already"},
        {QCOW2_AT_CLUSTER_BITS, 4, 8, "the size of the clusters is out of bounds"},
        {QCOW2_AT_CLUSTER_BITS, 4, 22, "the size of the clusters is out of bounds"},
        {QCOW2_AT_CLUSTER_BITS, 4, 0xffffffff, "the size of the clusters is out of bounds"},
        {QCOW2_AT_VIRTUAL_SIZE, 8, 0, "a disk of 0 bytes"},
        {QCOW2_AT_VIRTUAL_SIZE, 8, UINT64_MAX, "a disk of 18446744073709551615 bytes"},
        {QCOW2_AT_VIRTUAL_SIZE, 8, UINT64_C(1) << 46, "the L1 table has more than"},
        {QCOW2_AT_VIRTUAL_SIZE, 8, UINT64_C(1) << 30, "the L1 table is not where"},
        {QCOW2_AT_L1_SIZE, 4, 0, "the L1 table is not where"},
        {QCOW2_AT_L1_OFFSET, 8, 0, "the L1 table is not where"},
        {QCOW2_AT_L1_OFFSET, 8, 512, "the L1 table is not where"},
        {QCOW2_AT_L1_OFFSET, 8, FILE_END, "the L1 table is not where"},
        {QCOW2_AT_L1_OFFSET, 8, UINT64_MAX - 4095, "the L1 table is not where"},
        {QCOW2_AT_HEADER_SIZE, 4, 72, "the header is too short"},
        {QCOW2_AT_INCOMPATIBLE, 8, 2, "features that are not known (0x2)"},
        {QCOW2_AT_INCOMPATIBLE, 8, 4, "features that are not known (0x4)"},
        {QCOW2_AT_INCOMPATIBLE, 8, 16, "features that are not known (0x10)"},
        {QCOW2_AT_INCOMPATIBLE, 8, UINT64_C(1) << 63, "features that are not known"},
};

START_TEST(headers_that_are_refused) {
        struct memory_disk file = {.bytes = image, .size = FILE_END};

        for (size_t i = 0; i < sizeof(bad_headers) / sizeof(bad_headers[0]); i++) {
                struct disk_source source;
                struct wla_error err = {0};

                make_image();
                if (bad_headers[i].size == 4)
                        qcow2_store32(image, bad_headers[i].at, (uint32_t)bad_headers[i].value);
                else
                        qcow2_store64(image, bad_headers[i].at, bad_headers[i].value);
                ck_assert_int_eq(open_image(&file, &source, &err), -1);
                ck_assert_msg(strstr(wla_error_text(&err), bad_headers[i].error) != NULL,
                              "case %zu: %s", i, wla_error_text(&err));
                ck_assert_uint_eq(file.closed, i + 1);
        }
}
END_TEST

START_TEST(a_compression_that_is_not_known_is_refused) {
        struct memory_disk file = {.bytes = image, .size = FILE_END};
        struct disk_source source;
        struct wla_error err = {0};

        make_image();
        qcow2_store32(image, QCOW2_AT_HEADER_SIZE, QCOW2_HEADER_SIZE_MAX);
        image[QCOW2_AT_COMPRESSION] = 2;
        ck_assert_int_eq(open_image(&file, &source, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNSUPPORTED);
}
END_TEST

START_TEST(short_files_are_refused) {
        for (uint64_t size = 1; size < L1_AT + 8; size += 97) {
                struct memory_disk file = {.bytes = image, .size = size};
                struct disk_source source;
                struct wla_error err = {0};

                make_image();
                ck_assert_int_eq(open_image(&file, &source, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

static const struct {
        size_t at;
        uint64_t value;
        const char *error;
} bad_entries[] = {
        {L1_AT, UINT64_C(0x00fffffffffff000), "an L2 table is outside the file"},
        {L1_AT, L2_AT + 512, "an L2 table is outside the file"},
        {L1_AT, FILE_END, "an L2 table is outside the file"},
        {L2_AT, FILE_END, "a cluster is outside the file"},
        {L2_AT, UINT64_C(0x00fffffffffff000), "a cluster is outside the file"},
        {L2_AT, DATA_AT + 512, "a cluster does not begin at one"},
        {L2_AT, QCOW2_ENTRY_COMPRESSED | FILE_END, "a cluster is outside the file"},
        {L2_AT, UINT64_MAX, "a cluster is outside the file"},
        {L2_AT, QCOW2_ENTRY_COMPRESSED | DATA_AT, "a compressed cluster is damaged"},
        {L2_AT, QCOW2_ENTRY_COMPRESSED | (FILE_END - 1), "a compressed cluster is damaged"},
        {L2_AT, QCOW2_ENTRY_COMPRESSED, "a compressed cluster is damaged"},
};

START_TEST(tables_that_point_elsewhere_are_errors) {
        struct memory_disk file = {.bytes = image, .size = FILE_END};

        for (size_t i = 0; i < sizeof(bad_entries) / sizeof(bad_entries[0]); i++) {
                struct disk_source source;
                struct wla_error err = {0};
                uint8_t got[DISK];

                make_image();
                qcow2_store64(image, bad_entries[i].at, bad_entries[i].value);
                ck_assert_int_eq(open_image(&file, &source, &err), 0);
                ck_assert_int_eq(read_disk(&source, 0, got, DISK, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_msg(strstr(wla_error_text(&err), bad_entries[i].error) != NULL,
                              "case %zu: %s", i, wla_error_text(&err));
                disk_source_close(&source);
        }
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        struct memory_disk file = {.bytes = image, .size = FILE_END};

        make_image();
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct disk_source source = {0};
                struct disk_range range;
                struct wla_error err = {0};
                uint8_t got[DISK];
                int outcome = open_image(&file, &source, &err);

                if (outcome == 0)
                        outcome = read_disk(&source, 0, got, DISK, &err);
                if (outcome == 0)
                        outcome = source.ops->next_data(source.self, 0, &range, &err);
                fail_allocation_disarm();
                disk_source_close(&source);
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                ck_assert_uint_eq(file.closed, n);
        }
}
END_TEST

SUITE_MAIN("qcow2_source", every_kind_of_cluster_is_read, a_short_last_cluster_ends_in_zeros,
           headers_that_are_refused, a_compression_that_is_not_known_is_refused,
           short_files_are_refused, tables_that_point_elsewhere_are_errors,
           failed_allocations_are_errors)
