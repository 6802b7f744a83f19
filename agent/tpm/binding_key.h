/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The binding key as setup left it: binding-key.json and, for owners, binding-key.pem.
 *
 * binding-key.json is one object with exactly these members:
 *
 *     "version"         1
 *     "storage_handle"  "0x81000001": the key that the binding key is a child of
 *     "storage_name"    its Name (Part 1, section 16), hex: pinned at setup
 *     "public"          TPM2B_PUBLIC (Part 2, section 12.2.5), base64
 *     "private"         TPM2B_PRIVATE (Part 2, section 12.3.7), base64; or, for a persistent key,
 *     "handle"          "0x81000000" to "0x817fffff"
 *     "name"            the Name of the binding key, hex
 *     "pcrs"            PCRs of the SHA-256 bank that the key is bound to, ascending; may be empty
 *     "pcr_values"      what they held at setup, hex, in the same order
 *     "pcr_policy"      the digest of the policy, hex; "" without PCRs
 *     "fingerprint"     see rsa_public_fingerprint()
 *
 * Nothing in it is secret: the private part is encrypted by the TPM that made it.  What it says twice
 * has to agree, so that an edited or mixed-up file is refused before the TPM is asked.
 *
 * Threads: any.
 * Failure: WLA_E_NOT_FOUND without a file, WLA_E_TPM for a file that cannot be used; parsing alone
 *          says WLA_E_INPUT.
 */

#include <sys/stat.h>
#include <tss2/tss2_tpm2_types.h>

#include "base/buf.h"
#include "base/rsa_wrap.h"
#include "wlagent/error.h"

#define BINDING_KEY_FILE     "binding-key.json"
#define BINDING_KEY_PEM_FILE "binding-key.pem"
#define BINDING_KEY_VERSION  1u
#define BINDING_KEY_FILE_MAX 16384u

#define STORAGE_KEY_HANDLE 0x81000001u /* TCG TPM v2.0 Provisioning Guidance, section 7.8 */
#define OWNER_HANDLE_FIRST 0x81000000u
#define OWNER_HANDLE_LAST  0x817fffffu

#define PCR_COUNT       24u
#define PCR_SHA256_SIZE 32u
#define PCR_MASK        0x00ffffffu

struct binding_key {
        uint32_t storage_handle;
        TPM2B_NAME storage_name;
        TPM2B_PUBLIC public;
        TPM2B_PRIVATE private; /* size 0: at handle */
        uint32_t handle;       /* 0: kept as blobs */
        TPM2B_NAME name;
        uint32_t pcrs;
        uint8_t pcr_values[PCR_COUNT][PCR_SHA256_SIZE]; /* by PCR number */
        TPM2B_DIGEST pcr_policy;                        /* size 0 without PCRs */
        char fingerprint[KEY_FINGERPRINT_SIZE];
};

/* ret_stat: of the file that was read, to notice a new one; may be NULL. */
int binding_key_read(const char *state_directory, struct binding_key *ret, struct stat *ret_stat,
                     struct wla_error *err) _must_check_;

int binding_key_parse(const char *text, size_t size, struct binding_key *ret,
                      struct wla_error *err) _must_check_;

int binding_key_format(const struct binding_key *key, struct buf *json,
                       struct wla_error *err) _must_check_;

/* Replaces both files; the JSON, which counts, first. */
int binding_key_write(int dir_fd, const struct binding_key *key,
                      struct wla_error *err) _must_check_;

/* Fills in name and fingerprint of key->public; WLA_E_INPUT when that is no binding key. */
int binding_key_identify(struct binding_key *key, struct wla_error *err) _must_check_;

int binding_key_pem(const struct binding_key *key, struct buf *pem,
                    struct wla_error *err) _must_check_;

bool tpm_name_equal(const TPM2B_NAME *a, const TPM2B_NAME *b);

/* Of a key with SHA-256 as its name algorithm. */
int tpm_name_compute(const TPM2B_PUBLIC *public, TPM2B_NAME *ret,
                     struct wla_error *err) _must_check_;

/* "0, 7 and 11" for the bits of pcrs. */
void pcr_list_format(uint32_t pcrs, char *to, size_t size);
