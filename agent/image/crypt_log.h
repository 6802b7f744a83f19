/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What libcryptsetup says about its first error, as the text of ours: its return codes alone tell little.
 *
 * Ownership: a log outlives what it was begun for; one for the library is ended.
 * Threads:   one at a time; libcryptsetup has global state.
 */

#include <libcryptsetup.h>

#include "wlagent/error.h"

struct crypt_log {
        char text[160];
};

/* device: NULL for the library, which otherwise speaks on standard error until there is a device. */
void crypt_log_begin(struct crypt_log *log, struct crypt_device *device);

/* For the library. */
void crypt_log_end(void);

/* Fails when outcome is negative: WLA_E_SYSTEM "libcryptsetup cannot WHAT: ...". */
int crypt_log_check(const struct crypt_log *log, int outcome, const char *what,
                    struct wla_error *err) _must_check_;
