/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The packet in a layer's annotation: which key opens it, and what it opens.
 *
 *   {"kid","wrapped_data","iv","wrap_type":"A256GCM"|"A256CTR"}       Confidential Containers
 *       with "version":"0.1.0", "provider":"kbs", "provider_settings", "annotations" since its second
 *       format
 *   {"key_url","wrapped_key":base64({"cipher_text","nonce"}),"wrap_type":"AES"}       Intel SecL
 *
 * Other members are ignored.  The packet comes from a registry: hostile until its tag is verified.
 *
 * Ownership: the packet is the caller's; packet_clear() releases it.
 * Threads:   pure functions.
 * Failure:   WLA_E_INPUT, WLA_E_UNSUPPORTED for providers that are not kbs.
 */

#include "base/aead.h"
#include "base/buf.h"
#include "key/key_id.h"

enum packet_cipher {
        PACKET_AES256_GCM, /* ciphertext || tag */
        PACKET_AES256_CTR, /* not authenticated */
};

struct packet {
        enum packet_cipher cipher;
        struct key_id key;
        size_t iv_size;
        uint8_t iv[AES256_CTR_BLOCK];
        struct buf wrapped;
};

int packet_parse(struct wla_bytes json, struct packet *ret, struct wla_error *err) _must_check_;

void packet_clear(struct packet *packet);

#define _cleanup_packet_ __attribute__((cleanup(packet_clear)))

/* Appends the packet in Intel SecL's form, byte for byte as wpm writes it.  The cipher is AES-256-GCM. */
int packet_write_isecl(const struct packet *packet, struct buf *json,
                       struct wla_error *err) _must_check_;

/* Appends the packet in Confidential Containers' first format, which all readers know. */
int packet_write(const struct packet *packet, struct buf *json, struct wla_error *err) _must_check_;
