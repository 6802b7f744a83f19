/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "fail_allocation.h"
#include "image/cluster_set.h"
#include "image/compact_source.h"
#include "image/qcow2_format.h"
#include "image/qcow2_source.h"
#include "image/qcow2_writer.h"
#include "memory_source.h"

#define CLUSTER   QCOW2_CLUSTER_SIZE
#define DISK_SIZE (40u * CLUSTER + 512u)

static uint64_t next_random(uint64_t *state) {
        *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return *state >> 33;
}

/* Ranges that are in order and do not touch; zeros between them. */
static size_t make_map(uint64_t *state, uint8_t *bytes, uint64_t size, struct disk_range *ranges,
                       size_t max) {
        uint64_t at = 0;
        size_t count = 0;

        memset(bytes, 0, size);
        while (count < max) {
                uint64_t start = at + (next_random(state) % 6) * 20000;
                uint64_t end = start + 1 + next_random(state) % 150000;

                if (start >= size)
                        break;
                if (end > size)
                        end = size;
                for (uint64_t i = start; i < end; i++)
                        bytes[i] = (uint8_t)next_random(state);
                ranges[count++] = (struct disk_range){start, end};
                at = end + 1;
        }
        return count;
}

/* Reads all of a source in pieces of whole clusters, in an order of its own. */
static uint8_t *read_all(const struct disk_source *source, uint64_t step) {
        uint64_t clusters = source->size / CLUSTER;
        uint8_t *bytes = malloc(source->size);
        struct disk_reader reader;
        struct wla_error err = {0};

        ck_assert_ptr_nonnull(bytes);
        ck_assert_int_eq(disk_reader_open(source, &reader, &err), 0);
        for (uint64_t i = 0; i < clusters; i++) {
                uint64_t at = i * step % clusters * CLUSTER;

                ck_assert_int_eq(disk_reader_read(&reader, at, bytes + at, CLUSTER, &err), 0);
        }
        disk_reader_close(&reader);
        return bytes;
}

static void check_round_trip(uint64_t *state) {
        struct disk_range ranges[32];
        uint8_t *plain = malloc(DISK_SIZE);
        uint8_t *back = malloc(DISK_SIZE);
        struct memory_disk disk = {.bytes = plain, .size = DISK_SIZE, .data = ranges};
        struct disk_source source = memory_source(&disk);
        struct disk_source compact;
        struct disk_source again;
        struct disk_reader reader;
        struct wla_error err = {0};

        disk.ranges = make_map(state, plain, DISK_SIZE, ranges, 32);
        ck_assert_int_eq(compact_source_open(&source, &compact, &err), 0);
        ck_assert_uint_eq(compact.size % CLUSTER, 0);
        uint8_t *image = read_all(&compact, 1);
        uint8_t *shuffled = read_all(&compact, 127);
        ck_assert_mem_eq(image, shuffled, compact.size);

        struct memory_disk file = {.bytes = image, .size = compact.size};
        struct disk_source file_source = memory_source(&file);
        ck_assert_int_eq(qcow2_source_open(&file_source, &again, &err), 0);
        ck_assert_uint_eq(again.size, DISK_SIZE);
        ck_assert_int_eq(disk_reader_open(&again, &reader, &err), 0);
        ck_assert_int_eq(disk_reader_read(&reader, 0, back, DISK_SIZE, &err), 0);
        ck_assert_mem_eq(back, plain, DISK_SIZE);
        disk_reader_close(&reader);

        disk_source_close(&again);
        disk_source_close(&compact);
        ck_assert_uint_eq(disk.closed, 1);
        ck_assert_uint_eq(file.closed, 1);
        free(plain);
        free(back);
        free(image);
        free(shuffled);
}

START_TEST(what_is_allocated_comes_back) {
        uint64_t state = 3;

        for (int i = 0; i < 50; i++)
                check_round_trip(&state);
}
END_TEST

/* 64 TiB cost what they hold. */
START_TEST(the_largest_disk_costs_little) {
        const struct disk_range ranges[] = {
                {0, 1},
                {QCOW2_REGION_SIZE - 1, QCOW2_REGION_SIZE + 1},
                {QCOW2_VIRTUAL_SIZE_MAX - 1, QCOW2_VIRTUAL_SIZE_MAX},
        };
        struct memory_disk disk = {.size = QCOW2_VIRTUAL_SIZE_MAX, .data = ranges, .ranges = 3};
        struct disk_source source = memory_source(&disk);
        struct cluster_set set;
        struct wla_error err = {0};

        ck_assert_int_eq(cluster_set_make(&source, &set, &err), 0);
        ck_assert_uint_eq(set.data, 4);
        ck_assert_uint_eq(set.tables, 3);
        ck_assert_uint_eq(cluster_set_find(&set, 0), 0);
        ck_assert_uint_eq(cluster_set_find(&set, 1), QCOW2_REGION_CLUSTERS - 1);
        ck_assert_uint_eq(cluster_set_find(&set, 2), QCOW2_REGION_CLUSTERS);
        ck_assert_uint_eq(cluster_set_find(&set, 3), set.clusters - 1);
        ck_assert_uint_eq(cluster_set_region_of_table(&set, 2), set.regions - 1);
        cluster_set_clear(&set);
}
END_TEST

START_TEST(the_disk_below_is_asked_whether_it_changed) {
        static const uint8_t plain[DISK_SIZE];
        struct memory_disk disk = {.bytes = plain, .size = DISK_SIZE};
        struct disk_source source = memory_source(&disk);
        struct disk_source compact;
        struct disk_source twice;
        struct wla_error err = {0};

        ck_assert_int_eq(compact_source_open(&source, &compact, &err), 0);
        ck_assert_int_eq(compact_source_open(&compact, &twice, &err), 0);
        ck_assert_int_eq(disk_source_check_unchanged(&twice, &err), 0);
        disk.changed = true;
        ck_assert_int_eq(disk_source_check_unchanged(&twice, &err), -1);
        disk_source_close(&twice);
        ck_assert_uint_eq(disk.closed, 1);
}
END_TEST

START_TEST(a_disk_that_is_too_large_is_refused) {
        struct memory_disk disk = {.size = QCOW2_VIRTUAL_SIZE_MAX + 512};
        struct disk_source source = memory_source(&disk);
        struct disk_source compact;
        struct wla_error err = {0};

        ck_assert_int_eq(compact_source_open(&source, &compact, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_uint_eq(disk.closed, 1);
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        static const uint8_t plain[DISK_SIZE];
        struct memory_disk disk = {.bytes = plain, .size = DISK_SIZE};

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct disk_source source = memory_source(&disk);
                struct disk_source compact = {0};
                struct disk_reader reader = {0};
                struct wla_error err = {0};
                int outcome = compact_source_open(&source, &compact, &err);

                if (outcome == 0)
                        outcome = disk_reader_open(&compact, &reader, &err);
                fail_allocation_disarm();
                disk_reader_close(&reader);
                disk_source_close(&compact);
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                ck_assert_uint_eq(disk.closed, n);
        }
}
END_TEST

SUITE_MAIN("compact_source", what_is_allocated_comes_back, the_largest_disk_costs_little,
           the_disk_below_is_asked_whether_it_changed, a_disk_that_is_too_large_is_refused,
           failed_allocations_are_errors)
