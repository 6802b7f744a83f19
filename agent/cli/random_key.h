/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A new AES-256 key from OpenSSL's generator for private values, in locked memory. */

#include "base/secret.h"

#define AES_256_KEY_SIZE 32u

int random_key_new(struct wla_secret **ret, struct wla_error *err) _must_check_;
