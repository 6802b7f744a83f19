/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The credentials that systemd hands to wlagentd.service, where systemd looks for them.
 *
 * A credential NAME is written to /etc/credstore.encrypted/NAME, encrypted by systemd-creds(1) under the
 * TPM and the key of this system.  It is not bound to PCRs: an update of the firmware would lose secrets that
 * nobody else has, and keep wlagentd from starting.  Where systemd-creds cannot encrypt, it is written to
 * /etc/credstore/NAME in clear, for root alone.
 *
 * The unit has LoadCredentialEncrypted=NAME for each of them, which finds the first and is content when there is
 * none (systemd.exec(5)).  For the second a drop-in of the unit says LoadCredential=NAME; it comes and goes
 * with that file, and takes effect with 'systemctl daemon-reload'.
 *
 * The secret reaches systemd-creds on a pipe.  Files are replaced in one step, mode 0600.  A secret that is replaced
 * by one of the other kind is removed with its drop-in.
 *
 * Threads: one, and one process at a time.
 * Failure: WLA_E_INPUT a name that is none or a secret that is too long, _SYSTEM, _DENIED when the user may
 *          not; the text names the file.  The former credential is as it was then.
 */

#include <limits.h>

#include "base/secret.h"

#define CREDENTIAL_AAS_PASSWORD       "aas-password"
#define CREDENTIAL_BINDING_KEY_SECRET "binding-key-secret"
#define CREDENTIAL_SIGNING_KEY_SECRET "signing-key-secret"

#define CREDENTIAL_SECRET_MAX 1024u /* what wlagentd reads, base/credential.h */

enum credential_kind {
        CREDENTIAL_NONE = 0,
        CREDENTIAL_ENCRYPTED,
        CREDENTIAL_PLAIN,
};

struct credential_place {
        enum credential_kind kind;
        char path[PATH_MAX];
        struct wla_error why_plain; /* of CREDENTIAL_PLAIN, when it was just written */
};

/* root: NULL for this system, or a directory that is taken for /. */
int credential_find(const char *root, const char *name, struct credential_place *ret,
                    struct wla_error *err) _must_check_;

/* Whether a credential that is made here can be decrypted where root is: it is this system, or the key that
 * systemd-creds uses is named by SYSTEMD_CREDENTIAL_SECRET, as for an image that brings it along. */
bool credential_is_usable(const char *root);

/* Makes the directories that are missing.  WLA_E_INPUT when it would not be usable. */
int credential_write(const char *root, const char *name, const struct wla_secret *secret,
                     struct credential_place *ret, struct wla_error *err) _must_check_;

/* The same in two steps: a draft is encrypted and on the disk under another name, and what can be expected to
 * fail has not; the second step gives it its name.  Freeing a draft that was not published removes it. */
struct credential_draft;

int credential_draft_new(const char *root, const char *name, const struct wla_secret *secret,
                         struct credential_draft **ret, struct wla_error *err) _must_check_;
int credential_draft_publish(struct credential_draft *draft, struct credential_place *ret,
                             struct wla_error *err) _must_check_;
struct credential_draft *credential_draft_free(struct credential_draft *draft);

static inline void credential_draft_freep(struct credential_draft **draft) {
        *draft = credential_draft_free(*draft);
}

#define _cleanup_credential_draft_ __attribute__((cleanup(credential_draft_freep)))
