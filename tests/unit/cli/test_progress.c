/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/clock.h"
#include "cli/progress.h"

#define GIB (UINT64_C(1) << 30)

static const struct {
        uint64_t done;
        uint64_t size;
        uint64_t elapsed_usec;
        const char *line;
} cases[] = {
        {0, 4 * GIB, 0,
         "encrypting  [                              ]   0 %  0.0 of 4.0 GiB  0.0 GiB/s  ? left"},
        {2 * GIB, 4 * GIB, 2 * USEC_PER_SEC,
         "encrypting  [###############               ]  50 %  2.0 of 4.0 GiB  1.0 GiB/s  0:02 "
         "left"},
        {4 * GIB, 4 * GIB, 2 * USEC_PER_SEC,
         "encrypting  [##############################] 100 %  4.0 of 4.0 GiB  2.0 GiB/s  0:00 "
         "left"},
        {GIB, 10000 * GIB, USEC_PER_SEC,
         "encrypting  [                              ]   0 %  1.0 of 10000.0 GiB  1.0 GiB/s  "
         "2:46:39 left"},
};

START_TEST(lines) {
        char line[PROGRESS_LINE_SIZE];

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                progress_format(line, "encrypting", cases[i].done, cases[i].size,
                                cases[i].elapsed_usec);
                ck_assert_str_eq(line, cases[i].line);
        }
}
END_TEST

SUITE_MAIN("progress", lines)
