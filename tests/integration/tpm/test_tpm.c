/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "swtpm.h"
#include "tests.h"

/* CK_RUN_CASE=NAME runs one of them. */
static const struct {
        const char *name;
        void (*add_tests)(TCase *tcase);
} cases[] = {
        {"setup", add_setup_tests},
        {"unbind", add_unbind_tests},
        {"pcr", add_pcr_tests},
        {"faults", add_fault_tests},
        {"fault_sweeps", add_fault_sweep_tests},
        {"wire", add_wire_tests},
        {"transport", add_transport_tests},
        {"opener", add_opener_tests},
        {"host_keys", add_host_key_tests},
        {"session", add_session_tests},
        {"interposer", add_interposer_tests},
        {"ahead", add_ahead_tests},
        {"ahead_faults", add_ahead_fault_tests},
};

int main(void) {
        Suite *suite = suite_create("tpm");

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                TCase *tcase = tcase_create(cases[i].name);

                tcase_set_timeout(tcase, 120);
                cases[i].add_tests(tcase);
                suite_add_tcase(suite, tcase);
        }

        test_directory_begin();
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        test_directory_end();
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
