/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/shell_word.h"

#include "suite.h"

START_TEST(words) {
        static const struct {
                const char *word;
                const char *text;
        } rows[] = {
                {"--root", "--root"},
                {"https://kbs.example:9443/a_b-c%2f,+=@", "https://kbs.example:9443/a_b-c%2f,+=@"},
                {"", "''"},
                {" ", "' '"},
                {"a b", "'a b'"},
                {"'", "''\\'''"},
                {"it's", "'it'\\''s'"},
                {"''", "''\\'''\\'''"},
                {"$(x)", "'$(x)'"},
                {"~", "'~'"},
                {"a*", "'a*'"},
                {"a\\", "'a\\'"},
                {"a\nb", "'a\nb'"},
                {"\xc3\xa9", "'\xc3\xa9'"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(64);
                struct wla_error err = {0};

                ck_assert_int_eq(shell_word_append(&text, rows[i].word, &err), 0);
                ck_assert_str_eq(buf_text(&text, &err), rows[i].text);
        }
}
END_TEST

START_TEST(one_that_does_not_fit) {
        static const char word[] = "it's";

        for (size_t limit = 0; limit < sizeof("'it'\\''s'") - 1; limit++) {
                _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(limit);
                struct wla_error err = {0};

                ck_assert_int_eq(shell_word_append(&text, word, &err), -1);
                ck_assert_int_ne(err.code, WLA_OK);
        }
}
END_TEST

SUITE_MAIN("shell_word", words, one_that_does_not_fit)
