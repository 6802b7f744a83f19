/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Certificates to verify flavors with, made anew by each test: a root, sound or not, and a signer. */

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/secret.h"
#include "flavor/flavor_sign.h"
#include "scratch.h"

enum signer_fault {
        SIGNER_GOOD,
        SIGNER_EXPIRED,
        SIGNER_NOT_YET_VALID,
        SIGNER_OTHER_ROOT,
        SIGNER_CA,
        SIGNER_FOR_TLS,      /* by its extended key usage */
        SIGNER_FOR_EXCHANGE, /* by its key usage */
        SIGNER_RSA_1024,
        SIGNER_SHA1,
        SIGNER_SELF_SIGNED,
        SIGNER_INTERMEDIATE, /* good: its file brings the certificate in between along */
        SIGNER_NO_INTERMEDIATE,
        SIGNER_INTERMEDIATE_RSA_1024,
        SIGNER_SECOND, /* good: behind another's certificate in its file */
};

struct signers {
        struct scratch roots_directory;
        struct scratch signers_directory;
        struct flavor_trust trust;
        EVP_PKEY *key; /* of the signer */
        struct wla_secret *key_pem;
};

void signers_make(struct signers *signers, enum signer_fault fault);
void signers_remove(struct signers *signers);

/* The key in PEM, encrypted with passphrase unless that is NULL. */
struct wla_secret *signers_key_pem(EVP_PKEY *key, const char *passphrase);
