/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/uuid.h"
#include "cli/migrate.h"

/* What Intel's agent has left of VMs: volumes, plaintext that is mounted, disks that are links into it, and
 * its list of who uses what.  All of it is told, nothing of it is touched. */

#define IMAGES       NOVA_INSTANCES "/_base"
#define VOLUME_END   "_sparse"
#define IMAGE_END    "_sparseFile"
#define MOUNTS_MAX   (1024u * 1024u)
#define VOLUMES_TOLD 64u

static bool ends_with(const char *text, const char *end) {
        size_t size = strlen(text);
        size_t length = strlen(end);

        return size > length && strcmp(text + size - length, end) == 0;
}

static int note_volume(struct migrate *migrate, const char *path, struct wla_error *err) {
        return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, path,
                                 "a volume of a VM. Those that releases 3.4 to 4.2 made open with "
                                 "an empty passphrase: "
                                 "whoever could read the file could read the disk. With the VM "
                                 "shut off, run 'wlagent "
                                 "volume adopt --key KEYID %s', which tells whether it was so, and "
                                 "encrypts it again",
                                 path);
}

/* The fifth word of each line of /proc/PID/mountinfo (proc(5)) is where it is mounted. */
static const char *mount_point(const char *line, size_t *ret_size) {
        for (unsigned word = 1; word < 5; word++) {
                line += strcspn(line, " \n");
                line += *line == ' ' ? 1 : 0;
        }
        *ret_size = strcspn(line, " \n");
        return line;
}

/* Whether a volume is mounted below INTEL_MOUNTS that this path is in. */
static bool is_mounted(const struct migrate *migrate, const char *path) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(MOUNTS_MAX);
        struct wla_error ignored = {0};
        const size_t above = strlen(INTEL_MOUNTS "/");

        if (host_root_read(&migrate->root, "/proc/1/mountinfo", &text, &ignored) < 0)
                return false;
        const char *line = buf_text(&text, &ignored);
        while (line && *line) {
                size_t size;
                const char *at = mount_point(line, &size);

                if (size > above && strncmp(at, path, size) == 0 &&
                    (path[size] == '/' || path[size] == '\0'))
                        return true;
                line += strcspn(line, "\n");
                line += *line == '\n' ? 1 : 0;
        }
        return false;
}

/* A disk that is a link to where Intel's agent mounted it. */
static int look_disk(struct migrate *migrate, const char *path, struct wla_error *err) {
        struct wla_error ignored = {0};
        char target[PATH_MAX];

        if (host_root_link(&migrate->root, path, target, &ignored) < 0 ||
            strncmp(target, INTEL_MOUNTS "/", strlen(INTEL_MOUNTS "/")) != 0)
                return 0;
        if (is_mounted(migrate, target))
                return migrate_plan_note(
                        &migrate->plan, err, MIGRATE_BY_HAND, path,
                        "the disk is a link into a volume that is mounted, and a VM may be using "
                        "it: shut the VM off first. Copy the disk out of its volume before that is "
                        "unmounted, which nothing mounts again, or have the instance made anew "
                        "from its image: wlagent-nova(7)");
        return migrate_plan_note(
                &migrate->plan, err, MIGRATE_BY_HAND, path,
                "the disk is a link into a volume that nothing mounts any more, so this VM does "
                "not "
                "start. Copy the disk out of its volume, or have the instance made anew from its "
                "image: wlagent-nova(7)");
}

static int look_instance(struct migrate *migrate, const char *name, unsigned *told,
                         struct wla_error *err) {
        char path[PATH_MAX];
        const struct dirent *entry;

        (void)snprintf(path, sizeof(path), NOVA_INSTANCES "/%s", name);
        _cleanup_list_ DIR *list = host_root_list(&migrate->root, path);
        while (list && (entry = readdir(list)) && *told < VOLUMES_TOLD) {
                char file[2 * PATH_MAX];
                int outcome = 0;

                (void)snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
                size_t before = migrate->plan.note_count;
                if (ends_with(entry->d_name, VOLUME_END))
                        outcome = note_volume(migrate, file, err);
                else if (strncmp(entry->d_name, "disk", 4) == 0)
                        outcome = look_disk(migrate, file, err);
                if (outcome < 0)
                        return -1;
                *told += migrate->plan.note_count > before ? 1 : 0;
        }
        return 0;
}

static int look_instances(struct migrate *migrate, struct wla_error *err) {
        _cleanup_list_ DIR *list = host_root_list(&migrate->root, NOVA_INSTANCES);
        const struct dirent *entry;
        unsigned told = 0;

        while (list && (entry = readdir(list)) && told < VOLUMES_TOLD) {
                struct wla_error ignored = {0};
                struct uuid instance;

                if (uuid_parse(entry->d_name, strlen(entry->d_name), &instance, &ignored) == 0 &&
                    look_instance(migrate, entry->d_name, &told, err) < 0)
                        return -1;
        }
        if (told < VOLUMES_TOLD)
                return 0;
        return migrate_plan_note(
                &migrate->plan, err, MIGRATE_BY_HAND, NOVA_INSTANCES,
                "there are more disks of Intel's agent than are told here; run this "
                "again when those are done");
}

static int look_image_volumes(struct migrate *migrate, struct wla_error *err) {
        _cleanup_list_ DIR *list = host_root_list(&migrate->root, IMAGES);
        const struct dirent *entry;
        bool volume = false;

        while (list && (entry = readdir(list)))
                volume |= ends_with(entry->d_name, IMAGE_END);
        if (!volume)
                return 0;
        return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, IMAGES "/*" IMAGE_END,
                                 "volumes with images as Intel's agent opened them, encrypted "
                                 "under the images' keys; wlagent makes its own, so remove them "
                                 "when no VM needs to go back");
}

static int look_mounts(struct migrate *migrate, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(MOUNTS_MAX);
        struct wla_error ignored = {0};

        if (host_root_read(&migrate->root, "/proc/1/mountinfo", &text, &ignored) < 0)
                return 0;
        const char *line = buf_text(&text, err);
        if (!line)
                return -1;
        while (*line) {
                size_t size = strcspn(line, "\n");
                size_t length;
                const char *at = mount_point(line, &length);

                if (strncmp(at, INTEL_MOUNTS "/", strlen(INTEL_MOUNTS "/")) == 0) {
                        char path[PATH_MAX];

                        (void)snprintf(path, sizeof(path), "%.*s", (int)length, at);
                        if (migrate_plan_note(
                                    &migrate->plan, err, MIGRATE_BY_HAND, path,
                                    "plaintext that Intel's agent has mounted, which all users may "
                                    "be "
                                    "able to read, and which nothing closes: shut off the VMs that "
                                    "use it, then 'umount' it and 'cryptsetup close %s'",
                                    strrchr(path, '/') + 1) < 0)
                                return -1;
                }
                line += size + (line[size] == '\n' ? 1 : 0);
        }
        return 0;
}

static int take_association(void *userdata, const struct yaml_pair *pair, struct wla_error *err) {
        struct migrate *migrate = userdata;
        struct wla_error ignored = {0};
        struct uuid image;
        const char *dot = strchr(pair->path, '.');

        if (!dot || strcmp(dot, ".vmcount") != 0 || pair->kind != YAML_VALUE ||
            uuid_parse(pair->path, (size_t)(dot - pair->path), &image, &ignored) < 0 ||
            strspn(pair->value, "0123456789") != strlen(pair->value) || strlen(pair->value) > 6)
                return 0;
        return migrate_plan_note(
                &migrate->plan, err, MIGRATE_BY_HAND, INTEL_ASSOCIATION,
                "Intel's agent counts %s VMs with image %s, which may be wrong; look "
                "with 'virsh list' which of them run",
                pair->value, image.text);
}

static int look_association(struct migrate *migrate, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(INTEL_ASSOCIATION_MAX);
        struct wla_error why = {0};

        if (host_root_read(&migrate->root, INTEL_ASSOCIATION, &text, &why) < 0 || text.size == 0)
                return 0;
        if (yaml_pairs_read(text.data, text.size, take_association, migrate, &why) == 0)
                return 0;
        if (why.code == WLA_E_BUSY) {
                *err = why;
                return -1;
        }
        return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, INTEL_ASSOCIATION,
                                 "which VMs use which image cannot be told: %s",
                                 wla_error_text(&why));
}

int migrate_look_volumes(struct migrate *migrate, struct wla_error *err) {
        if (look_mounts(migrate, err) < 0 || look_association(migrate, err) < 0 ||
            look_instances(migrate, err) < 0)
                return -1;
        return look_image_volumes(migrate, err);
}
