/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What 'wlagent setup TASK' was told: by environment variables, and by an answer file that may say otherwise, as
 * Intel SecL's own setup has it.
 *
 * An answer file has a line NAME=VALUE for each, perhaps with "export " before it and a comment behind it, as
 * a shell would read it.  A value with other characters than letters, digits and %+,-./:=@_~ is in quotes: 'as it is', or
 * "as it is, without $, ` and \".  What a shell would put together from several parts is refused.  An empty value is none.
 *
 * Names that are known and have no use here are told of, and those that nobody knows, too.
 *
 * Secrets are copied to locked memory and wiped from the environment, and the answer file is read into locked
 * memory, so that nothing that is started later inherits them.
 *
 * Ownership: answers_clear() releases all.
 * Threads:   one, before there is a second: the environment is changed.
 * Failure:   WLA_E_INPUT with file and line, never with the value; _NOT_FOUND; _DENIED for a file that others may
 *            change; _BUSY.
 */

#include "base/buf.h"
#include "base/secret.h"

#define ANSWERS_FILE_MAX 16384u

enum answer {
#define ANSWER(name, kind) ANSWER_##name,
#include "cli/answers.def"
#undef ANSWER
        _ANSWER_MAX
};

struct answers {
        struct wla_secret *values[_ANSWER_MAX]; /* terminated by a zero byte; NULL: not given */
        unsigned lines[_ANSWER_MAX];            /* of the file; 0: none */
        struct buf notes;                       /* for the operator, a line each */
};

#define ANSWERS ((struct answers){.notes.limit = 16384})

/* file: NULL for the environment alone. */
int answers_read(const char *file, struct answers *ret, struct wla_error *err) _must_check_;
void answers_clear(struct answers *answers);

#define _cleanup_answers_ __attribute__((cleanup(answers_clear)))

const char *answer_name(enum answer answer);

/* NULL when it was not given; lives as long as the answers. */
const char *answers_text(const struct answers *answers, enum answer answer);

/* WLA_E_NOT_FOUND with the name when it was not given. */
int answers_require(const struct answers *answers, enum answer answer, const char **ret,
                    struct wla_error *err) _must_check_;

/* A copy without the zero byte. */
int answers_require_secret(const struct answers *answers, enum answer answer,
                           struct wla_secret **ret, struct wla_error *err) _must_check_;
