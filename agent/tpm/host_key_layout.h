/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The fixed bytes in the structures of a struct host_key, sizes in front included, and what follows
 * from them.
 * Source: TPM 2.0 Library, Part 2, sections 12.2.4 (TPMT_PUBLIC), 10.12.12 (TPMS_ATTEST), 11.3.4
 *         (TPMT_SIGNATURE); the values are those of Intel SecL 4.2 and 4.3. */

#include "tpm/host_key.h"

#define ALG_SHA256 0x00, 0x0b
#define ALG_RSA    0x00, 0x01
#define ALG_NULL   0x00, 0x10
#define ALG_RSASSA 0x00, 0x14

#define HOST_KEY_BINDING_ATTRIBUTES 0x00020072u
#define HOST_KEY_SIGNING_ATTRIBUTES 0x00040072u

/* TPM2B_PUBLIC: its size, type, name algorithm; attributes; no policy, symmetric algorithm or scheme, 2048
 * bits, exponent 65537 (written as 0), size of the modulus; modulus. */
#define PUBLIC_HEAD          0x01, 0x16, ALG_RSA, ALG_SHA256
#define PUBLIC_ATTRIBUTES_AT 6u
#define PUBLIC_PARAMETERS_AT 10u
#define PUBLIC_PARAMETERS    0x00, 0x00, ALG_NULL, ALG_NULL, 0x08, 0x00, 0, 0, 0, 0, 0x01, 0x00
#define PUBLIC_MODULUS_AT    24u

/* TPM2B_NAME: size, algorithm; digest. */
#define NAME_HEAD      0x00, 0x22, ALG_SHA256
#define NAME_DIGEST_AT 4u

/* TPM2B_ATTEST: size, magic, TPM_ST_ATTEST_CERTIFY; qualified name of the signer; what was asked to be signed
 * besides; clock, firmware; name and qualified name of the key. */
#define ATTEST_HEAD              0x00, 0x91, 0xff, 'T', 'C', 'G', 0x80, 0x17
#define ATTEST_SIGNER_AT         8u
#define ATTEST_EXTRA_AT          44u
#define ATTEST_EXTRA             0x00, 0x04, 0x00, 0xff, 0x55, 0xaa
#define ATTEST_SAFE_AT           66u
#define ATTEST_NAME_AT           75u
#define ATTEST_QUALIFIED_NAME_AT 111u

/* TPMT_SIGNATURE: scheme, hash, size; signature. */
#define SIGNATURE_HEAD   ALG_RSASSA, ALG_SHA256, 0x01, 0x00
#define SIGNATURE_RSA_AT 6u

/* Of TPM2_Certify: Intel SecL 4.3. */
#define QUALIFYING_DATA      0x00, 0xff, 0x55, 0xaa
#define QUALIFYING_DATA_SIZE 4u

/* Whether what the structures say twice agrees: WLA_E_INPUT when it does not. */
int host_key_check(const struct host_key *key, struct wla_error *err) _must_check_;

/* The name of its public area. */
int host_key_compute_name(const struct host_key *key, uint8_t ret[HOST_KEY_NAME_SIZE],
                          struct wla_error *err) _must_check_;
