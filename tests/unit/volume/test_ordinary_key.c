/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "fail_allocation.h"
#include "ordinary_volume.h"
#include "volume/ordinary_key.h"

/* A sealed copy of a header, as volumed has it. */
static int make_header(const struct ordinary_volume *volume, struct luks2_header *ret) {
        int fd = memfd_create("header", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        ck_assert_int_ge(fd, 0);
        ordinary_volume_make(fd, volume);
        *ret = ordinary_header(fd);
        ck_assert_int_eq(ftruncate(fd, LUKS2_HEADER_MAX), 0);
        ck_assert_int_eq(
                fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
                0);
        return fd;
}

static int get(const struct ordinary_volume *volume, const char *passphrase,
               struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = ordinary_secret(passphrase);
        struct luks2_header header;
        _cleanup_close_ int fd = make_header(volume, &header);

        return ordinary_key_get(fd, &header, secret, ret, err);
}

START_TEST(its_key_opens_it) {
        static const struct ordinary_volume volumes[] = {
                {.passphrase = ORDINARY_KEY},
                {.passphrase = ORDINARY_KEY, .sector_size = 4096},
                {.passphrase = ORDINARY_KEY, .volume_key_size = 32},
                {.passphrase = ORDINARY_KEY, .argon2_memory = 1024},
        };

        for (size_t i = 0; i < sizeof(volumes) / sizeof(volumes[0]); i++) {
                _cleanup_secret_ struct wla_secret *key = NULL;
                struct wla_error err = {0};

                ck_assert_msg(get(&volumes[i], ORDINARY_KEY, &key, &err) == 0, "%s",
                              wla_error_text(&err));
                ck_assert_uint_eq(wla_secret_view(key).size, volumes[i].volume_key_size ? 32 : 64);
                for (size_t at = 0; at < wla_secret_view(key).size; at++)
                        ck_assert_uint_eq(wla_secret_view(key).data[at], (uint8_t)(at * 5 + 1));
        }
}
END_TEST

START_TEST(another_key_does_not) {
        struct wla_secret *key = NULL;
        struct wla_error err = {0};

        ck_assert_int_eq(get(&(struct ordinary_volume){.passphrase = ORDINARY_KEY},
                             "0123456789abcdef0123456789abcdeg", &key, &err),
                         -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_str_eq(wla_error_text(&err), "the key opens no keyslot of the LUKS2 header");
        ck_assert_ptr_null(key);
}
END_TEST

/* Also when there is another keyslot, and it is the right key. */
START_TEST(an_empty_passphrase_is_refused) {
        static const struct ordinary_volume volumes[] = {
                {.empty_passphrase = true},
                {.empty_passphrase = true, .passphrase = ORDINARY_KEY},
        };

        for (size_t i = 0; i < 2; i++) {
                struct wla_secret *key = NULL;
                struct wla_error err = {0};

                ck_assert_int_eq(get(&volumes[i], ORDINARY_KEY, &key, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "empty passphrase"));
                ck_assert_ptr_nonnull(strstr(err.hint, "wlagent volume adopt"));
                ck_assert_ptr_null(key);
        }
}
END_TEST

START_TEST(what_would_hold_up_the_host_is_not_tried) {
        struct luks2_header header = {.kind = LUKS2_ORDINARY, .kdf_memory = 256 * 1024};
        struct wla_error err = {0};

        header.kdf_cost = 5000000;
        ck_assert_int_eq(ordinary_key_check_cost(&header, &err), 0);
        header.kdf_cost++;
        ck_assert_int_eq(ordinary_key_check_cost(&header, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNSUPPORTED);
        header.kdf_cost = 1000;
        header.kdf_memory++;
        ck_assert_int_eq(ordinary_key_check_cost(&header, &err), -1);
        ck_assert_ptr_nonnull(strstr(err.hint, "luksConvertKey"));

        struct wla_secret *key = NULL;
        ck_assert_int_eq(
                get(&(struct ordinary_volume){.passphrase = ORDINARY_KEY, .iterations = 5000001},
                    ORDINARY_KEY, &key, &err),
                -1);
        ck_assert_int_eq(err.code, WLA_E_UNSUPPORTED);
}
END_TEST

START_TEST(a_header_that_is_none) {
        _cleanup_secret_ struct wla_secret *secret = ordinary_secret(ORDINARY_KEY);
        const struct luks2_header header = {.kind = LUKS2_ORDINARY, .volume_key_size = 64};
        struct wla_secret *key = NULL;
        struct wla_error err = {0};
        _cleanup_close_ int fd = memfd_create("none", MFD_CLOEXEC);

        ck_assert_int_eq(ftruncate(fd, LUKS2_HEADER_MAX), 0);
        ck_assert_int_eq(ordinary_key_get(fd, &header, secret, &key, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_int_eq(ordinary_key_get(-1, &header, secret, &key, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_ptr_null(key);
}
END_TEST

/* The header says 64 bytes, the keyslot has 32. */
START_TEST(a_key_of_another_size) {
        _cleanup_secret_ struct wla_secret *secret = ordinary_secret(ORDINARY_KEY);
        struct luks2_header header;
        struct wla_secret *key = NULL;
        struct wla_error err = {0};
        _cleanup_close_ int fd = make_header(
                &(struct ordinary_volume){.passphrase = ORDINARY_KEY, .volume_key_size = 32},
                &header);

        header.volume_key_size = 64;
        ck_assert_int_eq(ordinary_key_get(fd, &header, secret, &key, &err), -1);
        header.volume_key_size = 16;
        ck_assert_int_eq(ordinary_key_get(fd, &header, secret, &key, &err), -1);
        ck_assert_ptr_null(key);
}
END_TEST

SUITE_MAIN("ordinary_key", its_key_opens_it, another_key_does_not, an_empty_passphrase_is_refused,
           what_would_hold_up_the_host_is_not_tried, a_header_that_is_none, a_key_of_another_size)
