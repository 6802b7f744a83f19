/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/crypt_table.h"

#include <stdio.h>
#include <string.h>

#include "suite.h"

#define KEY "aes-xts-plain64 :64:logon:cryptsetup:0f6b3a52-d0 "

static struct dm_device device_of(const char *parameters) {
        struct dm_device device = {.exists = true, .sectors = 512, .target = "crypt"};

        (void)snprintf(device.parameters, sizeof(device.parameters), "%s", parameters);
        return device;
}

START_TEST(our_lines_are_read) {
        static const struct {
                const char *line;
                struct crypt_table table;
        } cases[] = {
                {KEY "0 7:3 0 1 sector_size:4096",
                 {.sectors = 512, .key_size = 64, .major = 7, .minor = 3, .sector_size = 4096}},
                {KEY "0 7:1048575 32768 2 allow_discards sector_size:4096",
                 {.sectors = 512,
                  .offset = 32768,
                  .key_size = 64,
                  .major = 7,
                  .minor = 1048575,
                  .sector_size = 4096,
                  .discards = true}},
                {"aes-xts-plain64 :32:logon:x 0 253:0 0",
                 {.sectors = 512, .key_size = 32, .major = 253, .sector_size = 512}},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct dm_device device = device_of(cases[i].line);
                struct crypt_table table;
                struct wla_error err = {0};

                ck_assert_msg(crypt_table_read(&device, &table, &err) == 0, "%s",
                              wla_error_text(&err));
                ck_assert(crypt_table_equal(&table, &cases[i].table));
                ck_assert_uint_eq(table.major, cases[i].table.major);
                ck_assert_uint_eq(table.minor, cases[i].table.minor);
        }
}
END_TEST

START_TEST(other_lines_are_refused) {
        static const char *const lines[] = {
                "",
                " ",
                "cipher_null-ecb - 0 7:3 0",
                "aes-cbc-essiv:sha256 :64:logon:x 0 7:3 0",
                "aes-xts-plain :64:logon:x 0 7:3 0",
                "aes-xts-plain64",
                "aes-xts-plain64 0123456789abcdef 0 7:3 0",
                "aes-xts-plain64 - 0 7:3 0",
                "aes-xts-plain64 :64:user:x 0 7:3 0",
                "aes-xts-plain64 :64:logon: 0 7:3 0",
                "aes-xts-plain64 :63:logon:x 0 7:3 0",
                "aes-xts-plain64 :18446744073709551680:logon:x 0 7:3 0",
                "aes-xts-plain64 ::logon:x 0 7:3 0",
                KEY,
                KEY "8 7:3 0",
                KEY "0",
                KEY "0 /dev/loop3 0",
                KEY "0 7: 0",
                KEY "0 7:3",
                KEY "0 7:4294967296 0",
                KEY "0 7:3 x",
                KEY "0 7:3 0 x",
                KEY "0 7:3 0 1",
                KEY "0 7:3 0 0 sector_size:4096",
                KEY "0 7:3 0 2 sector_size:4096",
                KEY "0 7:3 0 1 sector_size:",
                KEY "0 7:3 0 1 sector_size:4096x",
                KEY "0 7:3 0 1 iv_large_sectors",
                KEY "0 7:3 0 1 integrity:28:aead",
                KEY "0 7:3 0 1 sector_size:4096 allow_discards",
                KEY "0  7:3 0",
        };

        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                struct dm_device device = device_of(lines[i]);
                struct crypt_table table;
                struct wla_error err = {0};

                ck_assert_msg(crypt_table_read(&device, &table, &err) == -1, "%s", lines[i]);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
        }

        struct dm_device device = device_of(KEY "0 7:3 0");
        struct crypt_table table;
        struct wla_error err = {0};
        ck_assert_int_eq(crypt_table_read(&device, &table, &err), 0);
        device.start = 1;
        ck_assert_int_eq(crypt_table_read(&device, &table, &err), -1);
        device = device_of(KEY "0 7:3 0");
        memcpy(device.target, "linear", 7);
        ck_assert_int_eq(crypt_table_read(&device, &table, &err), -1);
}
END_TEST

START_TEST(tables_differ_in_every_field) {
        const struct crypt_table table = {
                .sectors = 1, .offset = 2, .key_size = 64, .sector_size = 4096};
        struct crypt_table other = table;

        other.major = 5;
        ck_assert(crypt_table_equal(&table, &other));
        other.sectors++;
        ck_assert(!crypt_table_equal(&table, &other));
        other = table;
        other.offset++;
        ck_assert(!crypt_table_equal(&table, &other));
        other = table;
        other.key_size = 32;
        ck_assert(!crypt_table_equal(&table, &other));
        other = table;
        other.sector_size = 512;
        ck_assert(!crypt_table_equal(&table, &other));
        other = table;
        other.discards = true;
        ck_assert(!crypt_table_equal(&table, &other));
}
END_TEST

SUITE_MAIN("volume/crypt_table", our_lines_are_read, other_lines_are_refused,
           tables_differ_in_every_field)
