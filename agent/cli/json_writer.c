/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/json_writer.h"

#include <string.h>

#include "base/json.h"

void json_writer_clear(struct json_writer *writer) {
        buf_clear(&writer->text);
}

static bool failed(const struct json_writer *writer) {
        return writer->error.code != WLA_OK;
}

static void put_raw(struct json_writer *writer, const char *text) {
        if (!failed(writer))
                (void)!buf_append_text(&writer->text, text, &writer->error);
}

static void put_quoted(struct json_writer *writer, const char *text) {
        if (!failed(writer))
                (void)!json_write_string(&writer->text, text, strlen(text), &writer->error);
}

static void begin_value(struct json_writer *writer, const char *name) {
        if (writer->comma)
                put_raw(writer, ",");
        writer->comma = true;

        if (name) {
                put_quoted(writer, name);
                put_raw(writer, ":");
        }
}

static void open_bracket(struct json_writer *writer, const char *name, const char *bracket) {
        begin_value(writer, name);
        put_raw(writer, bracket);
        writer->comma = false;
}

static void close_bracket(struct json_writer *writer, const char *bracket) {
        put_raw(writer, bracket);
        writer->comma = true;
}

void json_open_object(struct json_writer *writer, const char *name) {
        open_bracket(writer, name, "{");
}

void json_close_object(struct json_writer *writer) {
        close_bracket(writer, "}");
}

void json_open_array(struct json_writer *writer, const char *name) {
        open_bracket(writer, name, "[");
}

void json_close_array(struct json_writer *writer) {
        close_bracket(writer, "]");
}

void json_put_text(struct json_writer *writer, const char *name, const char *text) {
        begin_value(writer, name);
        if (text)
                put_quoted(writer, text);
        else
                put_raw(writer, "null");
}

void json_put_number(struct json_writer *writer, const char *name, uint64_t number) {
        begin_value(writer, name);
        if (!failed(writer))
                (void)!buf_printf(&writer->text, &writer->error, "%ju", (uintmax_t)number);
}

void json_put_bool(struct json_writer *writer, const char *name, bool value) {
        begin_value(writer, name);
        put_raw(writer, value ? "true" : "false");
}

int json_writer_print(const struct json_writer *writer, struct wla_error *err) {
        if (failed(writer)) {
                *err = writer->error;
                return wla_wrap(err, "writing JSON");
        }

        (void)fwrite(writer->text.data, 1, writer->text.size, stdout);
        (void)fputc('\n', stdout);
        return 0;
}
