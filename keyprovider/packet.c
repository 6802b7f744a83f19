/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/packet.h"

#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "keyprovider/provider_request.h"

#define WRAPPED_MAX (PROVIDER_OPTIONS_MAX + AES256_GCM_TAG)

static const char hint_foreign[] =
        "the image was encrypted for another key provider; encrypt it again for this one";

void packet_clear(struct packet *packet) {
        buf_clear(&packet->wrapped);
}

static int take_base64(const struct json_value *object, const char *name, struct buf *to,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(base64_encoded_size(to->limit));
        struct json_value value = json_member(object, name);

        if (value.type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "the annotation's %s is missing or not text",
                                name);
        if (json_string(&value, &text, err) < 0 ||
            base64_decode((const char *)text.data, text.size, to, err) < 0)
                return wla_wrap(err, "the annotation's %s", name);
        return 0;
}

static int take_iv(const struct json_value *object, const char *name, struct packet *packet,
                   struct wla_error *err) {
        _cleanup_buf_ struct buf iv = BUF_WITH_LIMIT(2 * sizeof(packet->iv));
        size_t wanted = packet->cipher == PACKET_AES256_CTR ? AES256_CTR_BLOCK : AES256_GCM_NONCE;

        if (take_base64(object, name, &iv, err) < 0)
                return -1;
        if (iv.size != wanted)
                return wla_fail(err, WLA_E_INPUT, "the annotation's %s has %zu bytes, not %zu",
                                name, iv.size, wanted);

        memcpy(packet->iv, iv.data, iv.size);
        packet->iv_size = iv.size;
        return 0;
}

static int take_wrapped(const struct json_value *object, const char *name, struct packet *packet,
                        struct wla_error *err) {
        size_t smallest = packet->cipher == PACKET_AES256_CTR ? 1 : AES256_GCM_TAG + 1;

        if (take_base64(object, name, &packet->wrapped, err) < 0)
                return -1;
        if (packet->wrapped.size < smallest)
                return wla_fail(err, WLA_E_INPUT, "the annotation's %s has %zu bytes: too short",
                                name, packet->wrapped.size);
        return 0;
}

static int take_key(const struct json_value *root, const char *name, struct packet *packet,
                    struct wla_error *err) {
        struct json_value value = json_member(root, name);
        char text[KEY_ID_TEXT_MAX + 1];

        if (value.type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "the annotation's %s is missing or not text",
                                name);
        if (json_string_copy(&value, text, sizeof(text), err) < 0 ||
            key_id_parse(text, strlen(text), &packet->key, err) < 0)
                return wla_wrap(err, "the annotation's %s", name);
        return 0;
}

static bool member_is(const struct json_value *root, const char *name, const char *wanted) {
        struct json_value value = json_member(root, name);
        struct wla_error ignored;
        char text[32];

        return value.type == JSON_STRING &&
               json_string_copy(&value, text, sizeof(text), &ignored) == 0 &&
               strcmp(text, wanted) == 0;
}

static bool member_present(const struct json_value *root, const char *name) {
        return json_member(root, name).type != JSON_ABSENT;
}

static int fail_wrap_type(struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_INPUT, "A256GCM, A256CTR and Intel's AES are known",
                             "the annotation's wrap_type is missing or unknown");
}

static int parse_kid_form(const struct json_value *root, struct packet *packet,
                          struct wla_error *err) {
        if (member_present(root, "provider") && !member_is(root, "provider", "kbs"))
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_foreign,
                                     "the annotation is for a key management service that is not "
                                     "supported; its provider is not \"kbs\"");
        if (member_present(root, "version") && !member_is(root, "version", "0.1.0"))
                return wla_fail(err, WLA_E_INPUT, "the annotation's version is not 0.1.0");

        if (member_is(root, "wrap_type", "A256GCM"))
                packet->cipher = PACKET_AES256_GCM;
        else if (member_is(root, "wrap_type", "A256CTR"))
                packet->cipher = PACKET_AES256_CTR;
        else
                return fail_wrap_type(err);

        if (take_key(root, "kid", packet, err) < 0 || take_iv(root, "iv", packet, err) < 0)
                return -1;
        return take_wrapped(root, "wrapped_data", packet, err);
}

static int parse_key_url_form(const struct json_value *root, struct packet *packet,
                              struct wla_error *err) {
        _cleanup_buf_ struct buf inner = BUF_WITH_LIMIT(2 * WRAPPED_MAX);
        struct json_value inner_root;

        if (!member_is(root, "wrap_type", "AES"))
                return fail_wrap_type(err);

        packet->cipher = PACKET_AES256_GCM;
        if (take_key(root, "key_url", packet, err) < 0 ||
            take_base64(root, "wrapped_key", &inner, err) < 0)
                return -1;

        if (json_check((const char *)inner.data, inner.size, &inner_root, err) < 0)
                return wla_wrap(err, "the annotation's wrapped_key");
        if (take_iv(&inner_root, "nonce", packet, err) < 0)
                return -1;
        return take_wrapped(&inner_root, "cipher_text", packet, err);
}

static int parse_either_form(const struct json_value *root, struct packet *packet,
                             struct wla_error *err) {
        bool kid_form = member_present(root, "kid") || member_present(root, "wrapped_data") ||
                        member_present(root, "iv");
        bool key_url_form = member_present(root, "key_url") || member_present(root, "wrapped_key");

        if (kid_form && key_url_form)
                return wla_fail(err, WLA_E_INPUT, "the annotation mixes two packet formats");
        if (kid_form)
                return parse_kid_form(root, packet, err);
        if (key_url_form)
                return parse_key_url_form(root, packet, err);
        return wla_fail_hint(err, WLA_E_INPUT, hint_foreign,
                             "the annotation has neither kid nor key_url");
}

int packet_parse(struct wla_bytes json, struct packet *ret, struct wla_error *err) {
        _cleanup_packet_ struct packet packet = {.wrapped.limit = WRAPPED_MAX};
        struct json_value root;

        if (json_check((const char *)json.data, json.size, &root, err) < 0)
                return wla_wrap(err, "the annotation is not proper JSON");
        if (parse_either_form(&root, &packet, err) < 0)
                return -1;

        *ret = packet;
        packet = (struct packet){0};
        return 0;
}

int packet_write(const struct packet *packet, struct buf *json, struct wla_error *err) {
        const char *wrap_type = packet->cipher == PACKET_AES256_GCM ? "A256GCM" : "A256CTR";

        if (buf_append_text(json, "{\"kid\":", err) < 0 ||
            json_write_string(json, packet->key.text, strlen(packet->key.text), err) < 0 ||
            buf_append_text(json, ",\"wrapped_data\":\"", err) < 0 ||
            base64_append(json, packet->wrapped.data, packet->wrapped.size, err) < 0 ||
            buf_append_text(json, "\",\"iv\":\"", err) < 0 ||
            base64_append(json, packet->iv, packet->iv_size, err) < 0 ||
            buf_printf(json, err, "\",\"wrap_type\":\"%s\"}", wrap_type) < 0)
                return -1;
        return 0;
}
