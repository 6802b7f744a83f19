/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdint.h>
#include <string.h>

#include "image/disk_content.h"

/* Version 3, 64 KiB clusters, a disk of 16 MiB, no features. */
static void make_qcow2(uint8_t head[DISK_CONTENT_HEAD]) {
        memset(head, 0, DISK_CONTENT_HEAD);
        memcpy(head, "QFI\xfb", 4);
        head[7] = 3;
        head[23] = 16;
        head[28] = 1; /* 0x01000000 */
        head[103] = 104;
}

START_TEST(raw_is_what_is_not_qcow2) {
        uint8_t head[DISK_CONTENT_HEAD] = {0xeb, 0x63};
        struct disk_content content;
        struct wla_error err = {0};

        ck_assert_int_eq(disk_content_check(head, sizeof(head), 4096, &content, &err), 0);
        ck_assert_int_eq(content.content, IMAGE_CONTENT_RAW);
        ck_assert_uint_eq(content.virtual_size, 4096);
        ck_assert_int_eq(disk_content_check(head, 3, 3, &content, &err), 0);
        ck_assert_uint_eq(content.virtual_size, 512);
        ck_assert_int_eq(disk_content_check(head, sizeof(head), 513, &content, &err), 0);
        ck_assert_uint_eq(content.virtual_size, 1024);
        ck_assert_int_eq(disk_content_check(head, 0, 0, &content, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_int_eq(disk_content_check(head, sizeof(head), UINT64_MAX, &content, &err), -1);
}
END_TEST

START_TEST(qcow2_says_how_large_the_disk_is) {
        uint8_t head[DISK_CONTENT_HEAD];
        struct disk_content content;
        struct wla_error err = {0};

        make_qcow2(head);
        ck_assert_int_eq(disk_content_check(head, sizeof(head), 262144, &content, &err), 0);
        ck_assert_int_eq(content.content, IMAGE_CONTENT_QCOW2);
        ck_assert_uint_eq(content.virtual_size, 16 << 20);

        head[79] = 1 | 8 | 16; /* dirty, compression, extended L2 */
        ck_assert_int_eq(disk_content_check(head, sizeof(head), 262144, &content, &err), 0);

        /* Version 2 has no features: what lies behind its header is something else. */
        head[7] = 2;
        memset(head + 72, 0xff, 32);
        ck_assert_int_eq(disk_content_check(head, 72, 262144, &content, &err), 0);
        ck_assert_int_eq(disk_content_check(head, sizeof(head), 262144, &content, &err), 0);
}
END_TEST

START_TEST(qcow2_that_reaches_beyond_itself) {
        static const struct {
                size_t at;
                uint8_t value;
                enum wla_code code;
        } cases[] = {
                {7, 1, WLA_E_UNSUPPORTED},     /* version */
                {7, 4, WLA_E_UNSUPPORTED},     /* version */
                {8, 1, WLA_E_UNSUPPORTED},     /* backing file, far away */
                {15, 104, WLA_E_UNSUPPORTED},  /* backing file */
                {19, 11, WLA_E_UNSUPPORTED},   /* length of its name */
                {23, 8, WLA_E_INPUT},          /* clusters of 256 bytes */
                {23, 22, WLA_E_INPUT},         /* clusters of 4 MiB */
                {20, 1, WLA_E_INPUT},          /* clusters of 2^(2^24) bytes */
                {28, 0, WLA_E_INPUT},          /* no disk */
                {31, 1, WLA_E_INPUT},          /* half a sector */
                {24, 0x80, WLA_E_INPUT},       /* 8 EiB */
                {35, 1, WLA_E_UNSUPPORTED},    /* AES */
                {35, 2, WLA_E_UNSUPPORTED},    /* LUKS */
                {79, 2, WLA_E_UNSUPPORTED},    /* corrupt */
                {79, 4, WLA_E_UNSUPPORTED},    /* external data file */
                {79, 32, WLA_E_UNSUPPORTED},   /* not known */
                {72, 0x80, WLA_E_UNSUPPORTED}, /* not known */
                {103, 103, WLA_E_INPUT},       /* header length */
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t head[DISK_CONTENT_HEAD];
                struct disk_content content;
                struct wla_error err = {0};

                make_qcow2(head);
                head[cases[i].at] = cases[i].value;
                ck_assert_int_eq(disk_content_check(head, sizeof(head), 262144, &content, &err),
                                 -1);
                ck_assert_int_eq(err.code, cases[i].code);
        }
}
END_TEST

START_TEST(every_truncation_of_a_qcow2) {
        uint8_t head[DISK_CONTENT_HEAD];
        struct wla_error err = {0};

        make_qcow2(head);
        for (size_t size = 4; size < 104; size++) {
                struct disk_content content;

                ck_assert_int_eq(disk_content_check(head, size, size, &content, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

SUITE_MAIN("disk_content", raw_is_what_is_not_qcow2, qcow2_says_how_large_the_disk_is,
           qcow2_that_reaches_beyond_itself, every_truncation_of_a_qcow2)
