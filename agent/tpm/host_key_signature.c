/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "tpm/host_key.h"
#include "tpm/host_key_layout.h"

#define PEM_MAX 800u

static EVP_PKEY *read_public(const uint8_t modulus[256], struct wla_error *err) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(PEM_MAX);

        if (rsa_public_pem(modulus, &pem, err) < 0)
                return NULL;

        BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
        EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
        BIO_free(bio);
        if (!key)
                (void)wla_fail(err, WLA_E_INPUT, "the attestation key is no RSA key");
        return key;
}

static bool has_signed(EVP_PKEY *aik, const struct host_key *key) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        bool outcome = context &&
                       EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, aik) == 1 &&
                       EVP_DigestVerify(context, key->signature + SIGNATURE_RSA_AT,
                                        sizeof(key->signature) - SIGNATURE_RSA_AT,
                                        key->attestation + 2, sizeof(key->attestation) - 2) == 1;

        EVP_MD_CTX_free(context);
        return outcome;
}

int host_key_check_signature(const struct host_key *key, const uint8_t aik_modulus[256],
                             struct wla_error *err) {
        EVP_PKEY *aik = read_public(aik_modulus, err);

        if (!aik)
                return -1;
        bool good = has_signed(aik, key);
        EVP_PKEY_free(aik);
        if (!good)
                return wla_fail(err, WLA_E_INPUT,
                                "the attestation key has not signed the certification of the %s",
                                host_key_usage_name(key->usage));
        return 0;
}
