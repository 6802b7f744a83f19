/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The TPM as the rest of the agent sees it: a device with a binding key that opens what was wrapped to
 * it.
 *
 * Threads:   struct tpm belongs to one thread, the TPM lane; wlagent setup uses it on its only one.
 *            tpm_unbind_count() from any.
 * Failure:   WLA_E_UNAVAILABLE no device, or it stopped answering; WLA_E_TPM it answered with an error
 *            that an operator has to mend; WLA_E_DENIED its policy refuses (PCRs); WLA_E_INPUT the
 *            ciphertext was not made for this key; WLA_E_NOT_FOUND no binding key was set up.
 * Source:    TPM 2.0 Library, Parts 2 and 3, revision 1.59; tpm2-tss 3.2.
 */

#include "base/clock.h"
#include "base/rsa_wrap.h"
#include "base/secret.h"
#include "wlagent/error.h"

struct tpm;

/* tcti: a TCTI string such as "device:/dev/tpmrm0" or "swtpm:path=SOCKET".  state_directory holds binding-key.json, which
 * wlagent setup wrote.  Touches no device: the context is made on first use and made again after an
 * I/O error or a TPM reset.  Silences the log of tpm2-tss by setting TSS2_LOG unless it is set, so it is
 * called before the first thread. */
int tpm_new(const char *tcti, const char *state_directory, struct tpm **ret,
            struct wla_error *err) _must_check_;
struct tpm *tpm_free(struct tpm *tpm);

/* Opens wrapped (RSA_WRAPPED_SIZE bytes, see rsa_wrap.h) with the binding key.  fingerprint: the
 * binding key it was wrapped for, compared before the TPM is asked; NULL or "" when not known. */
int tpm_unbind(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint,
               const struct deadline *deadline, struct wla_secret **ret,
               struct wla_error *err) _must_check_;

/* From now on, each time that the TPM has been asked to open a key, call is called before the answer is waited for.  It may
 * call tpm_unbind_prepare() or tpm_host_unbind_prepare() for what is to be opened next, and nothing else here.  NULL: no
 * more. */
void tpm_while_at_work(struct tpm *tpm, void (*call)(void *arg), void *arg);

/* Prepares tpm_unbind() of the same wrapped key, so that the TPM gets it without delay: perhaps before that is called, which
 * has to be next, and to be given the wrapped key at the same place in memory.  Does nothing where the TPM would have to be
 * asked before: after a new setup, for a key with a PCR policy, when the key is not loaded. */
void tpm_unbind_prepare(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint);

/* How often the TPM was asked to open a key. */
uint64_t tpm_unbind_count(const struct tpm *tpm);

/* Connects, loads the binding key, opens the session and compares the PCRs, so that the first request
 * does not pay and an operator learns early that it would be refused. */
int tpm_prepare(struct tpm *tpm, struct wla_error *err) _must_check_;

struct tpm_facts {
        char manufacturer[8]; /* TPM2_PT_MANUFACTURER as text */
        char vendor[20];      /* TPM2_PT_VENDOR_STRING_1..4 */
        uint32_t firmware[2];
        bool sha256_bank; /* PCRs are allocated in the SHA-256 bank */
        bool in_lockout;
        uint32_t lockout_counter;
        uint32_t lockout_recovery_sec; /* until one more wrong authorisation is allowed */
};
int tpm_facts(struct tpm *tpm, struct tpm_facts *ret, struct wla_error *err) _must_check_;

/* The binding key as setup left it; read from the state directory, no TPM needed. */
struct binding_key_info {
        char fingerprint[KEY_FINGERPRINT_SIZE];
        char pem[800];
        uint32_t handle; /* 0: kept as blobs */
        uint32_t pcrs;   /* bit n: bound to PCR n of the SHA-256 bank; 0: not bound */
};
int binding_key_info_read(const char *state_directory, struct binding_key_info *ret,
                          struct wla_error *err) _must_check_;

struct tpm_setup_options {
        uint32_t handle; /* 0: keep blobs; else persist the binding key there */
        uint32_t pcrs;   /* bit n: bind the key to PCR n as it is now */
        bool replace;    /* make a new binding key although there is one */
};

/* Makes the storage key if there is none at 0x81000001, and the binding key; writes binding-key.json
 * and binding-key.pem.  Without replace an existing, usable binding key is kept and *ret_created is
 * false. */
int tpm_setup(struct tpm *tpm, const struct tpm_setup_options *options, bool *ret_created,
              struct wla_error *err) _must_check_;
