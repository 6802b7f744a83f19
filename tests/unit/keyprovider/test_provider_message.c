/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "fail_allocation.h"
#include "keyprovider/provider_message.h"

static int read_bytes(const char *bytes, size_t size, struct buf *json, struct wla_error *err) {
        return provider_message_read((struct wla_bytes){(const uint8_t *)bytes, size}, json, err);
}

START_TEST(field_one) {
        static const struct {
                const char *bytes;
                size_t size;
                const char *json;
        } rows[] = {
                {"\x0a\3abc", 5, "abc"},
                {"", 0, ""},
                {"\x0a\0", 2, ""},
                /* A longer varint, unknown fields of each type, the last of two wins. */
                {"\x0a\x83\0abc", 6, "abc"},
                {"\x10\7\x0a\3abc\x1a\1z\x21"
                 "12345678\x2d"
                 "1234",
                 5 + 2 + 3 + 9 + 5, "abc"},
                {"\x0a\3abc\x0a\2de", 9, "de"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_buf_ struct buf json = {0};
                struct wla_error err = {0};

                ck_assert_msg(read_bytes(rows[i].bytes, rows[i].size, &json, &err) == 0, "%zu: %s",
                              i, wla_error_text(&err));
                ck_assert_uint_eq(json.size, strlen(rows[i].json));
                if (json.size > 0)
                        ck_assert_mem_eq(json.data, rows[i].json, json.size);
        }
}
END_TEST

START_TEST(broken_protobuf) {
        static const struct {
                const char *bytes;
                size_t size;
        } rows[] = {
                {"\x0a", 1},
                {"\x0a\5abc", 5},
                {"\x0a\xff\xff\xff\xff\x0f", 6},
                {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
                {"{\"op\":\"keyunwrap\"}", 18},
                {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10},
                {"\x08\1", 2},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_buf_ struct buf json = {0};
                struct wla_error err = {0};
                int outcome = read_bytes(rows[i].bytes, rows[i].size, &json, &err);

                /* Field 1 of another wire type is an unknown field at most. */
                if (outcome == 0)
                        ck_assert_uint_eq(json.size, 0);
                else
                        ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

/* protobuf-c spends some fifty bytes on each of them. */
START_TEST(a_flood_of_unknown_fields) {
        static char bytes[65536];
        struct wla_error err = {0};

        for (size_t i = 0; i < sizeof(bytes); i += 2)
                memcpy(bytes + i, "\x10\1", 2);
        for (size_t fields = 1; fields <= 20; fields++) {
                _cleanup_buf_ struct buf json = {0};

                ck_assert_int_eq(read_bytes(bytes, 2 * fields, &json, &err), 0);
        }

        _cleanup_buf_ struct buf json = {0};
        ck_assert_int_eq(read_bytes(bytes, sizeof(bytes), &json, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_str_eq(wla_error_text(&err),
                         "the request is not the protobuf message of a keyprovider");
}
END_TEST

START_TEST(a_message_of_the_largest_size) {
        static uint8_t bytes[4 + 256 * 1024] = {0x0a, 0x80, 0x80, 0x10};
        _cleanup_buf_ struct buf json = {0};
        struct wla_error err = {0};

        ck_assert_int_eq(
                provider_message_read((struct wla_bytes){bytes, sizeof(bytes)}, &json, &err), 0);
        ck_assert_uint_eq(json.size, 256 * 1024);
}
END_TEST

START_TEST(failed_allocations) {
        unsigned failures = 0;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf json = {0};
                struct wla_error err = {0};

                int outcome = read_bytes("\x1a\1z\x0a\3abc", 8, &json, &err);
                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                failures += outcome < 0;
                if (outcome < 0)
                        ck_assert_int_eq(err.code, WLA_E_BUSY);
        }
        ck_assert_uint_ge(failures, 2);
}
END_TEST

SUITE_MAIN("provider_message", field_one, broken_protobuf, a_flood_of_unknown_fields,
           a_message_of_the_largest_size, failed_allocations)
