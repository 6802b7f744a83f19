/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_fixture.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <linux/magic.h>

#include "cli/libvirt_host.h"

#define MARKED                                                                                   \
        "<domain>\n  <metadata>\n    <wlagent:protected xmlns:wlagent=\"urn:wlagent:domain:1\">" \
        "</wlagent:protected>\n  </metadata>\n</domain>\n"
#define SECRET_UUID "5d0c2b8e-52a4-4d0e-9a11-6d6c0f1b7a20"
#define WITH_SECRET                                                                    \
        "<domain><metadata><wlagent:protected xmlns:wlagent=\"urn:wlagent:domain:1\">" \
        "<wlagent:secret target=\"vda\" uuid=\"" SECRET_UUID "\" key=\"local:///a\"/>" \
        "</wlagent:protected></metadata></domain>\n"
#define ENCRYPTED "<domain><disk><encryption format='luks'/></disk></domain>\n"

static char state_directory[] = "/var/lib/workload-agent";
static const struct config config = {.agent.state_directory = state_directory};

static void run(void) {
        fixture_run(doctor_check_libvirt, &config);
}

/* A host where everything is as it should be, and a VM is protected. */
static void put_healthy_host(void) {
        fixture_put("/usr/sbin/libvirtd", 0755, "");
        fixture_put(LIBVIRT_HOOK, 0755, "hook");
        fixture_put_domain("web", MARKED);
        fixture_put_boot(time(NULL) - 1000);
        fixture_put_process(4711, "libvirtd", 2000);
}

START_TEST(other_hosts_are_left_alone) {
        fixture_set_up();
        run();
        ck_assert(fixture_found("ok", "libvirt-hook", "no VM of this host has disks of wlagent"));
        fixture_put("/usr/sbin/virtqemud", 0755, "");
        fixture_put_domain("plain", "<domain/>");
        run();
        ck_assert(fixture_found("ok", "libvirt-hook", "no VM of this host"));
        fixture_tear_down();
}
END_TEST

START_TEST(nothing_to_report) {
        fixture_set_up();
        put_healthy_host();
        run();
        ck_assert_int_eq(fixture_count(FINDING_FAILURE) + fixture_count(FINDING_WARNING), 0);
        ck_assert(fixture_found("ok", "libvirt-hook", "was there when libvirtd looked for hooks"));

        fixture_remove("/proc/4711");
        run();
        ck_assert(fixture_found("ok", "libvirt-hook", "neither libvirtd nor virtqemud is running"));
        fixture_tear_down();
}
END_TEST

START_TEST(the_file) {
        fixture_set_up();
        put_healthy_host();
        ck_assert_int_eq(chmod(fixture_path(LIBVIRT_HOOK), 0644), 0);
        run();
        ck_assert(fixture_found("failure", "libvirt-hook",
                                "is not executable, so libvirt starts VMs without it"));
        ck_assert_int_eq(chmod(fixture_path(LIBVIRT_HOOK), 0775), 0);
        run();
        ck_assert(fixture_found("failure", "libvirt-hook", "may be changed by others than root"));

        fixture_remove(LIBVIRT_HOOK);
        run();
        ck_assert(fixture_found("failure", "libvirt-hook", "50-wlagent does not exist"));
        ck_assert_int_eq(symlink("/bin/true", fixture_path(LIBVIRT_HOOK)), 0);
        run();
        ck_assert(fixture_found("failure", "libvirt-hook", "is a symbolic link"));
        ck_assert_int_eq(unlink(fixture_path(LIBVIRT_HOOK)), 0);
        fixture_make_directory(LIBVIRT_HOOK);
        run();
        ck_assert(fixture_found("failure", "libvirt-hook", "is no regular file"));

        /* Nobody needs it yet. */
        fixture_remove("/etc/libvirt/qemu/web.xml");
        run();
        ck_assert(fixture_found("warning", "libvirt-hook", "is no regular file"));
        ck_assert_int_eq(fixture_count(FINDING_FAILURE), 0);
        fixture_tear_down();
}
END_TEST

START_TEST(a_domain_names_a_volume) {
        fixture_set_up();
        put_healthy_host();
        fixture_remove(LIBVIRT_HOOK);
        fixture_put_domain("web", "<source dev='/dev/mapper/wlagent-x-vda'/>");
        run();
        ck_assert(fixture_found("failure", "libvirt-hook", "does not exist"));
        /* What is not a definition does not count. */
        fixture_remove("/etc/libvirt/qemu/web.xml");
        fixture_put("/etc/libvirt/qemu/web.xml~", 0600, MARKED);
        run();
        ck_assert(fixture_found("ok", "libvirt-hook", "no VM of this host"));
        fixture_tear_down();
}
END_TEST

/* Nova defines an instance when it starts it: the hook has to be there before. */
START_TEST(an_image_of_openstack_is_registered) {
        fixture_set_up();
        fixture_put("/usr/sbin/libvirtd", 0755, "");
        fixture_put("/var/lib/workload-agent/images/" SECRET_UUID, 0644, "");
        fixture_put("/var/lib/workload-agent/images/.new-x.header", 0644, "");
        run();
        ck_assert(fixture_found("ok", "libvirt-hook", "no VM of this host"));
        fixture_put("/var/lib/workload-agent/images/" SECRET_UUID ".header", 0644, "");
        run();
        ck_assert(fixture_found("failure", "libvirt-hook", "50-wlagent does not exist"));
        fixture_put(LIBVIRT_HOOK, 0644, "hook");
        run();
        ck_assert(fixture_found("failure", "libvirt-hook", "is not executable"));
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);
        fixture_put("/etc/default/libvirt-guests", 0644, "URIS=default\nON_SHUTDOWN=suspend\n");
        run();
        ck_assert(fixture_found("warning", "libvirt-saved", "when the host shuts down"));
        fixture_tear_down();
}
END_TEST

#define MSEC INT64_C(1000)
#define SEC  INT64_C(1000000)

/* As "systemctl show --timestamp=us+utc" writes it. */
static void write_time(int64_t usec, char *to, size_t size) {
        const time_t seconds = (time_t)(usec / SEC);
        char text[64];
        struct tm time;

        ck_assert_ptr_nonnull(gmtime_r(&seconds, &time));
        ck_assert_uint_gt(strftime(text, sizeof(text), "%a %Y-%m-%d %H:%M:%S", &time), 0);
        (void)snprintf(to, size, "%s.%06u UTC", text, (unsigned)(usec % SEC));
}

/* systemd's service of libvirtd, by times after the hook came there. */
static void put_unit(unsigned pid, int64_t begun, int64_t ready, int64_t changed) {
        const int64_t usec[] = {begun, ready, changed};
        struct stat facts;
        char times[3][96];
        char script[1024];

        ck_assert_int_eq(lstat(fixture_path(LIBVIRT_HOOK), &facts), 0);
        for (size_t i = 0; i < 3; i++)
                write_time(facts.st_ctim.tv_sec * SEC + facts.st_ctim.tv_nsec / 1000 + usec[i],
                           times[i], sizeof(times[i]));
        (void)snprintf(script, sizeof(script),
                       "#!/bin/sh\ncase $* in\n*--timestamp=us+utc*libvirtd.service) ;;\n"
                       "*) exit 1 ;;\nesac\ncase $* in\n*MainPID*) echo %u ;;\n"
                       "*ExecMainStartTimestamp*) echo '%s' ;;\n"
                       "*ActiveEnterTimestamp*) echo '%s' ;;\n"
                       "*StateChangeTimestamp*) echo '%s' ;;\nesac\n",
                       pid, times[0], times[1], times[2]);
        fixture_put("/bin/systemctl", 0755, script);
}

static const char *found_of_hook(void) {
        run();
        return fixture_found("ok", "libvirt-hook", "was there when libvirtd looked")       ? "runs"
               : fixture_found("failure", "libvirt-hook", "libvirtd has not looked")       ? "fails"
               : fixture_found("warning", "libvirt-hook", "while libvirtd started or was") ? "may"
                                                                                           : "?";
}

/* In one second, too. */
START_TEST(the_hook_came_when_libvirt_looked) {
        static const struct {
                int64_t begun;
                int64_t ready;
                int64_t changed;
                const char *expected;
        } cases[] = {
                {200 * MSEC, 400 * MSEC, 400 * MSEC, "runs"},
                {-400 * MSEC, -1 * MSEC, -1 * MSEC, "fails"},
                {-400 * MSEC, 200 * MSEC, 200 * MSEC, "may"},
                {50 * MSEC, 200 * MSEC, 200 * MSEC, "may"}, /* a tick is longer than that */
                {-1 * MSEC, 20 * SEC, 20 * SEC, "may"},
                {-90 * SEC, -80 * SEC, 200 * MSEC, "runs"}, /* it was reloaded */
                {-90 * SEC, -80 * SEC, 50 * MSEC, "may"},
                {-90 * SEC, -80 * SEC, -1 * MSEC, "fails"},
        };

        fixture_set_up();
        put_healthy_host();
        fixture_put_process(4711, "libvirtd", 1000);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                put_unit(4711, cases[i].begun, cases[i].ready, cases[i].changed);
                const char *found = found_of_hook();
                ck_assert_msg(strcmp(found, cases[i].expected) == 0, "case %zu: %s", i, found);
        }
        fixture_tear_down();
}
END_TEST

START_TEST(nothing_but_the_process_tells) {
        fixture_set_up();
        put_healthy_host();
        fixture_put_process(4711, "libvirtd", 10);
        ck_assert_str_eq(found_of_hook(), "fails");
        fixture_put_process(4711, "libvirtd", 995);
        ck_assert_str_eq(found_of_hook(), "may");
        fixture_put_process(4711, "libvirtd", 2000);
        ck_assert_str_eq(found_of_hook(), "runs");

        /* systemd's is another, or does not say when. */
        fixture_put_process(4711, "libvirtd", 10);
        put_unit(4712, 9 * SEC, 10 * SEC, 10 * SEC);
        ck_assert_str_eq(found_of_hook(), "fails");
        fixture_put("/bin/systemctl", 0755, "#!/bin/sh\necho 4711\n");
        ck_assert_str_eq(found_of_hook(), "fails");
        fixture_put("/bin/systemctl", 0755,
                    "#!/bin/sh\ncase $* in *MainPID*) echo 4711 ;; *) echo n/a ;; esac\n");
        ck_assert_str_eq(found_of_hook(), "fails");

        /* A unit that it was not asked about, and a process that is something else. */
        put_unit(12, 9 * SEC, 10 * SEC, 10 * SEC);
        fixture_remove("/proc/4711");
        fixture_put_process(12, "virtqemud", 10);
        fixture_put_process(13, "libvirtd-helper", 2000);
        run();
        ck_assert(fixture_found("failure", "libvirt-hook", "virtqemud has not looked"));
        fixture_tear_down();
}
END_TEST

START_TEST(selinux) {
        fixture_set_up();
        put_healthy_host();
        fixture_put("/sys/fs/selinux/enforce", 0644, "1");
        fixture_put("/sys/fs/selinux/booleans/virt_hooks_unconfined", 0644, "0 0");
        run();
        ck_assert(fixture_found("failure", "libvirt-selinux", "virt_hooks_unconfined is off"));
        fixture_put("/sys/fs/selinux/booleans/virt_hooks_unconfined", 0644, "1 1");
        run();
        ck_assert(fixture_found("ok", "libvirt-selinux", "lets libvirt run the hook"));
        fixture_put("/sys/fs/selinux/booleans/virt_hooks_unconfined", 0644, "0 0");
        fixture_put("/sys/fs/selinux/enforce", 0644, "0");
        run();
        ck_assert_int_eq(fixture_count(FINDING_FAILURE), 0);
        fixture_tear_down();
}
END_TEST

START_TEST(apparmor) {
        fixture_set_up();
        put_healthy_host();
        fixture_put("/sys/kernel/security/apparmor/profiles", 0444,
                    "virt-aa-helper (enforce)\nlibvirtd (enforce)\n");
        run();
        ck_assert(fixture_found("failure", "libvirt-apparmor", "images that lie below a layer"));
        fixture_put("/etc/apparmor.d/local/abstractions/libvirt-qemu", 0644,
                    "# wlagent\n/dev/dm-[0-9]* rk,\n");
        run();
        ck_assert(fixture_found("ok", "libvirt-apparmor", "AppArmor lets libvirt"));
        fixture_put("/sys/kernel/security/apparmor/profiles", 0444, "libvirtd (complain)\n");
        fixture_remove("/etc/apparmor.d");
        run();
        ck_assert_int_eq(fixture_count(FINDING_FAILURE), 0);
        fixture_tear_down();
}
END_TEST

START_TEST(key_material_on_disk) {
        struct statfs facts;

        fixture_set_up();
        fixture_make_directory("/var/lib/libvirt/qemu");
        run();
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);
        fixture_put_domain("luks", ENCRYPTED);
        run();
        ck_assert_int_eq(statfs(fixture_root(), &facts), 0);
        if (facts.f_type == TMPFS_MAGIC) {
                ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);
        } else {
                ck_assert(
                        fixture_found("warning", "libvirt-keys",
                                      "of luks, which has <encryption>, to /var/lib/libvirt/qemu"));
                ck_assert_int_eq(fixture_count(FINDING_WARNING), 1);
        }
        fixture_tear_down();
}
END_TEST

/* The device of the file system that the fixture is on becomes a logical volume on LUKS. */
static void put_encrypted_file_system(void) {
        struct stat status;
        char path[96];

        ck_assert_int_eq(stat(fixture_root(), &status), 0);
        (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/slaves/dm-0/dm/uuid",
                       major(status.st_dev), minor(status.st_dev));
        fixture_put(path, 0444, "CRYPT-LUKS2-0-x\n");
}

START_TEST(key_material_on_an_encrypted_file_system) {
        fixture_set_up();
        fixture_make_directory("/var/lib/libvirt/qemu");
        fixture_put_domain("luks", ENCRYPTED);
        put_encrypted_file_system();
        run();
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);
        fixture_tear_down();
}
END_TEST

START_TEST(a_secret_that_libvirt_keeps) {
        fixture_set_up();
        put_healthy_host();
        fixture_put(LIBVIRT_SECRETS "/" SECRET_UUID ".xml", 0600, "");
        run();
        ck_assert_int_eq(fixture_count(FINDING_FAILURE), 0);
        fixture_put_domain("luks", WITH_SECRET);
        run();
        ck_assert(
                fixture_found("failure", "libvirt-secrets", "the secret " SECRET_UUID " of luks"));
        fixture_remove(LIBVIRT_SECRETS);
        run();
        ck_assert_int_eq(fixture_count(FINDING_FAILURE), 0);
        fixture_tear_down();
}
END_TEST

START_TEST(memory_on_disk) {
        fixture_set_up();
        put_healthy_host();
        fixture_put(LIBVIRT_SAVED "/other.save", 0600, "");
        fixture_put("/etc/default/libvirt-guests", 0644, "#ON_SHUTDOWN=suspend\n");
        run();
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);
        fixture_put(LIBVIRT_SAVED "/web.save", 0600, "");
        fixture_put("/etc/default/libvirt-guests", 0644, "URIS=default\nON_SHUTDOWN=suspend\n");
        run();
        ck_assert(fixture_found("warning", "libvirt-saved", "the memory of web lies in clear"));
        ck_assert(fixture_found("warning", "libvirt-saved", "when the host shuts down"));
        fixture_tear_down();
}
END_TEST

START_TEST(another_state_directory) {
        static char other[] = "/srv/state";
        const struct config moved = {.agent.state_directory = other};

        fixture_set_up();
        put_healthy_host();
        fixture_run(doctor_check_libvirt, &moved);
        ck_assert(fixture_found("warning", "libvirt-hook", "and not in /srv/state"));
        fixture_tear_down();
}
END_TEST

#define GLANCE "670f263e-b34e-4e07-a520-40ac9a89f62d"
/* SHA-1 of that. */
#define CACHE  "/var/lib/nova/instances/_base/"
#define CACHED CACHE "cf99c1f4a32bdaa5df6e2961048795577ac3e2a0"
#define OTHER  CACHE "0000000000000000000000000000000000000000"
#define ISECL  "ISecL-VMC.......V1.............."

START_TEST(images_of_intel_that_are_not_registered) {
        fixture_set_up();
        fixture_run(doctor_check_nova, &config);
        fixture_put(OTHER, 0644, "QFI, or whatever else there is");
        fixture_run(doctor_check_nova, &config);
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);

        /* Instances start from none of these, and their names are anybody's. */
        fixture_put(CACHE "\033[2J", 0644, ISECL);
        fixture_put(CACHE "000000000000000000000000000000000000000\033", 0644, ISECL);
        fixture_put(OTHER "_20", 0644, ISECL);
        fixture_run(doctor_check_nova, &config);
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);

        fixture_put(CACHED, 0644, ISECL);
        fixture_run(doctor_check_nova, &config);
        ck_assert(fixture_found("warning", "nova-images", "from 1 images in Intel's format"));
        ck_assert(fixture_found("warning", "nova-images", CACHED));
        fixture_put(OTHER, 0644, ISECL);
        fixture_run(doctor_check_nova, &config);
        ck_assert(fixture_found("warning", "nova-images", "from 2 images in Intel's format"));

        fixture_put("/var/lib/workload-agent/images/" GLANCE ".header", 0644, "");
        fixture_put("/var/lib/workload-agent/images/" GLANCE ".wls", 0644, "");
        fixture_run(doctor_check_nova, &config);
        ck_assert(fixture_found("warning", "nova-images", OTHER));
        fixture_remove(OTHER);
        fixture_run(doctor_check_nova, &config);
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);
        fixture_tear_down();
}
END_TEST

/* What is in memory is on no disk. */
static unsigned warnings_on_disk(unsigned count) {
        struct statfs facts;

        ck_assert_int_eq(statfs(fixture_root(), &facts), 0);
        return facts.f_type == TMPFS_MAGIC ? 0 : count;
}

/* As where the test itself is on overlayfs. */
static bool is_without_device(void) {
        struct stat status;

        ck_assert_int_eq(stat(fixture_root(), &status), 0);
        return major(status.st_dev) == 0;
}

/* Nova's layers are encrypted by nobody but the file system. */
START_TEST(layers_of_nova) {
        static char nova[] = "/var/lib/nova/instances";
        static char other[] = "/srv/nova";
        const struct config two = {
                .agent.state_directory = state_directory,
                .volumes.image_roots = {.count = 2, .paths = {nova, other}},
        };

        fixture_set_up();
        fixture_make_directory(nova);
        fixture_run(doctor_check_nova, &two);
        ck_assert_int_eq(fixture_count(FINDING_WARNING) + fixture_count(FINDING_OK), 0);

        fixture_put("/var/lib/workload-agent/images/" GLANCE ".header", 0644, "");
        fixture_make_directory("/srv/nova/other");
        fixture_run(doctor_check_nova, &two);
        ck_assert_int_eq(fixture_count(FINDING_WARNING), warnings_on_disk(1));
        ck_assert(warnings_on_disk(1) == 0 || is_without_device() ||
                  fixture_found("warning", "nova-layers", "/var/lib/nova/instances is on no enc"));
        fixture_make_directory("/srv/nova/_base");
        fixture_run(doctor_check_nova, &two);
        ck_assert_int_eq(fixture_count(FINDING_WARNING), warnings_on_disk(2));
        ck_assert(warnings_on_disk(2) == 0 || is_without_device() ||
                  fixture_found("warning", "nova-layers", "/srv/nova is on no encrypted"));

        put_encrypted_file_system();
        fixture_run(doctor_check_nova, &two);
        ck_assert(fixture_found("ok", "nova-layers", "/var/lib/nova/instances is on an encrypted"));
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);
        fixture_remove(nova);
        fixture_run(doctor_check_nova, &two);
        ck_assert_int_eq(fixture_count(FINDING_OK), 1);
        fixture_tear_down();
}
END_TEST

/* The kernel's own file systems are on no device, either. */
START_TEST(storage_that_is_not_known) {
        static char nova[] = "/var/lib/nova/instances";
        const struct config one = {
                .agent.state_directory = state_directory,
                .volumes.image_roots = {.count = 1, .paths = {nova}},
        };

        fixture_set_up();
        fixture_put("/var/lib/workload-agent/images/" GLANCE ".header", 0644, "");
        fixture_put_domain("luks", ENCRYPTED);
        fixture_make_directory("/var/lib/libvirt");
        ck_assert_int_eq(symlink("/proc", fixture_path("/var/lib/libvirt/qemu")), 0);
        run();
        ck_assert(fixture_found("warning", "libvirt-keys",
                                "/var/lib/libvirt/qemu, and whether that is encrypted cannot be"));
        ck_assert(!fixture_found("warning", "libvirt-keys", "/var/lib/libvirt/qemu on a disk"));

        fixture_make_directory("/var/lib/nova");
        ck_assert_int_eq(symlink("/proc", fixture_path(nova)), 0);
        fixture_run(doctor_check_nova, &one);
        ck_assert(fixture_found("warning", "nova-layers", "it cannot be told whether"));
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 1);
        fixture_tear_down();
}
END_TEST

SUITE_MAIN("doctor_libvirt", storage_that_is_not_known, layers_of_nova,
           images_of_intel_that_are_not_registered, other_hosts_are_left_alone, nothing_to_report,
           the_file, a_domain_names_a_volume, an_image_of_openstack_is_registered,
           the_hook_came_when_libvirt_looked, nothing_but_the_process_tells, selinux, apparmor,
           key_material_on_disk, key_material_on_an_encrypted_file_system,
           a_secret_that_libvirt_keeps, memory_on_disk, another_state_directory)
