/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Pages for one secret: locked, excluded from core dumps, between two that nobody can touch.
 *
 * Ownership: the caller unmaps what was mapped, by the same size.
 * Threads:   any.
 * Failure:   NULL without memory; pages that the kernel refuses to lock are the caller's decision.
 */

#include <stdbool.h>
#include <stddef.h>

#include "wlagent/error.h"

/* Zeroed. */
void *guarded_pages_map(size_t size, bool *ret_locked) _must_check_;

/* Wipes first: a child of this process may have the pages, too. */
void guarded_pages_unmap(void *inner, size_t size);
