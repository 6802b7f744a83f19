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

/* Ready but for nonce and key. */
static struct control_image_key *new_request(struct buf *to, const struct uuid *header,
                                             const struct image_token *token,
                                             struct wla_error *err) {
        _cleanup_buf_ struct buf identity = BUF_WITH_LIMIT(CONTROL_IMAGE_IDENTITY_SIZE);
        struct control_image_key *request;

        if (image_identity_write(header, token, &identity, err) < 0)
                return NULL;
        request = (struct control_image_key *)(void *)buf_extend(to, sizeof(*request), err);
        if (!request)
                return NULL;

        *request = (struct control_image_key){.identity_size = (uint16_t)identity.size};
        memcpy(request->key_id, token->key_id.text, strlen(token->key_id.text));
        memcpy(request->identity, identity.data, identity.size);
        return request;
}

static int ask(struct invocation *invocation, enum control_command command,
               const struct buf *request, struct buf *reply, struct wla_error *err) {
        const struct config *config;

        if (invocation_config(invocation, &config, err) < 0)
                return -1;

        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = command,
                .request = request,
                .timeout_usec = config->keyprovider.call_timeout_usec + CONTROL_CALL_USEC,
        };
        if (control_call(&call, reply, err) < 0) {
                if (err->code == WLA_E_UNAVAILABLE)
                        err->hint = "start it with 'systemctl start wlagentd', or give the key "
                                    "itself with --key-file";
                return -1;
        }
        if (reply->size != sizeof(struct control_image_key))
                return wla_fail(err, WLA_E_INPUT, "wlagentd and wlagent are of different versions");
        return 0;
}

static int seal_by_agent(struct invocation *invocation, const struct uuid *header,
                         const struct wla_secret *volume_key, struct image_token *token,
                         struct wla_error *err) {
        _cleanup_buf_ struct buf request = BUF_WITH_LIMIT(sizeof(struct control_image_key));
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(sizeof(struct control_image_key));
        struct control_image_key *content = new_request(&request, header, token, err);

        if (!content)
                return -1;
        memcpy(content->key, wla_secret_view(volume_key).data, VOLUME_KEY_SIZE);
        if (ask(invocation, CONTROL_IMAGE_WRAP, &request, &reply, err) < 0)
                return -1;

        const struct control_image_key *answer = (const void *)reply.data;
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
        if (input_read_secret(key_file, AES256_KEY_SIZE, &kek, err) < 0)
                return -1;
        return image_key_wrap(kek, header, volume_key, token, err);
}

static int open_by_agent(struct invocation *invocation, const struct luks2_header *header,
                         struct wla_secret **ret, struct wla_error *err) {
        _cleanup_buf_ struct buf request = BUF_WITH_LIMIT(sizeof(struct control_image_key));
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(sizeof(struct control_image_key));
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        struct control_image_key *content = new_request(&request, &header->uuid, &header->image,
                                                        err);

        if (!content || wla_secret_new(VOLUME_KEY_SIZE, &volume_key, err) < 0)
                return -1;
        memcpy(content->nonce, header->image.wrapped.nonce, sizeof(content->nonce));
        memcpy(content->key, header->image.wrapped.bytes, sizeof(content->key));
        if (ask(invocation, CONTROL_IMAGE_UNWRAP, &request, &reply, err) < 0)
                return -1;

        const struct control_image_key *answer = (const void *)reply.data;
        memcpy(wla_secret_fill(volume_key), answer->key, VOLUME_KEY_SIZE);
        *ret = TAKE_PTR(volume_key);
        return 0;
}

int image_key_open(struct invocation *invocation, const char *key_file,
                   const struct luks2_header *header, struct wla_secret **ret,
                   struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *kek = NULL;

        if (!key_file)
                return open_by_agent(invocation, header, ret, err);
        if (input_read_secret(key_file, AES256_KEY_SIZE, &kek, err) < 0)
                return -1;
        return image_key_unwrap(kek, header, ret, err);
}
