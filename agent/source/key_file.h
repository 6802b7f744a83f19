/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A key of the local store at rest: wrapped to one host's binding key, so worthless elsewhere.
 *
 * A JSON object (RFC 8259) with exactly these members:
 *
 *   version      1
 *   name         the name of the key, and of the file without its ".json"
 *   algorithm    "RSA-OAEP-SHA256", with the label of base/rsa_wrap.h
 *   binding_key  fingerprint of the binding key that opens it (base/rsa_wrap.h)
 *   created      when it was wrapped, RFC 3339 in UTC: "2026-01-31T23:59:59Z"
 *   wrapped_key  base64 (RFC 4648 section 4) of 256 bytes
 *
 * Pure functions.  Failure: WLA_E_INPUT, with a hint; the caller puts the file's name in front.
 */

#include "base/buf.h"
#include "base/rsa_wrap.h"
#include "key/key_id.h"

#define KEY_FILE_SIZE_MAX     16384u
#define KEY_FILE_CREATED_SIZE 21u /* with the zero byte */
#define KEY_FILE_ALGORITHM    "RSA-OAEP-SHA256"

struct key_file {
        char name[KEY_NAME_MAX + 1];
        char binding_key[KEY_FINGERPRINT_SIZE];
        char created[KEY_FILE_CREATED_SIZE];
        uint8_t wrapped[RSA_WRAPPED_SIZE];
};

int key_file_parse(const char *text, size_t size, struct key_file *ret,
                   struct wla_error *err) _must_check_;

/* Appends the file's text. */
int key_file_format(const struct key_file *file, struct buf *to,
                    struct wla_error *err) _must_check_;

/* A key file for secret, wrapped now to the public key in pem. */
int key_file_wrap(const char *name, const char *pem, size_t pem_size,
                  const struct wla_secret *secret, struct key_file *ret,
                  struct wla_error *err) _must_check_;
