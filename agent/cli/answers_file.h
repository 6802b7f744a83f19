/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The file of cli/answers.h. */

#include "cli/answers.h"

enum answer_kind {
        ANSWER_KIND_TEXT,
        ANSWER_KIND_SECRET,
        ANSWER_KIND_IGNORED,
        ANSWER_KIND_ENVIRONMENT,
};

enum answer_kind answer_kind(enum answer answer);

/* Copies the value; one of no bytes is none. */
int answers_set(struct answers *answers, enum answer answer, const char *value, size_t size,
                struct wla_error *err) _must_check_;

int answers_read_file(const char *path, struct answers *answers,
                      struct wla_error *err) _must_check_;
