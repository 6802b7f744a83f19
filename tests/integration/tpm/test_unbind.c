/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "host.h"
#include "other_user.h"
#include "tests.h"

START_TEST(keys_of_every_length_open) {
        static const size_t sizes[] = {1, 16, 32, 64, RSA_WRAP_PLAIN_MAX};
        struct host host;
        char key[RSA_WRAP_PLAIN_MAX + 1] = "";

        host_begin(&host);
        host_setup(&host, 0, 0);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                _cleanup_buf_ struct buf wrapped = {0};

                for (size_t j = 0; j < sizes[i]; j++)
                        key[j] = (char)('!' + j % 90);
                host_wrap(&host, key, &wrapped);
                host_expect(&host, &wrapped, key);
        }
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), 5 + 1); /* setup proves the key with one */
        host_end(&host);
}
END_TEST

static void write_file(const struct host *host, const char *name, const char *content) {
        struct wla_error err = {0};
        _cleanup_close_ int fd = open(host->state, O_RDONLY | O_DIRECTORY);

        ck_assert_int_eq(file_write(fd, name, content, strlen(content), 0600, true, &err), 0);
}

/* openssl pkeyutl, with its label in hex. */
static void openssl_wrap(struct host *host, const char *label_option, struct buf *wrapped) {
        char in[128];
        char out[128];
        char pem[128];
        int status = -1;

        write_file(host, "plain", KEY);
        (void)snprintf(in, sizeof(in), "%s/plain", host->state);
        (void)snprintf(out, sizeof(out), "%s/wrapped", host->state);
        (void)snprintf(pem, sizeof(pem), "%s/binding-key.pem", host->state);

        const char *const argv[] = {"openssl",
                                    "pkeyutl",
                                    "-encrypt",
                                    "-pubin",
                                    "-inkey",
                                    pem,
                                    "-in",
                                    in,
                                    "-out",
                                    out,
                                    "-pkeyopt",
                                    "rsa_padding_mode:oaep",
                                    "-pkeyopt",
                                    "rsa_oaep_md:sha256",
                                    label_option ? "-pkeyopt" : NULL,
                                    label_option,
                                    NULL};
        pid_t pid = spawn(argv);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);

        *wrapped = BUF_WITH_LIMIT(RSA_WRAPPED_SIZE);
        ck_assert_int_eq(file_read(AT_FDCWD, out, wrapped, &host->err), 0);
}

START_TEST(what_openssl_wrapped_opens) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        openssl_wrap(&host, "rsa_oaep_label:54504d3200", &wrapped);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(other_labels_are_refused) {
        static const char *const labels[] = {NULL, "rsa_oaep_label:54504d32",
                                             "rsa_oaep_label:54504d3300"};
        struct host host;
        _cleanup_buf_ struct buf good = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &good);
        for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
                _cleanup_buf_ struct buf wrapped = {0};

                openssl_wrap(&host, labels[i], &wrapped);
                host_expect_failure(&host, &wrapped, WLA_E_INPUT, "the TPM cannot open it");
                host_expect(&host, &good, KEY);
        }
        host_end(&host);
}
END_TEST

START_TEST(damaged_keys_are_refused) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);

        wrapped.data[100] ^= 1;
        host_expect_failure(&host, &wrapped, WLA_E_INPUT, "the TPM cannot open it");
        wrapped.data[100] ^= 1;

        /* Larger than the modulus: not even a ciphertext. */
        memset(wrapped.data, 0xff, 8);
        host_expect_failure(&host, &wrapped, WLA_E_INPUT, "the TPM cannot open it");

        uint64_t asked = tpm_unbind_count(host.tpm);
        wrapped.size--;
        host_expect_failure(&host, &wrapped, WLA_E_INPUT, "256 bytes, and this one 255");
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), asked);
        host_end(&host);
}
END_TEST

START_TEST(a_key_for_another_host_never_reaches_the_tpm) {
        static const char other[] =
                "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        struct host host;
        struct binding_key_info info;
        struct deadline deadline;
        struct wla_secret *opened = NULL;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        ck_assert_int_eq(binding_key_info_read(host.state, &info, &host.err), 0);
        deadline_init(&deadline, clock_now_usec() + 10 * USEC_PER_SEC);

        uint64_t asked = tpm_unbind_count(host.tpm);
        ck_assert_int_eq(
                tpm_unbind(host.tpm, bytes_of(&wrapped), other, &deadline, &opened, &host.err), -1);
        ck_assert_int_eq(host.err.code, WLA_E_INPUT);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&host.err), "0011223344556677..."));
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), asked);

        ck_assert_int_eq(tpm_unbind(host.tpm, bytes_of(&wrapped), info.fingerprint, &deadline,
                                    &opened, &host.err),
                         0);
        opened = wla_secret_free(opened);
        host_end(&host);
}
END_TEST

START_TEST(another_tpm_is_told_apart) {
        struct host host;
        struct host other;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);

        /* The stolen state directory on another machine, first without a storage key. */
        host_begin(&other);
        other.tpm = tpm_free(other.tpm);
        ck_assert_int_eq(tpm_new(other.swtpm.tcti, host.state, &other.tpm, &other.err), 0);
        host_expect_failure(&other, &wrapped, WLA_E_TPM, "no storage key at 0x81000001 any more");
        other.tpm = tpm_free(other.tpm);
        ck_assert_int_eq(tpm_new(other.swtpm.tcti, other.state, &other.tpm, &other.err), 0);
        host_setup(&other, 0, 0);
        other.tpm = tpm_free(other.tpm);

        ck_assert_int_eq(tpm_new(other.swtpm.tcti, host.state, &other.tpm, &other.err), 0);
        host_expect_failure(&other, &wrapped, WLA_E_TPM, "is not the one pinned at setup");
        ck_assert_ptr_nonnull(strstr(other.err.hint, "another TPM or a cleared one"));
        ck_assert_uint_eq(tpm_unbind_count(other.tpm), 0);

        host_expect(&host, &wrapped, KEY);
        host_end(&host);
        host_end(&other);
}
END_TEST

START_TEST(a_cleared_tpm_is_named) {
        struct host host;
        const struct tpm_setup_options options = {.replace = true};
        bool created = false;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        other_user_clears(host.swtpm.tcti);
        host_expect_failure(&host, &wrapped, WLA_E_TPM, "no storage key at 0x81000001 any more");

        ck_assert_int_eq(tpm_setup(host.tpm, &options, &created, &host.err), 0);
        host_expect_failure(&host, &wrapped, WLA_E_INPUT, "the TPM cannot open it");
        host_end(&host);
}
END_TEST

START_TEST(a_missing_setup_is_named) {
        struct host host;
        uint8_t zeros[RSA_WRAPPED_SIZE] = {0};
        struct buf wrapped = {.data = zeros, .size = sizeof(zeros)};

        host_begin(&host);
        host_expect_failure(&host, &wrapped, WLA_E_NOT_FOUND, "this host has no binding key");
        ck_assert_str_eq(host.err.hint, "run 'wlagent setup'");
        ck_assert_int_eq(tpm_prepare(host.tpm, &host.err), -1);
        ck_assert_int_eq(host.err.code, WLA_E_NOT_FOUND);

        /* Setup by another process, no restart of this one. */
        struct tpm *tpm = host.tpm;
        ck_assert_int_eq(tpm_new(host.swtpm.tcti, host.state, &host.tpm, &host.err), 0);
        host_setup(&host, 0, 0);
        host.tpm = tpm_free(host.tpm);
        host.tpm = tpm;

        _cleanup_buf_ struct buf good = {0};
        host_wrap(&host, KEY, &good);
        host_expect(&host, &good, KEY);
        host_end(&host);
}
END_TEST

START_TEST(a_replaced_key_is_noticed_without_restart) {
        struct host host;
        const struct tpm_setup_options options = {.replace = true};
        struct tpm *setup = NULL;
        bool created = false;
        _cleanup_buf_ struct buf old = {0};
        _cleanup_buf_ struct buf new = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &old);
        host_expect(&host, &old, KEY);

        ck_assert_int_eq(tpm_new(host.swtpm.tcti, host.state, &setup, &host.err), 0);
        ck_assert_int_eq(tpm_setup(setup, &options, &created, &host.err), 0);
        (void)tpm_free(setup);

        host_wrap(&host, KEY, &new);
        host_expect(&host, &new, KEY);
        host_expect_failure(&host, &old, WLA_E_INPUT, "the TPM cannot open it");
        host_end(&host);
}
END_TEST

START_TEST(a_tpm_that_comes_and_goes) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);

        for (int i = 0; i < 3; i++) {
                host_expect(&host, &wrapped, KEY);
                swtpm_stop(&host.swtpm);
                if (i == 1) {
                        host_expect_failure(&host, &wrapped, WLA_E_UNAVAILABLE,
                                            "No such file or directory");
                        ck_assert_ptr_nonnull(strstr(wla_error_text(&host.err), host.swtpm.tcti));
                }
                swtpm_start(&host.swtpm);
        }
        host_end(&host);
}
END_TEST

START_TEST(devices_that_do_not_open_are_named) {
        static const struct {
                const char *tcti;
                const char *text;
        } cases[] = {
                {"device:/dev/wlagent-no-such-tpm", "No such file or directory"},
                {"swtpm:path=/nowhere/sock", "No such file or directory"},
                {"swtpm:pth=/nowhere/sock", "cannot be understood"},
                {"nonsense:x", "no connection to the TPM"},
        };
        struct host host;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct tpm_facts facts;

                host = (struct host){0};
                ck_assert_int_eq(tpm_new(cases[i].tcti, "/nowhere", &host.tpm, &host.err), 0);
                ck_assert_int_eq(tpm_facts(host.tpm, &facts, &host.err), -1);
                ck_assert_msg(strstr(wla_error_text(&host.err), cases[i].text) != NULL, "%s",
                              wla_error_text(&host.err));
                ck_assert_ptr_nonnull(host.err.hint);
                host.tpm = tpm_free(host.tpm);
        }
}
END_TEST

START_TEST(lockout_does_not_touch_our_key) {
        struct host host;
        struct tpm_facts facts;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        other_user_causes_lockout(host.swtpm.tcti);

        ck_assert_int_eq(tpm_facts(host.tpm, &facts, &host.err), 0);
        ck_assert(facts.in_lockout);
        ck_assert_uint_eq(facts.lockout_counter, 3);
        ck_assert_uint_eq(facts.lockout_recovery_sec, 1000);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(what_others_flush_is_loaded_again) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        other_user_flushes(host.swtpm.tcti);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(a_full_tpm_is_given_room) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        other_user_fills_up(host.swtpm.tcti);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(a_passed_deadline_asks_nothing) {
        struct host host;
        struct deadline deadline;
        struct wla_secret *opened = NULL;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        deadline_init(&deadline, clock_now_usec() - 1);

        uint64_t asked = tpm_unbind_count(host.tpm);
        ck_assert_int_eq(
                tpm_unbind(host.tpm, bytes_of(&wrapped), NULL, &deadline, &opened, &host.err), -1);
        ck_assert_int_eq(host.err.code, WLA_E_TIMEOUT);
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), asked);
        host_end(&host);
}
END_TEST

void add_unbind_tests(TCase *tcase) {
        tcase_add_test(tcase, keys_of_every_length_open);
        tcase_add_test(tcase, what_openssl_wrapped_opens);
        tcase_add_test(tcase, other_labels_are_refused);
        tcase_add_test(tcase, damaged_keys_are_refused);
        tcase_add_test(tcase, a_key_for_another_host_never_reaches_the_tpm);
        tcase_add_test(tcase, another_tpm_is_told_apart);
        tcase_add_test(tcase, a_cleared_tpm_is_named);
        tcase_add_test(tcase, a_missing_setup_is_named);
        tcase_add_test(tcase, a_replaced_key_is_noticed_without_restart);
        tcase_add_test(tcase, a_tpm_that_comes_and_goes);
        tcase_add_test(tcase, devices_that_do_not_open_are_named);
        tcase_add_test(tcase, lockout_does_not_touch_our_key);
        tcase_add_test(tcase, what_others_flush_is_loaded_again);
        tcase_add_test(tcase, a_full_tpm_is_given_room);
        tcase_add_test(tcase, a_passed_deadline_asks_nothing);
}
