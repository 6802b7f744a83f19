/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/yaml_pairs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

struct seen {
        char path[YAML_PATH_SIZE];
        unsigned line;
};

struct reader {
        yaml_parser_t parser;
        int (*take)(void *userdata, const struct yaml_pair *pair, struct wla_error *err);
        void *userdata;
        char path[YAML_PATH_SIZE];
        size_t length[YAML_DEPTH_MAX]; /* of the path of each map that is open */
        unsigned depth;                /* maps that are open */
        bool named;                    /* path ends with a name whose value comes next */
        unsigned line;                 /* of that name */
        struct seen *seen;             /* YAML_PAIRS_MAX */
        size_t count;
};

static unsigned line_of(const yaml_mark_t *mark) {
        return (unsigned)mark->line + 1;
}

/* A name without its colon is noticed only behind it. */
static int fail_syntax(const struct reader *reader, struct wla_error *err) {
        const yaml_parser_t *parser = &reader->parser;
        bool simple_key = parser->context &&
                          strcmp(parser->context, "while scanning a simple key") == 0;

        if (parser->error == YAML_MEMORY_ERROR)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        return wla_fail(err, WLA_E_INPUT, "line %u: no YAML: %s",
                        line_of(simple_key ? &parser->context_mark : &parser->problem_mark),
                        parser->problem ? parser->problem : "not readable");
}

static void event_done(yaml_event_t *event) {
        if (event->type == YAML_SCALAR_EVENT)
                explicit_bzero(event->data.scalar.value, event->data.scalar.length);
        yaml_event_delete(event);
}

static int next_event(struct reader *reader, yaml_event_t *ret, struct wla_error *err) {
        return yaml_parser_parse(&reader->parser, ret) ? 0 : fail_syntax(reader, err);
}

/* What no value here needs. */
static int check_plain(const yaml_event_t *event, struct wla_error *err) {
        const yaml_char_t *anchor = NULL;
        const yaml_char_t *tag = NULL;

        if (event->type == YAML_SCALAR_EVENT) {
                anchor = event->data.scalar.anchor;
                tag = event->data.scalar.tag;
        } else if (event->type == YAML_MAPPING_START_EVENT) {
                anchor = event->data.mapping_start.anchor;
                tag = event->data.mapping_start.tag;
        } else if (event->type == YAML_SEQUENCE_START_EVENT) {
                anchor = event->data.sequence_start.anchor;
                tag = event->data.sequence_start.tag;
        }

        if (event->type == YAML_ALIAS_EVENT || anchor || tag)
                return wla_fail(err, WLA_E_INPUT, "line %u: anchors, aliases and tags are not read",
                                line_of(&event->start_mark));
        return 0;
}

static int remember(struct reader *reader, struct wla_error *err) {
        for (size_t i = 0; i < reader->count; i++)
                if (strcmp(reader->seen[i].path, reader->path) == 0)
                        return wla_fail(err, WLA_E_INPUT,
                                        "line %u: \"%s\" stands there again, after line %u",
                                        reader->line, reader->path, reader->seen[i].line);
        if (reader->count == YAML_PAIRS_MAX)
                return wla_fail(err, WLA_E_INPUT, "line %u: more than %u names", reader->line,
                                YAML_PAIRS_MAX);

        struct seen *seen = &reader->seen[reader->count++];
        memcpy(seen->path, reader->path, sizeof(seen->path));
        seen->line = reader->line;
        return 0;
}

static int take_name(struct reader *reader, const yaml_event_t *event, struct wla_error *err) {
        size_t at = reader->length[reader->depth - 1];

        reader->line = line_of(&event->start_mark);
        if (event->type != YAML_SCALAR_EVENT)
                return wla_fail(err, WLA_E_INPUT, "line %u: a name that is no text", reader->line);

        const char *name = (const char *)event->data.scalar.value;
        size_t size = event->data.scalar.length;
        if (size == 0 || size >= YAML_NAME_SIZE - 1 || strspn(name, NAME_CHARACTERS) != size)
                return wla_fail(err, WLA_E_INPUT,
                                "line %u: a name has 1 to %u letters, digits, '_' and '-'",
                                reader->line, YAML_NAME_SIZE - 2);

        (void)snprintf(reader->path + at, sizeof(reader->path) - at, "%s%s", at > 0 ? "." : "",
                       name);
        reader->named = true;
        return remember(reader, err);
}

static int tell(struct reader *reader, enum yaml_kind kind, const char *value,
                struct wla_error *err) {
        const struct yaml_pair pair = {
                .path = reader->path,
                .line = reader->line,
                .kind = kind,
                .value = value,
        };

        return reader->take(reader->userdata, &pair, err);
}

static int take_value(struct reader *reader, const yaml_event_t *event, struct wla_error *err) {
        const char *value = (const char *)event->data.scalar.value;
        size_t size = event->data.scalar.length;

        if (event->start_mark.line != event->end_mark.line)
                return wla_fail(err, WLA_E_INPUT, "line %u: \"%s\" runs over several lines",
                                reader->line, reader->path);
        if (size > YAML_VALUE_MAX)
                return wla_fail(err, WLA_E_INPUT, "line %u: \"%s\" has more than %u bytes",
                                reader->line, reader->path, YAML_VALUE_MAX);
        if (memchr(value, '\0', size))
                return wla_fail(err, WLA_E_INPUT, "line %u: \"%s\" holds a zero byte", reader->line,
                                reader->path);
        return tell(reader, YAML_VALUE, value, err);
}

static int fail_depth(const struct reader *reader, struct wla_error *err) {
        return wla_fail(err, WLA_E_INPUT, "line %u: more than %u levels", reader->line,
                        YAML_DEPTH_MAX);
}

static int open_map(struct reader *reader, struct wla_error *err) {
        if (reader->depth == YAML_DEPTH_MAX)
                return fail_depth(reader, err);
        reader->length[reader->depth++] = strlen(reader->path);
        reader->named = false;
        return 0;
}

/* Behind its start. */
static int skip_list(struct reader *reader, struct wla_error *err) {
        for (unsigned depth = reader->depth + 1; depth > reader->depth;) {
                yaml_event_t event;

                if (next_event(reader, &event, err) < 0)
                        return -1;
                yaml_event_type_t type = event.type;
                int outcome = check_plain(&event, err);
                event_done(&event);
                if (outcome < 0)
                        return -1;
                if (type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT)
                        depth++;
                else if (type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT)
                        depth--;
                if (depth > YAML_DEPTH_MAX)
                        return fail_depth(reader, err);
        }
        return 0;
}

/* Back to the path of the map that is open. */
static void forget_name(struct reader *reader) {
        reader->path[reader->depth > 0 ? reader->length[reader->depth - 1] : 0] = '\0';
        reader->named = false;
}

static int take_event(struct reader *reader, const yaml_event_t *event, struct wla_error *err) {
        int outcome;

        if (check_plain(event, err) < 0)
                return -1;
        if (event->type == YAML_MAPPING_END_EVENT) {
                reader->depth--;
                forget_name(reader);
                return 0;
        }
        if (!reader->named)
                return take_name(reader, event, err);
        if (event->type == YAML_MAPPING_START_EVENT)
                return tell(reader, YAML_MAP, NULL, err) < 0 ? -1 : open_map(reader, err);

        if (event->type == YAML_SEQUENCE_START_EVENT)
                outcome = tell(reader, YAML_LIST, NULL, err) < 0 ? -1 : skip_list(reader, err);
        else
                outcome = take_value(reader, event, err);
        forget_name(reader);
        return outcome;
}

static int read_map(struct reader *reader, struct wla_error *err) {
        if (open_map(reader, err) < 0)
                return -1;
        while (reader->depth > 0) {
                yaml_event_t event;

                if (next_event(reader, &event, err) < 0)
                        return -1;
                int outcome = take_event(reader, &event, err);
                event_done(&event);
                if (outcome < 0)
                        return -1;
        }
        return 0;
}

/* Takes one event, which has to be of this type. */
static int expect(struct reader *reader, yaml_event_type_t type, const char *what,
                  struct wla_error *err) {
        yaml_event_t event;

        if (next_event(reader, &event, err) < 0)
                return -1;

        unsigned line = line_of(&event.start_mark);
        bool directives = event.type == YAML_DOCUMENT_START_EVENT &&
                          (event.data.document_start.version_directive ||
                           event.data.document_start.tag_directives.start !=
                                   event.data.document_start.tag_directives.end);
        bool good = event.type == type && !directives;
        int outcome = check_plain(&event, err);
        event_done(&event);
        if (outcome < 0)
                return -1;
        return good ? 0 : wla_fail(err, WLA_E_INPUT, "line %u: %s", line, what);
}

static int read_document(struct reader *reader, struct wla_error *err) {
        if (expect(reader, YAML_STREAM_START_EVENT, "not readable", err) < 0 ||
            expect(reader, YAML_DOCUMENT_START_EVENT, "no document without directives", err) < 0 ||
            expect(reader, YAML_MAPPING_START_EVENT, "names and their values are expected", err) <
                    0 ||
            read_map(reader, err) < 0 ||
            expect(reader, YAML_DOCUMENT_END_EVENT, "the document does not end", err) < 0)
                return -1;
        return expect(reader, YAML_STREAM_END_EVENT, "a second document begins", err);
}

static void wipe(yaml_char_t *start, const yaml_char_t *end) {
        if (start)
                explicit_bzero(start, (size_t)(end - start));
}

static void parser_done(yaml_parser_t *parser) {
        wipe(parser->raw_buffer.start, parser->raw_buffer.end);
        wipe(parser->buffer.start, parser->buffer.end);
        yaml_parser_delete(parser);
}

int yaml_pairs_read(const void *text, size_t size,
                    int (*take)(void *userdata, const struct yaml_pair *pair,
                                struct wla_error *err),
                    void *userdata, struct wla_error *err) {
        struct reader reader = {.take = take, .userdata = userdata};

        if (size > YAML_TEXT_MAX)
                return wla_fail(err, WLA_E_INPUT, "more than %u bytes", YAML_TEXT_MAX);
        reader.seen = calloc(YAML_PAIRS_MAX, sizeof(*reader.seen));
        if (!reader.seen || !yaml_parser_initialize(&reader.parser)) {
                free(reader.seen);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        /* Else a byte order mark would choose. */
        yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&reader.parser, text, size);
        int outcome = read_document(&reader, err);

        parser_done(&reader.parser);
        free(reader.seen);
        return outcome;
}
