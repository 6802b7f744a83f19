/* SPDX-License-Identifier: Apache-2.0 */
#include "http/trust.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/certificate_files.h"
#include "base/file.h"
#include "http/curl_library.h"

static void free_store(X509_STORE **store) {
        X509_STORE_free(*store);
}

static int fail_memory(struct wla_error *err) {
        return wla_fail(err, WLA_E_BUSY, "out of memory");
}

/* Adding one that is there already is no error (OpenSSL 1.1 and later). */
static int add_all(void *userdata, const STACK_OF(X509) * certificates, struct wla_error *err) {
        X509_STORE *store = userdata;

        for (int i = 0; i < sk_X509_num(certificates); i++)
                if (X509_STORE_add_cert(store, sk_X509_value(certificates, i)) != 1)
                        return fail_memory(err);
        return 0;
}

static int add_directory(X509_STORE *store, const char *path, struct wla_error *err) {
        size_t files = 0;

        if (certificate_files_read(path, add_all, store, &files, err) < 0)
                return -1;
        if (files == 0)
                return wla_fail_hint(err, WLA_E_NOT_FOUND,
                                     "put the root certificate of the brokers there as a PEM file",
                                     "it is empty");
        return 0;
}

int trust_store_load(const char *path, X509_STORE **ret, struct wla_error *err) {
        __attribute__((cleanup(free_store))) X509_STORE *store = X509_STORE_new();

        if (!store || X509_STORE_set_default_paths(store) != 1)
                return fail_memory(err);
        if (path && add_directory(store, path, err) < 0)
                return wla_wrap(err, "TrustDirectory=%s", path);
        *ret = TAKE_PTR(store);
        return 0;
}

static bool has_pin(X509 *leaf, struct trust *trust) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;

        if (!leaf || X509_digest(leaf, EVP_sha384(), digest, &size) != 1 || size != HTTP_PIN_SIZE)
                return false;
        memcpy(trust->presented, digest, HTTP_PIN_SIZE);
        return CRYPTO_memcmp(digest, trust->pin, HTTP_PIN_SIZE) == 0;
}

static int judge(X509_STORE_CTX *context, void *userdata) {
        struct trust *trust = userdata;

        if (!trust->pin && X509_verify_cert(context) == 1)
                return 1;
        if (trust->pin && has_pin(X509_STORE_CTX_get0_cert(context), trust)) {
                X509_STORE_CTX_set_error(context, X509_V_OK);
                return 1;
        }
        if (trust->pin)
                X509_STORE_CTX_set_error(context, X509_V_ERR_CERT_REJECTED);
        trust->refusal = X509_STORE_CTX_get_error(context);
        return 0;
}

const char *trust_hint(int refusal) {
        switch (refusal) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
                return "renew the service's certificate; where it is a new one, this host's clock "
                       "is wrong";
        case X509_V_ERR_CERT_NOT_YET_VALID:
                return "the clock of this host is wrong, or that of whoever made the certificate";
        case X509_V_ERR_INVALID_PURPOSE:
        case X509_V_ERR_EE_KEY_TOO_SMALL:
        case X509_V_ERR_CA_KEY_TOO_SMALL:
        case X509_V_ERR_CA_MD_TOO_WEAK:
                return "the service needs a certificate for TLS servers, with an RSA key of 2048 "
                       "bits or more and signed with SHA-256 or better";
        default:
                return "the root certificate that it leads to has to be in the directory of "
                       "trusted ones, where 'wlagent setup download-ca-cert' puts that of CMS; if "
                       "it is there, somebody else answers in the service's place";
        }
}

/* What OpenSSL calls level 2: no RSA key below 2048 bits, no SHA-1, whatever openssl.cnf says.  A second
 * handshake on a connection would be judged for a request that is long over. */
void trust_apply(struct trust *trust, SSL_CTX *context) {
        library.SSL_CTX_set_security_level(context, 2);
        /* Answers may hold a token: what was decrypted is wiped once it has been read. */
        (void)library.SSL_CTX_set_options(context,
                                          SSL_OP_NO_RENEGOTIATION | SSL_OP_CLEANSE_PLAINTEXT);
        library.SSL_CTX_set1_cert_store(context, trust->store);
        library.SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        library.SSL_CTX_set_cert_verify_callback(context, judge, trust);
}
