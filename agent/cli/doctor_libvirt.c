/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/doctor.h"
#include "cli/encrypted_storage.h"
#include "cli/libvirt_hook.h"

#define HOOK_STATE "/var/lib/workload-agent" /* what the hook knows, see hooks/meson.build */

static const char check_hook[] = "libvirt-hook";

static const char remedy_state[] = "keep StateDirectory= at " HOOK_STATE;
static const char remedy_selinux[] =
        "load wlagent's SELinux module, see /usr/share/doc/wlagent/libvirt/README.md, or run "
        "'setsebool -P virt_hooks_unconfined on'";
static const char remedy_profile[] =
        "take the rule that denies it from its profile and what that includes in "
        "/etc/apparmor.d/local, or add '/etc/libvirt/hooks/** rmix,'; then 'systemctl reload "
        "apparmor'";
static const char remedy_apparmor[] =
        "add wlagent's AppArmor rules, see /usr/share/doc/wlagent/libvirt/README.md";
static const char remedy_keys[] = "mount a tmpfs or an encrypted file system there, or use "
                                  "wlagent's own encryption, with which "
                                  "libvirt sees no key";
static const char remedy_unknown[] = "find out what that file system lies on; where that is not "
                                     "encrypted, mount a tmpfs or an encrypted file system there";
static const char remedy_persistent[] = "'virsh secret-undefine' removes it and its value; wlagent "
                                        "defines one that is kept in memory";
static const char remedy_saved[] = "start the VM, which removes the file, or run 'virsh "
                                   "managedsave-remove'; keep the directory on an encrypted file "
                                   "system if VMs have to be saved";
static const char remedy_guests[] = "set ON_SHUTDOWN=shutdown in it";

/* As long as no VM needs the hook, nothing fails. */
static enum finding weight(const struct libvirt_host *host) {
        return libvirt_host_protects(host) ? FINDING_FAILURE : FINDING_WARNING;
}

static void check_run(struct doctor *doctor, const struct libvirt_host *host) {
        struct libvirt_hook_fault fault;

        enum libvirt_hook outcome = libvirt_hook_check(host, &fault);
        if (outcome != LIBVIRT_HOOK_RUNS)
                doctor_report(doctor,
                              outcome == LIBVIRT_HOOK_MAY_RUN ? FINDING_WARNING : weight(host),
                              check_hook, fault.remedy, "%s", fault.text);
        else if (host->daemon.name)
                doctor_report(doctor, FINDING_OK, check_hook, NULL,
                              LIBVIRT_HOOK " was there when %s looked for hooks",
                              host->daemon.name);
        else
                doctor_report(doctor, FINDING_OK, check_hook, NULL,
                              LIBVIRT_HOOK " is there; neither libvirtd nor virtqemud is running");
}

static void check_state(struct doctor *doctor) {
        if (strcmp(doctor->config->agent.state_directory, HOOK_STATE) != 0)
                doctor_report(doctor, FINDING_WARNING, check_hook, remedy_state,
                              "while wlagentd is down, the hook knows registered images only "
                              "in " HOOK_STATE ", and not in %s",
                              doctor->config->agent.state_directory);
}

static bool hook_has_own_label(const struct doctor *doctor) {
        char path[PATH_MAX];
        char label[256];

        libvirt_host_path(doctor->root, LIBVIRT_HOOK, path);
        ssize_t size = lgetxattr(path, "security.selinux", label, sizeof(label) - 1);
        label[size > 0 ? size : 0] = '\0';
        return strstr(label, ":wlagent_hook_exec_t:") != NULL;
}

static void check_selinux(struct doctor *doctor, const struct libvirt_host *host) {
        char enforcing[8];
        char on[8];

        libvirt_host_file(doctor->root, "/sys/fs/selinux/enforce", enforcing, sizeof(enforcing));
        if (enforcing[0] != '1')
                return;

        libvirt_host_file(doctor->root, "/sys/fs/selinux/booleans/virt_hooks_unconfined", on,
                          sizeof(on));
        if (hook_has_own_label(doctor) || on[0] == '1')
                doctor_report(doctor, FINDING_OK, "libvirt-selinux", NULL,
                              "SELinux lets libvirt run the hook");
        else if (on[0] == '0')
                doctor_report(doctor, weight(host), "libvirt-selinux", remedy_selinux,
                              "SELinux keeps libvirt from running the hook: virt_hooks_unconfined "
                              "is off");
}

static bool file_mentions(const struct doctor *doctor, const char *path, const char *what) {
        char text[32768];

        libvirt_host_file(doctor->root, path, text, sizeof(text));
        return strstr(text, what) != NULL;
}

/* Whether a profile that is loaded lets its processes run the hook, as the kernel says; true when it does
 * not say.  The query is that of aa_query_label(2): "label", the profile's name, and the class of files
 * (AA_CLASS_FILE) before the path; the answer begins with "allow 0xMASK", whose bit 0 is AA_MAY_EXEC. */
static bool profile_runs_hook(const struct doctor *doctor, const char *profile) {
        char path[PATH_MAX];
        char query[128];
        char answer[128] = "";

        int size = snprintf(query, sizeof(query), "label%c%s%c\002" LIBVIRT_HOOK, 0, profile, 0);
        libvirt_host_path(doctor->root, "/sys/kernel/security/apparmor/.access", path);
        _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || write(fd, query, (size_t)size) != size ||
            read(fd, answer, sizeof(answer) - 1) < 0 || strncmp(answer, "allow 0x", 8) != 0)
                return true;
        return (strtoul(answer + strlen("allow "), NULL, 16) & 1) != 0;
}

/* The profiles of QEMU are made when VMs start, so the files speak for them. */
static void check_apparmor(struct doctor *doctor, const struct libvirt_host *host) {
        const char *daemon = host->daemon.name ? host->daemon.name : "libvirtd";
        char text[64];

        (void)snprintf(text, sizeof(text), "%s (enforce)", daemon);
        if (!file_mentions(doctor, "/sys/kernel/security/apparmor/profiles", text))
                return;

        if (!profile_runs_hook(doctor, daemon))
                doctor_report(doctor, weight(host), "libvirt-apparmor", remedy_profile,
                              "AppArmor does not let %s run " LIBVIRT_HOOK, daemon);
        else if (!file_mentions(doctor, "/etc/apparmor.d/local/abstractions/libvirt-qemu",
                                "wlagent"))
                doctor_report(doctor, weight(host), "libvirt-apparmor", remedy_apparmor,
                              "AppArmor keeps QEMU from images that lie below a layer");
        else
                doctor_report(doctor, FINDING_OK, "libvirt-apparmor", NULL,
                              "AppArmor lets libvirt run the hook, and QEMU open images");
}

static void check_keys_at(struct doctor *doctor, const struct libvirt_host *host,
                          const char *path) {
        enum storage storage;

        /* A directory that does not exist holds nothing. */
        if (!libvirt_host_exists(doctor->root, path))
                return;
        storage = encrypted_storage_path(doctor->root, path);
        if (storage == STORAGE_UNKNOWN)
                doctor_report(doctor, FINDING_WARNING, "libvirt-keys", remedy_unknown,
                              "libvirt writes key material of %s, which has <encryption>, to %s, "
                              "and whether that is encrypted cannot be told",
                              host->domains.encrypted_name, path);
        else if (storage == STORAGE_CLEAR)
                doctor_report(doctor, FINDING_WARNING, "libvirt-keys", remedy_keys,
                              "libvirt writes key material of %s, which has <encryption>, to %s on "
                              "a disk",
                              host->domains.encrypted_name, path);
}

/* libvirt writes a domain's master key to master-key.aes below the first, and what it encrypts, the
 * passphrase of a disk with <encryption>, to the log with QEMU's command line. */
static void check_keys(struct doctor *doctor, const struct libvirt_host *host) {
        static const char *const directories[] = {"/var/lib/libvirt/qemu", "/var/log/libvirt/qemu"};

        for (size_t i = 0; host->domains.encrypted > 0 && i < 2; i++)
                check_keys_at(doctor, host, directories[i]);
        if (host->domains.persistent > 0)
                doctor_report(
                        doctor, FINDING_FAILURE, "libvirt-secrets", remedy_persistent,
                        "libvirt keeps the secret %s of %s in /etc/libvirt/secrets, where its "
                        "value would lie in clear: the domain does not start",
                        host->domains.persistent_secret, host->domains.persistent_name);
}

static void check_saved(struct doctor *doctor, const struct libvirt_host *host) {
        static const char *const files[] = {"/etc/default/libvirt-guests",
                                            "/etc/sysconfig/libvirt-guests"};

        if (host->domains.saved > 0)
                doctor_report(doctor, FINDING_WARNING, "libvirt-saved", remedy_saved,
                              "the memory of %s lies in clear in " LIBVIRT_SAVED,
                              host->domains.saved_name);

        for (size_t i = 0; libvirt_host_protects(host) && i < 2; i++)
                if (file_mentions(doctor, files[i], "\nON_SHUTDOWN=suspend"))
                        doctor_report(doctor, FINDING_WARNING, "libvirt-saved", remedy_guests,
                                      "%s has the memory of VMs written to " LIBVIRT_SAVED
                                      " in clear when the host shuts down",
                                      files[i]);
}

void doctor_check_libvirt(struct doctor *doctor) {
        struct libvirt_host host;

        libvirt_host_read(doctor->root, doctor->config->agent.state_directory, &host);
        check_keys(doctor, &host);
        if (!libvirt_host_is_concerned(&host)) {
                doctor_report(doctor, FINDING_OK, check_hook, NULL,
                              "no VM of this host has disks of wlagent");
                return;
        }

        check_run(doctor, &host);
        check_state(doctor);
        if (host.has_hook)
                check_selinux(doctor, &host);
        check_apparmor(doctor, &host);
        check_saved(doctor, &host);
}
