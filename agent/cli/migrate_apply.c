/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/credential_store.h"
#include "cli/migrate.h"
#include "cli/migrate_journal.h"
#include "cli/migrate_put.h"
#include "cli/other_program.h"

#define SYSTEMCTL_USEC (UINT64_C(90) * USEC_PER_SEC)
#define INTEL_SERVICE  "wlagent.service"

/* Everything that agent/cli/credential_store.h may touch for a credential. */
static const char *const credential_files[] = {
        "/etc/credstore.encrypted/%s",
        "/etc/credstore/%s",
        MIGRATE_UNIT "/credential-%s.conf",
};

static int check_user(struct wla_error *err) {
        if (geteuid() == 0)
                return 0;
        return wla_fail_hint(err, WLA_E_DENIED, "run it as root", "only root can do this");
}

/* Its exit code; an image has no services that run. */
static int run_systemctl(const struct host_root *root, const char *verb, const char *unit,
                         int *ret_code, struct wla_error *err) {
        char path[PATH_MAX];
        char words[2][64];

        *ret_code = 1;
        if (!root->running)
                return 0;
        if (other_program_find("systemctl", path, err) < 0)
                return -1;
        (void)snprintf(words[0], sizeof(words[0]), "%s", verb);
        (void)snprintf(words[1], sizeof(words[1]), "%s", unit ? unit : "");
        char *const argv[] = {path, words[0], unit ? words[1] : NULL, NULL};
        return other_program_run(argv, SYSTEMCTL_USEC, ret_code, err);
}

static int systemctl(const struct host_root *root, const char *verb, const char *unit,
                     struct wla_error *err) {
        int code;

        if (run_systemctl(root, verb, unit, &code, err) < 0)
                return -1;
        if (root->running && code != 0)
                return wla_fail(err, WLA_E_SYSTEM, "'systemctl %s%s%s' has failed", verb,
                                unit ? " " : "", unit ? unit : "");
        return 0;
}

static int keep_credential(struct migrate_journal *journal, const char *name,
                           struct wla_error *err) {
        const size_t count = sizeof(credential_files) / sizeof(credential_files[0]);

        for (size_t i = 0; i < count; i++) {
                const char *format = credential_files[i];
                const char *at = strstr(format, "%s");
                char path[PATH_MAX];

                (void)snprintf(path, sizeof(path), "%.*s%s%s", (int)(at - format), format, name,
                               at + 2);
                if (migrate_journal_keep(journal, path, true, err) < 0)
                        return -1;
        }
        return 0;
}

static int keep_all(struct migrate_journal *journal, const struct migrate_plan *plan,
                    struct wla_error *err) {
        for (size_t i = 0; i < plan->change_count; i++) {
                const struct migrate_change *change = &plan->changes[i];

                if (change->kind == MIGRATE_CREDENTIAL
                            ? keep_credential(journal, change->credential, err) < 0
                            : migrate_journal_keep(journal, change->path,
                                                   change->kind != MIGRATE_ACCESS, err) < 0)
                        return wla_wrap(err, "noting what is there");
        }
        return 0;
}

static int make_change(const struct migrate *migrate, const struct migrate_change *change,
                       struct wla_error *err) {
        const struct migrate_put put = {
                .uid = change->uid, .gid = change->gid, .mode = change->mode};
        struct credential_place place = {0};

        switch (change->kind) {
        case MIGRATE_WRITE: {
                const struct wla_bytes text = {.data = (const uint8_t *)change->text,
                                               .size = strlen(change->text)};

                if (migrate_put_parents(&migrate->root, change->path, err) < 0)
                        return -1;
                return migrate_put_file(&migrate->root, change->path, text, &put, err);
        }
        case MIGRATE_REMOVE:
                return migrate_put_nothing(&migrate->root, change->path, err);
        case MIGRATE_ACCESS:
                return migrate_put_access(&migrate->root, change->path, &put, err);
        case MIGRATE_CREDENTIAL:
                if (credential_write(migrate->root_path, change->credential, change->secret, &place,
                                     err) < 0)
                        return -1;
                if (place.kind == CREDENTIAL_PLAIN)
                        (void)fprintf(
                                stderr,
                                "wlagent: %s is not encrypted, only closed to other users: %s\n",
                                place.path, wla_error_text(&place.why_plain));
                return 0;
        case _MIGRATE_CHANGE_MAX:
                break;
        }
        return 0;
}

static int stop_service(struct migrate_journal *journal, const struct migrate *migrate, bool first,
                        struct wla_error *err) {
        int code;

        if (run_systemctl(&migrate->root, "is-active", INTEL_SERVICE, &code, err) < 0)
                return -1;
        if (first)
                journal->service_ran = code == 0;
        return 0;
}

int migrate_apply(struct migrate *migrate, struct wla_error *err) {
        _cleanup_migrate_journal_ struct migrate_journal journal = MIGRATE_JOURNAL_CLOSED;
        const struct migrate_plan *plan = &migrate->plan;

        if (check_user(err) < 0)
                return -1;
        if (plan->blocks > 0)
                return wla_fail_hint(err, WLA_E_INPUT, "run it without --apply to see them",
                                     "%zu of what is told above has to be mended first",
                                     plan->blocks);
        if (migrate_journal_open(&migrate->root, true, &journal, err) < 0)
                return -1;

        bool first = journal.count == 0;
        if (keep_all(&journal, plan, err) < 0 || stop_service(&journal, migrate, first, err) < 0)
                return -1;
        journal.complete = false;
        if (migrate_journal_save(&journal, err) < 0 ||
            (journal.service_ran && systemctl(&migrate->root, "stop", INTEL_SERVICE, err) < 0))
                return -1;

        for (size_t i = 0; i < plan->change_count; i++)
                if (make_change(migrate, &plan->changes[i], err) < 0) {
                        err->hint =
                                "run it again to go on, or with --undo to have everything as it "
                                "was";
                        return -1;
                }
        if (systemctl(&migrate->root, "daemon-reload", NULL, err) < 0)
                return -1;
        journal.complete = true;
        return migrate_journal_save(&journal, err);
}

/* Backwards, so that what is in a directory goes before it. */
static int restore_all(const struct migrate_journal *journal, struct wla_error *err) {
        for (size_t i = journal->count; i > 0; i--)
                if (migrate_journal_restore(journal, i - 1, err) < 0) {
                        err->hint = "mend that and run it again; what has been put back stays so";
                        return -1;
                }
        return 0;
}

int migrate_undo(const char *root_path, struct wla_error *err) {
        _cleanup_host_root_ struct host_root root = HOST_ROOT_CLOSED;
        _cleanup_migrate_journal_ struct migrate_journal journal = MIGRATE_JOURNAL_CLOSED;

        if (check_user(err) < 0 || host_root_open(root_path, &root, err) < 0)
                return -1;
        if (migrate_journal_open(&root, false, &journal, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        err->hint =
                                "nothing has been migrated here, or --forget-original was given";
                return -1;
        }
        if (restore_all(&journal, err) < 0 ||
            (journal.count > 0 && systemctl(&root, "daemon-reload", NULL, err) < 0) ||
            (journal.service_ran && systemctl(&root, "start", INTEL_SERVICE, err) < 0))
                return -1;
        (void)printf("%zu files are as they were before the migration\n", journal.count);
        return migrate_journal_remove(&journal, err);
}

static int forget(const struct host_root *root, struct wla_error *err) {
        _cleanup_migrate_journal_ struct migrate_journal journal = MIGRATE_JOURNAL_CLOSED;

        if (migrate_journal_open(root, false, &journal, err) < 0)
                return -1;
        if (!journal.complete)
                return wla_fail_hint(err, WLA_E_INPUT, "run 'wlagent migrate --apply' to its end",
                                     "the migration is not complete");
        if (migrate_put_nothing(root, INTEL_CONFIG, err) < 0)
                return -1;
        return migrate_journal_remove(&journal, err);
}

int migrate_forget(const char *root_path, struct wla_error *err) {
        _cleanup_host_root_ struct host_root root = HOST_ROOT_CLOSED;

        if (check_user(err) < 0 || host_root_open(root_path, &root, err) < 0 ||
            forget(&root, err) < 0)
                return -1;
        (void)puts(INTEL_CONFIG " and the backup are removed; its blocks on the disk are free, not "
                                "wiped");
        return 0;
}
