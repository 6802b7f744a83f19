/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/doctor.h"
#include "cli/libvirt_host.h"
#include "image/isecl_image.h"
#include "volume/nova_path.h"

/* Images in Intel's format in Nova's cache that are not registered: instances of them come up with ciphertext as
 * their disk, and nothing else says why they do not boot. */

#define INSTANCES  "/var/lib/nova/instances"
#define IMAGES     INSTANCES "/_base"
#define IMAGE_HEAD 16u

static const char remedy_register[] = "wlagent image register --wls UUID, with the UUID that the "
                                      "image has in Glance; wlagent-nova(7) tells more";

static void close_list(DIR **list) {
        if (*list)
                (void)closedir(*list);
}

#define _cleanup_list_ __attribute__((cleanup(close_list)))

static DIR *open_list(const struct doctor *doctor, const char *path) {
        char whole[PATH_MAX];

        libvirt_host_path(doctor->root, path, whole);
        return opendir(whole);
}

static bool is_image(int directory, const char *name) {
        _cleanup_close_ int fd = openat(directory, name,
                                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        uint8_t head[IMAGE_HEAD];

        return fd >= 0 && read(fd, head, sizeof(head)) == (ssize_t)sizeof(head) &&
               isecl_image_claimed(head, sizeof(head));
}

/* Whether a file of the registry is for the image that Nova keeps by that name. */
static bool is_for(const char *file, const char *name) {
        size_t length = strcspn(file, ".");
        char disk[sizeof(INSTANCES) + UUID_TEXT_SIZE + sizeof("/disk")];
        char path[VOLUMED_PATH_SIZE];
        struct wla_error ignored = {0};
        struct uuid image;

        if (strcmp(file + length, ".header") != 0 || uuid_parse(file, length, &image, &ignored) < 0)
                return false;
        /* The cache is beside whichever instance. */
        (void)snprintf(disk, sizeof(disk), INSTANCES "/%s/disk", image.text);
        return nova_base_path(disk, &image, path, NULL, &ignored) == 0 &&
               strcmp(path + strlen(IMAGES "/"), name) == 0;
}

static bool is_registered(const struct doctor *doctor, const char *name) {
        char path[PATH_MAX];
        const struct dirent *entry;

        (void)snprintf(path, sizeof(path), "%s/images", doctor->config->agent.state_directory);
        _cleanup_list_ DIR *list = open_list(doctor, path);
        while (list && (entry = readdir(list)))
                if (is_for(entry->d_name, name))
                        return true;
        return false;
}

void doctor_check_nova(struct doctor *doctor) {
        _cleanup_list_ DIR *list = open_list(doctor, IMAGES);
        const struct dirent *entry;
        char first[NAME_MAX + 1] = "";
        unsigned count = 0;

        while (list && (entry = readdir(list))) {
                if (!is_image(dirfd(list), entry->d_name) || is_registered(doctor, entry->d_name))
                        continue;
                if (count++ == 0)
                        (void)snprintf(first, sizeof(first), "%s", entry->d_name);
        }
        if (count > 0)
                doctor_report(doctor, FINDING_WARNING, "nova-images", remedy_register,
                              "instances do not boot from %u images in Intel's format, which are "
                              "not registered on this host; one of them is " IMAGES "/%s",
                              count, first);
}
