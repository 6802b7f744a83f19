/* SPDX-License-Identifier: Apache-2.0 */
#include "flavor/flavor_sign.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/certificate_files.h"
#include "base/openssl_cleanup.h"

/* What OpenSSL calls 112 bits: no RSA key below 2048, no SHA-1, in the whole chain. */
#define SECURITY_LEVEL 2

DEFINE_CLEANUP(BIO, BIO_free)
DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(X509_STORE, X509_STORE_free)
DEFINE_CLEANUP(X509_STORE_CTX, X509_STORE_CTX_free)

static const char hint_signers[] =
        "copy the certificate that the flavors of your images are signed "
        "with, PEM, into FlavorTrustDirectory=";
static const char hint_roots[] =
        "TrustDirectory= needs the root certificate of the services, such as "
        "that of CMS";

struct verification {
        const struct flavor_signature *signature;
        const struct buf *signed_bytes;
        X509_STORE *roots;
        bool signer_seen;
        bool verified;
        struct wla_error refusal; /* of the last signer whose signature it is */
};

static int fail_memory(struct wla_error *err) {
        return wla_fail(err, WLA_E_BUSY, "out of memory");
}

static bool is_signed_by(const struct verification *verification, EVP_PKEY *key) {
        CLEAN(EVP_MD_CTX) *context = EVP_MD_CTX_new();
        EVP_PKEY_CTX *padding = NULL;
        const struct buf *bytes = verification->signed_bytes;
        const struct flavor_signature *signature = verification->signature;

        bool done = context && EVP_PKEY_is_a(key, "RSA") &&
                    EVP_DigestVerifyInit(context, &padding, EVP_sha384(), NULL, key) == 1 &&
                    EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PADDING) == 1 &&
                    EVP_DigestVerify(context, signature->bytes, signature->size, bytes->data,
                                     bytes->size) == 1;
        ERR_clear_error();
        return done;
}

/* All the bits when there is no such extension. */
static bool may_sign(X509 *certificate) {
        return (X509_get_key_usage(certificate) & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION)) !=
                       0 &&
               (X509_get_extended_key_usage(certificate) & (XKU_CODE_SIGN | XKU_ANYEKU)) != 0;
}

static int check_signer(X509 *certificate, EVP_PKEY *key, struct wla_error *err) {
        if (EVP_PKEY_get_bits(key) < FLAVOR_KEY_BITS_MIN)
                return wla_fail(err, WLA_E_DENIED, "its key has only %d bits",
                                EVP_PKEY_get_bits(key));
        if (X509_check_ca(certificate) != 0 || !may_sign(certificate))
                return wla_fail(err, WLA_E_DENIED, "it is not for signing");
        return 0;
}

static int check_chain(const struct verification *verification, X509 *certificate,
                       STACK_OF(X509) * others, struct wla_error *err) {
        CLEAN(X509_STORE_CTX) *context = X509_STORE_CTX_new();

        if (!context || X509_STORE_CTX_init(context, verification->roots, certificate, others) != 1)
                return fail_memory(err);
        X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(context), SECURITY_LEVEL);
        if (X509_verify_cert(context) == 1)
                return 0;
        int reason = X509_STORE_CTX_get_error(context);
        ERR_clear_error();
        return wla_fail_hint(err, WLA_E_DENIED, hint_roots, "it is not trusted: %s",
                             X509_verify_cert_error_string(reason));
}

static void judge(struct verification *verification, X509 *certificate, STACK_OF(X509) * others) {
        EVP_PKEY *key = X509_get0_pubkey(certificate);
        struct wla_error refusal = {0};

        if (!key || !is_signed_by(verification, key))
                return;
        verification->signer_seen = true;
        if (check_signer(certificate, key, &refusal) == 0 &&
            check_chain(verification, certificate, others, &refusal) == 0)
                verification->verified = true;
        else
                verification->refusal = refusal;
}

static int judge_file(void *userdata, const STACK_OF(X509) * certificates, struct wla_error *err) {
        struct verification *verification = userdata;
        STACK_OF(X509) *others = sk_X509_dup(certificates);

        if (!others)
                return fail_memory(err);
        for (int i = 0; i < sk_X509_num(certificates) && !verification->verified; i++)
                judge(verification, sk_X509_value(certificates, i), others);
        sk_X509_free(others);
        return 0;
}

static int add_roots(void *userdata, const STACK_OF(X509) * certificates, struct wla_error *err) {
        X509_STORE *store = userdata;

        for (int i = 0; i < sk_X509_num(certificates); i++)
                if (X509_STORE_add_cert(store, sk_X509_value(certificates, i)) != 1)
                        return fail_memory(err);
        return 0;
}

static int judge_signers(const struct flavor_trust *trust, struct verification *verification,
                         struct wla_error *err) {
        size_t files = 0;

        if (certificate_files_read(trust->roots, add_roots, verification->roots, &files, err) < 0)
                return wla_wrap(err, "TrustDirectory=%s", trust->roots);
        if (files == 0)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_roots, "TrustDirectory=%s is empty",
                                     trust->roots);
        if (certificate_files_read(trust->signers, judge_file, verification, &files, err) < 0)
                return wla_wrap(err, "FlavorTrustDirectory=%s", trust->signers);
        if (files == 0)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_signers,
                                     "FlavorTrustDirectory=%s is empty", trust->signers);
        return 0;
}

int flavor_verify(const struct flavor *flavor, const struct flavor_signature *signature,
                  const struct flavor_trust *trust, struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        CLEAN(X509_STORE) *roots = X509_STORE_new();
        struct verification verification = {
                .signature = signature,
                .signed_bytes = &bytes,
                .roots = roots,
        };

        if (!roots)
                return fail_memory(err);
        if (signature->size == 0)
                return wla_fail(err, WLA_E_DENIED, "the flavor is not signed");
        if (flavor_format(flavor, &bytes, err) < 0 || judge_signers(trust, &verification, err) < 0)
                return -1;
        if (verification.verified)
                return 0;
        if (!verification.signer_seen)
                return wla_fail_hint(
                        err, WLA_E_DENIED, hint_signers,
                        "the signature of the flavor is of none of the certificates in "
                        "%s, or the flavor was changed",
                        trust->signers);
        *err = verification.refusal;
        return wla_wrap(err, "the certificate that the flavor is signed with");
}

static int read_key(const struct wla_secret *key_pem, EVP_PKEY **ret, struct wla_error *err) {
        struct wla_bytes text = wla_secret_view(key_pem);
        CLEAN(BIO) *bio = BIO_new_mem_buf(text.data, (int)text.size);

        if (!bio)
                return fail_memory(err);
        /* With an empty passphrase nobody is asked for one. */
        char nothing[] = "";
        CLEAN(EVP_PKEY) *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, nothing);
        ERR_clear_error();
        if (!key)
                return wla_fail(err, WLA_E_INPUT,
                                "this is no private key in PEM, or it needs a passphrase");
        if (!EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < FLAVOR_KEY_BITS_MIN ||
            (size_t)EVP_PKEY_get_size(key) > FLAVOR_SIGNATURE_MAX)
                return wla_fail(err, WLA_E_INPUT,
                                "flavors are signed with RSA keys of %d to %u bits",
                                FLAVOR_KEY_BITS_MIN, FLAVOR_SIGNATURE_MAX * 8);
        *ret = key;
        key = NULL;
        return 0;
}

int flavor_sign(const struct flavor *flavor, const struct wla_secret *key_pem,
                struct flavor_signature *ret, struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        CLEAN(EVP_MD_CTX) *context = EVP_MD_CTX_new();
        CLEAN(EVP_PKEY) *key = NULL;
        EVP_PKEY_CTX *padding = NULL;

        if (!context)
                return fail_memory(err);
        if (read_key(key_pem, &key, err) < 0 || flavor_format(flavor, &bytes, err) < 0)
                return -1;
        ret->size = sizeof(ret->bytes);
        if (EVP_DigestSignInit(context, &padding, EVP_sha384(), NULL, key) != 1 ||
            EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PADDING) != 1 ||
            EVP_DigestSign(context, ret->bytes, &ret->size, bytes.data, bytes.size) != 1) {
                ERR_clear_error();
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot sign the flavor");
        }
        return 0;
}
