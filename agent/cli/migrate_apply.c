/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/credential_store.h"
#include "cli/migrate.h"
#include "cli/migrate_journal.h"
#include "cli/migrate_lock.h"
#include "cli/migrate_put.h"
#include "cli/migrate_systemctl.h"

#define INTEL_SERVICE "wlagent.service"

/* Everything that agent/cli/credential_store.h may touch for a credential. */
static const char *const credential_files[] = {
        "/etc/credstore.encrypted/%s",
        "/etc/credstore/%s",
        MIGRATE_UNIT "/credential-%s.conf",
};

#define CREDENTIAL_FILES (sizeof(credential_files) / sizeof(credential_files[0]))

/* Whose secret stands in config.yml and in a credential. */
static const struct key {
        const char *credential;
        const char *files[2];
} keys[] = {
        {CREDENTIAL_BINDING_KEY_SECRET,
         {INTEL_DIRECTORY "/bindingkey.json", INTEL_DIRECTORY "/bindingkey.pem"}},
        {CREDENTIAL_SIGNING_KEY_SECRET,
         {INTEL_DIRECTORY "/signingkey.json", INTEL_DIRECTORY "/signingkey.pem"}},
};

#define KEYS (sizeof(keys) / sizeof(keys[0]))

static void credential_path(const char *format, const char *name, char to[static PATH_MAX]) {
        const char *at = strstr(format, "%s");

        (void)snprintf(to, PATH_MAX, "%.*s%s%s", (int)(at - format), format, name, at + 2);
}

static int keep_credential(struct migrate_journal *journal, const char *name,
                           struct wla_error *err) {
        for (size_t i = 0; i < CREDENTIAL_FILES; i++) {
                char path[PATH_MAX];

                credential_path(credential_files[i], name, path);
                if (migrate_journal_keep(journal, path, true, err) < 0 ||
                    migrate_journal_expect(journal, path, MIGRATE_STATE_ANY, err) < 0)
                        return -1;
        }
        /* So that --undo can tell whether it is still the secret of that key. */
        for (size_t i = 0; i < KEYS; i++)
                if (strcmp(keys[i].credential, name) == 0 &&
                    (migrate_journal_keep(journal, keys[i].files[0], false, err) < 0 ||
                     migrate_journal_keep(journal, keys[i].files[1], false, err) < 0))
                        return -1;
        return 0;
}

static int keep_change(struct migrate_journal *journal, const struct migrate_change *change,
                       struct wla_error *err) {
        char next[MIGRATE_STATE_SIZE] = MIGRATE_STATE_ABSENT;

        if (change->kind == MIGRATE_CREDENTIAL)
                return keep_credential(journal, change->credential, err);
        if (migrate_journal_keep(journal, change->path, change->kind != MIGRATE_ACCESS, err) < 0)
                return -1;
        if (change->kind == MIGRATE_ACCESS)
                return 0;
        if (change->kind == MIGRATE_WRITE) {
                const struct wla_bytes text = {.data = (const uint8_t *)change->text,
                                               .size = strlen(change->text)};

                if (migrate_state_of_file(text, next, err) < 0)
                        return -1;
        }
        return migrate_journal_expect(journal, change->path, next, err);
}

static int keep_all(struct migrate_journal *journal, const struct migrate_plan *plan,
                    struct wla_error *err) {
        for (size_t i = 0; i < plan->change_count; i++)
                if (keep_change(journal, &plan->changes[i], err) < 0)
                        return wla_wrap(err, "noting what is there");
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

int migrate_apply(struct migrate *migrate, struct wla_error *err) {
        _cleanup_migrate_journal_ struct migrate_journal journal = MIGRATE_JOURNAL_CLOSED;
        const struct migrate_plan *plan = &migrate->plan;

        if (plan->blocks > 0)
                return wla_fail_hint(err, WLA_E_INPUT, "run it without --apply to see them",
                                     "%zu of what is told above has to be mended first",
                                     plan->blocks);
        if (migrate_journal_open(&migrate->root, true, &journal, err) < 0)
                return -1;

        if ((journal.count == 0 && migrate_systemctl_runs(&migrate->root, INTEL_SERVICE,
                                                          &journal.service_ran, err) < 0) ||
            keep_all(&journal, plan, err) < 0)
                return -1;
        journal.complete = false;
        if (migrate_journal_save(&journal, err) < 0 ||
            migrate_systemctl_stop(&migrate->root, INTEL_SERVICE, err) < 0)
                return -1;

        for (size_t i = 0; i < plan->change_count; i++)
                if (make_change(migrate, &plan->changes[i], err) < 0) {
                        err->hint =
                                "run it again to go on, or with --undo to have everything as it "
                                "was";
                        return -1;
                }
        if (migrate_systemctl(&migrate->root, "daemon-reload", NULL, err) < 0 ||
            migrate_journal_settle(&journal, err) < 0)
                return -1;
        journal.complete = true;
        return migrate_journal_save(&journal, err);
}

/* For each key, whether anything of it was changed since. */
static int look_for_new_keys(const struct migrate_journal *journal, bool ret[static KEYS],
                             struct wla_error *err) {
        for (size_t k = 0; k < KEYS; k++) {
                ret[k] = false;
                for (size_t i = 0; i < journal->count; i++) {
                        const char *path = journal->originals[i].path;
                        bool unchanged = true;

                        if ((strcmp(path, keys[k].files[0]) == 0 ||
                             strcmp(path, keys[k].files[1]) == 0) &&
                            migrate_journal_is_unchanged(journal, i, &unchanged, err) < 0)
                                return -1;
                        ret[k] = ret[k] || !unchanged;
                }
        }
        return 0;
}

/* A file of a key that is not the one which was migrated, or its secret: neither agent could use the one
 * without the other. */
static bool is_of_new_key(const char *path, const bool is_new[static KEYS]) {
        char other[PATH_MAX];

        for (size_t k = 0; k < KEYS; k++) {
                if (!is_new[k])
                        continue;
                if (strcmp(path, keys[k].files[0]) == 0 || strcmp(path, keys[k].files[1]) == 0)
                        return true;
                for (size_t i = 0; i < CREDENTIAL_FILES; i++) {
                        credential_path(credential_files[i], keys[k].credential, other);
                        if (strcmp(path, other) == 0)
                                return true;
                }
        }
        return false;
}

static void tell_left(const struct migrate_original *original, size_t i, bool unchanged) {
        const char *path = original->path;

        if (unchanged)
                (void)fprintf(stderr, "wlagent: %s: its key was changed since: left as it is\n",
                              path);
        else if (original->copied)
                (void)fprintf(stderr,
                              "wlagent: %s was changed since: left as it is; what it was is "
                              "in " MIGRATE_BACKUP "/" MIGRATE_COPY "\n",
                              path, i);
        else if (original->kind == MIGRATE_WAS_LINK)
                (void)fprintf(stderr,
                              "wlagent: %s was changed since: left as it is; it was a link to %s\n",
                              path, original->target);
        else if (original->kind == MIGRATE_WAS_ABSENT)
                (void)fprintf(stderr,
                              "wlagent: %s was changed since: left as it is; it was not there\n",
                              path);
        else
                (void)fprintf(stderr,
                              "wlagent: %s was changed since: left as it is; it was of user %u and "
                              "group %u, with mode %04o\n",
                              path, (unsigned)original->uid, (unsigned)original->gid,
                              (unsigned)original->mode);
}

/* Backwards, so that what is in a directory goes before it. */
static int restore_all(const struct migrate_journal *journal, size_t *ret_left,
                       struct wla_error *err) {
        bool is_new[KEYS];

        *ret_left = 0;
        if (look_for_new_keys(journal, is_new, err) < 0)
                return -1;
        for (size_t i = journal->count; i > 0; i--) {
                const struct migrate_original *original = &journal->originals[i - 1];
                bool unchanged;

                if (migrate_journal_is_unchanged(journal, i - 1, &unchanged, err) < 0)
                        return -1;
                if (!unchanged || is_of_new_key(original->path, is_new)) {
                        if (unchanged && !host_root_exists(journal->root, original->path))
                                continue;
                        tell_left(original, i - 1, unchanged);
                        (*ret_left)++;
                } else if (migrate_journal_restore(journal, i - 1, err) < 0) {
                        err->hint = "mend that and run it again; what has been put back stays so";
                        return -1;
                }
        }
        return 0;
}

/* They listen where Intel's agent does. */
static int check_stopped(const struct host_root *root, struct wla_error *err) {
        static const char *const units[] = {
                "wlagentd.socket",
                "wlagentd-control.socket",
                "wlagentd.service",
                "wlagent-volumed.socket",
        };

        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                bool runs;

                if (migrate_systemctl_runs(root, units[i], &runs, err) < 0)
                        return -1;
                if (runs)
                        return wla_fail_hint(err, WLA_E_BUSY,
                                             "stop this agent first: 'systemctl disable --now "
                                             "wlagentd.socket wlagentd-control.socket "
                                             "wlagentd.service wlagent-volumed.socket'",
                                             "%s is active", units[i]);
        }
        return 0;
}

static int undo(struct migrate_journal *journal, struct wla_error *err) {
        const struct host_root *root = journal->root;
        size_t left;

        /* Until another --apply: the original that --forget-original removes is in use again. */
        if (journal->complete) {
                journal->complete = false;
                if (migrate_journal_save(journal, err) < 0)
                        return -1;
        }
        if (restore_all(journal, &left, err) < 0 ||
            (journal->count > 0 && migrate_systemctl(root, "daemon-reload", NULL, err) < 0))
                return -1;
        (void)printf("%zu files are as they were before the migration\n", journal->count - left);
        if (left > 0)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "look at each; then run it again, or remove " MIGRATE_BACKUP
                                     " and start wlagent.service by hand if it is to run",
                                     "%zu that are named above stay as they are, and so does the "
                                     "backup; wlagent.service was not started",
                                     left);
        if (journal->service_ran && migrate_systemctl(root, "start", INTEL_SERVICE, err) < 0)
                return -1;
        return migrate_journal_remove(journal, err);
}

int migrate_undo(const char *root_path, struct wla_error *err) {
        _cleanup_host_root_ struct host_root root = HOST_ROOT_CLOSED;
        _cleanup_migrate_journal_ struct migrate_journal journal = MIGRATE_JOURNAL_CLOSED;
        _cleanup_close_ int lock = -1;

        if (host_root_open(root_path, &root, err) < 0 || migrate_lock(&root, &lock, err) < 0)
                return -1;
        if (migrate_journal_open(&root, false, &journal, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        err->hint =
                                "nothing has been migrated here, or --forget-original was given";
                return -1;
        }
        if (!host_root_exists(&root, INTEL_CONFIG))
                return wla_fail_hint(err, WLA_E_NOT_FOUND,
                                     "a --forget-original that was interrupted is run again; "
                                     "otherwise put the file back, or nothing is undone",
                                     INTEL_CONFIG " is gone, and Intel's agent does not run "
                                                  "without it");
        return check_stopped(&root, err) < 0 ? -1 : undo(&journal, err);
}

static int forget(const struct host_root *root, struct wla_error *err) {
        _cleanup_migrate_journal_ struct migrate_journal journal = MIGRATE_JOURNAL_CLOSED;

        if (migrate_journal_open(root, false, &journal, err) < 0)
                return -1;
        /* Neither config.yml nor a journal: one that was interrupted has left the rest. */
        if (!journal.complete && (journal.count > 0 || host_root_exists(root, INTEL_CONFIG)))
                return wla_fail_hint(err, WLA_E_INPUT, "run 'wlagent migrate --apply' to its end",
                                     "the migration is not complete");
        if (migrate_put_nothing(root, INTEL_CONFIG, err) < 0)
                return -1;
        return migrate_journal_remove(&journal, err);
}

int migrate_forget(const char *root_path, struct wla_error *err) {
        _cleanup_host_root_ struct host_root root = HOST_ROOT_CLOSED;
        _cleanup_close_ int lock = -1;

        if (host_root_open(root_path, &root, err) < 0 || migrate_lock(&root, &lock, err) < 0 ||
            forget(&root, err) < 0)
                return -1;
        (void)puts(INTEL_CONFIG " and the backup are removed; its blocks on the disk are free, not "
                                "wiped");
        return 0;
}
