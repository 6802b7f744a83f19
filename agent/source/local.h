/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The local key store as a source: the embedded default, which needs no network.
 *
 * Ownership: the source keeps a copy of the path; free it when no fetch can run any more.
 * Threads, failure: as key/source.h says.  The store is opened anew by each fetch, so that keys and
 * the store itself may come and go while wlagentd runs.
 */

#include "key/source.h"

struct local_source;

/* state_directory: where the key store is. */
int local_source_new(const char *state_directory, struct local_source **ret,
                     struct wla_error *err) _must_check_;

/* Accepts and returns NULL. */
struct local_source *local_source_free(struct local_source *source);

/* For key_routes.sources[KEY_SCHEME_LOCAL]; lives as long as source. */
struct key_source local_source_as_source(struct local_source *source);
