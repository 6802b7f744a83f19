/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>
#include <unistd.h>

#include "isecl_fixture.h"

#define VECTOR_SIZE sizeof(isecl_vector)

static int check(const uint8_t *bytes, uint64_t size, struct isecl_image *ret,
                 struct wla_error *err) {
        return isecl_image_check(bytes, bytes + VECTOR_SIZE - AES256_GCM_TAG, size, ret, err);
}

START_TEST(the_vector_is_read) {
        int fd = isecl_file(isecl_vector, VECTOR_SIZE);
        struct isecl_image image;
        struct wla_error err = {0};

        ck_assert_int_eq(isecl_image_read(fd, &image, &err), 0);
        ck_assert_uint_eq(image.data_offset, 44);
        ck_assert_uint_eq(image.size, 16);
        ck_assert_mem_eq(image.nonce, isecl_vector + 20, 12);
        ck_assert_mem_eq(image.tag, isecl_vector + 60, 16);
        /* SHA-256 of header, tag and size, as another implementation computed it. */
        ck_assert_str_eq(image.identity.text, "e1108e76-63e9-8740-a939-bce5466d006d");
        (void)close(fd);
}
END_TEST

START_TEST(what_does_not_claim_to_be_one) {
        static const uint8_t other[12] = "ISecL-VMX";

        ck_assert(isecl_image_claimed(isecl_vector, 12));
        ck_assert(isecl_image_claimed(isecl_vector, 9));
        ck_assert(!isecl_image_claimed(isecl_vector, 8));
        ck_assert(!isecl_image_claimed(isecl_vector, 0));
        ck_assert(!isecl_image_claimed(other, 12));
}
END_TEST

/* Every bit of the fixed fields matters; no bit of the nonce and the tag is a matter of form. */
START_TEST(every_flipped_bit_of_the_header) {
        uint8_t bytes[VECTOR_SIZE];
        struct isecl_image vector;
        struct wla_error err = {0};

        ck_assert_int_eq(check(isecl_vector, VECTOR_SIZE, &vector, &err), 0);
        for (size_t bit = 0; bit < VECTOR_SIZE * 8; bit++) {
                size_t at = bit / 8;
                struct isecl_image image = {0};

                memcpy(bytes, isecl_vector, VECTOR_SIZE);
                bytes[at] ^= (uint8_t)(1u << bit % 8);
                int outcome = check(bytes, VECTOR_SIZE, &image, &err);
                if ((at >= 20 && at < 32) || at >= 60) {
                        ck_assert_int_eq(outcome, 0);
                        ck_assert(!uuid_equal(&image.identity, &vector.identity));
                } else if (at < 44 && !(at == 12 && outcome == 0)) {
                        ck_assert_int_eq(outcome, -1);
                        ck_assert(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED);
                }
        }
}
END_TEST

START_TEST(offsets_outside_of_the_file) {
        static const struct {
                uint32_t offset;
                uint64_t size;
                bool accepted;
        } cases[] = {
                {44, 76, true},
                {44, 61, true},
                {44, 60, false}, /* no data */
                {44, 59, false},
                {43, 76, false},
                {0, 76, false},
                {59, 76, true},
                {60, 76, false},
                {61, 76, false},
                {76, 76, false},
                {UINT32_MAX, 76, false},
                {0x80000000u, 76, false},
                {44, 0, false},
                {44, 15, false},
                {44, 44 + (UINT64_C(1) << 36) - 32 + 16, true},
                {44, 44 + (UINT64_C(1) << 36) - 31 + 16, false},
                {44, UINT64_MAX, false},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t bytes[VECTOR_SIZE];
                struct isecl_image image = {0};
                struct wla_error err = {0};

                memcpy(bytes, isecl_vector, VECTOR_SIZE);
                for (unsigned b = 0; b < 4; b++)
                        bytes[12 + b] = (uint8_t)(cases[i].offset >> 8 * b);
                ck_assert_int_eq(check(bytes, cases[i].size, &image, &err),
                                 cases[i].accepted ? 0 : -1);
                if (cases[i].accepted)
                        ck_assert_uint_eq(image.size, cases[i].size - 16 - cases[i].offset);
                else
                        ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

START_TEST(the_size_is_part_of_the_identity) {
        struct isecl_image a;
        struct isecl_image b;
        struct wla_error err = {0};

        ck_assert_int_eq(check(isecl_vector, 76, &a, &err), 0);
        ck_assert_int_eq(check(isecl_vector, 77, &b, &err), 0);
        ck_assert(!uuid_equal(&a.identity, &b.identity));
}
END_TEST

START_TEST(every_truncation_of_a_file) {
        for (size_t size = 0; size < VECTOR_SIZE; size++) {
                int fd = isecl_file(isecl_vector, size);
                struct isecl_image image;
                struct wla_error err = {0};
                int outcome = isecl_image_read(fd, &image, &err);

                /* From 61 bytes on it is a whole file, with another tag. */
                ck_assert_int_eq(outcome, size > 60 ? 0 : -1);
                ck_assert(outcome == 0 || err.code == WLA_E_INPUT);
                (void)close(fd);
        }
}
END_TEST

START_TEST(a_file_that_cannot_be_read) {
        int fds[2];
        struct isecl_image image;
        struct wla_error err = {0};

        ck_assert_int_eq(isecl_image_read(-1, &image, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_int_eq(pipe(fds), 0);
        ck_assert_int_eq(isecl_image_read(fds[0], &image, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}
END_TEST

SUITE_MAIN("isecl_image", the_vector_is_read, what_does_not_claim_to_be_one,
           every_flipped_bit_of_the_header, offsets_outside_of_the_file,
           the_size_is_part_of_the_identity, every_truncation_of_a_file, a_file_that_cannot_be_read)
