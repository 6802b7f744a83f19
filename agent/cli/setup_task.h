/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The tasks of 'wlagent setup TASK', with which a host joins Intel SecL's services.
 *
 * They have the names of Intel SecL 5's workload agent, and take those of 4.2 too.  A task whose result is there and
 * valid changes nothing, unless it is forced.  Each leaves on a crash what it found, or what its next run mends.
 *
 * Threads: one.
 * Failure: the text names the service, file or answer; the hint what to look at.
 */

#include "cli/answers.h"
#include "cli/command.h"
#include "cli/credential_store.h"
#include "http/http.h"

#define SETUP_TEXT_MAX 640u

struct setup_task_context {
        const struct config *config;
        const struct answers *answers;
        const char
                *root; /* for credentials and drop-ins of units, as cli/credential_store.h has it */
        bool force;

        /* What a task tells of itself. */
        bool changed;
        char text[SETUP_TEXT_MAX];
        struct buf notes;   /* for the operator, a line each */
        bool reload_units;  /* systemd has to read its units again */
        bool restart_agent; /* wlagentd has to be started again */
};

struct setup_task {
        const char *name;
        const char *former_name; /* in 4.2 */
        int (*run)(struct setup_task_context *context, struct wla_error *err);
};

/* In the order in which they depend on each other; ends with {0}. */
extern const struct setup_task setup_tasks[];

/* NULL when there is none; "all" is none. */
const struct setup_task *setup_task_find(const char *name);

/* One per file. */
int setup_download_ca(struct setup_task_context *context, struct wla_error *err) _must_check_;
int setup_binding_key(struct setup_task_context *context, struct wla_error *err) _must_check_;
int setup_signing_key(struct setup_task_context *context, struct wla_error *err) _must_check_;
int setup_register_binding_key(struct setup_task_context *context,
                               struct wla_error *err) _must_check_;
int setup_register_signing_key(struct setup_task_context *context,
                               struct wla_error *err) _must_check_;
int setup_update_service(struct setup_task_context *context, struct wla_error *err) _must_check_;

/* What a task says when it has done its work, or has found it done. */
void setup_task_tell(struct setup_task_context *context, bool changed, const char *format, ...)
        _printf_(3, 4);

/* Something that the operator should know besides. */
int setup_task_note(struct setup_task_context *context, struct wla_error *err, const char *format,
                    ...) _must_check_ _printf_(3, 4);

/* Where a credential was written, and that wlagentd has to be started again for it. */
int setup_task_note_credential(struct setup_task_context *context, const char *name,
                               const struct credential_place *place,
                               struct wla_error *err) _must_check_;

/* The command: all for "all". */
enum outcome setup_tasks_run(struct invocation *invocation, const struct arguments *arguments,
                             struct wla_error *err);
