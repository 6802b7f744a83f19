/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/json_walk.h"

int json_string(const struct json_value *value, struct buf *to, struct wla_error *err) {
        if (value->type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "JSON: a string is expected");

        struct json_walk walk = json_string_body(value);
        while (walk.at < walk.size) {
                /* Long runs without escapes are the rule: base64. */
                const char *from = walk.text + walk.at;
                const char *escape = memchr(from, '\\', walk.size - walk.at);
                size_t run = escape ? (size_t)(escape - from) : walk.size - walk.at;

                if (buf_append(to, from, run, err) < 0)
                        return -1;
                walk.at += run;
                if (!escape)
                        return 0;

                char bytes[4];
                size_t size = json_next_decoded(&walk, bytes);
                if (buf_append(to, bytes, size, err) < 0)
                        return -1;
        }
        return 0;
}

int json_string_copy(const struct json_value *value, char *to, size_t size, struct wla_error *err) {
        if (value->type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "JSON: a string is expected");

        struct json_walk walk = json_string_body(value);
        size_t used = 0;
        while (walk.at < walk.size) {
                char bytes[4];
                size_t length = json_next_decoded(&walk, bytes);

                for (size_t i = 0; i < length; i++) {
                        if ((unsigned char)bytes[i] < ' ' || bytes[i] == 0x7f)
                                return wla_fail(err, WLA_E_INPUT,
                                                "JSON: a control character in a string");
                        if (used + 1 >= size)
                                return wla_fail(err, WLA_E_INPUT,
                                                "JSON: a string is longer than %zu bytes",
                                                size - 1);
                        to[used++] = bytes[i];
                }
        }
        to[used] = '\0';
        return 0;
}

int json_unsigned(const struct json_value *value, uint64_t max, uint64_t *ret,
                  struct wla_error *err) {
        uint64_t number = 0;

        if (value->type != JSON_NUMBER)
                return wla_fail(err, WLA_E_INPUT, "JSON: a number is expected");

        for (size_t i = 0; i < value->size; i++) {
                unsigned digit = (unsigned char)value->text[i] - (unsigned)'0';

                if (digit > 9)
                        return wla_fail(err, WLA_E_INPUT, "JSON: a whole number is expected");
                if (__builtin_mul_overflow(number, 10, &number) ||
                    __builtin_add_overflow(number, digit, &number) || number > max)
                        return wla_fail(err, WLA_E_INPUT, "JSON: a number is above %ju",
                                        (uintmax_t)max);
        }
        *ret = number;
        return 0;
}

int json_byte_array(const struct json_value *array, struct buf *to, struct wla_error *err) {
        struct json_value element;
        size_t at = 0;

        if (array->type != JSON_ARRAY)
                return wla_fail(err, WLA_E_INPUT, "JSON: an array of bytes is expected");

        while (json_next_element(array, &at, &element)) {
                uint64_t value;

                if (json_unsigned(&element, 255, &value, err) < 0)
                        return -1;

                uint8_t byte = (uint8_t)value;
                if (buf_append(to, &byte, 1, err) < 0)
                        return -1;
        }
        return 0;
}

int json_write_string(struct buf *to, const char *text, size_t size, struct wla_error *err) {
        if (buf_append(to, "\"", 1, err) < 0)
                return -1;

        for (size_t at = 0; at < size;) {
                unsigned char character = (unsigned char)text[at];
                size_t length = json_utf8_sequence((const unsigned char *)text + at, size - at);
                char escape[8];

                if (length == 0)
                        (void)snprintf(escape, sizeof(escape), "\\ufffd");
                else if (character == '"' || character == '\\')
                        (void)snprintf(escape, sizeof(escape), "\\%c", character);
                else if (character < ' ' || character == 0x7f)
                        (void)snprintf(escape, sizeof(escape), "\\u%04x", character);
                else
                        escape[0] = '\0';

                int outcome = escape[0] ? buf_append_text(to, escape, err)
                                        : buf_append(to, text + at, length, err);
                if (outcome < 0)
                        return -1;
                at += length > 0 ? length : 1;
        }
        return buf_append(to, "\"", 1, err);
}
