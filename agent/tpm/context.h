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
#include "tpm/rc.h"
#include "tpm/tpm.h"

struct tpm {
        char *tcti;
        char *state_directory;
        int answer_limit_msec; /* for a software TPM; the kernel bounds a device */

        TSS2_TCTI_CONTEXT *tcti_context;
        ESYS_CONTEXT *esys; /* NULL: not connected */
        ESYS_TR storage;    /* these three: ESYS_TR_NONE until needed */
        ESYS_TR binding;
        ESYS_TR session;
        TPM2_SE session_type;
        bool binding_is_transient;

        enum tpm_remedy remedy; /* for the last response code */
        bool make_room;         /* when connecting next */
        bool start_up;

        bool have_key;
        struct binding_key key;
        struct stat key_stat;

        _Atomic uint64_t unbinds;
};

/* 0 for TSS2_RC_SUCCESS; else sets err and tpm->remedy and returns -1. */
int tpm_check(struct tpm *tpm, TSS2_RC rc, const char *doing, struct wla_error *err) _must_check_;

/* Makes a context unless there is one. */
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
