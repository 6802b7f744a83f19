/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/libvirt_hook.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/unit_property.h"

static const char remedy_install[] =
        "install wlagent's hook as a regular file, root's and of mode 0755, then "
        "run 'systemctl reload libvirtd virtqemud'";
static const char remedy_reload[] = "systemctl reload libvirtd virtqemud; running VMs go on";

static const char *fault_of_file(const struct libvirt_host *host) {
        if (!host->has_hook)
                return "does not exist";
        if (S_ISLNK(host->hook.st_mode))
                return "is a symbolic link, which AppArmor does not let libvirt run";
        if (!S_ISREG(host->hook.st_mode))
                return "is no regular file";
        if (!(host->hook.st_mode & S_IXUSR))
                return "is not executable, so libvirt starts VMs without it";
        if (host->hook.st_uid != host->root_user || (host->hook.st_mode & (S_IWGRP | S_IWOTH)))
                return "may be changed by others than root, and libvirt runs it as root";
        return NULL;
}

/* The start of a process is known to a second, from a time of boot that follows the clock. */
#define START_SECONDS 1

/* Between its start and its look at the hooks, where nothing tells when it was ready. */
#define LOOK_SECONDS 10

/* The change time of a file is that of the last tick, and "systemctl reload" ends soon after its signal. */
#define SAME_TIME_USEC (100 * USEC_PER_MSEC)

/* By systemd's clock, which is that of the file: it has looked between its start and when it was ready, and again when it
 * was reloaded, which is the only change of a unit's state since. */
static enum libvirt_hook judge_unit(uint64_t installed_usec, uint64_t begun_usec,
                                    uint64_t ready_usec, uint64_t changed_usec) {
        if (installed_usec + SAME_TIME_USEC <= begun_usec)
                return LIBVIRT_HOOK_RUNS;
        if (installed_usec > changed_usec)
                return LIBVIRT_HOOK_FAILS;
        return changed_usec > ready_usec && installed_usec + SAME_TIME_USEC <= changed_usec
                       ? LIBVIRT_HOOK_RUNS
                       : LIBVIRT_HOOK_MAY_RUN;
}

static enum libvirt_hook judge_process(time_t installed, time_t since) {
        if (installed + START_SECONDS < since)
                return LIBVIRT_HOOK_RUNS;
        return installed > since + LOOK_SECONDS ? LIBVIRT_HOOK_FAILS : LIBVIRT_HOOK_MAY_RUN;
}

static uint64_t usec_of(const struct timespec *time) {
        return (uint64_t)time->tv_sec * USEC_PER_SEC + (uint64_t)time->tv_nsec / 1000;
}

/* Whether this process is the service, and not one that somebody has started by hand. */
static bool is_of_unit(const struct libvirt_host *host, const char *unit) {
        char expected[16];
        char pid[16];

        (void)snprintf(expected, sizeof(expected), "%d", (int)host->daemon.pid);
        unit_property(unit, "MainPID", pid, sizeof(pid));
        return strcmp(pid, expected) == 0;
}

/* libvirt looks for hooks when it starts and when it is reloaded.  The change time of the file is when
 * it came there, whatever its package says. */
static enum libvirt_hook has_looked(const struct libvirt_host *host) {
        const struct timespec *installed = &host->hook.st_ctim;
        char unit[64];

        if (!host->daemon.name)
                return LIBVIRT_HOOK_RUNS;
        (void)snprintf(unit, sizeof(unit), "%s.service", host->daemon.name);
        if (is_of_unit(host, unit)) {
                uint64_t begun_usec = unit_time_usec(unit, "ExecMainStartTimestamp");
                uint64_t ready_usec = unit_time_usec(unit, "ActiveEnterTimestamp");
                uint64_t changed_usec = unit_time_usec(unit, "StateChangeTimestamp");

                if (begun_usec > 0 && ready_usec > 0 && changed_usec > 0)
                        return judge_unit(usec_of(installed), begun_usec, ready_usec, changed_usec);
        }
        return judge_process(installed->tv_sec, host->daemon.since);
}

enum libvirt_hook libvirt_hook_check(const struct libvirt_host *host,
                                     struct libvirt_hook_fault *ret_fault) {
        const char *fault = fault_of_file(host);
        enum libvirt_hook outcome = fault ? LIBVIRT_HOOK_FAILS : has_looked(host);

        ret_fault->remedy = fault ? remedy_install : remedy_reload;
        if (fault)
                (void)snprintf(ret_fault->text, sizeof(ret_fault->text), LIBVIRT_HOOK " %s", fault);
        else if (outcome == LIBVIRT_HOOK_FAILS)
                (void)snprintf(ret_fault->text, sizeof(ret_fault->text),
                               "%s has not looked for hooks since " LIBVIRT_HOOK
                               " was installed or changed",
                               host->daemon.name);
        else if (outcome == LIBVIRT_HOOK_MAY_RUN)
                (void)snprintf(ret_fault->text, sizeof(ret_fault->text),
                               LIBVIRT_HOOK " was installed or changed while %s started or was "
                                            "reloaded, and may have come too late for it",
                               host->daemon.name);
        return outcome;
}
