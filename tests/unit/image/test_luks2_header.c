/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "fail_allocation.h"
#include "header_bytes.h"
#include "sample_header.h"
#include "sample_image.h"

static int check_bytes(const struct sample_header *bytes, struct luks2_header *ret,
                       struct wla_error *err) {
        return luks2_header_check(bytes->bytes, bytes->size, ret, err);
}

START_TEST(what_libcryptsetup_makes_is_read) {
        for (int i = 0; i < _SAMPLE_MAX; i++) {
                _cleanup_sample_header_ struct sample_header bytes = sample_header_make(i);
                struct wla_error err = {0};
                struct luks2_header header;

                ck_assert_msg(check_bytes(&bytes, &header, &err) == 0, "%d: %s", i,
                              wla_error_text(&err));
                ck_assert_str_eq(header.uuid.text, SAMPLE_UUID);
                ck_assert_int_eq(sample_header_compare(&bytes, &header), 1);
        }
}
END_TEST

START_TEST(an_image_says_what_it_is) {
        _cleanup_sample_header_ struct sample_header bytes = sample_header_make(SAMPLE_SEALED);
        const struct image_token expected = sample_image_token();
        struct wla_error err = {0};
        struct luks2_header header;

        ck_assert_int_eq(check_bytes(&bytes, &header, &err), 0);
        ck_assert_int_eq(header.kind, LUKS2_IMAGE);
        ck_assert_uint_eq(header.header_size, bytes.size);
        ck_assert_uint_eq(header.data_offset, 0);
        ck_assert_uint_eq(header.sector_size, IMAGE_SECTOR_SIZE);
        ck_assert_uint_eq(header.volume_key_size, VOLUME_KEY_SIZE);
        ck_assert(key_id_equal(&header.image.key_id, &expected.key_id));
        ck_assert_int_eq(header.image.content, expected.content);
        ck_assert_uint_eq(header.image.size, expected.size);
        ck_assert_uint_eq(header.image.virtual_size, expected.virtual_size);
        ck_assert_mem_eq(header.image.probe, expected.probe, sizeof(expected.probe));
        ck_assert(header.image.sealed);
}
END_TEST

START_TEST(a_layer_says_whose_it_is) {
        _cleanup_sample_header_ struct sample_header bytes = sample_header_make(SAMPLE_LAYER);
        struct wla_error err = {0};
        struct luks2_header header;

        ck_assert_int_eq(check_bytes(&bytes, &header, &err), 0);
        ck_assert_int_eq(header.kind, LUKS2_LAYER);
        ck_assert_str_eq(header.layer.vm.text, SAMPLE_VM);
        ck_assert_str_eq(header.layer.target, "vda");
        ck_assert_str_eq(header.layer.image.text, SAMPLE_UUID);
}
END_TEST

START_TEST(ordinary_headers_are_told_apart) {
        _cleanup_sample_header_ struct sample_header a = sample_header_make(SAMPLE_PBKDF2);
        _cleanup_sample_header_ struct sample_header b = sample_header_make(SAMPLE_ARGON2ID);
        struct wla_error err = {0};
        struct luks2_header header;

        ck_assert_int_eq(check_bytes(&a, &header, &err), 0);
        ck_assert_int_eq(header.kind, LUKS2_ORDINARY);
        ck_assert_uint_eq(header.volume_key_size, 32);
        ck_assert_uint_eq(header.sector_size, 512);
        ck_assert_uint_eq(header.data_offset, 0);
        ck_assert_uint_eq(header.kdf_cost, 2 * 1000); /* two keyslots */
        ck_assert_uint_eq(header.kdf_memory, 0);
        ck_assert_int_eq(check_bytes(&b, &header, &err), 0);
        ck_assert_int_eq(header.kind, LUKS2_ORDINARY);
        ck_assert_uint_eq(header.data_offset, LUKS2_HEADER_MAX);
        ck_assert_uint_eq(header.header_size, LUKS2_HEADER_MAX);
        ck_assert_uint_eq(header.kdf_cost, 4 * 64);
        ck_assert_uint_eq(header.kdf_memory, 64);
}
END_TEST

/* Every byte of both copies is under a checksum, and what is behind them is not looked at. */
START_TEST(every_byte_counts) {
        _cleanup_sample_header_ struct sample_header bytes = sample_header_make(SAMPLE_IMAGE);
        struct luks2_header header;

        for (size_t i = 0; i < 32768; i += i < 600 || (i > 16384 && i < 17000) ? 1 : 7) {
                struct wla_error err = {0};

                bytes.bytes[i] ^= 0x40;
                ck_assert_msg(check_bytes(&bytes, &header, &err) == -1, "byte %zu", i);
                ck_assert(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED);
                bytes.bytes[i] ^= 0x40;
        }
        bytes.bytes[32768] ^= 0x40;
        struct wla_error err = {0};
        ck_assert_int_eq(check_bytes(&bytes, &header, &err), 0);
}
END_TEST

START_TEST(every_size_counts) {
        _cleanup_sample_header_ struct sample_header bytes = sample_header_make(SAMPLE_IMAGE);
        struct luks2_header header;

        for (size_t size = 0; size < bytes.size; size += 509) {
                struct wla_error err = {0};
                uint8_t *exact = malloc(size ? size : 1);

                memcpy(exact, bytes.bytes, size);
                ck_assert_int_eq(luks2_header_check(exact, size, &header, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                free(exact);
        }
}
END_TEST

/* Fields of the binary header, with the checksums made right. */
START_TEST(binary_fields_are_checked) {
        static const struct {
                size_t at;
                const char *value;
                size_t size;
                const char *error;
        } cases[] = {
                {0, "LUKS\xba\xbf", 6, "this is no LUKS header"},
                {0, "SKUL\xba\xbe", 6, "this is no LUKS header"},
                {7, "\1", 1, "LUKS version 1, not 2"},
                {7, "\3", 1, "LUKS version 3, not 2"},
                {8, "\0\0\0\0\0\0\x20\0", 8, "the size of the metadata is none of LUKS2's"},
                {8, "\0\0\0\0\0\0\x50\0", 8, "the size of the metadata is none of LUKS2's"},
                {8, "\0\0\0\0\0\0\x80\0", 8, "36864 bytes do not hold both copies"},
                {8, "\xff\xff\xff\xff\xff\xff\xff\xff", 8,
                 "the size of the metadata is none of LUKS2's"},
                {72, "sha1\0\0", 6, "the first copy has a checksum other than sha256"},
                {72, "sha256\0x", 8, "the first copy has a checksum other than sha256"},
                {24, "a\0b", 3, "the first copy holds bytes that have no meaning"},
                {24, "a\nb", 3, "the first copy holds bytes that have no meaning"},
                {168, "x", 1, "character 1 of a UUID is neither hex digit nor '-' in its place"},
                {204, "-", 1, "a UUID has 36 characters, not 37"},
                {256, "\0\0\0\0\0\0\x10\0", 8, "the first copy is no LUKS2 header of that size"},
                {300, "x", 1, "the first copy holds bytes that have no meaning"},
                {600, "x", 1, "the first copy holds bytes that have no meaning"},
                {16384, "LUKS", 4, "the second copy is no LUKS2 header of that size"},
                {16384 + 23, "\x77", 1, "the two copies differ"},
                {16384 + 24, "x", 1, "the two copies differ"},
                {16384 + 4096 + 2, "K", 1, "the two copies differ"},
                {16384 - 2, "x", 1, "the two copies differ"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                _cleanup_sample_header_ struct sample_header bytes = sample_header_make(
                        SAMPLE_IMAGE);
                struct wla_error err = {0};
                struct luks2_header header;

                memcpy(bytes.bytes + cases[i].at, cases[i].value, cases[i].size);
                if (cases[i].at == 168 || cases[i].at == 204)
                        memcpy(bytes.bytes + 16384 + cases[i].at, cases[i].value, cases[i].size);
                (void)header_repair(bytes.bytes, bytes.size);
                ck_assert_int_eq(check_bytes(&bytes, &header, &err), -1);
                ck_assert_msg(strstr(wla_error_text(&err), cases[i].error) != NULL, "case %zu: %s",
                              i, wla_error_text(&err));
        }
}
END_TEST

START_TEST(bytes_behind_the_json_are_refused) {
        _cleanup_sample_header_ struct sample_header bytes = sample_header_make(SAMPLE_IMAGE);
        struct wla_error err = {0};
        struct luks2_header header;

        bytes.bytes[16383] = 'x';
        bytes.bytes[32767] = 'x';
        ck_assert(header_repair(bytes.bytes, bytes.size));
        ck_assert_int_eq(check_bytes(&bytes, &header, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "LUKS2 header: there are bytes behind the JSON");
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        for (int i = 0; i < _SAMPLE_MAX; i++) {
                _cleanup_sample_header_ struct sample_header bytes = sample_header_make(i);

                for (size_t n = 1; fail_allocation_arm(n); n++) {
                        struct wla_error err = {0};
                        struct luks2_header header;
                        int outcome = check_bytes(&bytes, &header, &err);

                        fail_allocation_disarm();
                        ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                        ck_assert(outcome == 0 || err.code == WLA_E_BUSY);
                }
        }
}
END_TEST

SUITE_MAIN("luks2_header", what_libcryptsetup_makes_is_read, an_image_says_what_it_is,
           a_layer_says_whose_it_is, ordinary_headers_are_told_apart, every_byte_counts,
           every_size_counts, binary_fields_are_checked, bytes_behind_the_json_are_refused,
           failed_allocations_are_errors)
