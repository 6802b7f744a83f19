/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_fixture.h"
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/libvirt_host.h"
#include "volume/message.h"
#include "volume/packet.h"

#define NAME "wlagent-image-11111111-2222-4333-8444-555555555555"

static char socket_path[PATH_MAX];
static char layers[2 * PATH_MAX];
static char roots[2 * PATH_MAX];
static char state_directory[] = "/var/lib/workload-agent";
static struct config config = {.agent.state_directory = state_directory};

static void run(void) {
        fixture_run(doctor_check_volumes, &config);
}

static void put_healthy_host(void) {
        fixture_put("/usr/sbin/libvirtd", 0755, "");
        fixture_put(LIBVIRT_HOOK, 0755, "hook");
        fixture_put_domain("web", "<source dev='/dev/mapper/wlagent-x-vda'/>");
        fixture_make_directory("/sys/module/dm_crypt");
        fixture_make_directory("/sys/module/loop");
        fixture_put("/dev/mapper/control", 0600, "");
        fixture_put("/proc/swaps", 0444, "Filename\tType\tSize\tUsed\tPriority\n");
        fixture_put("/sys/power/resume", 0644, "0:0\n");
        fixture_make_directory("/layers");
        fixture_make_directory("/images");
        ck_assert_int_eq(chmod(fixture_path("/layers"), 0700), 0);

        (void)snprintf(layers, sizeof(layers), "%s", fixture_path("/layers"));
        (void)snprintf(roots, sizeof(roots), "%s", fixture_path("/images"));
        config.volumes.layer_directory = layers;
        config.volumes.image_roots = (struct config_paths){
                .count = 1, .paths = {roots}, .text = roots};
        config.volumes.socket = socket_path;
        (void)snprintf(socket_path, sizeof(socket_path), "/tmp/wlagent-doctor-%d.sock", getpid());
        (void)unlink(socket_path);
}

/* A strict wlagent-volumed for one LIST. */
static void *answer(void *userdata) {
        const int *listen_fd = userdata;
        struct volumed_request request = {0};
        struct volumed_reply reply = {.magic = VOLUMED_MAGIC, .operation = VOLUMED_LIST};
        struct wla_error err = {0};
        struct deadline deadline;
        int attached = -1;
        _cleanup_close_ int fd = accept4(*listen_fd, NULL, NULL, SOCK_CLOEXEC);

        deadline_init(&deadline, clock_now_usec() + 10 * USEC_PER_SEC);
        ck_assert_int_eq(packet_receive(fd, &request, sizeof(request), &deadline, &attached, &err),
                         0);
        ck_assert_uint_eq(request.magic, VOLUMED_MAGIC);
        ck_assert_uint_eq(request.operation, VOLUMED_LIST);
        ck_assert_uint_eq(request.key_size, 0);

        (void)snprintf(reply.name, sizeof(reply.name), NAME);
        ck_assert_int_eq(packet_send(fd, &reply, sizeof(reply), -1, &deadline, &err), 0);
        memset(reply.name, 0, sizeof(reply.name));
        ck_assert_int_eq(packet_send(fd, &reply, sizeof(reply), -1, &deadline, &err), 0);
        return NULL;
}

START_TEST(other_hosts_are_left_alone) {
        fixture_set_up();
        run();
        ck_assert_int_eq(fixture_count(FINDING_OK), 0);
        ck_assert_int_eq(fixture_count(FINDING_FAILURE), 0);
        fixture_tear_down();
}
END_TEST

START_TEST(nothing_to_report) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        pthread_t thread;

        fixture_set_up();
        put_healthy_host();
        memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(fd, 4), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, answer, &fd), 0);
        run();
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        (void)close(fd);
        (void)unlink(socket_path);

        ck_assert(fixture_found("ok", "volumed", "answers; 1 mappings are open"));
        ck_assert_int_eq(fixture_count(FINDING_FAILURE) + fixture_count(FINDING_WARNING), 0);
        fixture_tear_down();
}
END_TEST

START_TEST(volumed_is_down) {
        fixture_set_up();
        put_healthy_host();
        run();
        ck_assert(fixture_found("failure", "volumed", "wlagent-volumed is not running"));
        ck_assert_int_eq(fixture_count(FINDING_FAILURE), 1);

        /* Nobody needs it yet. */
        fixture_remove("/etc/libvirt/qemu/web.xml");
        run();
        ck_assert(fixture_found("warning", "volumed", "wlagent-volumed is not running"));
        ck_assert_int_eq(fixture_count(FINDING_FAILURE), 0);
        fixture_tear_down();
}
END_TEST

START_TEST(drivers) {
        struct utsname kernel;
        char path[256];

        fixture_set_up();
        put_healthy_host();
        ck_assert_int_eq(uname(&kernel), 0);
        fixture_remove("/sys/module");
        fixture_remove("/dev/mapper/control");
        run();
        ck_assert(fixture_found("failure", "kernel", "this kernel has no dm_crypt"));
        ck_assert(fixture_found("failure", "kernel", "this kernel has no loop"));
        ck_assert(fixture_found("failure", "device-mapper", "does not exist"));

        (void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", kernel.release);
        fixture_put(path, 0644,
                    "kernel/drivers/md/dm-crypt.ko.xz: kernel/drivers/md/dm-mod.ko.xz\n");
        (void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", kernel.release);
        fixture_put(path, 0644, "kernel/drivers/block/loop.ko\n");
        run();
        ck_assert(fixture_found("ok", "kernel", "dm_crypt is a module"));
        ck_assert(fixture_found("ok", "kernel", "loop is there"));

        fixture_put("/proc/sys/kernel/modules_disabled", 0644, "1\n");
        run();
        ck_assert(fixture_found("failure", "kernel", "dm_crypt is not loaded, and this kernel"));
        ck_assert(fixture_found("ok", "kernel", "loop is there"));
        fixture_make_directory("/sys/module/dm_crypt");
        run();
        ck_assert(fixture_found("ok", "kernel", "dm_crypt is there"));
        fixture_tear_down();
}
END_TEST

START_TEST(directories) {
        fixture_set_up();
        put_healthy_host();
        ck_assert_int_eq(chmod(layers, 0750), 0);
        fixture_remove("/images");
        run();
        ck_assert(fixture_found("failure", "layer-directory", "not a directory of root's alone"));
        ck_assert(fixture_found("warning", "image-roots", "none of the directories"));
        fixture_remove("/layers");
        run();
        ck_assert(fixture_found("failure", "layer-directory", "No such file or directory"));
        fixture_tear_down();
}
END_TEST

START_TEST(what_the_unit_lets_it_write) {
        static const struct {
                const char *before;
                const char *behind;
                bool writable;
        } paths[] = {
                {"", "", true},     {"-", "", true},      {"/a -/b +", "/ /c", true},
                {"/ /x", "", true}, {"", "2", false},     {"", "/sub", false},
                {"/x", "", false},  {"/a /b", "", false},
        };
        char script[2 * PATH_MAX + 128];
        char text[2 * PATH_MAX + 64];

        fixture_set_up();
        put_healthy_host();
        (void)snprintf(text, sizeof(text), "write below %s:", roots);
        run();
        ck_assert(!fixture_found("warning", "image-roots", text));
        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
                (void)snprintf(script, sizeof(script),
                               "#!/bin/sh\ncase $* in *ReadWritePaths*wlagent-volumed.service) "
                               "echo '%s%s%s' ;; esac\n",
                               paths[i].before, roots, paths[i].behind);
                fixture_put("/bin/systemctl", 0755, script);
                run();
                ck_assert_msg(fixture_found("warning", "image-roots", text) != paths[i].writable,
                              "%s...%s", paths[i].before, paths[i].behind);
        }

        /* It is said of what is there only. */
        fixture_remove("/images");
        run();
        ck_assert(!fixture_found("warning", "image-roots", text));
        fixture_tear_down();
}
END_TEST

START_TEST(memory_on_disk) {
        fixture_set_up();
        put_healthy_host();
        fixture_put("/sys/class/block/dm-0/dm/uuid", 0444, "CRYPT-PLAIN-swap\n");
        fixture_put("/sys/class/block/dm-1/dm/uuid", 0444, "LVM-abc\n");
        fixture_make_directory("/sys/class/block/dm-1/slaves/sda3");
        fixture_put("/proc/swaps", 0444,
                    "Filename\tType\tSize\tUsed\tPriority\n"
                    "/dev/dm-0                               partition\t1\t0\t-2\n"
                    "/dev/zram0                              partition\t1\t0\t100\n");
        run();
        ck_assert(fixture_found("ok", "swap", "no memory is swapped to disk in clear"));
        fixture_put("/proc/swaps", 0444,
                    "Filename\tType\tSize\tUsed\tPriority\n"
                    "/dev/dm-1                               partition\t1\t0\t-2\n"
                    "/swap.img                               file\t1\t0\t-3\n");
        fixture_put("/sys/power/resume", 0644, "253:1\n");
        run();
        ck_assert(fixture_found("warning", "swap", "/dev/dm-1 in clear"));
        ck_assert(fixture_found("warning", "swap", "/swap.img in clear"));
        ck_assert(fixture_found("warning", "hibernation", "can hibernate"));

        /* The kernel's own file systems are on no device, either. */
        ck_assert_int_eq(symlink("/proc/version", fixture_path("/swap.img")), 0);
        run();
        ck_assert(fixture_found("warning", "swap", "/swap.img, and whether that is encrypted can"));
        ck_assert(!fixture_found("warning", "swap", "/swap.img in clear"));
        fixture_tear_down();
}
END_TEST

/* What "systemctl show" answers of the timer and the service. */
static void put_reconcile_result(const char *state, const char *timer, const char *service,
                                 const char *result) {
        char script[512];

        (void)snprintf(script, sizeof(script),
                       "#!/bin/sh\ncase $* in\n*ActiveState*wlagent-reconcile.timer) echo %s ;;\n"
                       "*UnitFileState*wlagent-reconcile.timer) echo %s ;;\n"
                       "*UnitFileState*wlagent-reconcile.service) echo %s ;;\n"
                       "*Result*wlagent-reconcile.service) echo %s ;;\nesac\n",
                       state, timer, service, result);
        fixture_put("/bin/systemctl", 0755, script);
}

static void put_reconcile(const char *state, const char *timer, const char *service) {
        put_reconcile_result(state, timer, service, "success");
}

START_TEST(layers_of_vms_that_are_gone) {
        fixture_set_up();
        put_healthy_host();
        put_reconcile("active", "enabled", "enabled");
        run();
        ck_assert(fixture_found("ok", "reconcile", "wlagent-reconcile.timer has layers"));
        put_reconcile("inactive", "disabled", "disabled");
        run();
        ck_assert(fixture_found("warning", "reconcile", "layers of VMs that are gone are never"));
        put_reconcile("inactive", "enabled", "enabled");
        run();
        ck_assert(fixture_found("warning", "reconcile", "timer is not running"));
        put_reconcile("active", "disabled", "enabled");
        run();
        ck_assert(fixture_found("warning", "reconcile", "wlagent-reconcile.timer is not enabled"));
        /* Of "systemctl enable --runtime" the next boot knows nothing. */
        put_reconcile("active", "enabled-runtime", "enabled");
        run();
        ck_assert(fixture_found("warning", "reconcile", "wlagent-reconcile.timer is not enabled"));
        put_reconcile("active", "enabled", "enabled-runtime");
        run();
        ck_assert(fixture_found("warning", "reconcile", "wlagent-reconcile.service is not enabl"));
        put_reconcile("active", "enabled", "disabled");
        run();
        ck_assert(fixture_found("warning", "reconcile", "wlagent-reconcile.service is not enabl"));
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 1);
        put_reconcile_result("active", "enabled", "enabled", "exit-code");
        run();
        ck_assert(fixture_found("warning", "reconcile", "failed when it ran last (exit-code)"));
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 1);

        fixture_put("/bin/systemctl", 0755, "#!/bin/sh\nexit 1\n");
        run();
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 0);
        fixture_tear_down();
}
END_TEST

/* As installers make it: a logical volume on a physical one on LUKS. */
START_TEST(swap_on_lvm_on_luks) {
        fixture_set_up();
        put_healthy_host();
        fixture_put("/sys/class/block/dm-2/dm/uuid", 0444, "LVM-abc\n");
        fixture_put("/sys/class/block/dm-2/slaves/dm-0/dm/uuid", 0444, "CRYPT-LUKS2-0-x\n");
        fixture_put("/proc/swaps", 0444, "Filename\n/dev/dm-2 partition\t1\t0\t-2\n");
        run();
        ck_assert(fixture_found("ok", "swap", "no memory is swapped to disk in clear"));
        fixture_remove("/sys/class/block/dm-2/slaves");
        run();
        ck_assert(fixture_found("warning", "swap", "/dev/dm-2 in clear"));

        /* Nodes that are no link to the kernel's name say nothing. */
        fixture_put("/sys/class/block/dm-2/slaves/dm-0/dm/uuid", 0444, "CRYPT-LUKS2-0-x\n");
        fixture_put("/proc/swaps", 0444,
                    "Filename\n/dev/mapper/dm-2 x\n/dev/../dm-2 x\n/dev/. x\n/dev/ x\n");
        run();
        ck_assert(fixture_found("warning", "swap", "/dev/mapper/dm-2 in clear"));
        ck_assert_int_eq(fixture_count(FINDING_WARNING), 4);
        fixture_tear_down();
}
END_TEST

SUITE_MAIN("doctor_volumes", layers_of_vms_that_are_gone, swap_on_lvm_on_luks,
           other_hosts_are_left_alone, nothing_to_report, volumed_is_down, drivers, directories,
           what_the_unit_lets_it_write, memory_on_disk)
