/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/pcr.h"

#include <string.h>

#include "suite.h"

START_TEST(the_policy_is_what_a_tpm_computes) {
        /* PolicyPCR over PCRs 7 and 11, both zero: computed by a TPM. */
        static const uint8_t wanted[] = {0x38, 0x43, 0x78, 0xca, 0xed, 0xdc, 0x96, 0x90,
                                         0xb2, 0xac, 0x95, 0x89, 0x82, 0x7a, 0x75, 0x6a,
                                         0x5c, 0x46, 0xc8, 0xb3, 0x31, 0x78, 0xb2, 0xfe,
                                         0x46, 0x8c, 0x80, 0x53, 0x1b, 0x97, 0xa5, 0x3e};
        uint8_t values[PCR_COUNT][PCR_SHA256_SIZE] = {{0}};
        TPM2B_DIGEST digest = {0};
        struct wla_error err = {0};

        ck_assert_int_eq(pcr_policy_compute(1u << 7 | 1u << 11, values, &digest, &err), 0);
        ck_assert_uint_eq(digest.size, sizeof(wanted));
        ck_assert_mem_eq(digest.buffer, wanted, sizeof(wanted));

        values[7][31] = 1;
        ck_assert_int_eq(pcr_policy_compute(1u << 7 | 1u << 11, values, &digest, &err), 0);
        ck_assert_mem_ne(digest.buffer, wanted, sizeof(wanted));
        values[7][31] = 0;
        values[8][0] = 1; /* not selected */
        ck_assert_int_eq(pcr_policy_compute(1u << 7 | 1u << 11, values, &digest, &err), 0);
        ck_assert_mem_eq(digest.buffer, wanted, sizeof(wanted));
}
END_TEST

START_TEST(lists_read_like_a_sentence) {
        static const struct {
                uint32_t pcrs;
                const char *text;
        } cases[] = {
                {0, ""},
                {1, "0"},
                {1u << 7, "7"},
                {1u << 7 | 1u << 11, "7 and 11"},
                {1u << 0 | 1u << 7 | 1u << 23, "0, 7 and 23"},
                {PCR_MASK, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, "
                           "20, 21, 22 and 23"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char text[96];

                pcr_list_format(cases[i].pcrs, text, sizeof(text));
                ck_assert_str_eq(text, cases[i].text);
        }

        char small[6];
        pcr_list_format(PCR_MASK, small, sizeof(small));
        ck_assert_str_eq(small, "0, 1,");
}
END_TEST

SUITE_MAIN("pcr", the_policy_is_what_a_tpm_computes, lists_read_like_a_sentence)
