/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "cli/doctor.h"
#include "cli/encrypted_storage.h"
#include "cli/libvirt_host.h"
#include "cli/unit_property.h"
#include "volume/client.h"

#define ANSWER_USEC          (UINT64_C(5) * USEC_PER_SEC)
#define MODULE_LIST_MAX      (8u * 1024u * 1024u)
#define MAPPINGS_MAX         4096u
#define LAYER_DIRECTORY_BITS (S_IRWXG | S_IRWXO)
#define UNIT_PATHS_SIZE      8192u

static const char remedy_start[] =
        "systemctl enable --now wlagent-volumed.socket; systemctl status wlagent-volumed";
static const char remedy_module[] = "use a kernel with CONFIG_DM_CRYPT and CONFIG_BLK_DEV_LOOP; on "
                                    "Debian linux-image-amd64";
static const char remedy_loading[] = "boot the host with it loaded (modules-load.d(5)), before "
                                     "kernel.modules_disabled is set";
static const char remedy_control[] = "modprobe dm_mod";
static const char remedy_layers[] = "systemd-tmpfiles --create wlagent.conf";
static const char remedy_layer_mode[] = "chown root: and chmod 0700 that directory";
static const char remedy_roots[] = "name the directories of your images in ImageRoots=";
static const char remedy_reconcile[] =
        "systemctl enable --now wlagent-reconcile.timer wlagent-reconcile.service";
static const char remedy_failed[] = "journalctl --unit=wlagent-reconcile.service tells why; "
                                    "systemctl start wlagent-reconcile.service tries again";
static const char remedy_swap[] = "encrypt it with a random key (crypttab(5), option swap), or "
                                  "'swapoff' it";
static const char remedy_hibernate[] = "systemctl mask hibernate.target hybrid-sleep.target";

/* As long as no VM needs it, nothing fails. */
static enum finding weight(const struct libvirt_host *host) {
        return libvirt_host_protects(host) ? FINDING_FAILURE : FINDING_WARNING;
}

static void session_freep(struct volume_session **session) {
        *session = volume_session_free(*session);
}

static int count_mappings(const char *socket, unsigned *ret, struct wla_error *err) {
        __attribute__((cleanup(session_freep))) struct volume_session *session = NULL;
        const struct volumed_request request = {.operation = VOLUMED_LIST};
        const struct volume_call call = {.request = &request, .header_fd = -1};
        struct volumed_reply reply;
        struct deadline deadline;
        unsigned count = 0;

        deadline_init(&deadline, clock_now_usec() + ANSWER_USEC);
        /* Requests are made in locked memory; the check of the TPM may have set it up. */
        if (!CRYPTO_secure_malloc_initialized() && wla_secret_heap_init(true, err) < 0)
                return -1;
        if (volume_session_open(socket, &deadline, &session, err) < 0 ||
            volume_session_call(session, &call, &deadline, &reply, err) < 0)
                return -1;

        for (; reply.name[0] != '\0' && count < MAPPINGS_MAX; count++)
                if (volume_session_next(session, &deadline, &reply, err) < 0)
                        return -1;
        *ret = count;
        return 0;
}

static void check_socket(struct doctor *doctor, const struct libvirt_host *host) {
        struct wla_error err = {0};
        unsigned count = 0;

        if (count_mappings(doctor->config->volumes.socket, &count, &err) == 0) {
                doctor_report(doctor, FINDING_OK, "volumed", NULL,
                              "wlagent-volumed answers; %u mappings are open", count);
                return;
        }
        if (err.code == WLA_E_UNAVAILABLE)
                err.hint = remedy_start;
        doctor_report_error(doctor, weight(host), "volumed", &err);
}

/* modules.builtin and modules.dep (modules.dep(5)) name files, as in "kernel/drivers/md/dm-crypt.ko". */
static bool is_listed(const struct doctor *doctor, const char *list, const char *file) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(MODULE_LIST_MAX);
        struct wla_error ignored = {0};
        struct utsname kernel;
        char path[PATH_MAX];

        if (uname(&kernel) < 0)
                return false;
        (void)snprintf(path, sizeof(path), "%s/lib/modules/%s/%s", doctor->root, kernel.release,
                       list);
        return file_read(AT_FDCWD, path, &text, &ignored) == 0 &&
               memmem(text.data, text.size, file, strlen(file));
}

/* sysctl kernel.modules_disabled: until the next boot, whatever modprobe finds. */
static bool loads_modules(const struct doctor *doctor) {
        char disabled[8];

        libvirt_host_file(doctor->root, "/proc/sys/kernel/modules_disabled", disabled,
                          sizeof(disabled));
        return disabled[0] != '1';
}

static void check_driver(struct doctor *doctor, const struct libvirt_host *host, const char *module,
                         const char *file) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/sys/module/%s", module);
        if (libvirt_host_exists(doctor->root, path) || is_listed(doctor, "modules.builtin", file))
                doctor_report(doctor, FINDING_OK, "kernel", NULL, "%s is there", module);
        else if (!is_listed(doctor, "modules.dep", file))
                doctor_report(doctor, weight(host), "kernel", remedy_module,
                              "this kernel has no %s", module);
        else if (!loads_modules(doctor))
                doctor_report(doctor, weight(host), "kernel", remedy_loading,
                              "%s is not loaded, and this kernel loads no modules any more",
                              module);
        else
                doctor_report(doctor, FINDING_OK, "kernel", NULL,
                              "%s is a module that is loaded when it is needed", module);
}

static void check_control(struct doctor *doctor, const struct libvirt_host *host) {
        if (libvirt_host_exists(doctor->root, "/dev/mapper/control"))
                doctor_report(doctor, FINDING_OK, "device-mapper", NULL,
                              "/dev/mapper/control is there");
        else
                doctor_report(doctor, weight(host), "device-mapper", remedy_control,
                              "/dev/mapper/control does not exist");
}

static void check_layers(struct doctor *doctor, const struct libvirt_host *host) {
        const char *path = doctor->config->volumes.layer_directory;
        struct stat facts;

        if (lstat(path, &facts) < 0)
                doctor_report(doctor, weight(host), "layer-directory", remedy_layers, "%s: %s",
                              path, strerrordesc_np(errno));
        else if (!S_ISDIR(facts.st_mode) || facts.st_uid != host->root_user ||
                 (facts.st_mode & LAYER_DIRECTORY_BITS))
                doctor_report(doctor, weight(host), "layer-directory", remedy_layer_mode,
                              "%s is not a directory of root's alone (mode %04o, user %u)", path,
                              facts.st_mode & 07777, facts.st_uid);
        else
                doctor_report(doctor, FINDING_OK, "layer-directory", NULL, "%s has mode 0700",
                              path);
}

static void check_roots(struct doctor *doctor) {
        const struct config_paths *roots = &doctor->config->volumes.image_roots;
        struct stat facts;

        for (size_t i = 0; i < roots->count; i++)
                if (stat(roots->paths[i], &facts) == 0 && S_ISDIR(facts.st_mode)) {
                        doctor_report(doctor, FINDING_OK, "image-roots", NULL,
                                      "images may lie below %s", roots->text);
                        return;
                }
        doctor_report(doctor, FINDING_WARNING, "image-roots", remedy_roots,
                      "none of the directories of ImageRoots= exists: %s", roots->text);
}

/* systemd.exec(5): '-' and '+' in front of a path have a meaning of their own. */
static bool is_writable(const char *unit_paths, const char *path) {
        for (const char *at = unit_paths; *at; at += strspn(at, " ")) {
                at += strspn(at, "-+");

                size_t length = strcspn(at, " ");
                size_t compared = length > 1 && at[length - 1] == '/' ? length - 1 : length;
                if (strncmp(path, at, compared) == 0 &&
                    (path[compared] == '\0' || path[compared] == '/' || compared == 1))
                        return true;
                at += length;
        }
        return false;
}

/* Its sandbox shows it the rest read-only, which is enough for images that layers stand on. */
static void check_unit(struct doctor *doctor) {
        const struct config_paths *roots = &doctor->config->volumes.image_roots;
        char unit_paths[UNIT_PATHS_SIZE];
        char remedy[PATH_MAX + 128];
        struct stat facts;

        /* With the drop-ins of its unit. */
        unit_property("wlagent-volumed.service", "ReadWritePaths", unit_paths, sizeof(unit_paths));
        for (size_t i = 0; i < roots->count && unit_paths[0] != '\0'; i++) {
                if (is_writable(unit_paths, roots->paths[i]) || stat(roots->paths[i], &facts) < 0)
                        continue;
                (void)snprintf(remedy, sizeof(remedy),
                               "'systemctl edit wlagent-volumed.service', with the lines [Service] "
                               "and ReadWritePaths=%s, and restart it while no VM starts",
                               roots->paths[i]);
                doctor_report(doctor, FINDING_WARNING, "image-roots", remedy,
                              "its unit does not let wlagent-volumed write below %s: no VM has a "
                              "disk there in mode direct, and nothing there is adopted",
                              roots->paths[i]);
        }
}

/* The timer removes layers of VMs that are gone; the service tells wlagentd which VMs there are as soon as
 * libvirt is there. */
static void check_reconcile(struct doctor *doctor) {
        char state[32];
        char timer[32];
        char service[32];
        char result[32];

        unit_property("wlagent-reconcile.timer", "ActiveState", state, sizeof(state));
        unit_property("wlagent-reconcile.timer", "UnitFileState", timer, sizeof(timer));
        unit_property("wlagent-reconcile.service", "UnitFileState", service, sizeof(service));
        unit_property("wlagent-reconcile.service", "Result", result, sizeof(result));
        if (state[0] == '\0')
                return;
        if (strcmp(state, "active") != 0)
                doctor_report(doctor, FINDING_WARNING, "reconcile", remedy_reconcile,
                              "wlagent-reconcile.timer is not running: layers of VMs that are gone "
                              "are never removed");
        else if (strcmp(timer, "enabled") != 0 || strcmp(service, "enabled") != 0)
                doctor_report(doctor, FINDING_WARNING, "reconcile", remedy_reconcile,
                              "wlagent-reconcile.%s is not enabled, and does not run after the "
                              "next boot",
                              strcmp(timer, "enabled") != 0 ? "timer" : "service");
        else if (result[0] != '\0' && strcmp(result, "success") != 0)
                doctor_report(doctor, FINDING_WARNING, "reconcile", remedy_failed,
                              "wlagent-reconcile.service failed when it ran last (%s): layers of "
                              "VMs that are gone are not removed",
                              result);
        else
                doctor_report(doctor, FINDING_OK, "reconcile", NULL,
                              "wlagent-reconcile.timer has layers of VMs that are gone removed");
}

/* What the kernel swaps to: a file, or a device by the name of its node.  A compressed swap in memory is none on
 * disk. */
static enum storage storage_of_swap(const struct doctor *doctor, const char *path) {
        static const char devices[] = "/dev/";

        if (strncmp(path, devices, strlen(devices)) != 0)
                return encrypted_storage_path(doctor->root, path);
        return strncmp(path, "/dev/zram", 9) == 0 ||
                               encrypted_storage_device(doctor->root, path + strlen(devices))
                       ? STORAGE_ENCRYPTED
                       : STORAGE_CLEAR;
}

/* Keys are locked into memory; the memory of guests is not. */
static void check_swap(struct doctor *doctor) {
        char text[4096];
        char *rest = NULL;
        unsigned open = 0;

        libvirt_host_file(doctor->root, "/proc/swaps", text, sizeof(text));
        (void)strtok_r(text, "\n", &rest);
        for (char *line = strtok_r(NULL, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                line[strcspn(line, " \t")] = '\0';
                enum storage storage = storage_of_swap(doctor, line);
                if (storage == STORAGE_ENCRYPTED)
                        continue;
                open++;
                doctor_report(doctor, FINDING_WARNING, "swap", remedy_swap,
                              storage == STORAGE_UNKNOWN
                                      ? "the memory of VMs may be swapped to %s, and whether that "
                                        "is encrypted cannot be told"
                                      : "the memory of VMs may be swapped to %s in clear",
                              line);
        }
        if (open == 0)
                doctor_report(doctor, FINDING_OK, "swap", NULL,
                              "no memory is swapped to disk in clear");

        libvirt_host_file(doctor->root, "/sys/power/resume", text, sizeof(text));
        if (text[0] != '\0' && strncmp(text, "0:0", 3) != 0)
                doctor_report(
                        doctor, FINDING_WARNING, "hibernation", remedy_hibernate,
                        "this host can hibernate, which writes the keys of open disks to disk");
}

void doctor_check_volumes(struct doctor *doctor) {
        struct libvirt_host host;

        libvirt_host_read(doctor->root, doctor->config->agent.state_directory, &host);
        if (!libvirt_host_is_concerned(&host))
                return;

        check_driver(doctor, &host, "dm_crypt", "/dm-crypt.ko");
        check_driver(doctor, &host, "loop", "/loop.ko");
        check_control(doctor, &host);
        check_layers(doctor, &host);
        check_roots(doctor);
        check_unit(doctor);
        check_socket(doctor, &host);
        check_reconcile(doctor);
        check_swap(doctor);
}
