/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What wlagent status shows: the daemon's state at one moment, as a JSON object.
 *
 * Ownership: all texts are borrowed for the time of the call.
 * Threads:   pure.
 */

#include "base/buf.h"
#include "key/access.h"
#include "source/wls_road.h"

struct daemon_status {
        const char *config_path; /* NULL: built-in defaults */
        uint64_t uptime_usec;
        bool memory_locked;
        size_t secure_heap_used;
        size_t secure_heap_size;
        const char *keyprovider_socket;
        size_t keyprovider_connections;
        bool allow_wrap;
        struct key_access_counts keys;
        uint64_t cache_usec;
        size_t queued_jobs;
        const char *tpm_device;
        uint64_t tpm_busy_usec;          /* since when it has been at one operation; 0: idle */
        const char *binding_key;         /* fingerprint; NULL: none was set up */
        const char *binding_key_problem; /* why there is none; NULL when there is one */
        uint32_t binding_key_pcrs;       /* bit n: PCR n */
        const struct wls_state *broker;  /* NULL: none is set up */
        const char *vms;                 /* JSON array */
        const char *reports;             /* JSON object */
};

int daemon_status_write(const struct daemon_status *status, struct buf *json,
                        struct wla_error *err) _must_check_;
