/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* "wlagent migrate": a host of Intel SecL's Workload Agent becomes one of wlagent.
 *
 * Looking comes first and makes a plan (cli/migrate_plan.h); nothing is changed by it.  Each part of the host
 * is looked at in a file of its own, as doctor's checks are.  A plan names only what is not yet as it should
 * be, so that an interrupted --apply is continued by another one.
 *
 * Ownership: migrate_done() releases everything.
 * Threads:   one.
 * Failure:   of migrate_look_*(): what keeps from making a plan at all; what only keeps from carrying it out
 *            is a note of the plan.
 */

#include "cli/host_root.h"
#include "cli/intel_config.h"
#include "cli/migrate_plan.h"
#include "cli/nova_cache.h"

#define INTEL_DIRECTORY   "/etc/workload-agent"
#define INTEL_CONFIG      INTEL_DIRECTORY "/config.yml"
#define INTEL_PROGRAMS    "/opt/workload-agent"
#define INTEL_PROGRAM     INTEL_PROGRAMS "/bin/wlagent"
#define INTEL_UNIT        INTEL_PROGRAMS "/wlagent.service"
#define INTEL_COMMAND     "/usr/local/bin/wlagent"
#define INTEL_HOOK        "/etc/libvirt/hooks/qemu"
#define INTEL_MOUNTS      "/mnt/workload-agent/crypto"
#define INTEL_ASSOCIATION "/run/workload-agent/image_vm_association"

#define INTEL_ASSOCIATION_MAX 65536u
#define INTEL_AGENT_USER      "tagent" /* where config.yml names none */

/* Before the one that 'wlagent setup update-service-config' writes, whose values count when both are there; the
 * network is the same file. */
#define MIGRATE_CONFIG  INTEL_DIRECTORY "/wlagent.conf.d/40-migrated.conf"
#define MIGRATE_UNIT    "/etc/systemd/system/wlagentd.service.d"
#define MIGRATE_NETWORK MIGRATE_UNIT "/intel-secl.conf"

struct migrate {
        const char *root_path; /* --root, or NULL */
        struct host_root root;
        int lock;                    /* -1 where nothing is changed */
        const char *allowed_origins; /* --allow-key-origin, or NULL */
        struct intel_config config;
        bool has_user; /* that wlagentd runs as */
        uid_t uid;
        gid_t gid;
        struct migrate_plan plan;
};

void migrate_done(struct migrate *migrate);

#define _cleanup_migrate_ __attribute__((cleanup(migrate_done)))

#define MIGRATE_CLOSED ((struct migrate){.root = {.fd = -1}, .lock = -1})

/* Reads config.yml and makes the plan.  The root is open. */
int migrate_look(struct migrate *migrate, struct wla_error *err) _must_check_;

/* One per file of its name. */
int migrate_look_settings(struct migrate *migrate, struct wla_error *err) _must_check_;
int migrate_look_secrets(struct migrate *migrate, struct wla_error *err) _must_check_;
int migrate_look_keys(struct migrate *migrate, struct wla_error *err) _must_check_;
int migrate_look_services(struct migrate *migrate, struct wla_error *err) _must_check_;
int migrate_look_volumes(struct migrate *migrate, struct wla_error *err) _must_check_;
int migrate_look_images(struct migrate *migrate, struct wla_error *err) _must_check_;

/* Whether a script is the hook that Intel's agent installs, with nothing of the site in it.  *ret_calls: it
 * runs Intel's agent at all. */
bool migrate_is_intel_hook(const char *text, bool *ret_calls);

int migrate_apply(struct migrate *migrate, struct wla_error *err) _must_check_;
int migrate_undo(const char *root_path, struct wla_error *err) _must_check_;
int migrate_forget(const char *root_path, struct wla_error *err) _must_check_;
