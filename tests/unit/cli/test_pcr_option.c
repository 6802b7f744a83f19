/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include "cli/pcr_option.h"

START_TEST(reads_and_writes_lists) {
        static const struct {
                const char *text;
                uint32_t pcrs;
                const char *again;
        } lists[] = {
                {"7", 1u << 7, "7"},
                {"0", 1u, "0"},
                {"11,7", 1u << 7 | 1u << 11, "7,11"},
                {"23,0,07", 1u << 23 | 1u << 7 | 1u, "0,7,23"},
        };
        char text[PCR_OPTION_TEXT_MAX];

        for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
                struct wla_error err = {0};
                uint32_t pcrs;

                ck_assert_int_eq(pcr_option_parse(lists[i].text, &pcrs, &err), 0);
                ck_assert_uint_eq(pcrs, lists[i].pcrs);
                pcr_option_format(pcrs, text);
                ck_assert_str_eq(text, lists[i].again);
        }

        pcr_option_format(0, text);
        ck_assert_str_eq(text, "");
        pcr_option_format(UINT32_MAX, text);
        ck_assert_str_eq(text, "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23");
}
END_TEST

START_TEST(refuses_what_is_no_list) {
        static const char *const texts[] = {"",   ",",    "7,",  ",7",    "24",  "7,7", "007",
                                            "-1", "7;11", "7 8", "7,sha", "0x7", "+7"};

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct wla_error err = {0};
                uint32_t pcrs = 42;

                ck_assert_int_eq(pcr_option_parse(texts[i], &pcrs, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_str_eq(err.hint, "write numbers of 0..23, like 7,11");
                ck_assert_uint_eq(pcrs, 42);
        }
}
END_TEST

SUITE_MAIN("pcr_option", reads_and_writes_lists, refuses_what_is_no_list)
