/* SPDX-License-Identifier: Apache-2.0 */
#include "image/derived_key.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "base/file.h"

#define MAC_KEY_SIZE 32u

/* OSSL_PARAM has no const, and these are only read. */
static void *unconst(const void *data) {
        return (void *)(uintptr_t)data;
}

static bool derive(EVP_KDF_CTX *kdf, const struct wla_secret *from, struct wla_bytes info,
                   uint8_t *to, size_t size) {
        static char sha256[] = "SHA256";
        struct wla_bytes key = wla_secret_view(from);
        const OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha256, 0),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, unconst(key.data), key.size),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, unconst(info.data),
                                                  info.size),
                OSSL_PARAM_construct_end(),
        };

        return EVP_KDF_derive(kdf, to, size, params) == 1;
}

int derived_key(const struct wla_secret *from, struct wla_bytes info, size_t size,
                struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = NULL;

        if (wla_secret_new(size, &key, err) < 0)
                return -1;

        EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
        EVP_KDF_CTX *context = hkdf ? EVP_KDF_CTX_new(hkdf) : NULL;
        bool done = context && derive(context, from, info, wla_secret_fill(key), size);
        EVP_KDF_CTX_free(context);
        EVP_KDF_free(hkdf);
        if (!done)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run HKDF-SHA256");

        *ret = TAKE_PTR(key);
        return 0;
}

int derived_mac(const struct wla_secret *from, struct wla_bytes info, EVP_MAC_CTX **ret,
                struct wla_error *err) {
        static char sha256[] = "SHA256";
        const OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
                OSSL_PARAM_construct_end(),
        };
        _cleanup_secret_ struct wla_secret *key = NULL;
        _cleanup_mac_ EVP_MAC_CTX *context = NULL;

        if (derived_key(from, info, MAC_KEY_SIZE, &key, err) < 0)
                return -1;

        EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        context = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
        EVP_MAC_free(hmac);
        if (!context || EVP_MAC_init(context, wla_secret_view(key).data, MAC_KEY_SIZE, params) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run HMAC-SHA256");

        *ret = TAKE_PTR(context);
        return 0;
}
