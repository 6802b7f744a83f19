/* SPDX-License-Identifier: Apache-2.0 */
#include "http/trust.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/file.h"
#include "http/curl_library.h"

#define FILE_MAX_SIZE (1024u * 1024u)

static void free_store(X509_STORE **store) {
        X509_STORE_free(*store);
}

static void close_directory(DIR **directory) {
        if (*directory)
                (void)closedir(*directory);
}

static int fail_memory(struct wla_error *err) {
        return wla_fail(err, WLA_E_BUSY, "out of memory");
}

/* Adding one that is there already is no error (OpenSSL 1.1 and later). */
static int add_all(X509_STORE *store, BIO *pem, size_t *count, struct wla_error *err) {
        X509 *certificate;

        while ((certificate = PEM_read_bio_X509(pem, NULL, NULL, NULL))) {
                int added = X509_STORE_add_cert(store, certificate);

                X509_free(certificate);
                if (added != 1)
                        return fail_memory(err);
                (*count)++;
        }

        unsigned long reason = ERR_peek_last_error();
        ERR_clear_error();
        if (ERR_GET_LIB(reason) != ERR_LIB_PEM || ERR_GET_REASON(reason) != PEM_R_NO_START_LINE)
                return wla_fail(err, WLA_E_INPUT, "a certificate in it is damaged");
        return 0;
}

static int add_file(X509_STORE *store, int dir_fd, const char *name, struct wla_error *err) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(FILE_MAX_SIZE);
        size_t count = 0;

        if (file_read(dir_fd, name, &content, err) < 0)
                return -1;

        BIO *pem = BIO_new_mem_buf(content.data, (int)content.size);
        if (!pem)
                return fail_memory(err);
        int outcome = add_all(store, pem, &count, err);
        BIO_free(pem);
        if (outcome < 0)
                return wla_wrap(err, "%s", name);
        if (count == 0)
                return wla_fail(err, WLA_E_INPUT, "%s: there is no certificate in it", name);
        return 0;
}

static int add_directory(X509_STORE *store, DIR *directory, struct wla_error *err) {
        const struct dirent *entry;
        size_t files = 0;

        for (errno = 0; (entry = readdir(directory)); errno = 0) {
                if (entry->d_name[0] == '.')
                        continue;
                if (add_file(store, dirfd(directory), entry->d_name, err) < 0)
                        return -1;
                files++;
        }
        if (errno != 0)
                return wla_fail_errno(err, errno, "it cannot be read");
        if (files == 0)
                return wla_fail_hint(err, WLA_E_NOT_FOUND,
                                     "put the root certificate of the brokers there as a PEM file",
                                     "it is empty");
        return 0;
}

int trust_store_load(const char *path, X509_STORE **ret, struct wla_error *err) {
        __attribute__((cleanup(free_store))) X509_STORE *store = X509_STORE_new();
        __attribute__((cleanup(close_directory))) DIR *directory = NULL;

        if (!store || X509_STORE_set_default_paths(store) != 1)
                return fail_memory(err);
        if (path) {
                directory = opendir(path);
                if (!directory)
                        return wla_fail_errno(err, errno, "TrustDirectory=%s", path);
                if (add_directory(store, directory, err) < 0)
                        return wla_wrap(err, "TrustDirectory=%s", path);
        }
        *ret = TAKE_PTR(store);
        return 0;
}

static bool has_pin(X509 *leaf, const uint8_t *pin) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;

        return leaf && X509_digest(leaf, EVP_sha384(), digest, &size) == 1 &&
               size == HTTP_PIN_SIZE && CRYPTO_memcmp(digest, pin, HTTP_PIN_SIZE) == 0;
}

static int judge(X509_STORE_CTX *context, void *userdata) {
        struct trust *trust = userdata;

        if (!trust->pin && X509_verify_cert(context) == 1)
                return 1;
        if (trust->pin && has_pin(X509_STORE_CTX_get0_cert(context), trust->pin)) {
                X509_STORE_CTX_set_error(context, X509_V_OK);
                return 1;
        }
        if (trust->pin)
                X509_STORE_CTX_set_error(context, X509_V_ERR_CERT_REJECTED);
        trust->refusal = X509_STORE_CTX_get_error(context);
        return 0;
}

/* What OpenSSL calls level 2: no RSA key below 2048 bits, no SHA-1, whatever openssl.cnf says.  A second
 * handshake on a connection would be judged for a request that is long over. */
void trust_apply(struct trust *trust, SSL_CTX *context) {
        library.SSL_CTX_set_security_level(context, 2);
        (void)library.SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
        library.SSL_CTX_set1_cert_store(context, trust->store);
        library.SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        library.SSL_CTX_set_cert_verify_callback(context, judge, trust);
}
