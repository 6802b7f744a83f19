/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether a power failure can leave a name for something that is not whole: a test that is linked with this fails at
 * the first call of the code under test after which it could.
 *
 *   - A file gets a name when what is in it was synced, and has not changed since.  A directory, when its list and
 *     every file in it were.
 *   - The directory is synced before another file gets a name there, or loses one; and before what is in a directory
 *     that has got the name is removed.
 *   - pwrite() goes to a file that was synced once only while all of it is on the disk: such a file is changed in
 *     steps of which each is there before the next.
 *   - At the end no name that was given or removed waits for a sync of its directory.
 *
 * Temporary names, ".new-..." and "....partial", are nobody's, and free.
 *
 * Threads: one.
 */

#include <stdbool.h>

#include "wlagent/error.h"

struct durable_trial {
        /* The directory that is watched: what is in it now was on the disk before. */
        int (*set_up)(void);
        int (*run)(struct wla_error *err);
        /* Looks at what there is, and removes it.  failed: the run has. */
        void (*tear_down)(bool failed);
        bool remnants; /* What it removes does no harm when it is there again. */
};

/* The run has each of its calls of fsync() and fdatasync() fail once, which is no sync and has to fail it; after it the
 * order of names is free, for what could not be finished is undone.  Then a run has none fail.  Returns how many syncs
 * that had. */
unsigned durable_names_try(const struct durable_trial *trial);

/* For tear_down(): which sync of the run has failed, 0 for none; how many names were given; and whether all of the
 * file is on the disk. */
unsigned durable_names_failed_sync(void);
unsigned durable_names_given(void);
bool durable_names_stored(int fd);
