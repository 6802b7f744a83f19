/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/unbind.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <tss2/tss2_sys.h>

#include "base/file.h"
#include "base/metrics.h"
#include "tpm/load.h"
#include "tpm/pcr.h"
#include "tpm/templates.h"

static const char hint_wrap_again[] =
        "have the owner wrap the key with this host's binding-key.pem; 'wlagent status' shows its "
        "fingerprint";

struct opening {
        struct wla_bytes wrapped;
        struct wla_secret *secret;
};

/* tpm2-tss decrypts the answer on its stack and in the command buffer of its context, and leaves it
 * there.  A longer command, prepared and never sent, overwrites the buffer. */
static void wipe_command_buffer(struct tpm *tpm) {
        static const TPM2B_MAX_BUFFER zeros = {.size = 512};
        TSS2_SYS_CONTEXT *sys = NULL;

        if (Esys_GetSysContext(tpm->esys, &sys) == TSS2_RC_SUCCESS && sys)
                (void)Tss2_Sys_Hash_Prepare(sys, &zeros, TPM2_ALG_SHA256, TPM2_RH_NULL);
}

static __attribute__((noinline)) void wipe_stack(void) {
        uint8_t below[28672]; /* ESYS and OpenSSL use that much */

        explicit_bzero(below, sizeof(below));
}

static int take_answer(const TPM2B_PUBLIC_KEY_RSA *message, struct wla_secret **ret,
                       struct wla_error *err) {
        if (message->size == 0 || message->size > RSA_WRAP_PLAIN_MAX)
                return wla_fail(err, WLA_E_INPUT, "the wrapped key is empty");
        if (wla_secret_new(message->size, ret, err) < 0)
                return -1;

        memcpy(wla_secret_fill(*ret), message->buffer, message->size);
        return 0;
}

/* libtpms says "failure" when OAEP does not fit, and a TPM that has really failed says it too: only
 * another command tells them apart. */
static TSS2_RC judge_failure(struct tpm *tpm, TSS2_RC rc) {
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;

        if (tpm_rc_base(rc) != TPM2_RC_FAILURE)
                return rc;

        TSS2_RC probe = Esys_ReadPublic(tpm->esys, tpm->binding, ESYS_TR_NONE, ESYS_TR_NONE,
                                        ESYS_TR_NONE, &public, NULL, NULL);
        return probe == TSS2_RC_SUCCESS ? TPM2_RC_VALUE | TPM2_RC_P : probe;
}

static int decrypt(struct tpm *tpm, struct opening *opening, struct wla_error *err) {
        TPM2B_PUBLIC_KEY_RSA ciphertext = {.size = RSA_WRAPPED_SIZE};
        TPM2B_PUBLIC_KEY_RSA *message = NULL;

        memcpy(ciphertext.buffer, opening->wrapped.data, RSA_WRAPPED_SIZE);
        TSS2_RC rc = Esys_RSA_Decrypt(tpm->esys, tpm->binding, tpm->session, ESYS_TR_NONE,
                                      ESYS_TR_NONE, &ciphertext, &unbind_scheme, &unbind_label,
                                      &message);
        wipe_command_buffer(tpm);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_check(tpm, judge_failure(tpm, rc), "opening the wrapped key", err);

        int r = take_answer(message, &opening->secret, err);
        OPENSSL_cleanse(message, sizeof(*message));
        Esys_Free(message);
        return r;
}

static int decrypt_counted(struct tpm *tpm, struct opening *opening, struct wla_error *err) {
        uint64_t start_usec = clock_now_usec();

        atomic_fetch_add(&tpm->unbinds, 1);
        int r = decrypt(tpm, opening, err);
        metrics_observe_usec(METRIC_TPM_OPERATION_SECONDS, clock_now_usec() - start_usec);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_UNBIND, r < 0 ? err->code : WLA_OK);
        return r;
}

static int load(struct tpm *tpm, struct wla_error *err) {
        TPM2_SE type = tpm->key.pcrs != 0 ? TPM2_SE_POLICY : TPM2_SE_HMAC;

        if (storage_key_open(tpm, err) < 0 || session_open(tpm, type, err) < 0)
                return -1;
        return binding_key_open(tpm, err);
}

static int ready(struct tpm *tpm, struct wla_error *err) {
        if (load(tpm, err) < 0)
                return -1;
        return tpm->key.pcrs != 0 ? pcr_policy_satisfy(tpm, err) : 0;
}

static int ready_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        (void)arg;
        return ready(tpm, err);
}

static int open_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        if (ready(tpm, err) < 0)
                return -1;
        return decrypt_counted(tpm, arg, err);
}

int unbind_key(struct tpm *tpm, struct wla_bytes wrapped, const struct deadline *deadline,
               struct wla_secret **ret, struct wla_error *err) {
        struct opening opening = {.wrapped = wrapped};

        int r = tpm_run(tpm, deadline, open_step, &opening, err);
        wipe_stack();
        if (r < 0)
                return -1;

        *ret = opening.secret;
        return 0;
}

static bool same_file(const struct stat *a, const struct stat *b) {
        return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Reads the state file again when setup has replaced it, so that no restart is needed. */
static int refresh_key(struct tpm *tpm, struct wla_error *err) {
        _cleanup_close_ int dir_fd = -1;
        struct stat status;

        if (tpm->have_key &&
            file_open_directory(tpm->state_directory, false, 0, &dir_fd, err) == 0 &&
            fstatat(dir_fd, BINDING_KEY_FILE, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            same_file(&status, &tpm->key_stat))
                return 0;

        tpm->have_key = false;
        tpm_disconnect(tpm, true);
        if (binding_key_read(tpm->state_directory, &tpm->key, &tpm->key_stat, err) < 0)
                return -1;

        tpm->have_key = true;
        return 0;
}

int tpm_prepare(struct tpm *tpm, struct wla_error *err) {
        if (refresh_key(tpm, err) < 0)
                return -1;

        int r = tpm_run(tpm, NULL, ready_step, NULL, err);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_PREPARE, r < 0 ? err->code : WLA_OK);
        return r;
}

int tpm_unbind(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint,
               const struct deadline *deadline, struct wla_secret **ret, struct wla_error *err) {
        if (wrapped.size != RSA_WRAPPED_SIZE)
                return wla_fail_hint(err, WLA_E_INPUT, hint_wrap_again,
                                     "a wrapped key has %u bytes, and this one %zu",
                                     RSA_WRAPPED_SIZE, wrapped.size);
        if (refresh_key(tpm, err) < 0)
                return -1;
        if (fingerprint && fingerprint[0] != '\0' && strcmp(fingerprint, tpm->key.fingerprint) != 0)
                return wla_fail_hint(
                        err, WLA_E_INPUT, hint_wrap_again,
                        "it is wrapped for the binding key %.16s..., and this host has "
                        "%.16s...",
                        fingerprint, tpm->key.fingerprint);

        return unbind_key(tpm, wrapped, deadline, ret, err);
}

uint64_t tpm_unbind_count(const struct tpm *tpm) {
        return atomic_load(&tpm->unbinds);
}
