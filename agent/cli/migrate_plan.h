/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What "wlagent migrate" would do: changes of files, in their order, and what somebody should know.
 *
 * A plan holds no secret: a credential's is lent.
 * Ownership: migrate_plan_done() releases what it holds; secrets outlive it.
 * Threads:   one.
 * Failure:   WLA_E_BUSY without memory.
 */

#include <sys/types.h>

#include "base/secret.h"
#include "cli/json_writer.h"

enum migrate_change_kind {
        MIGRATE_WRITE,      /* a file of ours */
        MIGRATE_REMOVE,     /* a file or link; it is in the backup then */
        MIGRATE_ACCESS,     /* owner, group and mode of a file or directory */
        MIGRATE_CREDENTIAL, /* a secret, by agent/cli/credential_store.h */
        _MIGRATE_CHANGE_MAX
};

struct migrate_change {
        enum migrate_change_kind kind;
        char *path; /* of a credential: where it is expected to be */
        char *why;
        char *text;                      /* MIGRATE_WRITE */
        const char *credential;          /* its name, a literal */
        const struct wla_secret *secret; /* lent */
        mode_t mode;
        uid_t uid;
        gid_t gid;
};

enum migrate_note_kind {
        MIGRATE_BLOCKS,  /* --apply refuses until it is mended */
        MIGRATE_BY_HAND, /* for the operator */
        MIGRATE_DROPPED, /* has no counterpart */
        MIGRATE_KEPT,    /* stays, and is of use as it is */
        _MIGRATE_NOTE_MAX
};

struct migrate_note {
        enum migrate_note_kind kind;
        char *subject; /* a file, or a name of config.yml */
        char *text;
};

struct migrate_plan {
        struct migrate_change *changes;
        size_t change_count;
        struct migrate_note *notes;
        size_t note_count;
        size_t blocks; /* notes of that kind */
};

void migrate_plan_done(struct migrate_plan *plan);

/* text, path and why are copied.  mode is for a file that is not there yet. */
int migrate_plan_write(struct migrate_plan *plan, const char *path, const char *text, mode_t mode,
                       const char *why, struct wla_error *err) _must_check_;
int migrate_plan_remove(struct migrate_plan *plan, const char *path, const char *why,
                        struct wla_error *err) _must_check_;

struct migrate_access {
        uid_t uid;
        gid_t gid;
        mode_t mode;
};

int migrate_plan_access(struct migrate_plan *plan, const char *path,
                        const struct migrate_access *access, const char *why,
                        struct wla_error *err) _must_check_;
int migrate_plan_credential(struct migrate_plan *plan, const char *name,
                            const struct wla_secret *secret, const char *why,
                            struct wla_error *err) _must_check_;

int migrate_plan_note(struct migrate_plan *plan, struct wla_error *err, enum migrate_note_kind kind,
                      const char *subject, const char *format, ...) _must_check_ _printf_(5, 6);

/* On standard output, for people. */
void migrate_plan_print(const struct migrate_plan *plan);

/* Members of the object that is open. */
void migrate_plan_write_json(const struct migrate_plan *plan, struct json_writer *to);
