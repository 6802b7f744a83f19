/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image_key.h"

#include <string.h>

#include "base/file.h"
#include "cli/control_client.h"
#include "cli/input.h"

int image_key_id(const char *text, struct key_id *ret, struct wla_error *err) {
        if (key_name_valid(text, strlen(text)))
                return key_id_local(text, ret, err);
        return key_id_parse(text, strlen(text), ret, err);
}

/* What goes to wlagentd and what comes back. */
struct exchange {
        struct wla_secret *request;
        struct wla_secret *reply;
};

static void exchange_end(struct exchange *exchange) {
        exchange->request = wla_secret_free(exchange->request);
        exchange->reply = wla_secret_free(exchange->reply);
}

#define _cleanup_exchange_ __attribute__((cleanup(exchange_end)))

static struct control_image_key *content_of(struct wla_secret *secret) {
        return (struct control_image_key *)(void *)wla_secret_fill(secret);
}

/* Ready but for nonce and key. */
static int exchange_begin(struct exchange *exchange, const struct uuid *header,
                          const struct image_token *token, struct wla_error *err) {
        _cleanup_buf_ struct buf identity = BUF_WITH_LIMIT(CONTROL_IMAGE_IDENTITY_SIZE);
        struct control_image_key *content;

        if (image_identity_write(header, token, &identity, err) < 0 ||
            wla_secret_new(sizeof(*content), &exchange->request, err) < 0 ||
            wla_secret_new(sizeof(*content), &exchange->reply, err) < 0)
                return -1;

        content = content_of(exchange->request);
        content->identity_size = (uint16_t)identity.size;
        memcpy(content->key_id, token->key_id.text, strlen(token->key_id.text));
        memcpy(content->identity, identity.data, identity.size);
        return 0;
}

static int ask(struct invocation *invocation, enum control_command command,
               struct exchange *exchange, struct wla_error *err) {
        const struct config *config;

        if (invocation_config(invocation, &config, err) < 0)
                return -1;

        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = command,
                .timeout_usec = config->keyprovider.call_timeout_usec + CONTROL_CALL_USEC,
        };
        if (control_call_secret(&call, exchange->request, exchange->reply, err) == 0)
                return 0;
        if (err->code == WLA_E_UNAVAILABLE)
                err->hint = "start it with 'systemctl start wlagentd', or give the key "
                            "itself with --key-file";
        return -1;
}

static int seal_by_agent(struct invocation *invocation, const struct uuid *header,
                         const struct wla_secret *volume_key, struct image_token *token,
                         struct wla_error *err) {
        _cleanup_exchange_ struct exchange exchange = {0};

        if (exchange_begin(&exchange, header, token, err) < 0)
                return -1;
        memcpy(content_of(exchange.request)->key, wla_secret_view(volume_key).data,
               VOLUME_KEY_SIZE);
        if (ask(invocation, CONTROL_IMAGE_WRAP, &exchange, err) < 0)
                return -1;

        const struct control_image_key *answer = content_of(exchange.reply);
        memcpy(token->wrapped.nonce, answer->nonce, sizeof(token->wrapped.nonce));
        memcpy(token->wrapped.bytes, answer->key, sizeof(token->wrapped.bytes));
        return 0;
}

int image_key_seal(struct invocation *invocation, const char *key_file, const struct uuid *header,
                   const struct wla_secret *volume_key, struct image_token *token,
                   struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *kek = NULL;

        if (!key_file)
                return seal_by_agent(invocation, header, volume_key, token, err);
        if (input_read_secret(key_file, AES256_KEY_SIZE, IMAGE_KEY_HINT, &kek, err) < 0)
                return -1;
        return image_key_wrap(kek, header, volume_key, token, err);
}

static int open_by_agent(struct invocation *invocation, const struct luks2_header *header,
                         struct wla_secret **ret, struct wla_error *err) {
        _cleanup_exchange_ struct exchange exchange = {0};
        _cleanup_secret_ struct wla_secret *volume_key = NULL;

        if (exchange_begin(&exchange, &header->uuid, &header->image, err) < 0 ||
            wla_secret_new(VOLUME_KEY_SIZE, &volume_key, err) < 0)
                return -1;

        struct control_image_key *content = content_of(exchange.request);
        memcpy(content->nonce, header->image.wrapped.nonce, sizeof(content->nonce));
        memcpy(content->key, header->image.wrapped.bytes, sizeof(content->key));
        if (ask(invocation, CONTROL_IMAGE_UNWRAP, &exchange, err) < 0)
                return -1;

        memcpy(wla_secret_fill(volume_key), content_of(exchange.reply)->key, VOLUME_KEY_SIZE);
        *ret = TAKE_PTR(volume_key);
        return 0;
}

int image_key_open(struct invocation *invocation, const struct image_key_place *place,
                   const struct luks2_header *header, struct wla_secret **ret,
                   struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *kek = NULL;

        if (!place->key_file && !image_key_place_is_kbs(place))
                return open_by_agent(invocation, header, ret, err);
        if (image_key_place_fetch(place, &header->image.key_id, &kek, err) < 0)
                return -1;
        return image_key_unwrap(kek, header, ret, err);
}
