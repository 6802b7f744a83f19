/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Objects of which every member is known: for formats where what nobody reads must not be there.
 *
 *   struct json_value type, size;
 *   const struct json_field fields[] = {
 *           {"type", &type, JSON_STRING, false},
 *           {"size", &size, JSON_STRING, false},
 *   };
 *   if (json_read_object(&object, fields, 2, err) < 0) ...
 *
 * Threads: pure, on values that json_check() has passed.
 * Failure: WLA_E_INPUT; the text names the member.
 */

#include "base/json.h"

struct json_field {
        const char *name;
        struct json_value *to; /* JSON_ABSENT when optional and not there */
        enum json_type type;
        bool optional;
};

/* object must be an object with these members and no other. */
int json_read_object(const struct json_value *object, const struct json_field *fields, size_t count,
                     struct wla_error *err) _must_check_;

/* The number of members of an object. */
size_t json_count_members(const struct json_value *object);

/* Whether value is a string that reads exactly so, written without escapes. */
bool json_string_is(const struct json_value *value, const char *text);

/* A decimal number of 0..max written as a string, without sign and leading zeros. */
int json_decimal_string(const struct json_value *value, uint64_t max, uint64_t *ret,
                        struct wla_error *err) _must_check_;

/* Standard base64 of exactly size bytes. */
int json_base64(const struct json_value *value, uint8_t *to, size_t size,
                struct wla_error *err) _must_check_;
