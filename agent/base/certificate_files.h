/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The certificates in the files of a directory, PEM (RFC 7468 section 5).
 *
 * Every file but those whose name begins with '.' has to hold at least one certificate, and nothing
 * damaged.
 *
 * Ownership: a stack is lent to each() for the time of the call; X509_up_ref() keeps a certificate.
 * Threads:   any.
 * Failure:   WLA_E_SYSTEM, _INPUT naming the file; what each() says.
 */

#include <openssl/x509.h>

#include "wlagent/error.h"

/* Calls each() for every file, until that fails; *ret is how many files there are. */
int certificate_files_read(const char *directory,
                           int (*each)(void *userdata, const STACK_OF(X509) * certificates,
                                       struct wla_error *err),
                           void *userdata, size_t *ret, struct wla_error *err) _must_check_;
