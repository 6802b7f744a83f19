/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_object.h"

#include <string.h>

#include "base/base64.h"

/* Of a name that somebody else chose, in an error text. */
#define QUOTED_NAME_MAX 40

#define BASE64_BYTES_MAX 65536u

bool json_string_is(const struct json_value *value, const char *text) {
        size_t length = strlen(text);

        return value->type == JSON_STRING && value->size == length + 2 &&
               memcmp(value->text + 1, text, length) == 0;
}

static const struct json_field *find_field(const struct json_value *name,
                                           const struct json_field *fields, size_t count) {
        for (size_t i = 0; i < count; i++)
                if (json_string_is(name, fields[i].name))
                        return &fields[i];
        return NULL;
}

int json_read_object(const struct json_value *object, const struct json_field *fields, size_t count,
                     struct wla_error *err) {
        struct json_value name;
        struct json_value value;
        size_t at = 0;

        if (object->type != JSON_OBJECT)
                return wla_fail(err, WLA_E_INPUT, "JSON: an object is expected");

        for (size_t i = 0; i < count; i++)
                *fields[i].to = (struct json_value){.type = JSON_ABSENT};

        while (json_next_member(object, &at, &name, &value)) {
                const struct json_field *field = find_field(&name, fields, count);

                if (!field) {
                        int length = name.size < QUOTED_NAME_MAX ? (int)name.size : QUOTED_NAME_MAX;
                        return wla_fail(err, WLA_E_INPUT, "unknown member %.*s", length, name.text);
                }
                if (value.type != field->type)
                        return wla_fail(err, WLA_E_INPUT, "member \"%s\" has the wrong type",
                                        field->name);
                *field->to = value;
        }

        for (size_t i = 0; i < count; i++)
                if (fields[i].to->type == JSON_ABSENT && !fields[i].optional)
                        return wla_fail(err, WLA_E_INPUT, "member \"%s\" is missing",
                                        fields[i].name);
        return 0;
}

size_t json_count_members(const struct json_value *object) {
        struct json_value name;
        struct json_value value;
        size_t count = 0;
        size_t at = 0;

        while (json_next_member(object, &at, &name, &value))
                count++;
        return count;
}

int json_decimal_string(const struct json_value *value, uint64_t max, uint64_t *ret,
                        struct wla_error *err) {
        if (value->type != JSON_STRING || value->size < 3)
                return wla_fail(err, WLA_E_INPUT, "JSON: a number in quotes is expected");

        const struct json_value digits = {
                .type = JSON_NUMBER,
                .text = value->text + 1,
                .size = value->size - 2,
        };
        if (digits.size > 1 && digits.text[0] == '0')
                return wla_fail(err, WLA_E_INPUT, "JSON: a number starts with a zero");
        return json_unsigned(&digits, max, ret, err);
}

int json_base64(const struct json_value *value, uint8_t *to, size_t size, struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(BASE64_BYTES_MAX);

        if (value->type != JSON_STRING || value->size != base64_encoded_size(size) + 2)
                return wla_fail(err, WLA_E_INPUT, "JSON: base64 of %zu bytes is expected", size);
        if (base64_decode(value->text + 1, value->size - 2, &bytes, err) < 0)
                return -1;
        if (bytes.size != size)
                return wla_fail(err, WLA_E_INPUT, "JSON: base64 of %zu bytes is expected", size);

        memcpy(to, bytes.data, size);
        return 0;
}
