/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "keyprovider/grpc_message.h"

START_TEST(prefix) {
        uint8_t bytes[GRPC_PREFIX_SIZE];

        grpc_prefix_write(0x01020304, bytes);
        ck_assert_mem_eq(bytes, "\0\1\2\3\4", 5);
        ck_assert_uint_eq(grpc_prefix_read(bytes).size, 0x01020304);
        ck_assert(!grpc_prefix_read(bytes).compressed);
        ck_assert(grpc_prefix_read((const uint8_t *)"\1\xff\xff\xff\xff").compressed);
        ck_assert_uint_eq(grpc_prefix_read((const uint8_t *)"\0\xff\xff\xff\xff").size, UINT32_MAX);
}
END_TEST

START_TEST(content_types) {
        static const struct {
                const char *value;
                bool valid;
        } rows[] = {
                {"application/grpc", true},
                {"application/grpc+proto", true},
                {"application/grpc;charset", true},
                {"application/grpc-web", false},
                {"application/grp", false},
                {"text/plain", false},
                {"", false},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                ck_assert_msg(grpc_content_type_valid(rows[i].value, strlen(rows[i].value)) ==
                                      rows[i].valid,
                              "%s", rows[i].value);
}
END_TEST

START_TEST(timeouts) {
        static const struct {
                const char *value;
                bool valid;
                uint64_t usec;
        } rows[] = {
                {"1H", true, UINT64_C(3600000000)},
                {"2M", true, 120000000},
                {"3S", true, 3000000},
                {"4m", true, 4000},
                {"5u", true, 5},
                {"2999n", true, 2},
                {"0S", true, 0},
                {"99999999H", true, UINT64_C(359999996400000000)},
                {"", false, 0},
                {"S", false, 0},
                {"1", false, 0},
                {"100000000S", false, 0},
                {"-1S", false, 0},
                {"1.5S", false, 0},
                {"1s", false, 0},
                {" 1S", false, 0},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint64_t usec = 0;

                ck_assert_msg(grpc_timeout_parse(rows[i].value, strlen(rows[i].value), &usec) ==
                                      rows[i].valid,
                              "%s", rows[i].value);
                ck_assert_msg(usec == rows[i].usec, "%s", rows[i].value);
        }
}
END_TEST

START_TEST(percent_encoding) {
        char text[64];

        ck_assert_uint_eq(grpc_percent_encode("plain ~text", text, sizeof(text)), 11);
        ck_assert_str_eq(text, "plain ~text");
        (void)grpc_percent_encode("100%\n\xc3\xa4\x7f", text, sizeof(text));
        ck_assert_str_eq(text, "100%25%0A%C3%A4%7F");
        (void)grpc_percent_encode("", text, sizeof(text));
        ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(percent_encoding_is_cut_between_characters) {
        char text[8];

        for (size_t size = 1; size <= sizeof(text); size++) {
                memset(text, '#', sizeof(text));
                size_t length = grpc_percent_encode("a%b%c", text, size);

                ck_assert_uint_lt(length, size);
                ck_assert_uint_eq(strlen(text), length);
                ck_assert(strncmp("a%25b%25c", text, length) == 0);
                ck_assert(length != 2 && length != 3 && length != 6 && length != 7);
                if (size < sizeof(text))
                        ck_assert_int_eq(text[size], '#');
        }
}
END_TEST

SUITE_MAIN("grpc_message", prefix, content_types, timeouts, percent_encoding,
           percent_encoding_is_cut_between_characters)
