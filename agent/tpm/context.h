/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The connection to the TPM and what is loaded through it: private to this folder and its tests.
 *
 * Work is written as steps.  tpm_run() connects, runs a step and does what the last response code
 * asks for: it waits, restarts the policy, or makes a new context, each a bounded number of times.  So
 * a step may run several times; it begins with what the context already has.
 *
 * Threads: as struct tpm.
 */

#include <sys/stat.h>
#include <tss2/tss2_esys.h>

#include "base/clock.h"
#include "tpm/binding_key.h"
#include "tpm/host_key.h"
#include "tpm/rc.h"
#include "tpm/session_exchange.h"
#include "tpm/tpm.h"

/* A key of Intel SecL: where it is, and what was read there last. */
struct host_key_slot {
        char *path;
        char *credential;
        bool have;
        struct host_key key;
        struct stat key_stat;
        struct wla_secret *secret; /* as the TPM compares it */
        struct stat secret_stat;
        bool refused; /* the secret by the TPM */
};

/* The decryption behind the one that the TPM is at, or was at last (rsa_decrypt.h). */
struct rsa_ahead {
        enum { RSA_AHEAD_NONE = 0, RSA_AHEAD_PREPARED, RSA_AHEAD_SENT } state;
        const uint8_t *wrapped; /* which it is */
        struct session_exchange exchange;
        TSS2_RC rc;            /* of sending it */
        TSS2_SYS_CONTEXT *sys; /* NULL until there is one */
};

struct tpm {
        char *tcti;
        char *state_directory;
        int answer_limit_msec; /* for a software TPM; the kernel bounds a device */

        TSS2_TCTI_CONTEXT *tcti_context;
        ESYS_CONTEXT *esys; /* NULL: not connected */
        ESYS_TR storage;    /* these two: ESYS_TR_NONE until needed */
        ESYS_TR binding;
        bool binding_is_transient;
        struct session session;

        struct host_key_slot host_keys[_HOST_KEY_USAGE_MAX];
        struct session host_session;
        ESYS_TR host_storage; /* these two: ESYS_TR_NONE until needed */
        ESYS_TR host_key; /* one at a time: a TPM without a resource manager has room for three */
        enum host_key_usage host_key_usage;
        TPM2B_NAME host_storage_name;
        /* The one that does not take the empty password; size 0: none. */
        TPM2B_NAME host_storage_refused;
        bool host_key_foreign; /* of the last that was to be loaded: none of this TPM's, or damaged */
        bool locked_out;       /* as far as is known */

        void (*at_work)(void *arg); /* NULL: nobody is told */
        void *at_work_arg;
        TSS2_SYS_CONTEXT *at_work_in; /* whose answer is not read while that runs; else NULL */
        struct rsa_ahead ahead;

        TSS2_RC rc;             /* the last response code that was no success */
        enum tpm_remedy remedy; /* for it */
        bool make_room;         /* when connecting next */
        bool start_up;
        bool left_behind; /* something that was not flushed; see tpm_connect() */

        bool have_key;
        struct binding_key key;
        struct stat key_stat;

        _Atomic uint64_t unbinds;
};

/* 0 for TSS2_RC_SUCCESS; else sets err and tpm->remedy and returns -1. */
int tpm_check(struct tpm *tpm, TSS2_RC rc, const char *doing, struct wla_error *err) _must_check_;

/* Makes a context unless there is one.  One in which a key or a session was left behind, for it could not be flushed, is
 * closed first: the kernel flushes what belongs to it.  Without a resource manager it stays until the TPM is full, and
 * goes then. */
int tpm_connect(struct tpm *tpm, struct wla_error *err) _must_check_;

/* Flushes what is loaded if polite, and closes the connection. */
void tpm_disconnect(struct tpm *tpm, bool polite);

/* Flushes and forgets. */
void tpm_flush(struct tpm *tpm, ESYS_TR *handle);

/* deadline: NULL for none. */
int tpm_run(struct tpm *tpm, const struct deadline *deadline,
            int (*step)(struct tpm *tpm, void *arg, struct wla_error *err), void *arg,
            struct wla_error *err) _must_check_;

static inline void esys_freep(void *pointer) {
        void **block = pointer;
        Esys_Free(*block);
        *block = NULL;
}

#define _cleanup_esys_ __attribute__((cleanup(esys_freep)))
