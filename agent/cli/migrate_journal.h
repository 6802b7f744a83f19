/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What every file was that "wlagent migrate --apply" touches, on the disk before the first of them is touched:
 * the backup, by which --undo puts all of it back.
 *
 *   /var/lib/workload-agent-migration/     mode 0700, root's
 *       journal.json                       an object a file: what it was
 *       copy-N                             its content, where that is changed
 *
 * A file is noted once, as it was before the first --apply; later ones add to it.  Without journal.json
 * nothing has been changed.
 *
 * What an --apply leaves at each path is noted as well, before it does where that is known, so that --undo can
 * tell what somebody else has changed since.
 *
 * Ownership: migrate_journal_done() releases; the root is lent and outlives it.
 * Threads:   one.
 * Failure:   WLA_E_NOT_FOUND without a journal, WLA_E_INPUT for a damaged one, WLA_E_DENIED for a backup that
 *            others could write to, WLA_E_SYSTEM, WLA_E_BUSY; the text names the file.
 */

#include <sys/types.h>
#include <time.h>

#include "cli/host_root.h"
#include "cli/migrate_state.h"

#define MIGRATE_BACKUP        "/var/lib/workload-agent-migration"
#define MIGRATE_ORIGINALS_MAX 512u

/* A copy's name in it, with the number of the original. */
#define MIGRATE_COPY "copy-%zu"

/* Of a file whose content is not known before it is written. */
#define MIGRATE_STATE_ANY "any"

enum migrate_original_kind {
        MIGRATE_WAS_ABSENT,
        MIGRATE_WAS_FILE,
        MIGRATE_WAS_LINK,
        MIGRATE_WAS_DIRECTORY,
        _MIGRATE_WAS_MAX
};

struct migrate_original {
        char *path;
        enum migrate_original_kind kind;
        uid_t uid;
        gid_t gid;
        mode_t mode;
        struct timespec changed;       /* mtime */
        char *target;                  /* of a link */
        bool copied;                   /* its content is in copy-N */
        char left[MIGRATE_STATE_SIZE]; /* what was left there; "": not known */
        char next[MIGRATE_STATE_SIZE]; /* what the --apply that is not complete leaves, or "" */
};

struct migrate_journal {
        const struct host_root *root;
        int fd; /* of the backup */
        struct migrate_original *originals;
        size_t count;
        bool complete;    /* an --apply has come to its end */
        bool service_ran; /* Intel's, before the first --apply */
};

#define MIGRATE_JOURNAL_CLOSED ((struct migrate_journal){.fd = -1})

void migrate_journal_done(struct migrate_journal *journal);

#define _cleanup_migrate_journal_ __attribute__((cleanup(migrate_journal_done)))

/* With make a backup is begun where there is none. */
int migrate_journal_open(const struct host_root *root, bool make, struct migrate_journal *ret,
                         struct wla_error *err) _must_check_;

/* Notes path, and those of its parents that are not there.  content: it will be changed, or the file removed. */
int migrate_journal_keep(struct migrate_journal *journal, const char *path, bool content,
                         struct wla_error *err) _must_check_;

/* What is going to be at path, which is noted, instead of what is there now. */
int migrate_journal_expect(struct migrate_journal *journal, const char *path, const char *next,
                           struct wla_error *err) _must_check_;

/* What was expected has come. */
int migrate_journal_settle(struct migrate_journal *journal, struct wla_error *err) _must_check_;

/* *ret: at the path of original i is what an --apply has left, or what was there before. */
int migrate_journal_is_unchanged(const struct migrate_journal *journal, size_t i, bool *ret,
                                 struct wla_error *err) _must_check_;

/* To the disk. */
int migrate_journal_save(const struct migrate_journal *journal, struct wla_error *err) _must_check_;

/* Makes original i what it was.  A directory that was not there and is not empty stays. */
int migrate_journal_restore(const struct migrate_journal *journal, size_t i,
                            struct wla_error *err) _must_check_;

/* The backup with everything in it; journal.json goes first. */
int migrate_journal_remove(struct migrate_journal *journal, struct wla_error *err) _must_check_;
