/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/file.h>

#include "base/file.h"
#include "tpm/key_create.h"
#include "tpm/load.h"
#include "tpm/pcr.h"
#include "tpm/persist.h"
#include "tpm/templates.h"
#include "tpm/unbind.h"

#define PROOF_SIZE 32u

static const char hint_replace[] = "'wlagent setup --replace' makes a new one; keys wrapped for "
                                   "the old one are lost to this host";

static const char hint_between[] = "something sits between this host and its TPM; see SECURITY.md";

static const char hint_again[] = "run 'wlagent setup' again, without --replace";

static int check_options(const struct tpm_setup_options *options, struct wla_error *err) {
        if (options->pcrs & ~PCR_MASK)
                return wla_fail(err, WLA_E_INPUT, "a TPM has PCRs 0 to %u", PCR_COUNT - 1);
        if (options->handle != 0 &&
            (options->handle < OWNER_HANDLE_FIRST || options->handle > OWNER_HANDLE_LAST ||
             options->handle == STORAGE_KEY_HANDLE))
                return wla_fail_hint(err, WLA_E_INPUT, "0x81010010 is a good choice",
                                     "0x%08x cannot hold the binding key", options->handle);
        return 0;
}

/* Two setups at once would each make a key, and one would be lost.  The lock goes with the fd. */
static int lock_directory(const char *path, int *ret_fd, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (file_open_directory(path, true, 0750, &fd, err) < 0)
                return -1;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return wla_fail(err, WLA_E_BUSY, "another setup is running in %s", path);
                return wla_fail_errno(err, errno, "cannot lock %s", path);
        }

        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int ensure_storage_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        bool found = false;

        (void)arg;
        if (tpm->storage != ESYS_TR_NONE)
                return 0;
        if (storage_key_find(tpm, &found, err) < 0)
                return -1;
        if (!found && storage_key_make(tpm, err) < 0)
                return -1;
        return 0;
}

static int read_storage_name(struct tpm *tpm, TPM2B_NAME *ret, struct wla_error *err) {
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        _cleanup_esys_ TPM2B_NAME *told = NULL;

        TSS2_RC rc = Esys_ReadPublic(tpm->esys, tpm->storage, ESYS_TR_NONE, ESYS_TR_NONE,
                                     ESYS_TR_NONE, &public, &told, NULL);
        if (tpm_check(tpm, rc, "pinning the storage key", err) < 0 ||
            tpm_name_compute(public, ret, err) < 0)
                return -1;
        if (tpm_name_equal(told, ret))
                return 0;
        tpm->remedy = TPM_DROP;
        return wla_fail_hint(err, WLA_E_TPM, hint_between,
                             "the TPM tells of another key at 0x%08x than its name is of",
                             STORAGE_KEY_HANDLE);
}

static int pin_storage(struct tpm *tpm, struct binding_key *key, struct wla_error *err) {
        key->storage_handle = STORAGE_KEY_HANDLE;
        return read_storage_name(tpm, &key->storage_name, err);
}

/* The empty password of the storage key authorises it. */
static TSS2_RC ask_create(struct tpm *tpm, struct binding_key *key, struct session *session) {
        static const TPM2B_SENSITIVE_CREATE no_password;
        const TPM2B_PUBLIC template = binding_key_template(&key->pcr_policy);
        const struct session_use parent = {.session = session, .key_name = &key->storage_name};

        return key_create(tpm, STORAGE_KEY_HANDLE, &parent, &no_password, &template, &key->private,
                          &key->public);
}

static int create_key(struct tpm *tpm, struct binding_key *key, struct wla_error *err) {
        struct session session = {0};

        if (session_start(tpm, &session, tpm->storage, &key->storage_name, TPM2_SE_HMAC, err) < 0)
                return -1;
        TSS2_RC rc = ask_create(tpm, key, &session);
        session_end(tpm, &session);
        if (storage_key_check(tpm, rc, "making the binding key", err) < 0)
                return -1;
        return binding_key_identify(key, err);
}

static int make_key_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        uint32_t pcrs = *(const uint32_t *)arg;
        struct binding_key key = {.pcrs = pcrs};

        if (ensure_storage_step(tpm, NULL, err) < 0 || pin_storage(tpm, &key, err) < 0)
                return -1;

        if (pcrs != 0 && (pcr_read(tpm, pcrs, key.pcr_values, err) < 0 ||
                          pcr_policy_compute(pcrs, key.pcr_values, &key.pcr_policy, err) < 0))
                return -1;

        if (create_key(tpm, &key, err) < 0)
                return -1;

        tpm->key = key;
        return 0;
}

/* Wraps a random secret as an owner would, and has the TPM open it. */
static int prove_key(struct tpm *tpm, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_secret_ struct wla_secret *opened = NULL;
        _cleanup_buf_ struct buf wrapped = BUF_WITH_LIMIT(RSA_WRAPPED_SIZE);
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(800);

        if (wla_secret_new(PROOF_SIZE, &secret, err) < 0)
                return -1;
        if (RAND_priv_bytes(wla_secret_fill(secret), PROOF_SIZE) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "no random numbers");

        if (binding_key_pem(&tpm->key, &pem, err) < 0 ||
            rsa_wrap((const char *)pem.data, pem.size, secret, &wrapped, err) < 0 ||
            unbind_key(tpm, (struct wla_bytes){.data = wrapped.data, .size = wrapped.size}, NULL,
                       &opened, err) < 0)
                return wla_wrap(err, "proving the binding key");

        struct wla_bytes a = wla_secret_view(secret);
        struct wla_bytes b = wla_secret_view(opened);
        if (a.size != b.size || CRYPTO_memcmp(a.data, b.data, a.size) != 0)
                return wla_fail(err, WLA_E_TPM, "the binding key opens to something else");
        return 0;
}

static int keep_key(struct tpm *tpm, const struct tpm_setup_options *options, int dir_fd,
                    struct wla_error *err) {
        char have[96];

        pcr_list_format(tpm->key.pcrs, have, sizeof(have));
        if (options->pcrs != 0 && options->pcrs != tpm->key.pcrs)
                return wla_fail_hint(err, WLA_E_INPUT, hint_replace,
                                     "this host has a binding key already, and it is bound to %s%s",
                                     tpm->key.pcrs != 0 ? "PCR " : "no PCR", have);
        if (options->handle != 0 && options->handle != tpm->key.handle)
                return wla_fail_hint(err, WLA_E_INPUT, hint_replace,
                                     "this host has a binding key already, and it is not kept at "
                                     "0x%08x",
                                     options->handle);

        if (prove_key(tpm, err) < 0)
                return wla_wrap(err, "this host has a binding key, but it does not work");
        return binding_key_write(dir_fd, &tpm->key, err);
}

static bool file_tells_of_key(const struct tpm *tpm) {
        struct binding_key written;
        struct wla_error ignored;

        return binding_key_read(tpm->state_directory, &written, NULL, &ignored) == 0 &&
               tpm_name_equal(&written.name, &tpm->key.name);
}

/* A key at a handle that no file tells of would stay there for ever. */
static int write_files(struct tpm *tpm, int dir_fd, struct wla_error *err) {
        struct persist undo = {.handle = tpm->key.handle, .old_name = &tpm->key.name};
        struct wla_error undo_err;

        if (binding_key_write(dir_fd, &tpm->key, err) == 0)
                return 0;
        if (file_tells_of_key(tpm)) {
                err->hint = hint_again;
                return wla_wrap(err, "the new binding key is in place");
        }
        if (undo.handle != 0 && tpm_run(tpm, NULL, persist_free_step, &undo, &undo_err) < 0)
                return wla_wrap(err, "the new binding key stays at 0x%08x", undo.handle);
        return -1;
}

static int replace_key(struct tpm *tpm, const struct tpm_setup_options *options, int dir_fd,
                       const struct binding_key *old, struct wla_error *err) {
        uint32_t pcrs = options->pcrs;
        const TPM2B_NAME *old_name = old ? &old->name : NULL;
        struct persist persist = {.handle = options->handle, .old_name = old_name};

        if (tpm_run(tpm, NULL, make_key_step, &pcrs, err) < 0 || prove_key(tpm, err) < 0)
                return -1;

        /* The old key leaves the TPM before the new one can have its place: from then on only the file
         * keeps this host from having none. */
        if (old && options->handle != 0 && old->handle == options->handle &&
            write_files(tpm, dir_fd, err) < 0)
                return -1;

        if (options->handle != 0) {
                if (tpm_run(tpm, NULL, persist_step, &persist, err) < 0)
                        return -1;
                /* So that the proof finds the key as the daemon will. */
                tpm_disconnect(tpm, true);
                if (prove_key(tpm, err) < 0)
                        return -1;
        }

        if (write_files(tpm, dir_fd, err) < 0)
                return -1;

        if (!old || old->handle == 0 || old->handle == options->handle)
                return 0;
        persist.handle = old->handle;
        if (tpm_run(tpm, NULL, persist_free_step, &persist, err) < 0)
                return wla_wrap(err,
                                "the new binding key is in place, but the old one stays at 0x%08x",
                                old->handle);
        return 0;
}

/* WLA_E_NOT_FOUND is no failure here: *ret_found tells. */
static int read_old(struct tpm *tpm, const struct tpm_setup_options *options,
                    struct binding_key *old, bool *ret_found, struct wla_error *err) {
        *ret_found = binding_key_read(tpm->state_directory, old, NULL, err) == 0;
        if (*ret_found || err->code == WLA_E_NOT_FOUND || options->replace)
                return 0;
        return -1;
}

int tpm_setup(struct tpm *tpm, const struct tpm_setup_options *options, bool *ret_created,
              struct wla_error *err) {
        _cleanup_close_ int dir_fd = -1;
        struct binding_key old;
        bool found = false;
        int r;

        if (check_options(options, err) < 0 ||
            lock_directory(tpm->state_directory, &dir_fd, err) < 0 ||
            read_old(tpm, options, &old, &found, err) < 0)
                return -1;

        tpm_disconnect(tpm, true);
        bool keep = found && !options->replace;
        if (keep) {
                tpm->key = old;
                r = keep_key(tpm, options, dir_fd, err);
        } else {
                r = replace_key(tpm, options, dir_fd, found ? &old : NULL, err);
        }

        /* What is loaded now need not be what the file says: the next use reads it. */
        tpm->have_key = false;
        tpm_disconnect(tpm, true);
        if (r < 0)
                return -1;

        *ret_created = !keep;
        return 0;
}
