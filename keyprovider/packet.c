/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/packet.h"

#include <assert.h>
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

enum member {
        KID,
        WRAPPED_DATA,
        IV,
        WRAP_TYPE,
        VERSION,
        PROVIDER,
        KEY_URL,
        WRAPPED_KEY,
        CIPHER_TEXT,
        NONCE,
        _MEMBER_MAX,
};

/* The members that are known, of a packet or of Intel's inner object; type JSON_ABSENT without. */
struct members {
        struct json_value values[_MEMBER_MAX];
};

static const char *const names[_MEMBER_MAX] = {
        [KID] = "kid",
        [WRAPPED_DATA] = "wrapped_data",
        [IV] = "iv",
        [WRAP_TYPE] = "wrap_type",
        [VERSION] = "version",
        [PROVIDER] = "provider",
        [KEY_URL] = "key_url",
        [WRAPPED_KEY] = "wrapped_key",
        [CIPHER_TEXT] = "cipher_text",
        [NONCE] = "nonce",
};

static enum member find_name(const struct json_value *name) {
        struct wla_error ignored;
        char text[sizeof("wrapped_data")];
        unsigned member = 0;

        if (json_string_copy(name, text, sizeof(text), &ignored) < 0)
                return _MEMBER_MAX;
        while (member < _MEMBER_MAX && strcmp(text, names[member]) != 0)
                member++;
        return (enum member)member;
}

static int read_members(struct wla_bytes json, struct members *ret, struct wla_error *err) {
        struct json_value root;
        struct json_value name;
        struct json_value value;
        size_t at = 0;

        if (json_check((const char *)json.data, json.size, &root, err) < 0)
                return -1;

        *ret = (struct members){0};
        while (json_next_member(&root, &at, &name, &value)) {
                enum member member = find_name(&name);

                if (member != _MEMBER_MAX)
                        ret->values[member] = value;
        }
        return 0;
}

static bool is_present(const struct members *members, enum member member) {
        return members->values[member].type != JSON_ABSENT;
}

static bool is_text(const struct members *members, enum member member, const char *wanted) {
        const struct json_value *value = &members->values[member];
        struct wla_error ignored;
        char text[16];

        return value->type == JSON_STRING &&
               json_string_copy(value, text, sizeof(text), &ignored) == 0 &&
               strcmp(text, wanted) == 0;
}

static int check_text(const struct members *members, enum member member, struct wla_error *err) {
        if (members->values[member].type == JSON_STRING)
                return 0;
        return wla_fail(err, WLA_E_INPUT, "the annotation's %s is missing or not text",
                        names[member]);
}

static int take_base64(const struct members *members, enum member member, struct buf *to,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(base64_encoded_size(to->limit));

        if (check_text(members, member, err) < 0)
                return -1;
        if (json_string(&members->values[member], &text, err) < 0 ||
            base64_decode((const char *)text.data, text.size, to, err) < 0)
                return wla_wrap(err, "the annotation's %s", names[member]);
        return 0;
}

static int take_iv(const struct members *members, enum member member, struct packet *packet,
                   struct wla_error *err) {
        _cleanup_buf_ struct buf iv = BUF_WITH_LIMIT(2 * sizeof(packet->iv));
        size_t wanted = packet->cipher == PACKET_AES256_CTR ? AES256_CTR_BLOCK : AES256_GCM_NONCE;

        if (take_base64(members, member, &iv, err) < 0)
                return -1;
        if (iv.size != wanted)
                return wla_fail(err, WLA_E_INPUT, "the annotation's %s has %zu bytes, not %zu",
                                names[member], iv.size, wanted);

        memcpy(packet->iv, iv.data, iv.size);
        packet->iv_size = iv.size;
        return 0;
}

static int take_wrapped(const struct members *members, enum member member, struct packet *packet,
                        struct wla_error *err) {
        size_t smallest = packet->cipher == PACKET_AES256_CTR ? 1 : AES256_GCM_TAG + 1;

        if (take_base64(members, member, &packet->wrapped, err) < 0)
                return -1;
        if (packet->wrapped.size < smallest)
                return wla_fail(err, WLA_E_INPUT, "the annotation's %s has %zu bytes: too short",
                                names[member], packet->wrapped.size);
        return 0;
}

static int take_key(const struct members *members, enum member member, struct packet *packet,
                    struct wla_error *err) {
        char text[KEY_ID_TEXT_MAX + 1];

        if (check_text(members, member, err) < 0)
                return -1;
        if (json_string_copy(&members->values[member], text, sizeof(text), err) < 0 ||
            key_id_parse(text, strlen(text), &packet->key, err) < 0)
                return wla_wrap(err, "the annotation's %s", names[member]);
        if (packet->key.scheme == KEY_SCHEME_WLS)
                return wla_fail(err, WLA_E_INPUT,
                                "the annotation's %s names the key of a VM's image", names[member]);
        return 0;
}

static int fail_wrap_type(struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_INPUT, "A256GCM, A256CTR and Intel's AES are known",
                             "the annotation's wrap_type is missing or unknown");
}

static int parse_kid_form(const struct members *members, struct packet *packet,
                          struct wla_error *err) {
        if (is_present(members, PROVIDER) && !is_text(members, PROVIDER, "kbs"))
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_foreign,
                                     "the annotation is for a key management service that is not "
                                     "supported; its provider is not \"kbs\"");
        if (is_present(members, VERSION) && !is_text(members, VERSION, "0.1.0"))
                return wla_fail(err, WLA_E_INPUT, "the annotation's version is not 0.1.0");

        if (is_text(members, WRAP_TYPE, "A256GCM"))
                packet->cipher = PACKET_AES256_GCM;
        else if (is_text(members, WRAP_TYPE, "A256CTR"))
                packet->cipher = PACKET_AES256_CTR;
        else
                return fail_wrap_type(err);

        if (take_key(members, KID, packet, err) < 0 || take_iv(members, IV, packet, err) < 0)
                return -1;
        return take_wrapped(members, WRAPPED_DATA, packet, err);
}

static int parse_key_url_form(const struct members *members, struct packet *packet,
                              struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(2 * WRAPPED_MAX);
        struct members inner;

        if (!is_text(members, WRAP_TYPE, "AES"))
                return fail_wrap_type(err);

        packet->cipher = PACKET_AES256_GCM;
        if (take_key(members, KEY_URL, packet, err) < 0 ||
            take_base64(members, WRAPPED_KEY, &json, err) < 0)
                return -1;

        if (read_members((struct wla_bytes){json.data, json.size}, &inner, err) < 0)
                return wla_wrap(err, "the annotation's wrapped_key");
        if (take_iv(&inner, NONCE, packet, err) < 0)
                return -1;
        return take_wrapped(&inner, CIPHER_TEXT, packet, err);
}

static int parse_either_form(const struct members *members, struct packet *packet,
                             struct wla_error *err) {
        bool kid_form = is_present(members, KID) || is_present(members, WRAPPED_DATA) ||
                        is_present(members, IV);
        bool key_url_form = is_present(members, KEY_URL) || is_present(members, WRAPPED_KEY);

        if (kid_form && key_url_form)
                return wla_fail(err, WLA_E_INPUT, "the annotation mixes two packet formats");
        if (kid_form)
                return parse_kid_form(members, packet, err);
        if (key_url_form)
                return parse_key_url_form(members, packet, err);
        return wla_fail_hint(err, WLA_E_INPUT, hint_foreign,
                             "the annotation has neither kid nor key_url");
}

int packet_parse(struct wla_bytes json, struct packet *ret, struct wla_error *err) {
        _cleanup_packet_ struct packet packet = {.wrapped.limit = WRAPPED_MAX};
        struct members members;

        if (read_members(json, &members, err) < 0)
                return wla_wrap(err, "the annotation is not proper JSON");
        if (parse_either_form(&members, &packet, err) < 0)
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

int packet_write_isecl(const struct packet *packet, struct buf *json, struct wla_error *err) {
        _cleanup_buf_ struct buf inner = BUF_WITH_LIMIT(2 * WRAPPED_MAX);

        assert(packet->cipher == PACKET_AES256_GCM);
        if (buf_append_text(&inner, "{\"cipher_text\":\"", err) < 0 ||
            base64_append(&inner, packet->wrapped.data, packet->wrapped.size, err) < 0 ||
            buf_append_text(&inner, "\",\"nonce\":\"", err) < 0 ||
            base64_append(&inner, packet->iv, packet->iv_size, err) < 0 ||
            buf_append_text(&inner, "\"}", err) < 0)
                return -1;

        if (buf_append_text(json, "{\"key_url\":", err) < 0 ||
            json_write_string(json, packet->key.text, strlen(packet->key.text), err) < 0 ||
            buf_append_text(json, ",\"wrapped_key\":\"", err) < 0 ||
            base64_append(json, inner.data, inner.size, err) < 0)
                return -1;
        return buf_append_text(json, "\",\"wrap_type\":\"AES\"}", err);
}
