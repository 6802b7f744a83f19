/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Builds what ocicrypt's clients send, and reads what they accept. */

#include "base/buf.h"
#include "base/secret.h"

/* {"op":"keyunwrap",...} with the annotation in base64. */
void provider_text_unwrap(struct buf *json, const char *packet);

/* {"op":"keywrap",...} with one parameter list ("name":[...] each base64) and options in base64. */
void provider_text_wrap(struct buf *json, const char *parameters, const char *options);

/* A whole gRPC message: prefix, protobuf field 1, json. */
void provider_text_message(struct buf *message, const struct buf *json);

/* The bytes in the reply: gRPC prefix and protobuf field 1 are taken off when framed. */
void provider_text_result(const uint8_t *reply, size_t size, bool framed, const char *results,
                          const char *member, struct buf *bytes);

void provider_text_base64(struct buf *text, const void *data, size_t size);

/* Intel's packet around its inner JSON. */
void provider_text_intel(struct buf *packet);
