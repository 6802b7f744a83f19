/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#include "base/metrics.h"
#include "tpm/host_key_slot.h"
#include "tpm/properties.h"
#include "tpm/rsa_decrypt.h"
#include "tpm/swtpm_tcti.h"

/* The slowest command is making an RSA key: up to 20 s on old chips, well below 1 s in software. */
#define ANSWER_LIMIT_MSEC 20000

/* Part 2, section 7.4; the header of tpm2-tss shifts a bit out of its int. */
#define TRANSIENT_FIRST 0x80000000u

#define DEVICE_PREFIX "device:"

int tpm_new(const char *tcti, const char *state_directory, struct tpm **ret,
            struct wla_error *err) {
        struct tpm *tpm = calloc(1, sizeof(*tpm));

        if (!tpm)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        *tpm = (struct tpm){
                .tcti = strdup(tcti),
                .state_directory = strdup(state_directory),
                .answer_limit_msec = ANSWER_LIMIT_MSEC,
                .storage = ESYS_TR_NONE,
                .binding = ESYS_TR_NONE,
                .host_storage = ESYS_TR_NONE,
                .host_key = ESYS_TR_NONE,
        };
        if (!tpm->tcti || !tpm->state_directory) {
                (void)tpm_free(tpm);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        tpm_rc_silence_library();
        *ret = tpm;
        return 0;
}

struct tpm *tpm_free(struct tpm *tpm) {
        if (tpm) {
                tpm_disconnect(tpm, true);
                host_key_slots_clear(tpm);
                free(tpm->tcti);
                free(tpm->state_directory);
                free(tpm);
        }
        return NULL;
}

void tpm_while_at_work(struct tpm *tpm, void (*call)(void *arg), void *arg) {
        tpm->at_work = call;
        tpm->at_work_arg = arg;
}

static int connection_errno(const struct tpm *tpm) {
        if (swtpm_tcti_takes(tpm->tcti))
                return tpm->tcti_context ? swtpm_tcti_errno(tpm->tcti_context) : 0;

        /* The loader of tpm2-tss does not tell why a device would not open. */
        size_t prefix = strlen(DEVICE_PREFIX);
        if (strncmp(tpm->tcti, DEVICE_PREFIX, prefix) == 0 &&
            access(tpm->tcti + prefix, R_OK | W_OK) < 0)
                return errno;
        return 0;
}

static int fail_locked_out(struct tpm *tpm, TSS2_RC rc, const char *doing, struct wla_error *err) {
        struct tpm_lockout lockout;

        (void)tpm_rc_fail(err, rc, 0);
        if (tpm_lockout_read(tpm, &lockout) == TSS2_RC_SUCCESS)
                (void)wla_fail_hint(
                        err, err->code, err->hint,
                        "the TPM is locked out after %u wrong authorisations and allows "
                        "another one every %u s (0x%x)",
                        lockout.counter, lockout.interval_sec, rc);
        return wla_wrap(err, "%s", doing);
}

int tpm_check(struct tpm *tpm, TSS2_RC rc, const char *doing, struct wla_error *err) {
        if (rc == TSS2_RC_SUCCESS)
                return 0;

        tpm->rc = rc;
        tpm->remedy = tpm_rc_remedy(rc);
        if (tpm_rc_base(rc) == TPM2_RC_LOCKOUT)
                return fail_locked_out(tpm, rc, doing, err);

        bool broken = (rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER;
        (void)tpm_rc_fail(err, rc, broken ? connection_errno(tpm) : 0);
        if (broken)
                return wla_wrap(err, "%s through %s", doing, tpm->tcti);
        return wla_wrap(err, "%s", doing);
}

void tpm_flush(struct tpm *tpm, ESYS_TR *handle) {
        if (*handle != ESYS_TR_NONE && Esys_FlushContext(tpm->esys, *handle) != TSS2_RC_SUCCESS)
                tpm->left_behind = true;
        *handle = ESYS_TR_NONE;
}

void tpm_disconnect(struct tpm *tpm, bool polite) {
        rsa_decrypt_clear(tpm, tpm->esys && polite);
        if (tpm->esys && polite) {
                session_end(tpm, &tpm->session);
                if (tpm->binding_is_transient)
                        tpm_flush(tpm, &tpm->binding);
                session_end(tpm, &tpm->host_session);
                tpm_flush(tpm, &tpm->host_key);
        }
        session_forget(&tpm->session);
        session_forget(&tpm->host_session);
        tpm->storage = tpm->binding = ESYS_TR_NONE;
        tpm->host_storage = tpm->host_key = ESYS_TR_NONE;

        Esys_Finalize(&tpm->esys);
        if (!tpm->tcti_context)
                return;
        if (swtpm_tcti_takes(tpm->tcti))
                tpm->tcti_context = swtpm_tcti_free(tpm->tcti_context);
        else
                Tss2_TctiLdr_Finalize(&tpm->tcti_context);
}

static int open_tcti(struct tpm *tpm, struct wla_error *err) {
        if (swtpm_tcti_takes(tpm->tcti))
                return swtpm_tcti_new(tpm->tcti, tpm->answer_limit_msec, &tpm->tcti_context, err);

        TSS2_RC rc = Tss2_TctiLdr_Initialize(tpm->tcti, &tpm->tcti_context);
        if (rc == TSS2_RC_SUCCESS)
                return 0;

        int error = connection_errno(tpm);
        (void)tpm_rc_fail(err, TSS2_TCTI_RC_NO_CONNECTION, error);
        if (error == EACCES || error == EPERM)
                err->hint = "the agent's user has to be in the group 'tss'";
        return wla_wrap(err, "connecting to %s", tpm->tcti);
}

static int flush_all(struct tpm *tpm, TPM2_HANDLE first, struct wla_error *err) {
        _cleanup_esys_ TPMS_CAPABILITY_DATA *found = NULL;
        TPMI_YES_NO more = TPM2_NO;

        TSS2_RC rc = Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                        TPM2_CAP_HANDLES, first, TPM2_MAX_CAP_HANDLES, &more,
                                        &found);
        if (tpm_check(tpm, rc, "listing what is loaded in the TPM", err) < 0)
                return -1;

        const TPML_HANDLE *handles = &found->data.handles;
        for (uint32_t i = 0; i < handles->count && i < TPM2_MAX_CAP_HANDLES; i++) {
                ESYS_TR handle = ESYS_TR_NONE;

                rc = Esys_TR_FromTPMPublic(tpm->esys, handles->handle[i], ESYS_TR_NONE,
                                           ESYS_TR_NONE, ESYS_TR_NONE, &handle);
                if (rc == TSS2_RC_SUCCESS)
                        rc = Esys_FlushContext(tpm->esys, handle);
                /* What the TPM does not know any more has gone by itself. */
                if (tpm_rc_base(rc) == 0 && tpm_rc_remedy(rc) == TPM_RECONNECT)
                        return tpm_check(tpm, rc, "making room in the TPM", err);
        }
        return 0;
}

/* Behind a resource manager this sees nothing but what is ours.  Without one the agent is alone with
 * the TPM, or should be. */
static int make_room(struct tpm *tpm, struct wla_error *err) {
        if (flush_all(tpm, TRANSIENT_FIRST, err) < 0)
                return -1;
        return flush_all(tpm, TPM2_LOADED_SESSION_FIRST, err);
}

static int start_up(struct tpm *tpm, struct wla_error *err) {
        TSS2_RC rc = Esys_Startup(tpm->esys, TPM2_SU_CLEAR);

        if (tpm_rc_base(rc) == TPM2_RC_INITIALIZE) /* somebody was faster */
                return 0;
        return tpm_check(tpm, rc, "starting the TPM", err);
}

static int connect_tpm(struct tpm *tpm, struct wla_error *err) {
        tpm->left_behind = false;
        if (open_tcti(tpm, err) < 0)
                return -1;

        TSS2_RC rc = Esys_Initialize(&tpm->esys, tpm->tcti_context, NULL);
        if (tpm_check(tpm, rc, "preparing the TPM software stack", err) < 0) {
                tpm_disconnect(tpm, false);
                return -1;
        }

        /* What breaks off is begun again with the next connection. */
        if (tpm->start_up && start_up(tpm, err) < 0)
                return -1;
        tpm->start_up = false;
        if (tpm->make_room && make_room(tpm, err) < 0)
                return -1;
        tpm->make_room = false;
        return 0;
}

/* What a resource manager keeps for a connection goes with it, and need not be flushed by a TPM that may hang. */
int tpm_connect(struct tpm *tpm, struct wla_error *err) {
        if (tpm->esys && tpm->left_behind)
                tpm_disconnect(tpm, false);
        if (tpm->esys)
                return 0;

        int r = connect_tpm(tpm, err);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_CONNECT, r < 0 ? err->code : WLA_OK);
        return r;
}
