/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "swtpm.h"
#include "tests.h"

int main(void) {
        Suite *suite = suite_create("tpm");
        TCase *tcase = tcase_create("tpm");

        tcase_set_timeout(tcase, 120);
        add_unbind_tests(tcase);
        suite_add_tcase(suite, tcase);

        test_directory_begin();
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        test_directory_end();
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
