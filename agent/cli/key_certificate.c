/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/key_certificate.h"

#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"

#define EXPONENT        65537u
#define PEM_LINE_DIGITS 64u
#define PEM_BEGIN       "-----BEGIN CERTIFICATE-----\n"
#define PEM_END         "-----END CERTIFICATE-----\n"

static void free_certificate(X509 **certificate) {
        X509_free(*certificate);
}

static void free_number(BIGNUM **number) {
        BN_free(*number);
}

static void free_bio(BIO **bio) {
        BIO_free(*bio);
}

#define _cleanup_x509_   __attribute__((cleanup(free_certificate)))
#define _cleanup_number_ __attribute__((cleanup(free_number)))
#define _cleanup_bio_    __attribute__((cleanup(free_bio)))

static int read_certificate(struct wla_bytes der, X509 **ret, struct wla_error *err) {
        const uint8_t *at = der.data;
        _cleanup_x509_ X509 *certificate = d2i_X509(NULL, &at, (long)der.size);

        if (!certificate || at != der.data + der.size) {
                ERR_clear_error();
                return wla_fail(err, WLA_E_INPUT, "it is no certificate");
        }
        *ret = TAKE_PTR(certificate);
        return 0;
}

/* 0 for another than an RSA-2048 key. */
static unsigned long read_key(X509 *certificate, uint8_t ret[static RSA_WRAPPED_SIZE]) {
        const EVP_PKEY *public = X509_get0_pubkey(certificate);
        _cleanup_number_ BIGNUM *modulus = NULL;
        _cleanup_number_ BIGNUM *exponent = NULL;

        if (!public || EVP_PKEY_get_bn_param(public, OSSL_PKEY_PARAM_RSA_N, &modulus) != 1 ||
            EVP_PKEY_get_bn_param(public, OSSL_PKEY_PARAM_RSA_E, &exponent) != 1 ||
            BN_num_bytes(modulus) != (int)RSA_WRAPPED_SIZE ||
            BN_bn2binpad(modulus, ret, RSA_WRAPPED_SIZE) != (int)RSA_WRAPPED_SIZE) {
                ERR_clear_error();
                return 0;
        }
        return BN_get_word(exponent);
}

int key_certificate_modulus(struct wla_bytes der, uint8_t ret[RSA_WRAPPED_SIZE],
                            struct wla_error *err) {
        _cleanup_x509_ X509 *certificate = NULL;

        if (read_certificate(der, &certificate, err) < 0)
                return -1;
        if (read_key(certificate, ret) == 0)
                return wla_fail(err, WLA_E_INPUT, "its key is no RSA key of 2048 bits");
        return 0;
}

int key_certificate_check(struct wla_bytes der, const struct host_key *key, struct wla_error *err) {
        _cleanup_x509_ X509 *certificate = NULL;
        uint8_t modulus[RSA_WRAPPED_SIZE];

        if (read_certificate(der, &certificate, err) < 0)
                return -1;
        unsigned long exponent = read_key(certificate, modulus);
        if (exponent == 0)
                return wla_fail(err, WLA_E_INPUT, "its key is no RSA key of 2048 bits");
        if (memcmp(modulus, host_key_modulus(key), sizeof(modulus)) != 0)
                return wla_fail(err, WLA_E_INPUT, "the certificate is for another key");
        if (exponent != EXPONENT)
                return wla_fail(err, WLA_E_INPUT,
                                "the certificate has the exponent %lu in place of %u", exponent,
                                EXPONENT);
        return 0;
}

int key_certificate_read_pem(struct wla_bytes text, struct buf *ret_der, struct wla_error *err) {
        _cleanup_bio_ BIO *input = NULL;
        char *name = NULL;
        char *header = NULL;
        uint8_t *der = NULL;
        long size = 0;
        int outcome;

        if (text.size == 0 || text.size > INT_MAX)
                return wla_fail(err, WLA_E_INPUT, "there is no certificate in it");
        input = BIO_new_mem_buf(text.data, (int)text.size);
        if (!input)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (PEM_read_bio(input, &name, &header, &der, &size) != 1) {
                ERR_clear_error();
                return wla_fail(err, WLA_E_INPUT, "there is no certificate in it");
        }
        if (strcmp(name, PEM_STRING_X509) != 0 || header[0] != '\0')
                outcome = wla_fail(err, WLA_E_INPUT, "there is no certificate in it");
        else
                outcome = buf_append(ret_der, der, (size_t)size, err);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
        return outcome;
}

int key_certificate_write_pem(struct wla_bytes der, struct buf *ret_pem, struct wla_error *err) {
        _cleanup_buf_ struct buf digits = BUF_WITH_LIMIT(65536);

        if (base64_append(&digits, der.data, der.size, err) < 0 ||
            buf_append_text(ret_pem, PEM_BEGIN, err) < 0)
                return -1;
        for (size_t at = 0; at < digits.size; at += PEM_LINE_DIGITS) {
                size_t left = digits.size - at;

                if (buf_append(ret_pem, digits.data + at,
                               left < PEM_LINE_DIGITS ? left : PEM_LINE_DIGITS, err) < 0 ||
                    buf_append_text(ret_pem, "\n", err) < 0)
                        return -1;
        }
        return buf_append_text(ret_pem, PEM_END, err);
}
