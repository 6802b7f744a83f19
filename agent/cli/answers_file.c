/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/answers_file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define LETTERS       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_SET      LETTERS "0123456789_"
#define PLAIN_SET     NAME_SET "%+,-./:=@~"
#define NAME_MAX_SIZE 64u

static const char hint_quotes[] = "write it in single quotes, as in NAME='VALUE'";

struct reading {
        const char *path;
        struct answers *answers;
        unsigned line;
        struct buf ignored; /* names, for one note */
        bool secret;        /* it holds one */
};

/* Text of the file; not terminated. */
struct span {
        const char *at;
        const char *end;
};

static bool holds(const char *set, char c) {
        return c != '\0' && strchr(set, c);
}

static void skip_blanks(struct span *line) {
        while (line->at < line->end && (*line->at == ' ' || *line->at == '\t'))
                line->at++;
}

static bool take_word(struct span *line, const char *word) {
        size_t length = strlen(word);

        if ((size_t)(line->end - line->at) < length || memcmp(line->at, word, length) != 0)
                return false;
        line->at += length;
        return true;
}

static int take_name(struct span *line, char to[static NAME_MAX_SIZE], struct wla_error *err) {
        size_t length = 0;

        skip_blanks(line);
        if (take_word(line, "export ") || take_word(line, "export\t"))
                skip_blanks(line);
        for (; line->at < line->end && holds(NAME_SET, *line->at); line->at++)
                if (length < NAME_MAX_SIZE)
                        to[length++] = *line->at;

        if (length == 0 || length == NAME_MAX_SIZE || !holds(LETTERS "_", to[0]) ||
            !take_word(line, "="))
                return wla_fail(err, WLA_E_INPUT, "this is not NAME=VALUE");
        to[length] = '\0';
        return 0;
}

static int find_end_of_quotes(struct span *line, struct span *value, struct wla_error *err) {
        char quote = *line->at++;

        value->at = line->at;
        while (line->at < line->end && *line->at != quote) {
                if (quote == '"' && holds("$`\\", *line->at))
                        return wla_fail_hint(err, WLA_E_INPUT, hint_quotes,
                                             "'%c' in double quotes is not what it looks like",
                                             *line->at);
                line->at++;
        }
        if (line->at == line->end)
                return wla_fail(err, WLA_E_INPUT, "the closing quote is missing");
        value->end = line->at++;
        return 0;
}

static int take_value(struct span *line, struct span *value, struct wla_error *err) {
        *value = (struct span){.at = line->at, .end = line->at};
        if (line->at < line->end && (*line->at == '\'' || *line->at == '"')) {
                if (find_end_of_quotes(line, value, err) < 0)
                        return -1;
        } else {
                while (line->at < line->end && holds(PLAIN_SET, *line->at))
                        value->end = ++line->at;
        }

        const char *end = line->at;
        skip_blanks(line);
        if (line->at == line->end || (line->at > end && *line->at == '#'))
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, hint_quotes,
                             "a shell would not take the value as it is");
}

static bool find_answer(const char *name, enum answer *ret) {
        for (enum answer answer = 0; answer < _ANSWER_MAX; answer++)
                if (strcmp(name, answer_name(answer)) == 0) {
                        *ret = answer;
                        return true;
                }
        return false;
}

/* answer: _ANSWER_MAX when nobody knows the name. */
static int note_unused(struct reading *reading, const char *name, enum answer answer,
                       struct wla_error *err) {
        if (answer == _ANSWER_MAX)
                return buf_printf(&reading->answers->notes, err,
                                  "%s:%u: %s is no setting of Intel SecL's agents; it is ignored\n",
                                  reading->path, reading->line, name);
        if (answer_kind(answer) == ANSWER_KIND_ENVIRONMENT)
                return buf_printf(&reading->answers->notes, err,
                                  "%s:%u: %s counts in the environment only: export it, and for "
                                  "wlagentd.service see wlagentd(8)\n",
                                  reading->path, reading->line, name);
        return buf_printf(&reading->ignored, err, "%s%s", reading->ignored.size > 0 ? ", " : "",
                          name);
}

static int set(struct reading *reading, enum answer answer, struct span value,
               struct wla_error *err) {
        unsigned *line = &reading->answers->lines[answer];

        if (*line > 0)
                return wla_fail(err, WLA_E_INPUT, "%s is set in line %u already",
                                answer_name(answer), *line);
        *line = reading->line;
        if (value.at == value.end)
                return 0;
        reading->secret |= answer_kind(answer) == ANSWER_KIND_SECRET;
        return answers_set(reading->answers, answer, value.at, (size_t)(value.end - value.at), err);
}

static int read_line(struct reading *reading, struct span line, struct wla_error *err) {
        char name[NAME_MAX_SIZE];
        enum answer answer = _ANSWER_MAX;
        struct span value;

        for (const char *at = line.at; at < line.end; at++)
                if (((unsigned char)*at < ' ' && *at != '\t') || *at == '\x7f')
                        return wla_fail(err, WLA_E_INPUT, "the line holds the control character %u",
                                        (unsigned)(unsigned char)*at);
        skip_blanks(&line);
        if (line.at == line.end || *line.at == '#')
                return 0;
        if (take_name(&line, name, err) < 0)
                return -1;

        /* What nobody uses may be anything that a shell understands. */
        if (!find_answer(name, &answer) || answer_kind(answer) == ANSWER_KIND_IGNORED ||
            answer_kind(answer) == ANSWER_KIND_ENVIRONMENT)
                return note_unused(reading, name, answer, err);
        if (take_value(&line, &value, err) < 0)
                return wla_wrap(err, "%s", name);
        return set(reading, answer, value, err);
}

static int read_lines(struct reading *reading, struct span text, struct wla_error *err) {
        while (text.at < text.end) {
                const char *end = memchr(text.at, '\n', (size_t)(text.end - text.at));
                const struct span line = {.at = text.at, .end = end ? end : text.end};

                reading->line++;
                if (read_line(reading, line, err) < 0)
                        return wla_wrap(err, "%s:%u", reading->path, reading->line);
                text.at = end ? end + 1 : text.end;
        }
        return 0;
}

static int add_notes(struct reading *reading, mode_t mode, struct wla_error *err) {
        struct buf *notes = &reading->answers->notes;

        if (reading->secret && (mode & (S_IRGRP | S_IROTH)) != 0 &&
            buf_printf(notes, err,
                       "%s holds a password, and others may read it (mode %04o): run 'chmod 600' "
                       "on it\n",
                       reading->path, (unsigned)mode) < 0)
                return -1;
        if (reading->ignored.size == 0)
                return 0;
        return buf_printf(notes, err, "%s: these have no use here and are ignored: %.*s\n",
                          reading->path, (int)reading->ignored.size,
                          (const char *)reading->ignored.data);
}

/* One byte more than allowed, to see that it is too long. */
static int read_all(int fd, const char *path, uint8_t *to, size_t *ret_size,
                    struct wla_error *err) {
        size_t size = 0;

        while (size <= ANSWERS_FILE_MAX) {
                ssize_t got = read(fd, to + size, ANSWERS_FILE_MAX + 1 - size);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return wla_fail_errno(err, errno, "cannot read %s", path);
                if (got == 0)
                        break;
                size += (size_t)got;
        }
        if (size > ANSWERS_FILE_MAX)
                return wla_fail(err, WLA_E_INPUT, "%s is larger than %u bytes", path,
                                ANSWERS_FILE_MAX);
        *ret_size = size;
        return 0;
}

int answers_read_file(const char *path, struct answers *answers, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *content = NULL;
        _cleanup_close_ int fd = -1;
        mode_t mode;
        size_t size;

        if (file_open_trusted(path, &fd, &mode, err) < 0 ||
            wla_secret_new(ANSWERS_FILE_MAX + 1, &content, err) < 0 ||
            read_all(fd, path, wla_secret_fill(content), &size, err) < 0)
                return -1;

        struct reading reading = {
                .path = path, .answers = answers, .ignored = BUF_WITH_LIMIT(8192)};
        const char *at = (const char *)wla_secret_view(content).data;
        int outcome = read_lines(&reading, (struct span){.at = at, .end = at + size}, err);

        if (outcome == 0)
                outcome = add_notes(&reading, mode, err);
        buf_clear(&reading.ignored);
        return outcome;
}
