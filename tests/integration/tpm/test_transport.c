/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "host.h"
#include "other_user.h"
#include "tests.h"

static void begin_tcp(struct host *host, const char *loader) {
        char tcti[192];

        *host = (struct host){0};
        swtpm_begin_tcp(&host->swtpm);
        (void)snprintf(tcti, sizeof(tcti), "%s%s", loader, host->swtpm.tcti);
        host_begin_through(host, tcti);
}

static void use_and_restart(struct host *host) {
        _cleanup_buf_ struct buf wrapped = {0};

        host_setup(host, 0, 0);
        host_wrap(host, KEY, &wrapped);
        host_expect(host, &wrapped, KEY);
        host_expect(host, &wrapped, KEY);
        swtpm_stop(&host->swtpm);
        swtpm_start(&host->swtpm);
        host_expect(host, &wrapped, KEY);
}

START_TEST(over_tcp) {
        struct host host;

        begin_tcp(&host, "");
        use_and_restart(&host);
        host_end(&host);
}
END_TEST

/* As device:/dev/tpmrm0 is: a module of tpm2-tss, here the one that records what crosses. */
START_TEST(through_the_loader_of_tpm2_tss) {
        struct host host;
        char path[128];
        _cleanup_buf_ struct buf capture = BUF_WITH_LIMIT(4u * 1024 * 1024);

        test_directory(path, sizeof(path) - 8);
        (void)snprintf(path + strlen(path), 8, "/pcap");
        ck_assert_int_eq(setenv("TCTI_PCAP_FILE", path, true), 0);
        begin_tcp(&host, "pcap:");
        use_and_restart(&host);
        host_end(&host);

        ck_assert_int_eq(file_read(AT_FDCWD, path, &capture, &host.err), 0);
        ck_assert_ptr_nonnull(memmem(capture.data, capture.size, "TPM2", 5)); /* the label */
        ck_assert_ptr_null(memmem(capture.data, capture.size, KEY, strlen(KEY)));
}
END_TEST

START_TEST(others_use_the_same_swtpm_meanwhile) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        for (uint32_t i = 0; i < 5; i++) {
                host_expect(&host, &wrapped, KEY);
                other_user_extends(host.swtpm.tcti, i);
        }
        host_end(&host);
}
END_TEST

void add_transport_tests(TCase *tcase) {
        tcase_add_test(tcase, over_tcp);
        tcase_add_test(tcase, through_the_loader_of_tpm2_tss);
        tcase_add_test(tcase, others_use_the_same_swtpm_meanwhile);
}
