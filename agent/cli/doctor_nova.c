/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"
#include "cli/libvirt_host.h"
#include "cli/nova_cache.h"

/* Images in Intel's format in Nova's cache that are not registered: instances of them come up with ciphertext as
 * their disk, and nothing else says why they do not boot. */

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

void doctor_check_nova(struct doctor *doctor) {
        char first[NOVA_CACHE_NAME_SIZE] = "";
        const struct dirent *entry;
        char path[PATH_MAX];
        unsigned count = 0;

        (void)snprintf(path, sizeof(path), "%s/images", doctor->config->agent.state_directory);
        _cleanup_list_ DIR *registry = open_list(doctor, path);
        _cleanup_list_ DIR *list = open_list(doctor, NOVA_CACHE);
        while (list && (entry = readdir(list))) {
                if (!nova_cache_has_isecl(dirfd(list), entry->d_name) ||
                    nova_cache_is_registered(registry, entry->d_name))
                        continue;
                if (count++ == 0)
                        memcpy(first, entry->d_name, sizeof(first));
        }
        if (count > 0)
                doctor_report(doctor, FINDING_WARNING, "nova-images", remedy_register,
                              "instances do not boot from %u images in Intel's format, which are "
                              "not registered on this host; one of them is " NOVA_CACHE "/%s",
                              count, first);
}
