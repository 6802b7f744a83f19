/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/setup_task.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/file.h"
#include "cli/directory_path.h"
#include "cli/json_writer.h"
#include "cli/setup_options.h"

#define NOTES_MAX      16384u
#define DIRECTORY_MODE 0755

enum result {
        RESULT_NOT_RUN = 0,
        RESULT_DONE,
        RESULT_UNCHANGED,
        RESULT_FAILED,
};

static const char *const result_words[] = {
        [RESULT_NOT_RUN] = "not-run",
        [RESULT_DONE] = "done",
        [RESULT_UNCHANGED] = "unchanged",
        [RESULT_FAILED] = "failed",
};

const struct setup_task setup_tasks[] = {
        {"download-ca-cert", "download_ca_cert", setup_download_ca},
        {"binding-key", "BindingKey", setup_binding_key},
        {"signing-key", "SigningKey", setup_signing_key},
        {"register-binding-key", "RegisterBindingKey", setup_register_binding_key},
        {"register-signing-key", "RegisterSigningKey", setup_register_signing_key},
        {"update-service-config", "update_service_config", setup_update_service},
        {0},
};

struct run {
        struct setup_task_context context;
        struct answers answers;
        const struct setup_task *first;
        size_t count;
        bool json;
        int lock;
        struct json_writer writer;
};

#define RUN ((struct run){.answers = ANSWERS, .lock = -1, .writer = JSON_WRITER})

const struct setup_task *setup_task_find(const char *name) {
        for (const struct setup_task *task = setup_tasks; task->name; task++)
                if (strcmp(task->name, name) == 0 || strcmp(task->former_name, name) == 0)
                        return task;
        return NULL;
}

void setup_task_tell(struct setup_task_context *context, bool changed, const char *format, ...) {
        va_list arguments;

        context->changed |= changed;
        va_start(arguments, format);
        (void)vsnprintf(context->text, sizeof(context->text), format, arguments);
        va_end(arguments);
}

int setup_task_note(struct setup_task_context *context, struct wla_error *err, const char *format,
                    ...) {
        char text[SETUP_TEXT_MAX];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        return buf_printf(&context->notes, err, "%s\n", text);
}

int setup_task_note_credential(struct setup_task_context *context, const char *name,
                               const struct credential_place *place, struct wla_error *err) {
        context->restart_agent = true;
        if (place->kind == CREDENTIAL_ENCRYPTED)
                return setup_task_note(context, err, "the credential %s is %s, encrypted", name,
                                       place->path);
        context->reload_units = true;
        return setup_task_note(context, err,
                               "the credential %s is %s, for root and not encrypted, because %s",
                               name, place->path, wla_error_text(&place->why_plain));
}

static void print_notes(struct buf *notes) {
        const char *text = (const char *)notes->data;

        for (size_t rest = notes->size; rest > 0;) {
                size_t length = (size_t)((const char *)memchr(text, '\n', rest) - text);

                (void)fprintf(stderr, "wlagent: %.*s\n", (int)length, text);
                text += length + 1;
                rest -= length + 1;
        }
        buf_reset(notes);
}

static void report(struct run *run, const struct setup_task *task, enum result result) {
        const char *text = result == RESULT_DONE || result == RESULT_UNCHANGED ? run->context.text
                                                                               : NULL;

        if (run->json) {
                json_open_object(&run->writer, NULL);
                json_put_text(&run->writer, "task", task->name);
                json_put_text(&run->writer, "result", result_words[result]);
                json_put_text(&run->writer, "text", text);
                json_close_object(&run->writer);
        } else {
                (void)printf("%s: %s%s%s\n", task->name, result_words[result], text ? ": " : "",
                             text ? text : "");
                (void)fflush(stdout);
        }
        print_notes(&run->context.notes);
}

static int run_task(struct run *run, const struct setup_task *task, struct wla_error *err) {
        struct setup_task_context *context = &run->context;

        context->changed = false;
        context->text[0] = '\0';
        if (task->run(context, err) < 0) {
                report(run, task, RESULT_FAILED);
                return wla_wrap(err, "%s", task->name);
        }
        report(run, task, context->changed ? RESULT_DONE : RESULT_UNCHANGED);
        return 0;
}

static int run_tasks(struct run *run, struct wla_error *err) {
        int outcome = 0;

        for (size_t i = 0; i < run->count; i++)
                if (outcome < 0)
                        report(run, &run->first[i], RESULT_NOT_RUN);
                else
                        outcome = run_task(run, &run->first[i], err);
        return outcome;
}

static void print_next(struct run *run) {
        static const char reload[] = "systemctl daemon-reload";
        static const char restart[] = "systemctl try-restart wlagentd";
        const struct setup_task_context *context = &run->context;

        if (run->json) {
                json_open_array(&run->writer, "next");
                if (context->reload_units)
                        json_put_text(&run->writer, NULL, reload);
                if (context->restart_agent)
                        json_put_text(&run->writer, NULL, restart);
                json_close_array(&run->writer);
        } else if (context->reload_units || context->restart_agent) {
                (void)printf("To take effect: %s%s%s\n", context->reload_units ? reload : "",
                             context->reload_units && context->restart_agent ? " && " : "",
                             context->restart_agent ? restart : "");
        }
}

static int run_and_print(struct run *run, struct wla_error *err) {
        struct wla_error print_err = {0};

        json_open_object(&run->writer, NULL);
        json_open_array(&run->writer, "tasks");
        int outcome = run_tasks(run, err);
        json_close_array(&run->writer);
        print_next(run);
        json_close_object(&run->writer);
        if (!run->json || json_writer_print(&run->writer, &print_err) == 0)
                return outcome;
        if (outcome == 0)
                *err = print_err;
        return -1;
}

/* Two at once would each make a key, and one of the keys would be left without its secret; so would one and a
 * 'wlagent migrate', see cli/migrate_lock.h. */
static int lock(const char *config_path, int *ret, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        char directory[PATH_MAX];
        const char *slash = strrchr(config_path, '/');

        int size = snprintf(directory, sizeof(directory), "%.*s",
                            slash ? (int)(slash - config_path) : 1, slash ? config_path : ".");
        if (size <= 0 || (size_t)size >= sizeof(directory))
                return wla_fail(err, WLA_E_INPUT, "the path of the configuration is none");
        if (directory_path_make(directory, DIRECTORY_MODE, &fd, err) < 0)
                return -1;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return wla_fail_errno(err, errno, "cannot lock %s", directory);
                return wla_fail_hint(err, WLA_E_BUSY, "wait for its end",
                                     "another 'wlagent setup' or 'wlagent migrate' is at work");
        }
        *ret = TAKE_FD(fd);
        return 0;
}

static int choose_tasks(struct run *run, const char *name, struct wla_error *err) {
        bool all = strcmp(name, "all") == 0;

        run->first = all ? setup_tasks : setup_task_find(name);
        if (!run->first)
                return wla_fail(err, WLA_E_INPUT, "there is no task %.80s", name);
        run->count = all ? sizeof(setup_tasks) / sizeof(setup_tasks[0]) - 1 : 1;
        return 0;
}

static int prepare(struct run *run, struct invocation *invocation,
                   const struct arguments *arguments, struct wla_error *err) {
        struct setup_task_context *context = &run->context;

        run->json = arguments->option[SETUP_JSON] != NULL;
        context->root = arguments->option[SETUP_ROOT];
        context->force = arguments->option[SETUP_FORCE] != NULL;
        context->answers = &run->answers;
        context->notes = BUF_WITH_LIMIT(NOTES_MAX);

        /* Secrets leave the environment before anything else is done. */
        if (invocation_guard_secrets(invocation, err) < 0 ||
            answers_read(arguments->option[SETUP_FILE], &run->answers, err) < 0 ||
            invocation_config(invocation, &context->config, err) < 0)
                return -1;
        print_notes(&run->answers.notes);
        return lock(context->config->path, &run->lock, err);
}

static void run_done(struct run *run) {
        answers_clear(&run->answers);
        buf_clear(&run->context.notes);
        json_writer_clear(&run->writer);
        file_closep(&run->lock);
}

enum outcome setup_tasks_run(struct invocation *invocation, const struct arguments *arguments,
                             struct wla_error *err) {
        __attribute__((cleanup(run_done))) struct run run = RUN;

        if (choose_tasks(&run, arguments->operand, err) < 0)
                return OUTCOME_USAGE;
        if (prepare(&run, invocation, arguments, err) < 0)
                return OUTCOME_FAILED;
        return run_and_print(&run, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;
}
