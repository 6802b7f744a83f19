/* SPDX-License-Identifier: Apache-2.0 */
#include "signers.h"

#include <check.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define DAY 86400L

struct identity {
        EVP_PKEY *key;
        X509 *certificate;
};

static void extend(X509 *certificate, int nid, const char *value) {
        X509V3_CTX context;

        X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        ck_assert_ptr_nonnull(extension);
        ck_assert_int_eq(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
}

static X509 *new_certificate(const char *name, EVP_PKEY *key, const struct identity *issuer,
                             enum signer_fault fault) {
        static long serial = 1;
        X509 *certificate = X509_new();
        X509_NAME *subject = X509_get_subject_name(certificate);
        long from = fault == SIGNER_NOT_YET_VALID ? DAY : -2 * DAY;
        long to = fault == SIGNER_EXPIRED ? -DAY : 2 * DAY;

        X509_set_version(certificate, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
        X509_gmtime_adj(X509_getm_notBefore(certificate), from);
        X509_gmtime_adj(X509_getm_notAfter(certificate), to);
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
                                   0);
        X509_set_issuer_name(certificate,
                             issuer ? X509_get_subject_name(issuer->certificate) : subject);
        X509_set_pubkey(certificate, key);
        return certificate;
}

/* Takes the key. */
static struct identity make_authority(const char *name, EVP_PKEY *key,
                                      const struct identity *issuer) {
        struct identity authority = {.key = key};

        authority.certificate = new_certificate(name, authority.key, issuer, SIGNER_GOOD);
        extend(authority.certificate, NID_basic_constraints, "critical,CA:TRUE");
        extend(authority.certificate, NID_key_usage, "critical,keyCertSign");
        ck_assert_int_gt(X509_sign(authority.certificate, issuer ? issuer->key : authority.key,
                                   EVP_sha256()),
                         0);
        return authority;
}

static struct identity make_signer(const struct identity *issuer, enum signer_fault fault) {
        struct identity signer = {.key = EVP_RSA_gen(fault == SIGNER_RSA_1024 ? 1024 : 2048)};

        if (fault == SIGNER_SELF_SIGNED)
                issuer = NULL;
        signer.certificate = new_certificate("flavor signer", signer.key, issuer, fault);
        if (fault == SIGNER_CA)
                extend(signer.certificate, NID_basic_constraints, "critical,CA:TRUE");
        if (fault == SIGNER_FOR_TLS)
                extend(signer.certificate, NID_ext_key_usage, "serverAuth");
        extend(signer.certificate, NID_key_usage,
               fault == SIGNER_FOR_EXCHANGE ? "critical,keyEncipherment"
               : fault == SIGNER_CA         ? "critical,digitalSignature,keyCertSign"
                                            : "critical,digitalSignature,nonRepudiation");
        ck_assert_int_gt(X509_sign(signer.certificate, issuer ? issuer->key : signer.key,
                                   fault == SIGNER_SHA1 ? EVP_sha1() : EVP_sha384()),
                         0);
        return signer;
}

static void write_certificates(const struct scratch *directory, X509 *first, X509 *second) {
        FILE *file = fopen(scratch_file(directory, "certificate.pem"), "w");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(PEM_write_X509(file, first), 1);
        if (second)
                ck_assert_int_eq(PEM_write_X509(file, second), 1);
        ck_assert_int_eq(fclose(file), 0);
}

static void free_identity(struct identity *identity) {
        EVP_PKEY_free(identity->key);
        X509_free(identity->certificate);
}

struct wla_secret *signers_key_pem(EVP_PKEY *key, const char *passphrase) {
        const EVP_CIPHER *cipher = passphrase ? EVP_aes_128_cbc() : NULL;
        struct wla_secret *secret = NULL;
        BIO *pem = BIO_new(BIO_s_mem());
        struct wla_error err = {0};
        char *text;

        ck_assert_int_eq(PEM_write_bio_PKCS8PrivateKey(pem, key, cipher, NULL, 0, NULL,
                                                       (void *)(uintptr_t)passphrase),
                         1);
        size_t size = (size_t)BIO_get_mem_data(pem, &text);
        ck_assert_int_eq(wla_secret_new(size, &secret, &err), 0);
        memcpy(wla_secret_fill(secret), text, size);
        BIO_free(pem);
        return secret;
}

void signers_make(struct signers *signers, enum signer_fault fault) {
        struct identity root = make_authority("root", EVP_EC_gen("P-256"), NULL);
        struct identity other = make_authority("root", EVP_EC_gen("P-256"), NULL);
        struct identity between = make_authority(
                "between",
                fault == SIGNER_INTERMEDIATE_RSA_1024 ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256"),
                &root);
        bool shows_between = fault == SIGNER_INTERMEDIATE || fault == SIGNER_INTERMEDIATE_RSA_1024;
        bool has_between = shows_between || fault == SIGNER_NO_INTERMEDIATE;
        struct identity signer = make_signer(fault == SIGNER_OTHER_ROOT ? &other
                                             : has_between              ? &between
                                                                        : &root,
                                             fault);

        scratch_make(&signers->roots_directory);
        scratch_make(&signers->signers_directory);
        write_certificates(&signers->roots_directory, root.certificate, NULL);
        if (fault == SIGNER_SECOND)
                write_certificates(&signers->signers_directory, between.certificate,
                                   signer.certificate);
        else
                write_certificates(&signers->signers_directory, signer.certificate,
                                   shows_between ? between.certificate : NULL);
        signers->trust = (struct flavor_trust){
                .roots = signers->roots_directory.path,
                .signers = signers->signers_directory.path,
        };
        signers->key = signer.key;
        X509_free(signer.certificate);
        signers->key_pem = signers_key_pem(signers->key, NULL);
        free_identity(&root);
        free_identity(&other);
        free_identity(&between);
}

void signers_remove(struct signers *signers) {
        scratch_remove(&signers->roots_directory);
        scratch_remove(&signers->signers_directory);
        signers->key_pem = wla_secret_free(signers->key_pem);
        EVP_PKEY_free(signers->key);
}
