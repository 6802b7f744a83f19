/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Writing past the page cache, where the file system can.
 *
 * Ownership: the caller's fd is lent; direct_write_end() closes the second one.
 * Threads:   any number may write at once.
 * Failure:   WLA_E_SYSTEM.
 */

#include <stdint.h>

#include "wlagent/error.h"

struct direct_write {
        int fd;
        int direct_fd; /* the same file with O_DIRECT, or -1 */
};

struct direct_write direct_write_begin(int fd);
void direct_write_end(struct direct_write *file);

/* Direct when data, at and size are aligned to DISK_ALIGNMENT. */
int direct_write(const struct direct_write *file, uint64_t at, const uint8_t *data, size_t size,
                 struct wla_error *err) _must_check_;
