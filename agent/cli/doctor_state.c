/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/secret.h"
#include "cli/doctor.h"
#include "cli/state_directory.h"

static const char remedy_setup[] = "run 'wlagent setup'";
static const char remedy_start[] = "systemctl start wlagentd, for which systemd makes it";
static const char remedy_owner[] = "give it to the user of wlagentd: chown -R " DAEMON_USER
                                   ": on the state directory";
static const char remedy_mode[] = "chmod 0750 the state directory, and 0700 the keys directory in "
                                  "it";
static const char remedy_memory[] = "set LimitMEMLOCK=8M for wlagentd.service, or 'ulimit -l 8192'";

/* Whether wlagentd could use what belongs to uid; where there is no such user, whoever runs this
 * stands for it. */
static bool daemon_owns(uid_t uid) {
        uid_t daemon_uid;
        gid_t daemon_gid;

        return !state_directory_daemon_ids(&daemon_uid, &daemon_gid) || uid == daemon_uid;
}

static bool check_directory(struct doctor *doctor, const char *path, mode_t forbidden) {
        struct stat facts;

        if (lstat(path, &facts) < 0) {
                const char *why = errno == ENOENT ? "does not exist" : strerrordesc_np(errno);

                doctor_report(doctor, FINDING_FAILURE, "state-directory",
                              doctor_needs_store(doctor) ? remedy_setup : remedy_start, "%s: %s",
                              path, why);
                return false;
        }

        if (!S_ISDIR(facts.st_mode))
                doctor_report(doctor, FINDING_FAILURE, "state-directory", remedy_setup,
                              "%s is not a directory", path);
        else if (facts.st_mode & forbidden)
                doctor_report(doctor, FINDING_FAILURE, "state-directory", remedy_mode,
                              "%s is open to others (mode %04o)", path, facts.st_mode & 07777);
        else if (!daemon_owns(facts.st_uid))
                doctor_report(doctor, FINDING_FAILURE, "state-directory", remedy_owner,
                              "%s belongs to user %u, not to " DAEMON_USER, path, facts.st_uid);
        else
                doctor_report(doctor, FINDING_OK, "state-directory", NULL,
                              "%s has mode %04o and the right owner", path, facts.st_mode & 07777);
        return true;
}

void doctor_check_state(struct doctor *doctor) {
        const char *state = doctor->config->agent.state_directory;
        char keys[PATH_MAX];

        (void)snprintf(keys, sizeof(keys), "%s/" KEY_STORE_DIRECTORY, state);
        if (check_directory(doctor, state, S_IWGRP | S_IRWXO) && doctor_needs_store(doctor))
                (void)check_directory(doctor, keys, S_IRWXG | S_IRWXO);
}

/* The limit alone does not tell: a container's system call filter may refuse as well. */
static bool memory_locks(size_t size) {
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
                return false;

        bool locked = mlock(memory, size) == 0;
        (void)munmap(memory, size);
        return locked;
}

void doctor_check_memory(struct doctor *doctor) {
        size_t need = wla_secret_heap_size();

        if (memory_locks(need))
                doctor_report(doctor, FINDING_OK, "memory-lock", NULL,
                              "the %zu KiB that keys need can be locked into memory", need / 1024);
        else
                doctor_report(doctor,
                              doctor->config->agent.allow_unlocked_memory ? FINDING_WARNING
                                                                          : FINDING_FAILURE,
                              "memory-lock", remedy_memory,
                              "the kernel refuses to lock the %zu KiB of memory that keys need",
                              need / 1024);

        if (doctor->config->agent.allow_unlocked_memory)
                doctor_report(doctor, FINDING_WARNING, "memory-lock",
                              "remove AllowUnlockedMemory=yes from the configuration",
                              "AllowUnlockedMemory=yes: keys may be swapped to disk");
}
