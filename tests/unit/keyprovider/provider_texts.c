/* SPDX-License-Identifier: Apache-2.0 */
#include "provider_texts.h"

#include <check.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "keyprovider/grpc_message.h"
#include "vectors.h"

void provider_text_base64(struct buf *text, const void *data, size_t size) {
        struct wla_error err = {0};

        ck_assert_int_eq(base64_append(text, data, size, &err), 0);
}

static void append(struct buf *to, const char *text) {
        struct wla_error err = {0};

        ck_assert_msg(buf_append_text(to, text, &err) == 0, "%s", wla_error_text(&err));
}

void provider_text_unwrap(struct buf *json, const char *packet) {
        append(json, "{\"op\":\"keyunwrap\",\"keywrapparams\":{\"ec\":null,\"optsdata\":null},"
                     "\"keyunwrapparams\":{\"dc\":{\"Parameters\":{\"wlagent\":[\"Zm9v\"]}},"
                     "\"annotation\":\"");
        provider_text_base64(json, packet, strlen(packet));
        append(json, "\"}}");
}

void provider_text_wrap(struct buf *json, const char *parameters, const char *options) {
        append(json, "{\"op\":\"keywrap\",\"keywrapparams\":{\"ec\":{\"Parameters\":{");
        append(json, parameters);
        append(json, "},\"DecryptConfig\":{\"Parameters\":{}}},\"optsdata\":\"");
        provider_text_base64(json, options, strlen(options));
        append(json, "\"},\"keyunwrapparams\":{\"dc\":null,\"annotation\":null}}");
}

void provider_text_message(struct buf *message, const struct buf *json) {
        uint8_t field[8] = {0x0a};
        size_t field_size = 1;
        uint8_t prefix[GRPC_PREFIX_SIZE];
        struct wla_error err = {0};

        for (size_t rest = json->size; rest > 0 || field_size == 1; rest >>= 7)
                field[field_size++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
        grpc_prefix_write((uint32_t)(field_size + json->size), prefix);
        ck_assert_int_eq(buf_append(message, prefix, sizeof(prefix), &err), 0);
        ck_assert_int_eq(buf_append(message, field, field_size, &err), 0);
        ck_assert_int_eq(buf_append(message, json->data, json->size, &err), 0);
}

static void take_off_frame(const uint8_t **reply, size_t *size) {
        ck_assert_uint_ge(*size, GRPC_PREFIX_SIZE);
        struct grpc_prefix prefix = grpc_prefix_read(*reply);
        size_t at = GRPC_PREFIX_SIZE + 1;
        size_t length = 0;
        unsigned shift = 0;

        ck_assert(!prefix.compressed);
        ck_assert_uint_eq(prefix.size, *size - GRPC_PREFIX_SIZE);
        ck_assert_uint_eq((*reply)[GRPC_PREFIX_SIZE], 0x0a);
        do {
                ck_assert_uint_lt(at, *size);
                length |= (size_t)((*reply)[at] & 0x7f) << shift;
                shift += 7;
        } while ((*reply)[at++] & 0x80);
        ck_assert_uint_eq(length, *size - at);
        *reply += at;
        *size = length;
}

void provider_text_result(const uint8_t *reply, size_t size, bool framed, const char *results,
                          const char *member, struct buf *bytes) {
        struct json_value root;
        struct wla_error err = {0};

        if (framed)
                take_off_frame(&reply, &size);
        ck_assert_msg(json_check((const char *)reply, size, &root, &err) == 0, "%s",
                      wla_error_text(&err));

        struct json_value object = json_member(&root, results);
        struct json_value array = json_member(&object, member);
        ck_assert_int_eq(array.type, JSON_ARRAY);
        ck_assert_int_eq(json_byte_array(&array, bytes, &err), 0);
}

void provider_text_intel(struct buf *packet) {
        append(packet, "{\"key_url\":\"" VECTOR_INTEL_KEY_URL "\",\"wrapped_key\":\"");
        provider_text_base64(packet, VECTOR_INTEL_INNER, strlen(VECTOR_INTEL_INNER));
        append(packet, "\",\"wrap_type\":\"AES\"}");
}
