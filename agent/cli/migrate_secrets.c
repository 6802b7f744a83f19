/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/credential_store.h"
#include "cli/migrate.h"

/* The secrets that stand in clear in config.yml become credentials of wlagentd.service. */

#define AIK_SECRET_FILE "aiksecretkey"

static int plan_credential(struct migrate *migrate, const char *name,
                           const struct wla_secret *secret, const char *why,
                           struct wla_error *err) {
        struct credential_place place = {0};
        char path[128];

        if (credential_find(migrate->root_path, name, &place, err) < 0)
                return -1;
        if (place.kind != CREDENTIAL_NONE) {
                (void)snprintf(path, sizeof(path), "/etc/credstore%s/%s",
                               place.kind == CREDENTIAL_ENCRYPTED ? ".encrypted" : "", name);
                return migrate_plan_note(&migrate->plan, err, MIGRATE_KEPT, path,
                                         "the credential is there already; remove it to have that "
                                         "of config.yml");
        }
        if (!credential_is_usable(migrate->root_path))
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, name,
                                         "%s: no credential is written for another host, as it is "
                                         "encrypted with the key of the machine that this runs on; "
                                         "run 'wlagent migrate --apply' on the host itself, before "
                                         "wlagentd starts there",
                                         why);
        return migrate_plan_credential(&migrate->plan, name, secret, why, err);
}

static int look_password(struct migrate *migrate, struct wla_error *err) {
        if (!migrate->config.password)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, "wla",
                                         "no password is set that the agent could log in with");
        return plan_credential(migrate, CREDENTIAL_AAS_PASSWORD, migrate->config.password,
                               "the password of the agent's user", err);
}

struct key_secret {
        const char *credential;
        const char *what;
        const char *file; /* of the key */
        const struct wla_secret *secret;
        bool odd;
};

static int look_key_secret(struct migrate *migrate, const struct key_secret *key,
                           struct wla_error *err) {
        char why[64];

        if (key->odd)
                return migrate_plan_note(
                        &migrate->plan, err, MIGRATE_BLOCKS, key->what,
                        "the secret in config.yml is not 40 hex digits, as Intel's "
                        "agent makes it; correct it, or take it out and have a new "
                        "key made and registered with 'wlagent setup'");
        if (!key->secret && host_root_exists(&migrate->root, key->file))
                return migrate_plan_note(
                        &migrate->plan, err, MIGRATE_BY_HAND, key->file,
                        "config.yml has no secret for this key, so nothing can use "
                        "it; have a new one made and registered with 'wlagent "
                        "setup'");
        if (!key->secret)
                return 0;
        (void)snprintf(why, sizeof(why), "the secret of the %s", key->what);
        return plan_credential(migrate, key->credential, key->secret, why, err);
}

/* Trust Agents of release 3 gave the attestation key a secret of its own, in a file. */
static int look_aik_secret(struct migrate *migrate, struct wla_error *err) {
        char path[INTEL_TEXT_SIZE + sizeof("/" AIK_SECRET_FILE)];

        if (migrate->config.dialect != INTEL_DIALECT_4 || migrate->config.agent_directory[0] != '/')
                return 0;
        (void)snprintf(path, sizeof(path), "%s/" AIK_SECRET_FILE, migrate->config.agent_directory);
        if (!host_root_exists(&migrate->root, path))
                return 0;
        return migrate_plan_note(&migrate->plan, err, MIGRATE_KEPT, path,
                                 "the secret of the attestation key: wlagentd has no use for it, "
                                 "and 'wlagent setup' reads it there itself, or is told "
                                 "AIK_SECRET, when a key is made anew");
}

int migrate_look_secrets(struct migrate *migrate, struct wla_error *err) {
        const struct intel_config *config = &migrate->config;
        const struct key_secret binding = {
                .credential = CREDENTIAL_BINDING_KEY_SECRET,
                .what = "binding key",
                .file = INTEL_DIRECTORY "/bindingkey.json",
                .secret = config->binding_secret,
                .odd = config->odd_binding_secret,
        };
        const struct key_secret signing = {
                .credential = CREDENTIAL_SIGNING_KEY_SECRET,
                .what = "signing key",
                .file = INTEL_DIRECTORY "/signingkey.json",
                .secret = config->signing_secret,
                .odd = config->odd_signing_secret,
        };

        if (look_password(migrate, err) < 0 || look_key_secret(migrate, &binding, err) < 0 ||
            look_key_secret(migrate, &signing, err) < 0)
                return -1;
        return look_aik_secret(migrate, err);
}
