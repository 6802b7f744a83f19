/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The two keys of Intel SecL's workload agent in a host's TPM: to the binding key the key broker wraps
 * keys, with the signing key the agent signs reports.  The Trust Agent owns what they stand on: a storage
 * key as parent, and an attestation key (AIK) that certifies them, so that HVS may take their public
 * halves for this host's.
 *
 * bindingkey.json and signingkey.json are as Intel's agent writes them (Intel SecL 4.4): one object,
 * indented by four spaces, a line feed at its end, and exactly these members:
 *
 *     "Version"         2: of a TPM 2.0
 *     "Usage"           0: binding, 1: signing
 *     "PublicKey"       TPM2B_PUBLIC, 280 bytes in base64 (TPM 2.0 Library, Part 2, section 12.2.5)
 *     "PrivateKey"      TPM2B_PRIVATE; how long is the vendor's choice (Part 2, section 12.3.7)
 *     "KeySignature"    TPMT_SIGNATURE of the AIK, 262 bytes (Part 2, section 11.3.4)
 *     "KeyAttestation"  TPM2B_ATTEST, 147 bytes (Part 2, section 10.12.13)
 *     "KeyName"         TPM2B_NAME, 36 bytes (Part 2, section 10.5.3)
 *
 * Nothing in them is secret: the private part is encrypted by the TPM that made it, and using the key
 * takes its secret besides.  What a file says twice has to agree, so that an edited or mixed-up one is
 * refused before the TPM is asked, which counts wrong authorisations.
 *
 * A secret is handled as the text that configurations and credentials hold: 40 hex digits are 20 bytes,
 * "hex:..." is what follows, anything else stands for its own bytes, and nothing for no secret.
 *
 * Ownership: a struct host_key is a value.
 * Threads:   any; what takes a struct tpm as tpm.h says.
 * Failure:   WLA_E_NOT_FOUND without a file; WLA_E_TPM for a file that cannot be used, and for what an
 *            operator has to mend in the TPM; parsing alone says WLA_E_INPUT.
 */

#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/rsa_wrap.h"
#include "base/secret.h"
#include "wlagent/error.h"

struct tpm;

#define HOST_STORAGE_KEY_HANDLE 0x81000000u /* made by the Trust Agent: Intel SecL 4.1 */
#define HOST_AIK_HANDLE         0x81018000u

#define HOST_BINDING_KEY_FILE "bindingkey.json"
#define HOST_SIGNING_KEY_FILE "signingkey.json"
#define HOST_KEY_FILE_MAX     8192u

#define HOST_KEY_PUBLIC_SIZE      280u
#define HOST_KEY_PRIVATE_MAX      2048u
#define HOST_KEY_ATTESTATION_SIZE 147u
#define HOST_KEY_SIGNATURE_SIZE   262u
#define HOST_KEY_NAME_SIZE        36u

#define HOST_KEY_SECRET_TEXT_SIZE 40u
#define TPM_SIGNATURE_SIZE        256u
#define TPM_DIGEST_SIZE           32u

enum host_key_usage {
        HOST_KEY_BINDING = 0, /* the numbers are those of the file */
        HOST_KEY_SIGNING = 1,
        _HOST_KEY_USAGE_MAX,
};

/* The structures as bytes, sizes in front included, as the file has them. */
struct host_key {
        enum host_key_usage usage;
        uint8_t public[HOST_KEY_PUBLIC_SIZE];
        uint8_t private[HOST_KEY_PRIVATE_MAX];
        size_t private_size;
        uint8_t signature[HOST_KEY_SIGNATURE_SIZE];
        uint8_t attestation[HOST_KEY_ATTESTATION_SIZE];
        uint8_t name[HOST_KEY_NAME_SIZE];
};

/* "binding key" or "signing key". */
const char *host_key_usage_name(enum host_key_usage usage);

int host_key_parse(const char *text, size_t size, struct host_key *ret,
                   struct wla_error *err) _must_check_;

/* Byte for byte as Intel's agent writes it. */
int host_key_format(const struct host_key *key, struct buf *json,
                    struct wla_error *err) _must_check_;

/* The file has to be of this usage, and to belong to root or the caller.  ret_stat: of the file that was
 * read, to notice a new one; may be NULL. */
int host_key_read(const char *path, enum host_key_usage usage, struct host_key *ret,
                  struct stat *ret_stat, struct wla_error *err) _must_check_;

/* Makes or replaces the file, with mode 0640. */
int host_key_write(int dir_fd, const char *name, const struct host_key *key,
                   struct wla_error *err) _must_check_;

/* 256 bytes, big endian; the exponent is 65537. */
const uint8_t *host_key_modulus(const struct host_key *key);

/* As in rsa_wrap.h, of the public half. */
int host_key_fingerprint(const struct host_key *key, char ret[KEY_FINGERPRINT_SIZE],
                         struct wla_error *err) _must_check_;

/* Whether this AIK, an RSA-2048 key given by its modulus, has signed the certification: WLA_E_INPUT when it
 * has not. */
int host_key_check_signature(const struct host_key *key, const uint8_t aik_modulus[256],
                             struct wla_error *err) _must_check_;

#define HOST_KEY_NAME_DIGEST_SIZE 69u

/* What HVS asks for before it certifies a key (Intel SecL 4.5), as it is before base64; all but name_digest
 * point into the key. */
struct host_key_registration {
        struct wla_bytes public_key_modulus;        /* in spite of its name, all of TPM2B_PUBLIC */
        struct wla_bytes tpm_certify_key;           /* TPMS_ATTEST: without the size in front */
        struct wla_bytes tpm_certify_key_signature; /* TPMT_SIGNATURE */
        uint8_t name_digest[HOST_KEY_NAME_DIGEST_SIZE];
};
void host_key_registration(const struct host_key *key, struct host_key_registration *ret);

/* A new secret: the text of 20 random bytes, 40 lower-case hex digits. */
int host_key_secret_new(struct wla_secret **ret, struct wla_error *err) _must_check_;

struct host_key_options {
        enum host_key_usage usage;
        const struct wla_secret *secret; /* text; what using the key will take */
        uint32_t aik_handle;             /* 0: HOST_AIK_HANDLE */
        const struct wla_secret
                *aik_secret; /* text; NULL: the AIK has none, as since Trust Agent 4.0 */
};

/* Makes the key under the Trust Agent's storage key and has the AIK certify it.  Nothing stays in the TPM.
 * WLA_E_TPM with what the Trust Agent should have done when one of the two is missing or not of its
 * kind.  Wrong secrets count towards the TPM's lockout, so each is tried once. */
int tpm_host_key_create(struct tpm *tpm, const struct host_key_options *options,
                        struct host_key *ret, struct wla_error *err) _must_check_;

/* Whether this TPM loads the key, which takes no secret and leaves nothing in it.  When it fails, *ret_foreign, which may
 * be NULL, tells why: true when the TPM has refused to load the key as none of its own or damaged (WLA_E_TPM), false for
 * whatever else the TPM or the way to it suffers from, which may pass. */
int tpm_host_key_try(struct tpm *tpm, const struct host_key *key, bool *ret_foreign,
                     struct wla_error *err) _must_check_;

/* Where a key is found when it is used. */
struct host_key_place {
        const char *path;       /* of the file; NULL: this host is not to use the key */
        const char *credential; /* name of the service's credential with the secret */
};

/* Copies the names and touches nothing.  Files and credentials are read when a key is first used, and again
 * when they have changed. */
int tpm_host_key_place(struct tpm *tpm, enum host_key_usage usage,
                       const struct host_key_place *place, struct wla_error *err) _must_check_;

/* Whether a place is known. */
bool tpm_host_key_is_used(const struct tpm *tpm, enum host_key_usage usage);

/* Loads the key, which takes no secret, so that an operator learns early of a file that cannot be used. */
int tpm_host_key_prepare(struct tpm *tpm, enum host_key_usage usage,
                         struct wla_error *err) _must_check_;

/* Opens what a key broker wrapped to the binding key (RSA_WRAPPED_SIZE bytes, see rsa_wrap.h).  After a wrong
 * secret the TPM is not asked again until the file or the credential has changed; a TPM that is locked out
 * is not asked until it no longer is. */
int tpm_host_unbind(struct tpm *tpm, struct wla_bytes wrapped, const struct deadline *deadline,
                    struct wla_secret **ret, struct wla_error *err) _must_check_;

/* As tpm_unbind_prepare(). */
void tpm_host_unbind_prepare(struct tpm *tpm, struct wla_bytes wrapped);

/* Signs a SHA-256 digest with the signing key: RSASSA (PKCS #1 v1.5), big endian.  A wrong secret as above. */
int tpm_sign(struct tpm *tpm, const uint8_t digest[TPM_DIGEST_SIZE],
             const struct deadline *deadline, uint8_t ret[TPM_SIGNATURE_SIZE],
             struct wla_error *err) _must_check_;
