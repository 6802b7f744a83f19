/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <string.h>

#include "host.h"
#include "tests.h"
#include "tpm/unbind.h"

static const char key[] = "0123456789abcdef0123456789abcdef";

START_TEST(opens_what_was_wrapped) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, key, &wrapped);

        for (int i = 0; i < 3; i++)
                host_expect(&host, &wrapped, key);
        host_end(&host);
}
END_TEST

void add_unbind_tests(TCase *tcase) {
        tcase_add_test(tcase, opens_what_was_wrapped);
}
