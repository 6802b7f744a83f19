/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner_wrap.h"

#include <openssl/rand.h>

#include "base/base64.h"
#include "cli/owner.h"
#include "keyprovider/packet.h"
#include "keyprovider/provider_request.h"

/* A key id, and twice base64 of the largest sealed options. */
#define PACKET_MAX (4u * PROVIDER_OPTIONS_MAX)

static int seal(const struct owner_key *key, const struct buf *options, struct buf *to,
                struct wla_error *err) {
        _cleanup_packet_ struct packet packet = {
                .cipher = PACKET_AES256_GCM,
                .key = key->kbs.link,
                .iv_size = AES256_GCM_NONCE,
                .wrapped.limit = options->size + AES256_GCM_TAG,
        };

        if (RAND_bytes(packet.iv, AES256_GCM_NONCE) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL has no random bytes");
        if (aes256_gcm_seal(key->secret, (struct wla_bytes){packet.iv, packet.iv_size},
                            (struct wla_bytes){options->data, options->size}, &packet.wrapped,
                            err) < 0)
                return -1;
        return packet_write_isecl(&packet, to, err);
}

static int write_reply(const struct buf *packet, struct buf *reply, struct wla_error *err) {
        if (buf_append_text(reply, "{\"keywrapresults\":{\"annotation\":\"", err) < 0 ||
            base64_append(reply, packet->data, packet->size, err) < 0)
                return -1;
        return buf_append_text(reply, "\"},\"keyunwrapresults\":{\"optsdata\":null}}\n", err);
}

static int wrap(struct owner *owner, struct wla_bytes request, struct buf *reply,
                struct wla_error *err) {
        _cleanup_provider_wrap_ struct provider_wrap asked = {0};
        _cleanup_buf_ struct buf packet = BUF_WITH_LIMIT(PACKET_MAX);
        _cleanup_owner_key_ struct owner_key key = {0};
        struct owner_key_wish wish = {0};

        if (provider_wrap_parse(request, owner->config.values[OWNER_KEYPROVIDER_NAME], &asked,
                                err) < 0 ||
            key_choice_parse((const char *)asked.parameter.data, asked.parameter.size, &wish.choice,
                             err) < 0 ||
            owner_key_get(owner, &wish, &key, err) < 0)
                return -1;
        if (seal(&key, &asked.options, &packet, err) < 0 || write_reply(&packet, reply, err) < 0)
                return owner_key_unused(&key, err);
        return 0;
}

int owner_wrap(struct wla_bytes request, struct buf *reply, struct wla_error *err) {
        _cleanup_owner_ struct owner owner = {0};

        if (owner_open(NULL, NULL, &owner, err) < 0)
                return -1;
        return wrap(&owner, request, reply, err);
}
