/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/templates.h"

#include <string.h>

#include "base/rsa_wrap.h"

#define RSA_BITS 2048u

#define STORAGE_ATTRIBUTES                                                                      \
        (TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_FIXEDTPM |                  \
         TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH | \
         TPMA_OBJECT_NODA)

#define BINDING_ATTRIBUTES                                                      \
        (TPMA_OBJECT_DECRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | \
         TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_NODA)

const TPM2B_PUBLIC storage_key_template = {
        .publicArea =
                {
                        .type = TPM2_ALG_ECC,
                        .nameAlg = TPM2_ALG_SHA256,
                        .objectAttributes = STORAGE_ATTRIBUTES,
                        .parameters.eccDetail =
                                {
                                        .symmetric = {.algorithm = TPM2_ALG_AES,
                                                      .keyBits.aes = 128,
                                                      .mode.aes = TPM2_ALG_CFB},
                                        .scheme.scheme = TPM2_ALG_NULL,
                                        .curveID = TPM2_ECC_NIST_P256,
                                        .kdf.scheme = TPM2_ALG_NULL,
                                },
                },
};

const TPMT_SYM_DEF session_cipher = {
        .algorithm = TPM2_ALG_AES,
        .keyBits.aes = 128,
        .mode.aes = TPM2_ALG_CFB,
};

const TPMT_RSA_DECRYPT unbind_scheme = {
        .scheme = TPM2_ALG_OAEP,
        .details.oaep.hashAlg = TPM2_ALG_SHA256,
};

const TPM2B_DATA unbind_label = {
        .size = RSA_WRAP_LABEL_SIZE,
        .buffer = RSA_WRAP_LABEL,
};

TPM2B_PUBLIC binding_key_template(const TPM2B_DIGEST *policy) {
        return (TPM2B_PUBLIC){
                .publicArea =
                        {
                                .type = TPM2_ALG_RSA,
                                .nameAlg = TPM2_ALG_SHA256,
                                .objectAttributes = BINDING_ATTRIBUTES |
                                                    (policy->size == 0 ? TPMA_OBJECT_USERWITHAUTH
                                                                       : 0),
                                .authPolicy = *policy,
                                .parameters.rsaDetail =
                                        {
                                                .symmetric.algorithm = TPM2_ALG_NULL,
                                                .scheme.scheme = TPM2_ALG_NULL,
                                                .keyBits = RSA_BITS,
                                        },
                        },
        };
}

bool is_storage_key(const TPM2B_PUBLIC *public) {
        const TPMT_PUBLIC *area = &public->publicArea;
        TPMA_OBJECT needed = TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_FIXEDTPM;

        return (area->type == TPM2_ALG_ECC || area->type == TPM2_ALG_RSA) &&
               area->nameAlg == TPM2_ALG_SHA256 && (area->objectAttributes & needed) == needed &&
               !(area->objectAttributes & TPMA_OBJECT_SIGN_ENCRYPT);
}

bool is_binding_key(const TPM2B_PUBLIC *public) {
        const TPMT_PUBLIC *area = &public->publicArea;
        TPM2B_PUBLIC wanted = binding_key_template(&area->authPolicy);
        const TPMS_RSA_PARMS *rsa = &area->parameters.rsaDetail;

        return area->type == TPM2_ALG_RSA && area->nameAlg == TPM2_ALG_SHA256 &&
               area->objectAttributes == wanted.publicArea.objectAttributes &&
               (area->authPolicy.size == 0 || area->authPolicy.size == TPM2_SHA256_DIGEST_SIZE) &&
               rsa->symmetric.algorithm == TPM2_ALG_NULL && rsa->scheme.scheme == TPM2_ALG_NULL &&
               rsa->keyBits == RSA_BITS && rsa->exponent == 0 &&
               area->unique.rsa.size == RSA_WRAPPED_SIZE;
}

const TPMT_SIG_SCHEME host_signing_scheme = {
        .scheme = TPM2_ALG_RSASSA,
        .details.rsassa.hashAlg = TPM2_ALG_SHA256,
};

TPM2B_PUBLIC host_key_template(TPMA_OBJECT attributes) {
        return (TPM2B_PUBLIC){
                .publicArea =
                        {
                                .type = TPM2_ALG_RSA,
                                .nameAlg = TPM2_ALG_SHA256,
                                .objectAttributes = attributes,
                                .parameters.rsaDetail =
                                        {
                                                .symmetric.algorithm = TPM2_ALG_NULL,
                                                .scheme.scheme = TPM2_ALG_NULL,
                                                .keyBits = RSA_BITS,
                                        },
                        },
        };
}

bool is_attestation_key(const TPM2B_PUBLIC *public) {
        const TPMT_PUBLIC *area = &public->publicArea;
        const TPMS_RSA_PARMS *rsa = &area->parameters.rsaDetail;
        TPMA_OBJECT needed = TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT |
                             TPMA_OBJECT_FIXEDTPM;

        return area->type == TPM2_ALG_RSA && area->nameAlg == TPM2_ALG_SHA256 &&
               (area->objectAttributes & needed) == needed &&
               !(area->objectAttributes & TPMA_OBJECT_DECRYPT) &&
               rsa->scheme.scheme == TPM2_ALG_RSASSA &&
               rsa->scheme.details.rsassa.hashAlg == TPM2_ALG_SHA256 && rsa->keyBits == RSA_BITS &&
               area->unique.rsa.size == RSA_WRAPPED_SIZE;
}

TPML_PCR_SELECTION pcr_selection(uint32_t pcrs) {
        return (TPML_PCR_SELECTION){
                .count = 1,
                .pcrSelections[0] = {.hash = TPM2_ALG_SHA256,
                                     .sizeofSelect = 3,
                                     .pcrSelect = {(uint8_t)(pcrs & 0xff),
                                                   (uint8_t)(pcrs >> 8 & 0xff),
                                                   (uint8_t)(pcrs >> 16 & 0xff)}},
        };
}
