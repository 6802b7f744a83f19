/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The one translation of TSS2_RC: what to tell the operator, and what the agent may do about it.
 *
 * Threads: pure functions, but for tpm_rc_silence_library().
 * Source:  TPM 2.0 Library, Part 2, section 6.6 (TPM_RC); TSS 2.0 Overview and Common Structures,
 *          section 3 (response code layers).
 */

#include <tss2/tss2_common.h>
#include <tss2/tss2_tpm2_types.h>

#include "wlagent/error.h"

enum tpm_remedy {
        TPM_GIVE_UP = 0,    /* asking again would not help, or would do harm */
        TPM_WAIT,           /* the same command may pass in a moment */
        TPM_RESTART_POLICY, /* satisfy the policy again */
        TPM_RECONNECT,      /* the context is lost: make a new one */
        TPM_MAKE_ROOM,      /* like TPM_RECONNECT, and flush what others left behind */
        TPM_START_UP,       /* like TPM_RECONNECT, and send TPM2_Startup */
        TPM_DROP,           /* make a new context for the next request, but fail this one */
        TPM_SUSPECT_INPUT,  /* the ciphertext is to blame, if the TPM turns out to be well */
};

enum tpm_remedy tpm_rc_remedy(TSS2_RC rc);

/* The code of the TPM without the number of the handle, session or parameter it complains about; 0 for
 * a code that another layer made. */
TPM2_RC tpm_rc_base(TSS2_RC rc);

/* Sets err; rc must not be TSS2_RC_SUCCESS.  errno_value: of the connection, 0 when not known. */
int tpm_rc_fail(struct wla_error *err, TSS2_RC rc, int errno_value);

/* Silences the log of tpm2-tss on stderr, unless TSS2_LOG is set: our errors say it better.  Changes the
 * environment, so the first call comes before the first thread; later ones change nothing. */
void tpm_rc_silence_library(void);
