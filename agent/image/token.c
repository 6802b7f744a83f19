/* SPDX-License-Identifier: Apache-2.0 */
#include "image/token.h"

#include <string.h>

#include "base/base64.h"
#include "base/json_object.h"

/* Disks are below 2^63 bytes: off_t. */
#define SIZE_LIMIT ((uint64_t)INT64_MAX)

static const char *const content_names[_IMAGE_CONTENT_MAX] = {
        [IMAGE_CONTENT_RAW] = "raw",
        [IMAGE_CONTENT_QCOW2] = "qcow2",
};

const char *image_content_name(enum image_content content) {
        return content_names[content];
}

bool disk_target_valid(const char *target, size_t size) {
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789-_";

        if (size == 0 || size >= DISK_TARGET_SIZE)
                return false;

        for (size_t i = 0; i < size; i++)
                if (!memchr(allowed, target[i], sizeof(allowed) - 1))
                        return false;
        return target[0] != '-';
}

/* What both tokens have. */
struct common_fields {
        struct json_value type;
        struct json_value keyslots;
        struct json_value version;
        struct json_value nonce;
        struct json_value wrapped_key;
};

static int read_common(const struct common_fields *common, const char *type,
                       struct wrapped_volume_key *ret, struct wla_error *err) {
        struct json_value element;
        uint64_t version;
        size_t at = 0;

        if (!json_string_is(&common->type, type))
                return wla_fail(err, WLA_E_INPUT, "the token is not of type %s", type);
        if (json_next_element(&common->keyslots, &at, &element))
                return wla_fail(err, WLA_E_INPUT, "the token belongs to a keyslot");
        if (json_unsigned(&common->version, UINT32_MAX, &version, err) < 0)
                return wla_wrap(err, "member \"version\"");
        if (version != IMAGE_TOKEN_VERSION)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, "install a newer wlagent",
                                     "the token has version %ju, not %u", (uintmax_t)version,
                                     IMAGE_TOKEN_VERSION);

        if (json_base64(&common->nonce, ret->nonce, sizeof(ret->nonce), err) < 0)
                return wla_wrap(err, "member \"nonce\"");
        if (json_base64(&common->wrapped_key, ret->bytes, sizeof(ret->bytes), err) < 0)
                return wla_wrap(err, "member \"wrapped_key\"");
        return 0;
}

static int read_key_id(const struct json_value *value, struct key_id *ret, struct wla_error *err) {
        char text[KEY_ID_TEXT_MAX + 1];

        if (json_string_copy(value, text, sizeof(text), err) < 0 ||
            key_id_parse(text, strlen(text), ret, err) < 0)
                return wla_wrap(err, "member \"key_id\"");
        if (strcmp(ret->text, text) != 0)
                return wla_fail(err, WLA_E_INPUT, "member \"key_id\" is not in canonical form");
        return 0;
}

static int read_content(const struct json_value *value, enum image_content *ret,
                        struct wla_error *err) {
        for (int i = 0; i < _IMAGE_CONTENT_MAX; i++)
                if (json_string_is(value, content_names[i])) {
                        *ret = (enum image_content)i;
                        return 0;
                }
        return wla_fail(err, WLA_E_INPUT, "member \"content\" is neither raw nor qcow2");
}

static int read_size(const struct json_value *value, const char *name, uint64_t unit, uint64_t *ret,
                     struct wla_error *err) {
        if (json_decimal_string(value, SIZE_LIMIT, ret, err) < 0)
                return wla_wrap(err, "member \"%s\"", name);
        if (*ret == 0 || *ret % unit != 0)
                return wla_fail(err, WLA_E_INPUT, "member \"%s\" is no multiple of %ju", name,
                                (uintmax_t)unit);
        return 0;
}

static int read_seal(const struct json_value *value, struct image_token *token,
                     struct wla_error *err) {
        token->sealed = value->type != JSON_ABSENT;
        if (token->sealed && json_base64(value, token->seal, sizeof(token->seal), err) < 0)
                return wla_wrap(err, "member \"seal\"");
        return 0;
}

/* A raw disk that is no multiple of the sector is padded with zeros, and with nothing else. */
static int check_sizes(const struct image_token *token, struct wla_error *err) {
        if (token->content == IMAGE_CONTENT_RAW &&
            (token->virtual_size > token->size ||
             token->size - token->virtual_size >= IMAGE_SECTOR_SIZE))
                return wla_fail(err, WLA_E_INPUT, "size and virtual_size contradict each other");
        return 0;
}

int image_token_read(const struct json_value *object, struct image_token *ret,
                     struct wla_error *err) {
        struct common_fields common;
        struct json_value key_id;
        struct json_value content;
        struct json_value size;
        struct json_value virtual_size;
        struct json_value probe;
        struct json_value seal;
        const struct json_field fields[] = {
                {"type", &common.type, JSON_STRING, false},
                {"keyslots", &common.keyslots, JSON_ARRAY, false},
                {"version", &common.version, JSON_NUMBER, false},
                {"key_id", &key_id, JSON_STRING, false},
                {"nonce", &common.nonce, JSON_STRING, false},
                {"wrapped_key", &common.wrapped_key, JSON_STRING, false},
                {"content", &content, JSON_STRING, false},
                {"size", &size, JSON_STRING, false},
                {"virtual_size", &virtual_size, JSON_STRING, false},
                {"probe", &probe, JSON_STRING, false},
                {"seal", &seal, JSON_STRING, true},
        };
        struct image_token token = {0};

        if (json_read_object(object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            read_common(&common, IMAGE_TOKEN_TYPE, &token.wrapped, err) < 0 ||
            read_key_id(&key_id, &token.key_id, err) < 0 ||
            read_content(&content, &token.content, err) < 0 ||
            read_size(&size, "size", IMAGE_SECTOR_SIZE, &token.size, err) < 0 ||
            read_size(&virtual_size, "virtual_size", DISK_SECTOR_SIZE, &token.virtual_size, err) <
                    0)
                return -1;
        if (json_base64(&probe, token.probe, sizeof(token.probe), err) < 0)
                return wla_wrap(err, "member \"probe\"");
        if (read_seal(&seal, &token, err) < 0 || check_sizes(&token, err) < 0)
                return -1;

        *ret = token;
        return 0;
}

static int read_uuid(const struct json_value *value, const char *name, struct uuid *ret,
                     struct wla_error *err) {
        if (uuid_parse(value->text + 1, value->size - 2, ret, err) < 0)
                return wla_wrap(err, "member \"%s\"", name);
        if (!json_string_is(value, ret->text))
                return wla_fail(err, WLA_E_INPUT, "member \"%s\" is not in canonical form", name);
        return 0;
}

int layer_token_read(const struct json_value *object, struct layer_token *ret,
                     struct wla_error *err) {
        struct common_fields common;
        struct json_value vm;
        struct json_value target;
        struct json_value image;
        const struct json_field fields[] = {
                {"type", &common.type, JSON_STRING, false},
                {"keyslots", &common.keyslots, JSON_ARRAY, false},
                {"version", &common.version, JSON_NUMBER, false},
                {"vm", &vm, JSON_STRING, false},
                {"target", &target, JSON_STRING, false},
                {"image", &image, JSON_STRING, false},
                {"nonce", &common.nonce, JSON_STRING, false},
                {"wrapped_key", &common.wrapped_key, JSON_STRING, false},
        };
        struct layer_token token = {0};

        if (json_read_object(object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            read_common(&common, LAYER_TOKEN_TYPE, &token.wrapped, err) < 0 ||
            read_uuid(&vm, "vm", &token.vm, err) < 0 ||
            read_uuid(&image, "image", &token.image, err) < 0)
                return -1;
        if (!disk_target_valid(target.text + 1, target.size - 2))
                return wla_fail(err, WLA_E_INPUT, "member \"target\" is no name of a disk");

        memcpy(token.target, target.text + 1, target.size - 2);
        *ret = token;
        return 0;
}

static int append_bytes(struct buf *json, const char *name, const uint8_t *bytes, size_t size,
                        struct wla_error *err) {
        if (buf_printf(json, err, ",\"%s\":\"", name) < 0 ||
            base64_append(json, bytes, size, err) < 0)
                return -1;
        return buf_append_text(json, "\"", err);
}

static int append_wrapped(struct buf *json, const struct wrapped_volume_key *wrapped,
                          struct wla_error *err) {
        if (append_bytes(json, "nonce", wrapped->nonce, sizeof(wrapped->nonce), err) < 0)
                return -1;
        return append_bytes(json, "wrapped_key", wrapped->bytes, sizeof(wrapped->bytes), err);
}

int image_token_write(const struct image_token *token, struct buf *json, struct wla_error *err) {
        if (buf_printf(json, err,
                       "{\"type\":\"" IMAGE_TOKEN_TYPE "\",\"keyslots\":[],\"version\":%u,"
                       "\"key_id\":",
                       IMAGE_TOKEN_VERSION) < 0 ||
            json_write_string(json, token->key_id.text, strlen(token->key_id.text), err) < 0 ||
            append_wrapped(json, &token->wrapped, err) < 0 ||
            buf_printf(json, err, ",\"content\":\"%s\",\"size\":\"%ju\",\"virtual_size\":\"%ju\"",
                       image_content_name(token->content), (uintmax_t)token->size,
                       (uintmax_t)token->virtual_size) < 0 ||
            append_bytes(json, "probe", token->probe, sizeof(token->probe), err) < 0)
                return -1;
        if (token->sealed && append_bytes(json, "seal", token->seal, sizeof(token->seal), err) < 0)
                return -1;
        return buf_append_text(json, "}", err);
}

int layer_token_write(const struct layer_token *token, struct buf *json, struct wla_error *err) {
        if (buf_printf(json, err,
                       "{\"type\":\"" LAYER_TOKEN_TYPE "\",\"keyslots\":[],\"version\":%u,"
                       "\"vm\":\"%s\",\"target\":\"%s\",\"image\":\"%s\"",
                       IMAGE_TOKEN_VERSION, token->vm.text, token->target, token->image.text) < 0 ||
            append_wrapped(json, &token->wrapped, err) < 0)
                return -1;
        return buf_append_text(json, "}", err);
}
