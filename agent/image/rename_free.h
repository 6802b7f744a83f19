/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* rename(2) within a directory that never replaces anything.
 *
 * Where the file system does not know how, as NFS and 9p, the file has the new name before it loses the old
 * one, so whoever is killed in between leaves it with both.
 *
 * Threads: any.  Failure: -1 with errno, EEXIST when the name is taken; the file has its old name.
 */

int rename_free(int directory_fd, const char *from, const char *to);
