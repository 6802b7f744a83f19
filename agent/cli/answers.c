/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/answers.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/answers_file.h"

static const char hint_where[] = "set it in the environment, or in a file for --file";

const char *answer_name(enum answer answer) {
        static const char *const names[] = {
#define ANSWER(name, kind) [ANSWER_##name] = #name,
#include "cli/answers.def"
#undef ANSWER
        };

        return names[answer];
}

enum answer_kind answer_kind(enum answer answer) {
        static const enum answer_kind kinds[] = {
#define ANSWER(name, kind) [ANSWER_##name] = ANSWER_KIND_##kind,
#include "cli/answers.def"
#undef ANSWER
        };

        return kinds[answer];
}

int answers_set(struct answers *answers, enum answer answer, const char *value, size_t size,
                struct wla_error *err) {
        struct wla_secret *copy = NULL;

        if (size > 0) {
                if (wla_secret_new(size + 1, &copy, err) < 0)
                        return -1;
                memcpy(wla_secret_fill(copy), value, size);
        }
        wla_secret_free(answers->values[answer]);
        answers->values[answer] = copy;
        return 0;
}

static int take_environment(struct answers *answers, struct wla_error *err) {
        for (enum answer answer = 0; answer < _ANSWER_MAX; answer++) {
                char *value = getenv(answer_name(answer));

                if (!value || answer_kind(answer) == ANSWER_KIND_IGNORED ||
                    answer_kind(answer) == ANSWER_KIND_ENVIRONMENT)
                        continue;
                if (answers_set(answers, answer, value, strlen(value), err) < 0)
                        return wla_wrap(err, "%s", answer_name(answer));
                if (answer_kind(answer) != ANSWER_KIND_SECRET)
                        continue;
                explicit_bzero(value, strlen(value));
                (void)unsetenv(answer_name(answer));
        }
        return 0;
}

int answers_read(const char *file, struct answers *ret, struct wla_error *err) {
        if (take_environment(ret, err) < 0)
                return -1;
        return file ? answers_read_file(file, ret, err) : 0;
}

void answers_clear(struct answers *answers) {
        for (enum answer answer = 0; answer < _ANSWER_MAX; answer++)
                answers->values[answer] = wla_secret_free(answers->values[answer]);
        buf_clear(&answers->notes);
}

const char *answers_text(const struct answers *answers, enum answer answer) {
        const struct wla_secret *value = answers->values[answer];

        return value ? (const char *)wla_secret_view(value).data : NULL;
}

int answers_require(const struct answers *answers, enum answer answer, const char **ret,
                    struct wla_error *err) {
        *ret = answers_text(answers, answer);
        if (!*ret)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_where, "%s is not set",
                                     answer_name(answer));
        return 0;
}

int answers_require_secret(const struct answers *answers, enum answer answer,
                           struct wla_secret **ret, struct wla_error *err) {
        const char *text;

        if (answers_require(answers, answer, &text, err) < 0 ||
            wla_secret_copy(answers->values[answer], ret, err) < 0)
                return -1;
        wla_secret_truncate(*ret, strlen(text));
        return 0;
}
