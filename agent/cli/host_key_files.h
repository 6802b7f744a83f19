/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A key of Intel SecL's in this host's TPM as files: PATH.json, which BindingKey= or SigningKey= names, its secret
 * as a credential, and PATH.pem with the certificate of HVS.
 *
 * Key and secret are of use only together, and are two files.  A new pair is published so that, at every moment, either
 * the old pair is there, or no key at all, which wlagentd says and the next run mends; never a key with the secret of
 * another, at which a TPM counts wrong authorisations.  So a key without a secret is nothing that was left here halfway:
 * its secret is elsewhere, as in config.yml of Intel's agent, which may be using it.  Such a key is never removed, but
 * renamed to PATH.json.old, and a copy of its certificate is PATH.pem.old.  So is a file that is no key: whoever named it
 * in the configuration may have named another than he meant, and nobody here can make it again.
 *
 * Threads: one, with the lock of setup held.
 * Failure: the text names the file.
 */

#include <limits.h>

#include "cli/credential_store.h"
#include "config/config.h"
#include "tpm/host_key.h"

enum host_key_presence { HOST_KEY_ABSENT, HOST_KEY_WITHOUT_SECRET, HOST_KEY_PAIR };

struct host_key_files {
        enum host_key_usage usage;
        const char *key_path;
        const char *credential;
        const char *root; /* as cli/credential_store.h has it */
        bool is_no_key;   /* the caller's finding: there is a file, and it is none of a key */
        char certificate[PATH_MAX]; /* PATH.pem */
};

/* WLA_E_INPUT where two of BindingKey=, SigningKey=, their certificates, and the agent's own binding key and its public
 * half would be one file. */
int host_key_files_check_distinct(const struct config *config, struct wla_error *err) _must_check_;

/* Fills the struct; key_path stays the configuration's.  WLA_E_INPUT where two settings name one file. */
int host_key_files_place(const struct config *config, const char *root, enum host_key_usage usage,
                         struct host_key_files *ret, struct wla_error *err) _must_check_;

/* What there is, whatever is in it. */
int host_key_files_find(const struct host_key_files *files, enum host_key_presence *ret,
                        struct wla_error *err) _must_check_;

/* The key's file gets mode 0640 and wlagentd's group.  A former pair goes; what is_no_key, or has no secret, is kept as
 * said above, and where one has been kept already this is WLA_E_INPUT. */
int host_key_files_publish(const struct host_key_files *files, const struct host_key *key,
                           const struct wla_secret *secret, struct credential_place *ret,
                           struct wla_error *err) _must_check_;
