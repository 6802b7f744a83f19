/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* /etc/workload-agent/wlagent.conf: what it may hold, and how it is read.
 *
 * options.def is the one table behind the parser, the defaults, --dump-config, the sample file and the
 * manual page.  The result does not change after it was read; a reload makes a new one.
 *
 * Ownership: config_read() gives a config to free with config_free().
 * Threads:   reading on one thread; the result from any.
 * Failure:   WLA_E_INPUT; every fault of the file is reported, each with file and line.
 */

#include <stdio.h>
#include <sys/types.h>

#include "base/buf.h"
#include "wlagent/error.h"

#define CONFIG_DEFAULT_PATH "/etc/workload-agent/wlagent.conf"
#define CONFIG_USERS_MAX    32u
#define CONFIG_PATHS_MAX    16u

struct config_users {
        size_t count;
        uid_t uids[CONFIG_USERS_MAX];
        char *text; /* as written */
};

struct config_paths {
        size_t count;
        const char *paths[CONFIG_PATHS_MAX]; /* in storage */
        char *text;                          /* as written */
        char *storage;
};

struct config {
        char *path; /* the file it was read from */
        struct {
                char *state_directory;
                char *runtime_directory;
                char *control_socket; /* default: RuntimeDirectory/control.sock */
                bool allow_unlocked_memory;
                uint64_t worker_threads;
                uint64_t stop_timeout_usec;
                uint64_t log_level; /* syslog(3) priority */
        } agent;
        struct {
                char *socket; /* default: RuntimeDirectory/wlagent.sock */
                struct config_users allow_users;
                bool allow_wrap;
                bool allow_unauthenticated_wrap;
                uint64_t max_message_bytes;
                uint64_t call_timeout_usec;
                uint64_t idle_timeout_usec;
                uint64_t max_connections;
                uint64_t max_streams;
        } keyprovider;
        struct {
                char *device;                /* TCTI string */
                uint64_t binding_key_handle; /* 0: key blobs in the state directory */
        } tpm;
        struct {
                uint64_t cache_usec;
        } keys;
        struct {
                char *server_url; /* "none": no such source */
                char *token_url;
                char *service_user;
                char *allowed_key_origins;
                char *trust_directory;
                char *hardware_uuid; /* or "auto" */
                char *binding_key;   /* files */
                char *signing_key;
                uint64_t max_requests;
                bool allow_tls12;
                bool verify_flavors;
                char *flavor_trust_directory;
                bool reports;
        } wls;
        struct {
                char *socket;     /* default: RuntimeDirectory/volumed.sock */
                char *agent_user; /* name or number */
                struct config_paths image_roots;
                char *layer_directory;
                char *digest_directory;
                bool discard;
        } volumes;
        struct {
                uint64_t launch_timeout_usec;
                uint64_t lease_usec;
                uint64_t migrate_lease_usec;
                uint64_t orphan_usec;
        } libvirt;
};

/* Reads path and its drop-ins, or only the defaults when path is NULL.  CONFIG_DEFAULT_PATH may be
 * missing; its drop-ins are read all the same.  Each fault is appended to faults, a line each
 * ("FILE:LINE: text"). */
int config_read(const char *path, struct config **ret, struct buf *faults,
                struct wla_error *err) _must_check_;

struct config *config_free(struct config *config);

static inline void config_freep(struct config **config) {
        *config = config_free(*config);
}

#define _cleanup_config_ __attribute__((cleanup(config_freep)))

/* The configuration in force, in the file's own format. */
int config_dump(const struct config *config, FILE *to) _must_check_;

/* Every option with its default and its description, commented out. */
int config_write_sample(FILE *to) _must_check_;

/* The body of wlagent.conf(5): one scdoc paragraph an option. */
int config_write_manual(FILE *to) _must_check_;
