/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What our keys look like to the TPM.
 * Source: TCG TPM v2.0 Provisioning Guidance 1.0, section 7.5.1; TPM 2.0 Library, Part 2, section 8.3. */

#include <stdbool.h>
#include <tss2/tss2_tpm2_types.h>

/* The storage root key that systemd and others make and share: ECC P-256, AES-128-CFB. */
extern const TPM2B_PUBLIC storage_key_template;

/* RSA-2048, decrypt, never leaves its TPM, no part in the dictionary-attack count.  policy: of size 0 for
 * a key that is used without one. */
TPM2B_PUBLIC binding_key_template(const TPM2B_DIGEST *policy);

/* Whether a foreign key can be parent and salt for ours: a restricted decryption key, RSA or ECC. */
bool is_storage_key(const TPM2B_PUBLIC *public);

/* Whether a public area is one that binding_key_template() makes. */
bool is_binding_key(const TPM2B_PUBLIC *public);

/* A key of Intel SecL's workload agent (host_key.h), for decrypting or for signing. */
TPM2B_PUBLIC host_key_template(TPMA_OBJECT attributes);

/* Whether a public area is that of an attestation key as the Trust Agent makes it: restricted, RSA-2048,
 * RSASSA with SHA-256. */
bool is_attestation_key(const TPM2B_PUBLIC *public);

/* The SHA-256 bank, with the PCRs of the mask. */
TPML_PCR_SELECTION pcr_selection(uint32_t pcrs);

extern const TPMT_SYM_DEF session_cipher; /* AES-128-CFB */

extern const TPMT_SIG_SCHEME host_signing_scheme; /* RSASSA with SHA-256 */

/* OAEP with SHA-256 and the label of rsa_wrap.h. */
extern const TPMT_RSA_DECRYPT unbind_scheme;
extern const TPM2B_DATA unbind_label;
