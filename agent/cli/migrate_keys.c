/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/migrate.h"
#include "cli/state_directory.h"

/* Who may read Intel's key files and certificates: wlagentd is no root, and the directory that Intel's
 * installer gave to the Trust Agent's user becomes root's. */

#define PRIVATE_MODE 0600
#define SHARED_MODE  0640
#define PUBLIC_MODE  0644
#define PASS_MODE    0755
#define BITS         07777
#define OWN_CONFIG   INTEL_DIRECTORY "/wlagent.conf"
#define OWN_DROP_INS OWN_CONFIG ".d"

static const char why_key[] = "wlagentd reads it, and runs as user " DAEMON_USER;
static const char why_directory[] = "wlagentd has to pass, and no user but root should change what "
                                    "is in it";
static const char why_certificate[] = "wlagentd reads it, and whoever could change it would choose "
                                      "whom this host trusts";

struct target {
        const char *path;
        struct migrate_access access;
        mode_t type; /* S_IFREG or S_IFDIR */
        const char *why;
};

/* A name that other users could have made lead to something of root's is not touched. */
static int look_target(struct migrate *migrate, const struct target *target,
                       struct wla_error *err) {
        struct wla_error why = {0};
        struct stat facts;

        if (host_root_stat(&migrate->root, target->path, &facts, &why) < 0) {
                if (why.code == WLA_E_NOT_FOUND)
                        return 0;
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, target->path, "%s",
                                         wla_error_text(&why));
        }
        if ((facts.st_mode & S_IFMT) != target->type)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, target->path,
                                         "it is no %s; find out who made it, and put it right",
                                         target->type == S_IFDIR ? "directory" : "regular file");
        if (target->type == S_IFREG && facts.st_nlink > 1)
                return migrate_plan_note(
                        &migrate->plan, err, MIGRATE_BLOCKS, target->path,
                        "the file has other names as well, and its owner is not "
                        "changed under all of them; copy it, and replace it by the "
                        "copy");
        if (facts.st_uid == target->access.uid && facts.st_gid == target->access.gid &&
            (facts.st_mode & BITS) == target->access.mode)
                return 0;
        return migrate_plan_access(&migrate->plan, target->path, &target->access, target->why, err);
}

static int look_key(struct migrate *migrate, const char *path, struct wla_error *err) {
        const struct target target = {
                .path = path,
                .access = {.gid = migrate->gid, .mode = SHARED_MODE},
                .type = S_IFREG,
                .why = why_key,
        };

        return look_target(migrate, &target, err);
}

/* The Trust Agent hands this one to HVS, so its user stays the owner. */
static int look_binding_certificate(struct migrate *migrate, struct wla_error *err) {
        static const char path[] = INTEL_DIRECTORY "/bindingkey.pem";
        const char *name = migrate->config.agent_user[0] != '\0' ? migrate->config.agent_user
                                                                 : INTEL_AGENT_USER;
        struct target target = {
                .path = path,
                .access = {.gid = migrate->gid, .mode = SHARED_MODE},
                .type = S_IFREG,
                .why = "the Trust Agent's user owns it, and wlagentd compares it",
        };
        struct wla_error ignored = {0};
        struct stat facts;
        gid_t gid;

        if (host_root_stat(&migrate->root, path, &facts, &ignored) < 0)
                return migrate_plan_note(
                        &migrate->plan, err, MIGRATE_BY_HAND, path,
                        "HVS has not certified the binding key of this host, or the "
                        "certificate is gone: without it the Trust Agent's whole "
                        "report fails. Run 'wlagent setup register-binding-key'");
        if (!host_root_user(&migrate->root, name, &target.access.uid, &gid)) {
                target.access.uid = facts.st_uid;
                if (migrate_plan_note(
                            &migrate->plan, err, MIGRATE_BY_HAND, path,
                            "there is no user %s, who is the Trust Agent's in config.yml; "
                            "the owner stays user %u, and has to be the Trust Agent's",
                            name, facts.st_uid) < 0)
                        return -1;
        }
        return look_target(migrate, &target, err);
}

static int look_certificate(struct migrate *migrate, const char *directory, const char *name,
                            struct wla_error *err) {
        char path[PATH_MAX];
        const struct target target = {
                .path = path,
                .access = {.mode = PUBLIC_MODE},
                .type = S_IFREG,
                .why = why_certificate,
        };

        if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path))
                return 0;
        for (const char *at = name; *at; at++)
                if (*at <= ' ' || *at > '~')
                        return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, path,
                                                 "no certificate has a name like this; remove it");
        return look_target(migrate, &target, err);
}

/* ret_count may be NULL. */
static int look_files(struct migrate *migrate, const char *directory,
                      int (*look)(struct migrate *migrate, const char *directory, const char *name,
                                  struct wla_error *err),
                      unsigned *ret_count, struct wla_error *err) {
        struct dirent *entry;
        int fd = -1;
        int outcome = 0;
        unsigned count = 0;

        if (host_root_directory(&migrate->root, directory, &fd, err) < 0)
                return -1;
        /* That one was opened as a path only. */
        int readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        file_closep(&fd);
        DIR *list = readable < 0 ? NULL : fdopendir(readable);
        if (!list) {
                file_closep(&readable);
                return wla_fail_errno(err, errno, "cannot read %s", directory);
        }
        while (outcome == 0 && (entry = readdir(list))) {
                if (entry->d_name[0] == '.')
                        continue;
                count++;
                outcome = look(migrate, directory, entry->d_name, err);
        }
        (void)closedir(list);
        if (ret_count)
                *ret_count = count;
        return outcome;
}

static int look_certificates(struct migrate *migrate, const char *directory, const char *what,
                             struct wla_error *err) {
        struct wla_error why = {0};
        unsigned count = 0;
        int fd = -1;

        if (host_root_directory(&migrate->root, directory, &fd, &why) < 0)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, directory, "%s; %s",
                                         wla_error_text(&why), what);
        file_closep(&fd);
        if (look_files(migrate, directory, look_certificate, &count, err) < 0)
                return -1;
        if (count == 0)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, directory,
                                         "it is empty; %s", what);
        return 0;
}

/* What has been given to root already stays as it is, if nobody else may write it. */
static int look_own(struct migrate *migrate, const char *path, mode_t type, struct wla_error *err) {
        struct wla_error ignored = {0};
        struct stat facts;
        struct target target = {
                .path = path,
                .access = {.mode = type == S_IFDIR ? PASS_MODE : PUBLIC_MODE},
                .type = type,
                .why = "wlagentd does what it says, so no user but root should change it",
        };

        if (host_root_stat(&migrate->root, path, &facts, &ignored) == 0 && facts.st_uid == 0) {
                target.access.gid = facts.st_gid;
                target.access.mode = facts.st_mode & BITS & ~(mode_t)(S_IWGRP | S_IWOTH);
        }
        return look_target(migrate, &target, err);
}

/* wlagentd reads what ends in .conf.  The drop-in that this writes is root's anyway. */
static int look_drop_in(struct migrate *migrate, const char *directory, const char *name,
                        struct wla_error *err) {
        static const char end[] = ".conf";
        const size_t size = strlen(name);
        char path[PATH_MAX];

        if (size < strlen(end) || strcmp(name + size - strlen(end), end) != 0 ||
            (size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path) ||
            strcmp(path, MIGRATE_CONFIG) == 0)
                return 0;
        return look_own(migrate, path, S_IFREG, err);
}

static int look_own_configuration(struct migrate *migrate, struct wla_error *err) {
        struct stat facts;
        struct wla_error ignored = {0};

        if (look_own(migrate, OWN_CONFIG, S_IFREG, err) < 0 ||
            look_own(migrate, OWN_DROP_INS, S_IFDIR, err) < 0)
                return -1;
        if (host_root_stat(&migrate->root, OWN_DROP_INS, &facts, &ignored) < 0 ||
            !S_ISDIR(facts.st_mode))
                return 0;
        return look_files(migrate, OWN_DROP_INS, look_drop_in, NULL, err);
}

static int look_directories(struct migrate *migrate, struct wla_error *err) {
        static const char *const paths[] = {
                INTEL_DIRECTORY "/certs/trustedca",
                INTEL_DIRECTORY "/certs/flavorsign",
                INTEL_DIRECTORY "/certs",
                INTEL_DIRECTORY,
        };

        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
                const struct target target = {
                        .path = paths[i],
                        .access = {.mode = PASS_MODE},
                        .type = S_IFDIR,
                        .why = why_directory,
                };

                if (look_target(migrate, &target, err) < 0)
                        return -1;
        }
        return 0;
}

/* The directory becomes passable, so what it alone has protected is closed before. */
int migrate_look_keys(struct migrate *migrate, struct wla_error *err) {
        const struct target config = {
                .path = INTEL_CONFIG,
                .access = {.mode = PRIVATE_MODE},
                .type = S_IFREG,
                .why = "it holds secrets, and its directory will be open to all users",
        };

        if (!migrate->has_user)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, DAEMON_USER,
                                         "there is no such user: install wlagent, and run "
                                         "'systemd-sysusers'");
        if (look_target(migrate, &config, err) < 0 || look_own_configuration(migrate, err) < 0 ||
            look_key(migrate, INTEL_DIRECTORY "/bindingkey.json", err) < 0 ||
            look_key(migrate, INTEL_DIRECTORY "/signingkey.json", err) < 0 ||
            look_key(migrate, INTEL_DIRECTORY "/signingkey.pem", err) < 0 ||
            look_binding_certificate(migrate, err) < 0 ||
            look_certificates(migrate, INTEL_DIRECTORY "/certs/trustedca",
                              "no broker can be verified without its root certificate: 'wlagent "
                              "setup download-ca-cert'",
                              err) < 0)
                return -1;
        if (host_root_exists(&migrate->root, INTEL_DIRECTORY "/certs/flavorsign") &&
            look_certificates(migrate, INTEL_DIRECTORY "/certs/flavorsign",
                              "descriptions of images cannot be verified without the certificate "
                              "that signs them",
                              err) < 0)
                return -1;
        return look_directories(migrate, err);
}
