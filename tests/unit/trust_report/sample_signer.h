/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A signing key in software with its certificate in a file of a scratch directory, and facts to sign. */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "scratch.h"
#include "trust_report/signed_report.h"

#define SAMPLE_VM     "7b280921-83f7-4f44-9f8d-2dcf36e7af33"
#define SAMPLE_HOST   "59eed8f0-28c5-4070-91fc-f5e2e5443f6b"
#define SAMPLE_IMAGE  "670f263e-b34e-4e07-a520-40ac9a89f62d"
#define SAMPLE_FLAVOR "dfa22f83-b6dd-4bf3-9b07-ff1fa01eb69f"

static inline struct trust_facts sample_facts(void) {
        return (struct trust_facts){
                .vm.text = SAMPLE_VM,
                .host.text = SAMPLE_HOST,
                .image.text = SAMPLE_IMAGE,
                .flavor = SAMPLE_FLAVOR,
                .image_encrypted = true,
                .encryption_required = true,
                .signature = SIGNATURE_SKIPPED,
                .started_sec = 1700000000,
        };
}

struct sample_signer {
        struct scratch scratch;
        char certificate[128];
        EVP_PKEY *key;
        unsigned calls;
        bool fails;
        struct report_signer signer;
};

static inline int sample_sign(void *self, const uint8_t digest[REPORT_DIGEST_SIZE],
                              const struct deadline *deadline, uint8_t ret[REPORT_SIGNATURE_SIZE],
                              struct wla_error *err) {
        struct sample_signer *sample = self;
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(sample->key, NULL);
        size_t size = REPORT_SIGNATURE_SIZE;

        (void)deadline;
        sample->calls++;
        if (!sample->fails) {
                ck_assert_int_eq(EVP_PKEY_sign_init(context), 1);
                ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING), 1);
                ck_assert_int_eq(EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()), 1);
                ck_assert_int_eq(EVP_PKEY_sign(context, ret, &size, digest, REPORT_DIGEST_SIZE), 1);
        }
        EVP_PKEY_CTX_free(context);
        return sample->fails ? wla_fail(err, WLA_E_TIMEOUT, "the TPM sleeps") : 0;
}

static inline void sample_certify(const char *path, EVP_PKEY *key) {
        X509 *certificate = X509_new();
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(certificate);
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1), 1);
        ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
        ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
        ck_assert_int_eq(X509_set_pubkey(certificate, key), 1);
        ck_assert_int_gt(X509_sign(certificate, key, EVP_sha256()), 0);
        ck_assert_int_eq(PEM_write_X509(file, certificate), 1);
        ck_assert_int_eq(fclose(file), 0);
        X509_free(certificate);
}

/* It takes long to make: tests that are forked after the first call share it. */
static inline EVP_PKEY *sample_key(void) {
        static EVP_PKEY *key;

        if (!key)
                key = EVP_RSA_gen(2048);
        return key;
}

static inline void sample_signer_open(struct sample_signer *sample) {
        *sample = (struct sample_signer){0};
        scratch_make(&sample->scratch);
        (void)snprintf(sample->certificate, sizeof(sample->certificate), "%s/signingkey.pem",
                       sample->scratch.path);
        sample->key = sample_key();
        ck_assert_ptr_nonnull(sample->key);
        sample_certify(sample->certificate, sample->key);
        sample->signer = (struct report_signer){
                .certificate = sample->certificate, .sign = sample_sign, .self = sample};
}

static inline void sample_signer_close(struct sample_signer *sample) {
        scratch_remove(&sample->scratch);
}

/* A signed report of the sample facts. */
static inline void sample_report(struct sample_signer *sample, struct buf *to) {
        const struct trust_facts facts = sample_facts();
        struct deadline deadline;
        struct wla_error err = {0};

        deadline_init(&deadline, UINT64_MAX);
        ck_assert_msg(signed_report_make(&sample->signer, &facts, &deadline, to, &err) == 0, "%s",
                      wla_error_text(&err));
}
