/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/migrate_lock.h"
#include "cli/shell_word.h"
#include "cli/state_directory.h"

#define COMMAND_MAX 65536u

enum { APPLY, UNDO, FORGET, ORIGIN, ROOT, FORCE, JSON };

static const struct command_option options[] = {
        [APPLY] = {"apply", NULL, "carry the plan out"},
        [UNDO] = {"undo", NULL, "put everything back as it was before --apply"},
        [FORGET] = {"forget-original", NULL, "remove config.yml and the backup for good"},
        [ORIGIN] = {"allow-key-origin", "URL", "a key broker whose keys this host may use"},
        [ROOT] = {"root", "DIRECTORY", "the root of another host's files"},
        [FORCE] = {"force", NULL, "do not ask before --forget-original"},
        [JSON] = {"json", NULL, "print the plan as a JSON object"},
        {0},
};

static const char hint_absent[] =
        "there is nothing to migrate where Intel's agent was never set up";

void migrate_done(struct migrate *migrate) {
        migrate_plan_done(&migrate->plan);
        intel_config_done(&migrate->config);
        file_closep(&migrate->lock);
        host_root_done(&migrate->root);
}

static int read_config(struct migrate *migrate, struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        const char *name;

        if (host_root_parent(&migrate->root, INTEL_CONFIG, &parent, &name, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        err->hint = hint_absent;
                return -1;
        }
        if (intel_config_read(parent, name, &migrate->config, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        err->hint = hint_absent;
                return wla_wrap(err, INTEL_CONFIG);
        }
        return 0;
}

static int note_next(struct migrate *migrate, struct wla_error *err) {
        if (migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, "wlagentd.service",
                              "afterwards: 'systemctl enable --now wlagentd.socket "
                              "wlagentd-control.socket wlagentd.service', on hosts with VMs "
                              "/usr/libexec/wlagent/enable-libvirt, then 'wlagent doctor'") < 0)
                return -1;
        return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, INTEL_CONFIG,
                                 "it holds secrets in clear and stays for --undo; once all works, "
                                 "'wlagent migrate --forget-original' removes it and the backup");
}

int migrate_look(struct migrate *migrate, struct wla_error *err) {
        if (read_config(migrate, err) < 0)
                return -1;

        migrate->has_user = host_root_user(&migrate->root, DAEMON_USER, &migrate->uid,
                                           &migrate->gid);
        /* A directory is root's before root writes there. */
        if (migrate_look_keys(migrate, err) < 0 || migrate_look_settings(migrate, err) < 0 ||
            migrate_look_secrets(migrate, err) < 0 || migrate_look_services(migrate, err) < 0 ||
            migrate_look_volumes(migrate, err) < 0 || migrate_look_images(migrate, err) < 0)
                return -1;
        return note_next(migrate, err);
}

static const char *dialect_text(enum intel_dialect dialect) {
        if (dialect == INTEL_DIALECT_NONE)
                return "unknown";
        return dialect == INTEL_DIALECT_4 ? "4" : "5";
}

static int print(const struct migrate *migrate, bool json, bool applied, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

        if (!json) {
                (void)printf(INTEL_CONFIG ": names of release %s\n\n",
                             dialect_text(migrate->config.dialect));
                migrate_plan_print(&migrate->plan);
                return 0;
        }
        json_open_object(&writer, NULL);
        json_put_text(&writer, "version", WLAGENT_VERSION);
        json_put_text(&writer, "config", INTEL_CONFIG);
        json_put_text(&writer, "release", dialect_text(migrate->config.dialect));
        json_put_bool(&writer, "applied", applied);
        migrate_plan_write_json(&migrate->plan, &writer);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

/* Where the plan is not told before. */
static int fail_blocked(const struct migrate_plan *plan, struct wla_error *err) {
        for (size_t i = 0; i < plan->note_count; i++)
                if (plan->notes[i].kind == MIGRATE_BLOCKS)
                        return wla_fail_hint(err, WLA_E_INPUT,
                                             "run it without --apply to see all of the problems",
                                             "%zu of the plan has to be mended first: %.100s: "
                                             "%.300s",
                                             plan->blocks, plan->notes[i].subject,
                                             plan->notes[i].text);
        return 0;
}

/* The command that was given, but with that action: as it was called, because Intel's program is the first of that
 * name in PATH until the plan is carried out. */
static int print_command(const struct arguments *arguments, int action, struct wla_error *err) {
        const struct {
                int option;
                bool wanted;
        } given[] = {{ROOT, true}, {ORIGIN, action == APPLY}};
        _cleanup_buf_ struct buf line = BUF_WITH_LIMIT(COMMAND_MAX);

        if (shell_word_append(&line, program_invocation_name, err) < 0 ||
            buf_append_text(&line, " migrate", err) < 0)
                return -1;
        for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
                const char *value = arguments->option[given[i].option];

                if (value && given[i].wanted &&
                    (buf_printf(&line, err, " --%s ", options[given[i].option].name) < 0 ||
                     shell_word_append(&line, value, err) < 0))
                        return -1;
        }
        if (!buf_text(&line, err))
                return -1;
        (void)printf("\n    %s --%s\n", (const char *)line.data, options[action].name);
        return 0;
}

static int print_next(const struct arguments *arguments, const struct migrate_plan *plan,
                      struct wla_error *err) {
        if (arguments->option[APPLY]) {
                (void)puts("\ndone; this puts everything back:");
                return print_command(arguments, UNDO, err);
        }
        if (plan->blocks > 0)
                (void)puts(
                        "\nnothing was changed, and nothing can be before the problems are mended");
        else if (plan->change_count == 0)
                (void)puts("\nnothing was changed, and there is nothing to change");
        else {
                (void)puts("\nnothing was changed; this carries it out:");
                return print_command(arguments, APPLY, err);
        }
        return 0;
}

/* The plan is told before it is carried out, but as JSON after it, once. */
static int migrate_host(const struct arguments *arguments, struct wla_error *err) {
        _cleanup_migrate_ struct migrate migrate = MIGRATE_CLOSED;
        bool apply = arguments->option[APPLY] != NULL;
        bool json = arguments->option[JSON] != NULL;

        migrate.root_path = arguments->option[ROOT];
        migrate.allowed_origins = arguments->option[ORIGIN];
        if (host_root_open(migrate.root_path, &migrate.root, err) < 0 ||
            (apply && migrate_lock(&migrate.root, &migrate.lock, err) < 0) ||
            migrate_look(&migrate, err) < 0 || (!json && print(&migrate, json, apply, err) < 0))
                return -1;
        if (apply && json && fail_blocked(&migrate.plan, err) < 0)
                return -1;
        if (apply && migrate_apply(&migrate, err) < 0)
                return -1;
        if (json)
                return print(&migrate, json, apply, err);
        return print_next(arguments, &migrate.plan, err);
}

static int forget(const struct arguments *arguments, struct wla_error *err) {
        if (!arguments->option[FORCE] &&
            confirm("Remove " INTEL_CONFIG " and the backup? --undo is not possible afterwards.",
                    "the original is still there", err) < 0)
                return -1;
        return migrate_forget(arguments->option[ROOT], err);
}

static enum outcome check_usage(const struct arguments *arguments, struct wla_error *err) {
        unsigned actions = (arguments->option[APPLY] != NULL) + (arguments->option[UNDO] != NULL) +
                           (arguments->option[FORGET] != NULL);

        if (actions > 1)
                (void)wla_fail(err, WLA_E_INPUT,
                               "--apply, --undo and --forget-original exclude each other");
        else if (arguments->option[FORCE] && !arguments->option[FORGET])
                (void)wla_fail(err, WLA_E_INPUT, "--force belongs to --forget-original");
        else if ((arguments->option[ORIGIN] || arguments->option[JSON]) &&
                 (arguments->option[UNDO] || arguments->option[FORGET]))
                (void)wla_fail(err, WLA_E_INPUT,
                               "--allow-key-origin and --json belong to the plan and to --apply");
        else
                return OUTCOME_OK;
        return OUTCOME_USAGE;
}

/* libyaml has no allocator of its own, and what it frees of a secret is overwritten by glibc's. */
static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        int outcome;

        if (check_usage(arguments, err) != OUTCOME_OK)
                return OUTCOME_USAGE;
        if (invocation_guard_secrets(invocation, err) < 0)
                return OUTCOME_FAILED;
        (void)mallopt(M_PERTURB, 0xa5);

        if (arguments->option[UNDO])
                outcome = migrate_undo(arguments->option[ROOT], err);
        else if (arguments->option[FORGET])
                outcome = forget(arguments, err);
        else
                outcome = migrate_host(arguments, err);
        return outcome < 0 ? OUTCOME_FAILED : OUTCOME_OK;
}

const struct command command_migrate = {
        .name = "migrate",
        .summary = "Move this host from Intel SecL's Workload Agent to wlagent",
        .details = "Without --apply it prints what it would do and changes nothing.",
        .operand = OPERAND_NONE,
        .options = options,
        .run = run,
};
