/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The main of a unit test: one Check suite with one case made of the given test functions. */

#include <check.h>
#include <stdlib.h>

/* How often a test tries what goes wrong by chance: so many times, or as many as WLAGENT_TEST_ROUNDS says,
 * which takes CK_TIMEOUT_MULTIPLIER as well. */
static inline unsigned long suite_rounds(unsigned long usual) {
        const char *text = getenv("WLAGENT_TEST_ROUNDS");

        return text ? strtoul(text, NULL, 10) : usual;
}

#define SUITE_MAIN(name, ...)                                                 \
        int main(void) {                                                      \
                const TTest *const tests[] = {__VA_ARGS__};                   \
                Suite *suite = suite_create(name);                            \
                TCase *tcase = tcase_create(name);                            \
                                                                              \
                tcase_set_timeout(tcase, 240);                                \
                for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) \
                        tcase_add_test(tcase, tests[i]);                      \
                suite_add_tcase(suite, tcase);                                \
                SRunner *runner = srunner_create(suite);                      \
                srunner_run_all(runner, CK_NORMAL);                           \
                int failed = srunner_ntests_failed(runner);                   \
                srunner_free(runner);                                         \
                return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;             \
        }
