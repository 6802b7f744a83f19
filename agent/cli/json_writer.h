/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Writes one JSON text, for --json.  Nothing secret goes through it.
 *
 * A failure sticks: what follows does nothing, and json_writer_print() tells of it.
 * Threads: one.  name is NULL for the elements of an array and for the outermost value.
 */

#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

#define JSON_WRITER_LIMIT (64u * 1024u * 1024u)

struct json_writer {
        struct buf text;
        struct wla_error error;
        bool comma; /* before the next value */
};

#define JSON_WRITER ((struct json_writer){.text.limit = JSON_WRITER_LIMIT})

void json_writer_clear(struct json_writer *writer);

#define _cleanup_json_writer_ __attribute__((cleanup(json_writer_clear)))

void json_open_object(struct json_writer *writer, const char *name);
void json_close_object(struct json_writer *writer);
void json_open_array(struct json_writer *writer, const char *name);
void json_close_array(struct json_writer *writer);

/* text NULL is written as null. */
void json_put_text(struct json_writer *writer, const char *name, const char *text);
void json_put_number(struct json_writer *writer, const char *name, uint64_t number);
void json_put_bool(struct json_writer *writer, const char *name, bool value);

/* The text and a newline, on standard output. */
int json_writer_print(const struct json_writer *writer, struct wla_error *err) _must_check_;
