/* SPDX-License-Identifier: Apache-2.0 */
#include "intel_host.h"

#include <check.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests.h"

static void intel_host_copy_file(struct host *host, const char *name) {
        char path[512];
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(65536);
        _cleanup_close_ int dir_fd = open(host->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        (void)snprintf(path, sizeof(path), INTEL_HOST "/%s", name);
        ck_assert_int_eq(file_read(AT_FDCWD, path, &content, &host->err), 0);
        ck_assert_int_eq(
                file_write(dir_fd, name, content.data, content.size, 0640, true, &host->err), 0);
}

void intel_host_write_credential(struct host *host, const char *name, const char *text) {
        _cleanup_close_ int dir_fd = open(host->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        ck_assert_int_eq(file_write(dir_fd, name, text, strlen(text), 0600, true, &host->err), 0);
}

void intel_host_place(struct host *host, enum host_key_usage usage, const char *file,
                      const char *credential) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%s", host->state, file);
        const struct host_key_place place = {.path = path, .credential = credential};
        ck_assert_int_eq(tpm_host_key_place(host->tpm, usage, &place, &host->err), 0);
}

void intel_host_place_both(struct host *host) {
        intel_host_place(host, HOST_KEY_BINDING, HOST_BINDING_KEY_FILE, "binding-key-secret");
        intel_host_place(host, HOST_KEY_SIGNING, HOST_SIGNING_KEY_FILE, "signing-key-secret");
}

void intel_host_begin(struct host *host) {
        *host = (struct host){0};
        swtpm_begin_with(&host->swtpm, INTEL_HOST "/tpm2-00.permall.bin");
        host_begin_through(host, host->swtpm.tcti);
        ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", host->state, true), 0);
        intel_host_copy_file(host, HOST_BINDING_KEY_FILE);
        intel_host_copy_file(host, HOST_SIGNING_KEY_FILE);
        intel_host_write_credential(host, "binding-key-secret", BINDING_SECRET);
        intel_host_write_credential(host, "signing-key-secret", SIGNING_SECRET "\n");
        intel_host_place_both(host);
}

void intel_host_read_key(struct host *host, enum host_key_usage usage, struct host_key *ret) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%s", host->state,
                       usage == HOST_KEY_BINDING ? HOST_BINDING_KEY_FILE : HOST_SIGNING_KEY_FILE);
        int r = host_key_read(path, usage, ret, NULL, &host->err);
        ck_assert_msg(r == 0, "%s", wla_error_text(&host->err));
}

void intel_host_wrap(struct host *host, const struct host_key *key, struct buf *wrapped) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(800);

        ck_assert_int_eq(wla_secret_new(strlen(KEY), &secret, &host->err), 0);
        memcpy(wla_secret_fill(secret), KEY, strlen(KEY));
        *wrapped = BUF_WITH_LIMIT(RSA_WRAPPED_SIZE);
        ck_assert_int_eq(rsa_public_pem(host_key_modulus(key), &pem, &host->err), 0);
        ck_assert_int_eq(rsa_wrap((const char *)pem.data, pem.size, secret, wrapped, &host->err),
                         0);
}

int intel_host_unbind(struct host *host, const struct buf *wrapped) {
        _cleanup_secret_ struct wla_secret *opened = NULL;
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        if (tpm_host_unbind(host->tpm, bytes_of(wrapped), &deadline, &opened, &host->err) < 0) {
                ck_assert_ptr_null(opened);
                return -1;
        }
        ck_assert_uint_eq(wla_secret_view(opened).size, strlen(KEY));
        ck_assert_mem_eq(wla_secret_view(opened).data, KEY, strlen(KEY));
        return 0;
}

void intel_host_opens(struct host *host, const struct buf *wrapped) {
        ck_assert_msg(intel_host_unbind(host, wrapped) == 0, "%s", wla_error_text(&host->err));
}

void host_is_refused(const struct host *host, int r, enum wla_code code, const char *text) {
        ck_assert_int_eq(r, -1);
        ck_assert_msg(strstr(wla_error_text(&host->err), text) != NULL, "'%s' lacks '%s'",
                      wla_error_text(&host->err), text);
        ck_assert_str_eq(wla_code_token(host->err.code), wla_code_token(code));
        ck_assert_ptr_nonnull(host->err.hint);
}

void intel_host_signs(struct host *host) {
        static const char message[] = "a report";
        struct host_key key;
        struct deadline deadline;
        uint8_t digest[TPM_DIGEST_SIZE];
        uint8_t signature[TPM_SIGNATURE_SIZE];
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(800);

        intel_host_read_key(host, HOST_KEY_SIGNING, &key);
        deadline_init(&deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        ck_assert_int_eq(EVP_Digest(message, strlen(message), digest, NULL, EVP_sha256(), NULL), 1);
        int r = tpm_sign(host->tpm, digest, &deadline, signature, &host->err);
        ck_assert_msg(r == 0, "%s", wla_error_text(&host->err));
        ck_assert(host->proxy == 0 || !host_capture_holds_part_of(host, digest, sizeof(digest)));

        ck_assert_int_eq(rsa_public_pem(host_key_modulus(&key), &pem, &host->err), 0);
        BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
        EVP_PKEY *public = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        ck_assert_int_eq(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, public), 1);
        ck_assert_int_eq(EVP_DigestVerify(context, signature, sizeof(signature),
                                          (const uint8_t *)message, strlen(message)),
                         1);
        EVP_MD_CTX_free(context);
        EVP_PKEY_free(public);
        BIO_free(bio);
}

unsigned host_wrong_authorisations(struct host *host) {
        struct tpm_facts facts;
        struct tpm *tpm = NULL;

        ck_assert_int_eq(tpm_new(host->swtpm.tcti, host->state, &tpm, &host->err), 0);
        int r = tpm_facts(tpm, &facts, &host->err);
        ck_assert_msg(r == 0, "%s", wla_error_text(&host->err));
        (void)tpm_free(tpm);
        return facts.lockout_counter;
}
