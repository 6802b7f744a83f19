/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The owner's envelope key in a file: one PEM block (RFC 7468), labelled PRIVATE KEY or RSA PRIVATE KEY.
 * Intel SecL's wpm writes RSAPrivateKey under the label that belongs to PrivateKeyInfo, so what is in it is
 * told by its structure.
 *
 * Failure: WLA_E_DENIED for a file that others may read, WLA_E_NOT_FOUND, WLA_E_INPUT, WLA_E_SYSTEM; the
 *          text names the file.
 */

#include "kbs/envelope_key.h"

#define ENVELOPE_FILE_MAX 8192u

int envelope_file_read(const char *path, struct envelope_key **ret,
                       struct wla_error *err) _must_check_;

/* The DER in the text of such a file. */
int envelope_file_decode(const struct wla_secret *text, struct wla_secret **ret,
                         struct wla_error *err) _must_check_;
