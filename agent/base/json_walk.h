/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The tokens of JSON: what json.c and json_value.c share.  No allocation, no recursion. */

#include "base/json.h"

/* A position in a text; the walk never goes past size. */
struct json_walk {
        const char *text;
        size_t size;
        size_t at;
};

int json_fail_at(struct wla_error *err, size_t at, const char *what);
enum json_type json_type_of(int first_character);

/* The byte at the walk's position, or -1 at the end. */
int json_peek(const struct json_walk *walk);
void json_skip_space(struct json_walk *walk);

/* Moves past the string whose opening quote is at the walk's position. */
int json_skip_string(struct json_walk *walk, struct wla_error *err) _must_check_;

/* Moves past one whole value, white space in front included. */
int json_skip_value(struct json_walk *walk, struct wla_error *err) _must_check_;

/* The same for a text that json_check() has accepted: only quotes and brackets are looked at. */
void json_skip_checked(struct json_walk *walk);

/* The inside of a string that was checked. */
struct json_walk json_string_body(const struct json_value *string);

/* Decodes the next character of a string body into 1..4 bytes of UTF-8. */
size_t json_next_decoded(struct json_walk *walk, char to[4]);

/* Length of the UTF-8 sequence at data (RFC 3629: shortest form, no surrogates), or 0. */
size_t json_utf8_sequence(const unsigned char *data, size_t size);
