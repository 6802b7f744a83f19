/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "host.h"
#include "other_user.h"
#include "tests.h"
#include "tpm/templates.h"

#define HANDLE 0x81010010u

static struct stat status_of(const struct host *host, const char *name) {
        char path[128];
        struct stat status;

        (void)snprintf(path, sizeof(path), "%s/%s", host->state, name);
        ck_assert_msg(lstat(path, &status) == 0, "%s", path);
        return status;
}

static void read_state(struct host *host, const char *name, struct buf *content) {
        _cleanup_close_ int fd = open(host->state, O_RDONLY | O_DIRECTORY);

        *content = BUF_WITH_LIMIT(BINDING_KEY_FILE_MAX);
        ck_assert_int_eq(file_read(fd, name, content, &host->err), 0);
}

static void write_state(struct host *host, const char *name, const void *data, size_t size) {
        _cleanup_close_ int fd = open(host->state, O_RDONLY | O_DIRECTORY);

        ck_assert_int_eq(file_write(fd, name, data, size, 0600, true, &host->err), 0);
}

static void fingerprint_of(struct host *host, char fingerprint[KEY_FINGERPRINT_SIZE]) {
        struct binding_key_info info;

        ck_assert_int_eq(binding_key_info_read(host->state, &info, &host->err), 0);
        memcpy(fingerprint, info.fingerprint, KEY_FINGERPRINT_SIZE);
}

static void expect_setup_failure(struct host *host, const struct tpm_setup_options *options,
                                 enum wla_code code, const char *text) {
        bool created = false;

        ck_assert_int_eq(tpm_setup(host->tpm, options, &created, &host->err), -1);
        ck_assert_msg(strstr(wla_error_text(&host->err), text) != NULL, "'%s' lacks '%s'",
                      wla_error_text(&host->err), text);
        ck_assert_str_eq(wla_code_token(host->err.code), wla_code_token(code));
}

START_TEST(blobs_are_written_with_their_modes) {
        struct host host;
        struct binding_key_info info;
        char fingerprint[KEY_FINGERPRINT_SIZE];
        _cleanup_buf_ struct buf pem = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);

        ck_assert_uint_eq(status_of(&host, "binding-key.json").st_mode & 07777, 0600);
        ck_assert_uint_eq(status_of(&host, "binding-key.pem").st_mode & 07777, 0644);

        read_state(&host, "binding-key.pem", &pem);
        ck_assert_int_eq(binding_key_info_read(host.state, &info, &host.err), 0);
        ck_assert_uint_eq(info.handle, 0);
        ck_assert_uint_eq(info.pcrs, 0);
        ck_assert_uint_eq(pem.size, strlen(info.pem));
        ck_assert_mem_eq(pem.data, info.pem, pem.size);
        ck_assert_int_eq(rsa_public_fingerprint(info.pem, pem.size, fingerprint, &host.err), 0);
        ck_assert_str_eq(fingerprint, info.fingerprint);
        host_end(&host);
}
END_TEST

START_TEST(a_persistent_key_survives_the_tpm) {
        struct host host;
        struct binding_key_info info;
        _cleanup_buf_ struct buf wrapped = {0};
        _cleanup_buf_ struct buf json = {0};

        host_begin(&host);
        host_setup(&host, HANDLE, 0);
        ck_assert_int_eq(binding_key_info_read(host.state, &info, &host.err), 0);
        ck_assert_uint_eq(info.handle, HANDLE);
        read_state(&host, "binding-key.json", &json);
        ck_assert_ptr_null(memmem(json.data, json.size, "private", 7));

        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        swtpm_stop(&host.swtpm);
        swtpm_start(&host.swtpm);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(a_second_setup_keeps_the_key_and_mends_the_pem) {
        struct host host;
        const struct tpm_setup_options options = {0};
        char before[KEY_FINGERPRINT_SIZE];
        char after[KEY_FINGERPRINT_SIZE];
        bool created = true;
        _cleanup_buf_ struct buf pem = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        fingerprint_of(&host, before);
        write_state(&host, "binding-key.pem", "junk", 4);

        ck_assert_int_eq(tpm_setup(host.tpm, &options, &created, &host.err), 0);
        ck_assert(!created);
        fingerprint_of(&host, after);
        ck_assert_str_eq(before, after);
        read_state(&host, "binding-key.pem", &pem);
        ck_assert_int_eq(strncmp((const char *)pem.data, "-----BEGIN PUBLIC KEY-----", 26), 0);
        host_end(&host);
}
END_TEST

START_TEST(replace_makes_another_key) {
        struct host host;
        const struct tpm_setup_options options = {.replace = true};
        char before[KEY_FINGERPRINT_SIZE];
        char after[KEY_FINGERPRINT_SIZE];
        bool created = false;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, HANDLE, 0);
        fingerprint_of(&host, before);
        host_wrap(&host, KEY, &wrapped);

        ck_assert_int_eq(tpm_setup(host.tpm, &options, &created, &host.err), 0);
        ck_assert(created);
        fingerprint_of(&host, after);
        ck_assert_str_ne(before, after);
        ck_assert(!other_user_has_key(host.swtpm.tcti, HANDLE));
        host_expect_failure(&host, &wrapped, WLA_E_INPUT, "the TPM cannot open it");
        host_end(&host);
}
END_TEST

START_TEST(replace_reuses_the_handle_of_the_old_key) {
        struct host host;
        const struct tpm_setup_options options = {.handle = HANDLE, .replace = true};
        bool created = false;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, HANDLE, 0);
        ck_assert_int_eq(tpm_setup(host.tpm, &options, &created, &host.err), 0);
        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(a_handle_of_somebody_else_is_left_alone) {
        struct host host;
        const struct tpm_setup_options options = {.handle = HANDLE, .replace = true};

        host_begin(&host);
        other_user_makes_key(host.swtpm.tcti, HANDLE, &storage_key_template);
        expect_setup_failure(&host, &options, WLA_E_TPM, "0x81010010 holds another key");
        ck_assert(other_user_has_key(host.swtpm.tcti, HANDLE));
        ck_assert_int_eq(
                binding_key_info_read(host.state, &(struct binding_key_info){0}, &host.err), -1);
        ck_assert_int_eq(host.err.code, WLA_E_NOT_FOUND);
        host_end(&host);
}
END_TEST

START_TEST(other_wishes_need_replace) {
        struct host host;

        host_begin(&host);
        host_setup(&host, 0, 0);
        expect_setup_failure(&host, &(struct tpm_setup_options){.pcrs = 1u << 7}, WLA_E_INPUT,
                             "it is bound to no PCR");
        expect_setup_failure(&host, &(struct tpm_setup_options){.handle = HANDLE}, WLA_E_INPUT,
                             "not kept at 0x81010010");
        expect_setup_failure(&host, &(struct tpm_setup_options){.pcrs = 1u << 24}, WLA_E_INPUT,
                             "PCRs 0 to 23");
        expect_setup_failure(&host, &(struct tpm_setup_options){.handle = 0x81800000}, WLA_E_INPUT,
                             "cannot hold the binding key");
        expect_setup_failure(&host, &(struct tpm_setup_options){.handle = 0x81000001}, WLA_E_INPUT,
                             "cannot hold the binding key");
        host_end(&host);
}
END_TEST

START_TEST(an_owner_password_is_named) {
        struct host host;
        const struct tpm_setup_options options = {0};

        host_begin(&host);
        other_user_sets_owner_password(host.swtpm.tcti, "secret");
        expect_setup_failure(&host, &options, WLA_E_TPM,
                             "owner hierarchy of this TPM has a password");
        ck_assert_ptr_nonnull(host.err.hint);
        ck_assert_ptr_nonnull(strstr(host.err.hint, "tpm2_evictcontrol"));
        host_end(&host);
}
END_TEST

START_TEST(an_owner_password_does_not_matter_with_a_storage_key) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        other_user_makes_key(host.swtpm.tcti, STORAGE_KEY_HANDLE, &storage_key_template);
        other_user_sets_owner_password(host.swtpm.tcti, "secret");
        expect_setup_failure(&host, &(struct tpm_setup_options){.handle = HANDLE}, WLA_E_TPM,
                             "refused the authorisation");
        ck_assert_ptr_nonnull(strstr(host.err.hint, "owner hierarchy has a password"));

        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(an_rsa_storage_key_is_used) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};
        TPM2B_PUBLIC template = storage_key_template;

        template.publicArea.type = TPM2_ALG_RSA;
        template.publicArea.parameters.rsaDetail = (TPMS_RSA_PARMS){
                .symmetric = {.algorithm = TPM2_ALG_AES,
                              .keyBits.aes = 128,
                              .mode.aes = TPM2_ALG_CFB},
                .scheme.scheme = TPM2_ALG_NULL,
                .keyBits = 2048,
        };

        host_begin(&host);
        other_user_makes_key(host.swtpm.tcti, STORAGE_KEY_HANDLE, &template);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(a_storage_key_with_a_password_is_named) {
        struct host host;
        const struct tpm_setup_options options = {0};

        host_begin(&host);
        other_user_makes_key_with_password(host.swtpm.tcti, STORAGE_KEY_HANDLE,
                                           &storage_key_template, "secret");
        expect_setup_failure(&host, &options, WLA_E_TPM,
                             "the storage key at 0x81000001 of this TPM has a password");
        ck_assert_ptr_nonnull(strstr(host.err.hint, "empty password"));
        host_end(&host);
}
END_TEST

START_TEST(a_signing_key_in_its_place_is_refused) {
        struct host host;
        const struct tpm_setup_options options = {.replace = true};
        TPM2B_PUBLIC template = storage_key_template;

        template.publicArea.objectAttributes &= ~(TPMA_OBJECT)(TPMA_OBJECT_RESTRICTED |
                                                               TPMA_OBJECT_DECRYPT);
        template.publicArea.objectAttributes |= TPMA_OBJECT_SIGN_ENCRYPT;
        template.publicArea.parameters.eccDetail.symmetric.algorithm = TPM2_ALG_NULL;

        host_begin(&host);
        other_user_makes_key(host.swtpm.tcti, STORAGE_KEY_HANDLE, &template);
        expect_setup_failure(&host, &options, WLA_E_TPM, "is no storage key");
        host_end(&host);
}
END_TEST

START_TEST(a_damaged_file_is_kept_unless_replaced) {
        struct host host;
        struct tpm_setup_options options = {0};
        bool created = false;
        _cleanup_buf_ struct buf json = {0};
        _cleanup_buf_ struct buf after = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        read_state(&host, "binding-key.json", &json);
        write_state(&host, "binding-key.json", json.data, json.size / 2);

        expect_setup_failure(&host, &options, WLA_E_TPM, "binding-key.json cannot be used");
        ck_assert_ptr_nonnull(strstr(host.err.hint, "--replace"));
        read_state(&host, "binding-key.json", &after);
        ck_assert_uint_eq(after.size, json.size / 2);

        options.replace = true;
        ck_assert_int_eq(tpm_setup(host.tpm, &options, &created, &host.err), 0);
        ck_assert(created);
        host_end(&host);
}
END_TEST

START_TEST(a_full_disk_leaves_nothing_behind) {
        struct host host;
        const struct tpm_setup_options options = {.handle = HANDLE};
        const struct rlimit full = {.rlim_cur = 64, .rlim_max = 64};

        host_begin(&host);
        (void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &full), 0);

        expect_setup_failure(&host, &options, WLA_E_SYSTEM, "cannot write binding-key.json");
        ck_assert(!other_user_has_key(host.swtpm.tcti, HANDLE));
        ck_assert_int_eq(rmdir(host.state), 0);
        host_end(&host);
}
END_TEST

/* The JSON counts: once it is written, the key it tells of stays. */
START_TEST(a_pem_that_cannot_be_written_loses_no_key) {
        struct host host;
        const struct tpm_setup_options options = {.handle = HANDLE};
        bool created = true;
        char pem[128];

        host_begin(&host);
        (void)snprintf(pem, sizeof(pem), "%s/binding-key.pem", host.state);
        ck_assert_int_eq(mkdir(pem, 0700), 0);
        expect_setup_failure(&host, &options, WLA_E_SYSTEM, "cannot write binding-key.pem");
        ck_assert(other_user_has_key(host.swtpm.tcti, HANDLE));

        ck_assert_int_eq(rmdir(pem), 0);
        ck_assert_msg(tpm_setup(host.tpm, &options, &created, &host.err) == 0, "%s",
                      wla_error_text(&host.err));
        ck_assert(!created);
        host_end(&host);
}
END_TEST

START_TEST(a_full_disk_does_not_cost_the_old_key_its_place) {
        struct host host;
        const struct tpm_setup_options options = {.handle = HANDLE, .replace = true};
        const struct rlimit full = {.rlim_cur = 64, .rlim_max = RLIM_INFINITY};
        const struct rlimit enough = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, HANDLE, 0);
        host_wrap(&host, KEY, &wrapped);
        (void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &full), 0);

        expect_setup_failure(&host, &options, WLA_E_SYSTEM, "cannot write binding-key.json");
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &enough), 0);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(two_setups_exclude_each_other) {
        struct host host;
        const struct tpm_setup_options options = {0};

        host_begin(&host);
        _cleanup_close_ int fd = open(host.state, O_RDONLY | O_DIRECTORY);
        ck_assert_int_eq(flock(fd, LOCK_EX), 0);
        expect_setup_failure(&host, &options, WLA_E_BUSY, "another setup is running");
        host_end(&host);
}
END_TEST

START_TEST(facts_are_told_without_a_key) {
        struct host host;
        struct tpm_facts facts;

        host_begin(&host);
        ck_assert_int_eq(tpm_facts(host.tpm, &facts, &host.err), 0);
        ck_assert_str_eq(facts.manufacturer, "IBM");
        ck_assert(facts.vendor[0] != '\0');
        ck_assert(facts.sha256_bank);
        ck_assert(!facts.in_lockout);
        ck_assert_uint_eq(facts.lockout_counter, 0);
        ck_assert_uint_gt(facts.lockout_recovery_sec, 0);
        host_end(&host);
}
END_TEST

void add_setup_tests(TCase *tcase) {
        tcase_add_test(tcase, blobs_are_written_with_their_modes);
        tcase_add_test(tcase, a_persistent_key_survives_the_tpm);
        tcase_add_test(tcase, a_second_setup_keeps_the_key_and_mends_the_pem);
        tcase_add_test(tcase, replace_makes_another_key);
        tcase_add_test(tcase, replace_reuses_the_handle_of_the_old_key);
        tcase_add_test(tcase, a_handle_of_somebody_else_is_left_alone);
        tcase_add_test(tcase, other_wishes_need_replace);
        tcase_add_test(tcase, an_owner_password_is_named);
        tcase_add_test(tcase, an_owner_password_does_not_matter_with_a_storage_key);
        tcase_add_test(tcase, an_rsa_storage_key_is_used);
        tcase_add_test(tcase, a_storage_key_with_a_password_is_named);
        tcase_add_test(tcase, a_signing_key_in_its_place_is_refused);
        tcase_add_test(tcase, a_damaged_file_is_kept_unless_replaced);
        tcase_add_test(tcase, a_full_disk_leaves_nothing_behind);
        tcase_add_test(tcase, a_pem_that_cannot_be_written_loses_no_key);
        tcase_add_test(tcase, a_full_disk_does_not_cost_the_old_key_its_place);
        tcase_add_test(tcase, two_setups_exclude_each_other);
        tcase_add_test(tcase, facts_are_told_without_a_key);
}
