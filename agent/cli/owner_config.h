/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How an image's owner reaches the key broker: ~/.config/wlagent/owner.conf, and the environment over it.
 *
 * Lines NAME=VALUE, with the names of Intel SecL's wpm where it has one; '#' begins a comment line.  The
 * value is what stands behind '=', to the end of the line.  An unknown name, one that comes twice, and a
 * value that is not understood are errors.  The file is the owner's alone (mode 0600): it may hold the
 * password, which goes from there to locked memory.  In the environment the password is wiped once it
 * has been read.
 *
 * Ownership: owner_config_done() ends it.
 * Threads:   before the first one, for the environment's sake.
 * Failure:   WLA_E_INPUT with file and line, WLA_E_DENIED for a file that others may read, WLA_E_SYSTEM.
 */

#include "base/secret.h"
#include "source/key_origin.h"

#define OWNER_VALUE_SIZE 512u
#define OWNER_FILE_MAX   16384u

/* What there is to set. */
enum owner_setting {
        OWNER_KBS_BASE_URL,
        OWNER_KBS_ENDPOINT_URL, /* the base URL of KBS as hosts know it; unset: KBS_BASE_URL */
        OWNER_AAS_API_URL,
        OWNER_WPM_SERVICE_USERNAME,
        OWNER_TRUSTED_CA_DIRECTORY, /* certificates of CMS, PEM */
        OWNER_ENVELOPE_PRIVATE_KEY, /* a file; unset: a new key for each run */
        OWNER_KEYPROVIDER_NAME,     /* the provider's name in ocicrypt */
        OWNER_ALLOW_TLS12,          /* "yes" or "no" */
        _OWNER_SETTING_MAX,
};

struct owner_config {
        char *path; /* of the file, whether it exists or not; NULL: there is no home, or it was not asked */
        char values[_OWNER_SETTING_MAX][OWNER_VALUE_SIZE]; /* "": not set */
        struct wla_secret *password;                       /* NULL: not set */
};

/* Defaults, the file if there is one, and the environment. */
int owner_config_read(struct owner_config *ret, struct wla_error *err) _must_check_;

/* The same from the text of a file alone, which messages call name. */
int owner_config_parse(const struct wla_secret *text, const char *name, struct owner_config *ret,
                       struct wla_error *err) _must_check_;

/* The value, or WLA_E_INPUT that says how to set it. */
int owner_config_need(const struct owner_config *config, enum owner_setting setting,
                      const char **ret, struct wla_error *err) _must_check_;

void owner_config_done(struct owner_config *config);
