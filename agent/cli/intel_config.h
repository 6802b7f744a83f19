/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* /etc/workload-agent/config.yml of Intel SecL's Workload Agent, in both of its dialects: names in lower case
 * as releases 3 and 4 write them (the fields of a Go struct), and with hyphens as release 5 does.
 *
 * Releases up to 4.2 write the file anew without shortening it (config.Save), so that the end of an older
 * and longer text may follow.  Such a file is refused; which half of it holds is not guessed.
 *
 * Ownership: intel_config_done() releases the secrets.  Texts that are no secret are in the struct; of what
 *            is unknown only the name is kept.
 * Threads:   one.
 * Failure:   WLA_E_INPUT with the line, and with what to do; WLA_E_BUSY.
 */

#include <limits.h>

#include "base/secret.h"
#include "cli/yaml_pairs.h"

#define INTEL_TEXT_SIZE   512u
#define INTEL_UNKNOWN_MAX 32u
#define INTEL_AUTH_SIZE   40u /* hex digits of a key's secret */

enum intel_dialect {
        INTEL_DIALECT_NONE, /* no name tells it */
        INTEL_DIALECT_4,    /* releases 3 and 4 */
        INTEL_DIALECT_5,
};

enum intel_answer { INTEL_UNSET, INTEL_NO, INTEL_YES };

struct intel_config {
        enum intel_dialect dialect;
        char wls_url[INTEL_TEXT_SIZE]; /* "" where nothing is set, as with all of them */
        char aas_url[INTEL_TEXT_SIZE];
        char hvs_url[INTEL_TEXT_SIZE];
        char cms_url[INTEL_TEXT_SIZE];
        char cms_digest[INTEL_TEXT_SIZE];
        char user[INTEL_TEXT_SIZE];
        char agent_directory[INTEL_TEXT_SIZE]; /* the Trust Agent's */
        char agent_user[INTEL_TEXT_SIZE];
        char aik_file[INTEL_TEXT_SIZE];
        char log_level[INTEL_TEXT_SIZE];
        char log_length[INTEL_TEXT_SIZE];
        char log_stdout[INTEL_TEXT_SIZE];
        enum intel_answer skip_signatures;
        enum intel_answer complete;

        /* NULL where nothing is set.  The keys' have INTEL_AUTH_SIZE digits in lower case; one of another
         * form is counted instead. */
        struct wla_secret *password;
        struct wla_secret *binding_secret;
        struct wla_secret *signing_secret;
        bool odd_binding_secret;
        bool odd_signing_secret;

        char unknown[INTEL_UNKNOWN_MAX][YAML_PATH_SIZE];
        size_t unknown_count; /* more are not kept */
};

void intel_config_done(struct intel_config *config);

#define _cleanup_intel_config_ __attribute__((cleanup(intel_config_done)))

/* The file, in locked memory; what libyaml copies is not locked, and wiped.  No link, a regular file of up to
 * YAML_TEXT_MAX bytes.  WLA_E_NOT_FOUND, WLA_E_SYSTEM, and as below. */
int intel_config_read(int dir_fd, const char *name, struct intel_config *ret,
                      struct wla_error *err) _must_check_;

/* *ret is {0} on entry, and to be released also after a failure. */
int intel_config_parse(const void *text, size_t size, struct intel_config *ret,
                       struct wla_error *err) _must_check_;
