/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Secrets that systemd hands to the service (systemd.exec(5), LoadCredential=): files in the directory that
 * $CREDENTIALS_DIRECTORY names, which no other user may read and which never is on a disk.
 *
 * Failure: WLA_E_NOT_FOUND with how to provide it, WLA_E_INPUT when it is empty or too long, _SYSTEM.
 */

#include <sys/stat.h>

#include "base/secret.h"

#define CREDENTIAL_MAX 1024u

/* Without the newline at its end, if there is one. */
int credential_read(const char *name, struct wla_secret **ret, struct wla_error *err) _must_check_;

/* To notice one that has changed. */
int credential_examine(const char *name, struct stat *ret, struct wla_error *err) _must_check_;
