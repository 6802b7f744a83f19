/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/libvirt_hook.h"

#include <stdio.h>
#include <stdlib.h>

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

/* When systemd has last seen the unit change, a reload included; 0 when that cannot be told. */
static time_t last_change(const char *daemon) {
        char line[64];
        char unit[64];

        (void)snprintf(unit, sizeof(unit), "%s.service", daemon);
        unit_property(unit, "StateChangeTimestamp", line, sizeof(line));
        return line[0] == '@' ? (time_t)strtoll(line + 1, NULL, 10) : 0;
}

/* libvirt looks for hooks when it starts and when it is reloaded.  The change time of the file is when
 * it came there, whatever its package says; the start of a process is known to a second. */
static bool has_looked(const struct libvirt_host *host) {
        time_t installed = host->hook.st_ctim.tv_sec;

        return !host->daemon.name || host->daemon.since + 1 >= installed ||
               last_change(host->daemon.name) >= installed;
}

bool libvirt_hook_runs(const struct libvirt_host *host, struct libvirt_hook_fault *ret_fault) {
        const char *fault = fault_of_file(host);

        if (fault) {
                (void)snprintf(ret_fault->text, sizeof(ret_fault->text), LIBVIRT_HOOK " %s", fault);
                ret_fault->remedy = remedy_install;
                return false;
        }
        if (has_looked(host))
                return true;
        (void)snprintf(ret_fault->text, sizeof(ret_fault->text),
                       "%s has not looked for hooks since " LIBVIRT_HOOK
                       " was installed or changed",
                       host->daemon.name);
        ret_fault->remedy = remedy_reload;
        return false;
}
