/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/rsa_decrypt.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/metrics.h"
#include "tpm/host_key_slot.h"
#include "tpm/templates.h"

/* libtpms says "failure" when OAEP does not fit, and a TPM that has really failed says it too: only
 * another command tells them apart. */
static TSS2_RC judge_failure(struct tpm *tpm, ESYS_TR key, TSS2_RC rc) {
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;

        if (tpm_rc_base(rc) != TPM2_RC_FAILURE)
                return rc;

        TSS2_RC probe = Esys_ReadPublic(tpm->esys, key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                        &public, NULL, NULL);
        return probe == TSS2_RC_SUCCESS ? TPM2_RC_VALUE | TPM2_RC_P : probe;
}

/* One under way is received, or a TPM without a resource manager would not take another command.  Nobody waits for what it
 * answers any more, but a secret that was refused is not to be tried again. */
static TSS2_RC forget_ahead(struct tpm *tpm) {
        struct rsa_ahead *ahead = &tpm->ahead;
        TSS2_RC rc = TSS2_RC_SUCCESS;

        if (ahead->state == RSA_AHEAD_SENT) {
                rc = ahead->rc;
                if (rc == TSS2_RC_SUCCESS)
                        rc = session_exchange_receive(&ahead->exchange);
                if (rc != TSS2_RC_SUCCESS) {
                        session_exchange_give_up(tpm, &ahead->exchange, rc);
                        host_key_slots_note(tpm, ahead->exchange.users[0].auth, rc);
                }
        }
        ahead->state = RSA_AHEAD_NONE;
        return rc;
}

void rsa_decrypt_clear(struct tpm *tpm, bool answer) {
        if (answer)
                (void)forget_ahead(tpm);
        free(tpm->ahead.sys);
        tpm->ahead = (struct rsa_ahead){0};
}

bool rsa_decrypt_under_way(const struct tpm *tpm, struct wla_bytes wrapped) {
        return tpm->ahead.state == RSA_AHEAD_SENT && tpm->ahead.wrapped == wrapped.data;
}

TSS2_RC rsa_decrypt_end(struct tpm *tpm, struct wla_bytes wrapped) {
        return rsa_decrypt_under_way(tpm, wrapped) ? forget_ahead(tpm) : TSS2_RC_SUCCESS;
}

static TSS2_RC prepare(struct tpm *tpm, TSS2_SYS_CONTEXT *sys, ESYS_TR key,
                       const struct session_use *use, struct wla_bytes wrapped,
                       struct session_exchange *exchange) {
        TPM2B_PUBLIC_KEY_RSA ciphertext = {.size = RSA_WRAPPED_SIZE};
        const struct session_command command = {.use = *use};
        TPM2_HANDLE handle = 0;

        memcpy(ciphertext.buffer, wrapped.data, RSA_WRAPPED_SIZE);
        TSS2_RC rc = session_exchange_init(exchange, sys, &command, true);
        if (rc == TSS2_RC_SUCCESS)
                rc = Esys_TR_GetTpmHandle(tpm->esys, key, &handle);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_RSA_Decrypt_Prepare(sys, handle, &ciphertext, &unbind_scheme,
                                                  &unbind_label);
        return rc;
}

/* A second one, as the command under way has the first until its answer has been opened.  NULL without memory: then nothing is
 * prepared. */
static TSS2_SYS_CONTEXT *other_sys(struct tpm *tpm) {
        static TSS2_ABI_VERSION abi = TSS2_ABI_VERSION_CURRENT;
        size_t size = Tss2_Sys_GetContextSize(0);

        if (tpm->at_work_in != session_sys(tpm))
                return session_sys(tpm);
        if (tpm->ahead.sys)
                return tpm->ahead.sys;

        TSS2_SYS_CONTEXT *made = calloc(1, size);
        if (made && Tss2_Sys_Initialize(made, size, tpm->tcti_context, &abi) != TSS2_RC_SUCCESS) {
                free(made);
                made = NULL;
        }
        return tpm->ahead.sys = made;
}

void rsa_decrypt_prepare(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                         struct wla_bytes wrapped) {
        struct rsa_ahead *ahead = &tpm->ahead;
        TSS2_SYS_CONTEXT *sys = NULL;

        if (tpm->at_work_in && ahead->state == RSA_AHEAD_NONE)
                sys = other_sys(tpm);
        if (!sys || prepare(tpm, sys, key, use, wrapped, &ahead->exchange) != TSS2_RC_SUCCESS)
                return;
        ahead->wrapped = wrapped.data;
        ahead->state = RSA_AHEAD_PREPARED;
}

static void send_ahead(struct tpm *tpm) {
        if (tpm->ahead.state != RSA_AHEAD_PREPARED)
                return;
        tpm->ahead.rc = session_exchange_send(&tpm->ahead.exchange);
        tpm->ahead.state = RSA_AHEAD_SENT;
}

static TSS2_RC start(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                     struct wla_bytes wrapped, struct session_exchange *exchange) {
        if (rsa_decrypt_under_way(tpm, wrapped)) {
                *exchange = tpm->ahead.exchange;
                tpm->ahead.state = RSA_AHEAD_NONE;
                return tpm->ahead.rc;
        }

        (void)forget_ahead(tpm);
        TSS2_RC rc = prepare(tpm, session_sys(tpm), key, use, wrapped, exchange);
        return rc == TSS2_RC_SUCCESS ? session_exchange_send(exchange) : rc;
}

static TSS2_RC ask(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                   struct wla_bytes wrapped, struct wla_secret *message) {
        struct session_exchange exchange;

        TSS2_RC rc = start(tpm, key, use, wrapped, &exchange);
        if (rc == TSS2_RC_SUCCESS) {
                tpm->at_work_in = exchange.sys;
                if (tpm->at_work)
                        tpm->at_work(tpm->at_work_arg);
                tpm->at_work_in = NULL;
                rc = session_exchange_receive(&exchange);
        }
        if (rc == TSS2_RC_SUCCESS) {
                send_ahead(tpm);
                rc = session_exchange_open(&exchange, message);
        }
        if (rc != TSS2_RC_SUCCESS) {
                (void)forget_ahead(tpm);
                session_exchange_give_up(tpm, &exchange, rc);
        }
        return rc;
}

static int decrypt(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                   struct wla_bytes wrapped, struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *message = NULL;

        /* Before the TPM is asked, as there may be no more locked memory; none is needed afterwards. */
        if (wla_secret_new(RSA_WRAP_PLAIN_MAX, &message, err) < 0)
                return -1;

        TSS2_RC rc = ask(tpm, key, use, wrapped, message);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_check(tpm, judge_failure(tpm, key, rc), "opening the wrapped key", err);
        if (wla_secret_view(message).size == 0)
                return wla_fail(err, WLA_E_INPUT, "the wrapped key is empty");
        *ret = TAKE_PTR(message);
        return 0;
}

int rsa_decrypt(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                struct wla_bytes wrapped, struct wla_secret **ret, struct wla_error *err) {
        uint64_t start_usec = clock_now_usec();

        atomic_fetch_add(&tpm->unbinds, 1);
        int r = decrypt(tpm, key, use, wrapped, ret, err);
        metrics_observe_usec(METRIC_TPM_OPERATION_SECONDS, clock_now_usec() - start_usec);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_UNBIND, r < 0 ? err->code : WLA_OK);
        return r;
}
