/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From the protobuf message of WrapKey and UnWrapKey to the JSON inside (keyprovider.proto).
 *
 * Ownership: json is the caller's to clear; its memory and protobuf-c's come from the wiping allocator.
 * Threads:   any.
 * Failure:   WLA_E_INPUT when message is no protobuf or a flood of unknown fields, WLA_E_BUSY
 *            without memory.
 */

#include "base/buf.h"
#include "base/secret.h"

/* Unknown fields are skipped; without the field, json stays empty. */
int provider_message_read(struct wla_bytes message, struct buf *json,
                          struct wla_error *err) _must_check_;
