/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A strict reader for JSON (RFC 8259) that allocates nothing and copies nothing.
 *
 * json_check() walks a whole text once; it refuses what is not JSON, invalid UTF-8, nesting deeper
 * than JSON_DEPTH_MAX and objects that hold a name twice.  After that a json_value is a span of the
 * text, and members are looked up in place: what nobody asks for is never decoded.
 *
 * Ownership: a value points into the caller's text and lives as long as it does.
 * Threads:   pure functions.
 * Failure:   WLA_E_INPUT, with the member's name and the byte offset, never with content.
 */

#include <stdint.h>

#include "base/buf.h"
#include "base/secret.h"
#include "wlagent/error.h"

#define JSON_DEPTH_MAX 16u

/* Members of one object, so that the search for duplicates stays cheap. */
#define JSON_MEMBERS_MAX 64u

enum json_type {
        JSON_ABSENT = 0,
        JSON_NULL,
        JSON_FALSE,
        JSON_TRUE,
        JSON_NUMBER,
        JSON_STRING,
        JSON_ARRAY,
        JSON_OBJECT,
};

struct json_value {
        enum json_type type;
        const char *text; /* the value as written, strings with their quotes */
        size_t size;
};

/* Validates all of text, which must hold exactly one value. */
int json_check(const char *text, size_t size, struct json_value *ret,
               struct wla_error *err) _must_check_;

/* The member of that exact name, or type JSON_ABSENT; JSON_ABSENT too when object is none. */
struct json_value json_member(const struct json_value *object, const char *name);

/* Like json_member() with a name compared without case, as Go's encoding/json does.  An exact match
 * is preferred. */
struct json_value json_member_nocase(const struct json_value *object, const char *name);

/* Walks an array: start with *at = 0; false at the end. */
bool json_next_element(const struct json_value *array, size_t *at, struct json_value *ret);

/* Walks an object: name is the raw name with its quotes. */
bool json_next_member(const struct json_value *object, size_t *at, struct json_value *ret_name,
                      struct json_value *ret);

/* Appends the decoded string, escapes resolved, as UTF-8. */
int json_string(const struct json_value *value, struct buf *to, struct wla_error *err) _must_check_;

/* Decodes into a fixed text; refuses control characters, NUL and what does not fit. */
int json_string_copy(const struct json_value *value, char *to, size_t size,
                     struct wla_error *err) _must_check_;

/* An integer of 0..max, written without fraction or exponent. */
int json_unsigned(const struct json_value *value, uint64_t max, uint64_t *ret,
                  struct wla_error *err) _must_check_;

/* Appends the bytes of an array of integers 0..255, as serde writes Vec<u8>. */
int json_byte_array(const struct json_value *array, struct buf *to,
                    struct wla_error *err) _must_check_;

/* Appends text as a JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
int json_write_string(struct buf *to, const char *text, size_t size,
                      struct wla_error *err) _must_check_;
