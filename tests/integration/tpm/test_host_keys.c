/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "intel_host.h"
#include "other_user.h"
#include "tests.h"
#include "tpm/host_key.h"
#include "tpm/templates.h"

#define WRONG_SECRET "ffffffffffffffffffffffffffffffffffffffff"
#define OTHER_AIK    0x81010002u

/* And whether that is for the key's own sake, so that it may be replaced. */
static void is_not_loaded(struct host *host, const struct host_key *key, bool foreign,
                          const char *text) {
        bool found = !foreign;

        host_is_refused(host, tpm_host_key_try(host->tpm, key, &found, &host->err), WLA_E_TPM,
                        text);
        ck_assert_int_eq(found, foreign);
}

START_TEST(keys_of_intels_agent_are_used) {
        struct host host;
        struct host_key key;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        for (int i = 0; i < 3; i++) {
                intel_host_opens(&host, &wrapped);
                intel_host_signs(&host); /* its secret ends with a zero */
        }
        ck_assert_int_eq(tpm_host_key_prepare(host.tpm, HOST_KEY_BINDING, &host.err), 0);
        ck_assert_int_eq(tpm_host_key_prepare(host.tpm, HOST_KEY_SIGNING, &host.err), 0);
        ck_assert_uint_eq(host_wrong_authorisations(&host), 0);
        host_end(&host);
}
END_TEST

START_TEST(the_agents_own_key_lives_beside_them) {
        struct host host;
        struct host_key key;
        _cleanup_buf_ struct buf wrapped = {0};
        _cleanup_buf_ struct buf local = {0};

        intel_host_begin(&host);
        host_setup(&host, 0, 0);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        host_wrap(&host, KEY, &local);
        for (int i = 0; i < 3; i++) {
                host_expect(&host, &local, KEY);
                intel_host_opens(&host, &wrapped);
                intel_host_signs(&host);
        }

        /* And neither opens what is the other's. */
        host_is_refused(&host, intel_host_unbind(&host, &local), WLA_E_INPUT,
                        "the TPM cannot open it");
        host_expect_failure(&host, &wrapped, WLA_E_INPUT, "the TPM cannot open it");
        intel_host_opens(&host, &wrapped);
        host_expect(&host, &local, KEY);
        host_end(&host);
}
END_TEST

static void create(struct host *host, enum host_key_usage usage, const char *file,
                   const char *credential) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_close_ int dir_fd = open(host->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct host_key key;

        ck_assert_int_eq(host_key_secret_new(&secret, &host->err), 0);
        const struct host_key_options options = {.usage = usage, .secret = secret};
        int r = tpm_host_key_create(host->tpm, &options, &key, &host->err);
        ck_assert_msg(r == 0, "%s", wla_error_text(&host->err));
        ck_assert_int_eq(host_key_write(dir_fd, file, &key, &host->err), 0);

        char text[HOST_KEY_SECRET_TEXT_SIZE + 1] = "";
        memcpy(text, wla_secret_view(secret).data, HOST_KEY_SECRET_TEXT_SIZE);
        intel_host_write_credential(host, credential, text);
}

START_TEST(new_keys_are_certified_and_used) {
        struct host host;
        struct host_key key;
        _cleanup_buf_ struct buf wrapped = {0};
        _cleanup_buf_ struct buf old = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &old);
        intel_host_opens(&host, &old);

        create(&host, HOST_KEY_BINDING, HOST_BINDING_KEY_FILE, "binding-key-secret");
        create(&host, HOST_KEY_SIGNING, HOST_SIGNING_KEY_FILE, "signing-key-secret");
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        intel_host_opens(&host, &wrapped);
        intel_host_signs(&host);
        host_is_refused(&host, intel_host_unbind(&host, &old), WLA_E_INPUT,
                        "the TPM cannot open it");
        ck_assert_ptr_nonnull(strstr(host.err.hint, "register-binding-key"));
        ck_assert_uint_eq(host_wrong_authorisations(&host), 0);
        host_end(&host);
}
END_TEST

START_TEST(an_aik_with_a_secret) {
        struct host host;
        struct host_key key;
        struct wla_error err = {0};

        intel_host_begin(&host);
        other_user_makes_aik(host.swtpm.tcti, OTHER_AIK, "aik secret");
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_secret_ struct wla_secret *aik = NULL;
        ck_assert_int_eq(host_key_secret_new(&secret, &err), 0);
        ck_assert_int_eq(wla_secret_new(10, &aik, &err), 0);
        memcpy(wla_secret_fill(aik), "aik secret", 10);
        struct host_key_options options = {.secret = secret, .aik_handle = OTHER_AIK};

        host_is_refused(
                &host, tpm_host_key_create(host.tpm, &options, &key, &host.err), WLA_E_TPM,
                "the attestation key at 0x81010002 does not accept to be used without a secret");
        ck_assert_uint_eq(host_wrong_authorisations(&host), 1);

        options.aik_secret = aik;
        ck_assert_msg(tpm_host_key_create(host.tpm, &options, &key, &host.err) == 0, "%s",
                      wla_error_text(&host.err));
        wla_secret_fill(aik)[0] ^= 1;
        host_is_refused(&host, tpm_host_key_create(host.tpm, &options, &key, &host.err), WLA_E_TPM,
                        "does not accept this secret");
        ck_assert_uint_eq(host_wrong_authorisations(&host), 2);
        wla_secret_free(TAKE_PTR(secret));
        wla_secret_free(TAKE_PTR(aik));
        host_end(&host);
}
END_TEST

START_TEST(a_wrong_secret_is_counted_once) {
        struct host host;
        struct host_key key;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        intel_host_write_credential(&host, "binding-key-secret", WRONG_SECRET);
        for (int i = 0; i < 5; i++) {
                host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM,
                                "the TPM refuses the secret in the credential binding-key-secret");
                ck_assert_ptr_nonnull(strstr(host.err.hint, "wrong attempts lock a TPM"));
        }
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), 1);
        ck_assert_uint_eq(host_wrong_authorisations(&host), 1);
        intel_host_signs(&host);

        /* Gone, and back as it was: nothing has changed. */
        char path[128];
        char away[128];
        (void)snprintf(path, sizeof(path), "%s/%s", host.state, HOST_BINDING_KEY_FILE);
        (void)snprintf(away, sizeof(away), "%s/away", host.state);
        ck_assert_int_eq(rename(path, away), 0);
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_NOT_FOUND,
                        "does not exist");
        ck_assert_int_eq(rename(away, path), 0);
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM,
                        "the TPM refuses the secret");
        ck_assert_uint_eq(host_wrong_authorisations(&host), 1);

        intel_host_write_credential(&host, "binding-key-secret", BINDING_SECRET);
        intel_host_opens(&host, &wrapped);
        host_end(&host);
}
END_TEST

START_TEST(a_tpm_that_is_locked_out_is_not_asked) {
        struct host host;
        struct host_key key;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        intel_host_opens(&host, &wrapped);
        other_user_causes_lockout(host.swtpm.tcti);
        for (int i = 0; i < 3; i++)
                host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM,
                                "locked out after 3 wrong");
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), 2);

        other_user_ends_lockout(host.swtpm.tcti);
        intel_host_opens(&host, &wrapped);
        host_end(&host);
}
END_TEST

START_TEST(missing_and_unusable_files_and_secrets_are_named) {
        struct host host;
        struct host_key key;
        char path[128];
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);

        intel_host_place(&host, HOST_KEY_BINDING, HOST_SIGNING_KEY_FILE, "binding-key-secret");
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM,
                        "it holds a signing key, and a binding key is needed");
        intel_host_place(&host, HOST_KEY_BINDING, "none", "binding-key-secret");
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_NOT_FOUND,
                        "this host has no binding key of Intel SecL");
        ck_assert_int_eq(tpm_host_key_prepare(host.tpm, HOST_KEY_BINDING, &host.err), -1);
        intel_host_place(&host, HOST_KEY_BINDING, HOST_BINDING_KEY_FILE, "none");
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_NOT_FOUND,
                        "no credential none");

        intel_host_place_both(&host);
        intel_host_write_credential(&host, "binding-key-secret", "hex:00");
        ck_assert_int_eq(intel_host_unbind(&host, &wrapped), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&host.err), "holds no secret"));
        intel_host_write_credential(&host, "binding-key-secret", "hex:0");
        ck_assert_int_eq(intel_host_unbind(&host, &wrapped), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&host.err), "hex digits"));
        intel_host_write_credential(&host, "binding-key-secret", BINDING_SECRET);

        (void)snprintf(path, sizeof(path), "%s/%s", host.state, HOST_BINDING_KEY_FILE);
        ck_assert_int_eq(chmod(path, 0620), 0);
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_DENIED,
                        "may be changed by others");
        ck_assert_int_eq(chmod(path, 0640), 0);

        wrapped.size--;
        ck_assert_int_eq(intel_host_unbind(&host, &wrapped), -1);
        wrapped.size++;
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), 0);
        intel_host_opens(&host, &wrapped);
        host_end(&host);
}
END_TEST

/* Both halves are checked without a secret. */
START_TEST(a_damaged_private_half_is_named) {
        struct host host;
        struct host_key key;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        const size_t places[] = {2, 10, 40, 100, key.private_size - 1};
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                _cleanup_close_ int dir_fd = open(host.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                key.private[places[i]] ^= 1;
                ck_assert_int_eq(host_key_write(dir_fd, HOST_BINDING_KEY_FILE, &key, &host.err), 0);
                is_not_loaded(&host, &key, true, "the private half of the binding key is damaged");
                key.private[places[i]] ^= 1;
                host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM,
                                "the private half of the binding key is damaged");
        }
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), 0);
        ck_assert_uint_eq(host_wrong_authorisations(&host), 0);
        host_end(&host);
}
END_TEST

START_TEST(what_the_trust_agent_should_have_done) {
        struct host host;
        struct host_key key;
        struct wla_error err = {0};
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        ck_assert_int_eq(host_key_secret_new(&secret, &err), 0);
        const struct host_key_options options = {.secret = secret};

        other_user_removes_key(host.swtpm.tcti, HOST_AIK_HANDLE);
        host_is_refused(&host, tpm_host_key_create(host.tpm, &options, &key, &host.err), WLA_E_TPM,
                        "this TPM has no attestation key at 0x81018000");
        ck_assert_ptr_nonnull(strstr(host.err.hint, "provision-aik"));
        intel_host_opens(&host, &wrapped); /* which needs none */

        other_user_makes_key(host.swtpm.tcti, HOST_AIK_HANDLE, &storage_key_template);
        host_is_refused(&host, tpm_host_key_create(host.tpm, &options, &key, &host.err), WLA_E_TPM,
                        "the key at 0x81018000 of this TPM is no attestation key");

        other_user_removes_key(host.swtpm.tcti, HOST_STORAGE_KEY_HANDLE);
        host_is_refused(&host, tpm_host_key_create(host.tpm, &options, &key, &host.err), WLA_E_TPM,
                        "this TPM has no storage key at 0x81000000");
        ck_assert_ptr_nonnull(strstr(host.err.hint, "provision-primary-key"));
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM,
                        "this TPM has no storage key at 0x81000000");

        other_user_makes_aik(host.swtpm.tcti, HOST_STORAGE_KEY_HANDLE, "");
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM,
                        "the key at 0x81000000 of this TPM is no storage key");
        other_user_removes_key(host.swtpm.tcti, HOST_STORAGE_KEY_HANDLE);
        other_user_makes_key(host.swtpm.tcti, HOST_STORAGE_KEY_HANDLE, &storage_key_template);
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM,
                        "the binding key was made under another storage key");
        ck_assert_ptr_nonnull(strstr(host.err.hint, "its TPM was cleared"));
        is_not_loaded(&host, &key, true, "the binding key was made under another storage key");
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), 1);
        ck_assert_uint_eq(host_wrong_authorisations(&host), 0);
        wla_secret_free(TAKE_PTR(secret));
        host_end(&host);
}
END_TEST

/* As the Trust Agent's is: wrong passwords count.  Of one template a TPM makes one key, whatever its password. */
static void replace_storage_key(struct host *host, const char *password, uint8_t unique) {
        TPM2B_PUBLIC template = storage_key_template;

        template.publicArea.objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_NODA;
        template.publicArea.unique.ecc.x.size = 32;
        template.publicArea.unique.ecc.x.buffer[0] = unique;
        other_user_removes_key(host->swtpm.tcti, HOST_STORAGE_KEY_HANDLE);
        other_user_makes_key_with_password(host->swtpm.tcti, HOST_STORAGE_KEY_HANDLE, &template,
                                           password);
        other_user_ends_lockout(host->swtpm.tcti);
}

static void connect_anew(struct host *host) {
        host->tpm = tpm_free(host->tpm);
        ck_assert_int_eq(tpm_new(host->swtpm.tcti, host->state, &host->tpm, &host->err), 0);
        intel_host_place_both(host);
}

START_TEST(a_password_of_the_storage_key_is_counted_once) {
        static const char refusal[] = "the storage key at 0x81000000 of this TPM has a password";
        struct host host;
        struct host_key key;
        struct wla_error err = {0};
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        ck_assert_int_eq(host_key_secret_new(&secret, &err), 0);
        const struct host_key_options options = {.secret = secret};

        /* Making a key. */
        replace_storage_key(&host, "x", 1);
        for (int i = 0; i < 3; i++)
                host_is_refused(&host, tpm_host_key_create(host.tpm, &options, &key, &host.err),
                                WLA_E_TPM, refusal);
        ck_assert_ptr_nonnull(strstr(host.err.hint, "wrong attempts lock a TPM"));
        ck_assert_uint_eq(host_wrong_authorisations(&host), 1);

        /* Another one is asked. */
        replace_storage_key(&host, "", 2);
        create(&host, HOST_KEY_BINDING, HOST_BINDING_KEY_FILE, "binding-key-secret");
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        intel_host_opens(&host, &wrapped);

        /* Loading one, whichever request needs it. */
        replace_storage_key(&host, "x", 2);
        connect_anew(&host);
        for (int i = 0; i < 3; i++) {
                host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM, refusal);
                is_not_loaded(&host, &key, false, refusal);
                host_is_refused(&host, tpm_host_key_prepare(host.tpm, HOST_KEY_BINDING, &host.err),
                                WLA_E_TPM, refusal);
        }
        ck_assert_uint_eq(host_wrong_authorisations(&host), 1);

        /* The name is the same without a password. */
        replace_storage_key(&host, "", 2);
        host_is_refused(&host, intel_host_unbind(&host, &wrapped), WLA_E_TPM, refusal);
        ck_assert_ptr_nonnull(strstr(host.err.hint, "start the agent again"));
        connect_anew(&host);
        intel_host_opens(&host, &wrapped);
        ck_assert_uint_eq(host_wrong_authorisations(&host), 0);
        wla_secret_free(TAKE_PTR(secret));
        host_end(&host);
}
END_TEST

/* A lost connection, a reset, a TPM whose room others have taken. */
START_TEST(it_comes_back) {
        struct host host;
        struct host_key key;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        intel_host_opens(&host, &wrapped);
        swtpm_stop(&host.swtpm);
        swtpm_start(&host.swtpm);
        intel_host_opens(&host, &wrapped);
        other_user_flushes(host.swtpm.tcti);
        intel_host_opens(&host, &wrapped);
        other_user_fills_up(host.swtpm.tcti);
        intel_host_opens(&host, &wrapped);
        intel_host_signs(&host);
        host_end(&host);
}
END_TEST

START_TEST(neither_keys_nor_secrets_cross_the_wire) {
        static const char *const no_faults[] = {NULL};
        static const uint8_t secret[] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
                                         0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
                                         0xee, 0xff, 0x01, 0x23, 0x45, 0x67};
        struct host host;
        struct host_key key;
        _cleanup_secret_ struct wla_secret *text = NULL;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        host_behind_proxy(&host, no_faults);
        intel_host_place_both(&host);
        intel_host_opens(&host, &wrapped);
        intel_host_signs(&host);
        ck_assert(!host_capture_holds_part_of(&host, KEY, strlen(KEY)));
        ck_assert(!host_capture_holds_part_of(&host, secret, sizeof(secret)));

        /* The same secret for a key that is made. */
        ck_assert_int_eq(wla_secret_new(strlen(BINDING_SECRET), &text, &host.err), 0);
        memcpy(wla_secret_fill(text), BINDING_SECRET, strlen(BINDING_SECRET));
        const struct host_key_options options = {.secret = text};
        ck_assert_int_eq(tpm_host_key_create(host.tpm, &options, &key, &host.err), 0);
        ck_assert(host_capture_holds_part_of(&host, host_key_modulus(&key), 32));
        ck_assert(!host_capture_holds_part_of(&host, secret, sizeof(secret)));
        wla_secret_free(TAKE_PTR(text));
        host_end(&host);
}
END_TEST

START_TEST(without_a_secret_none_is_made) {
        struct host host;
        struct host_key key;
        const struct host_key_options options = {.usage = HOST_KEY_SIGNING};

        intel_host_begin(&host);
        ck_assert_int_eq(tpm_host_key_create(host.tpm, &options, &key, &host.err), -1);
        ck_assert_int_eq(host.err.code, WLA_E_INPUT);
        host_end(&host);
}
END_TEST

void add_host_key_tests(TCase *tcase) {
        tcase_add_test(tcase, keys_of_intels_agent_are_used);
        tcase_add_test(tcase, the_agents_own_key_lives_beside_them);
        tcase_add_test(tcase, new_keys_are_certified_and_used);
        tcase_add_test(tcase, an_aik_with_a_secret);
        tcase_add_test(tcase, a_wrong_secret_is_counted_once);
        tcase_add_test(tcase, a_tpm_that_is_locked_out_is_not_asked);
        tcase_add_test(tcase, missing_and_unusable_files_and_secrets_are_named);
        tcase_add_test(tcase, a_damaged_private_half_is_named);
        tcase_add_test(tcase, what_the_trust_agent_should_have_done);
        tcase_add_test(tcase, a_password_of_the_storage_key_is_counted_once);
        tcase_add_test(tcase, it_comes_back);
        tcase_add_test(tcase, neither_keys_nor_secrets_cross_the_wire);
        tcase_add_test(tcase, without_a_secret_none_is_made);
}
