/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/provider_reply.h"

#include <assert.h>
#include <string.h>

/* Field 1, length-delimited (protobuf encoding). */
#define FIELD_TAG 0x0a

static const char reply_end[] = "]}}";

static const char *reply_start(enum provider_operation operation) {
        return operation == PROVIDER_WRAP ? "{\"keywrapresults\":{\"annotation\":["
                                          : "{\"keyunwrapresults\":{\"optsdata\":[";
}

static size_t array_size(struct wla_bytes data) {
        size_t size = data.size > 0 ? data.size - 1 : 0;

        for (size_t i = 0; i < data.size; i++)
                size += 1u + (data.data[i] >= 10) + (data.data[i] >= 100);
        return size;
}

static size_t varint_size(size_t value) {
        size_t size = 1;

        for (; value >= 0x80; value >>= 7)
                size++;
        return size;
}

static uint8_t *put_varint(uint8_t *to, size_t value) {
        for (; value >= 0x80; value >>= 7)
                *to++ = (uint8_t)(value | 0x80);
        *to++ = (uint8_t)value;
        return to;
}

static uint8_t *put_text(uint8_t *to, const char *text) {
        size_t size = strlen(text);

        memcpy(to, text, size);
        return to + size;
}

static uint8_t *put_array(uint8_t *to, struct wla_bytes data) {
        for (size_t i = 0; i < data.size; i++) {
                uint8_t byte = data.data[i];

                if (i > 0)
                        *to++ = ',';
                if (byte >= 100)
                        *to++ = (uint8_t)('0' + byte / 100);
                if (byte >= 10)
                        *to++ = (uint8_t)('0' + byte / 10 % 10);
                *to++ = (uint8_t)('0' + byte % 10);
        }
        return to;
}

int provider_reply_new(enum provider_operation operation, enum provider_framing framing,
                       struct wla_bytes data, struct wla_secret **ret, struct wla_error *err) {
        const char *start = reply_start(operation);
        size_t json_size = strlen(start) + array_size(data) + strlen(reply_end);
        size_t frame_size = framing == PROVIDER_PROTOBUF ? 1 + varint_size(json_size) : 0;
        struct wla_secret *reply;

        if (wla_secret_new(frame_size + json_size, &reply, err) < 0)
                return -1;

        uint8_t *to = wla_secret_fill(reply);
        if (framing == PROVIDER_PROTOBUF) {
                *to++ = FIELD_TAG;
                to = put_varint(to, json_size);
        }
        to = put_text(to, start);
        to = put_array(to, data);
        to = put_text(to, reply_end);
        assert(to == wla_secret_fill(reply) + frame_size + json_size);

        *ret = reply;
        return 0;
}
