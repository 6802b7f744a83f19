/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"
#include "cli/encrypted_storage.h"
#include "cli/libvirt_host.h"
#include "cli/nova_cache.h"

static const char remedy_register[] = "wlagent image register --wls UUID, with the UUID that the "
                                      "image has in Glance; wlagent-nova(7) tells more";

static const char remedy_layers[] =
        "put a file system on dm-crypt there (cryptsetup(8)), before instances "
        "run; wlagent-nova(7) tells why";

static const char remedy_unknown[] =
        "find out what that file system lies on; where that is not encrypted, put one on dm-crypt "
        "there (cryptsetup(8)), before instances run; wlagent-nova(7) tells why";

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

/* Images in Intel's format in Nova's cache that are not registered: instances of them come up with ciphertext as
 * their disk, and nothing else says why they do not boot. */
static void check_images(struct doctor *doctor) {
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

/* Nova's own directory by default, elsewhere it is known by the cache in it. */
static bool is_of_instances(const struct doctor *doctor, const char *root) {
        char cache[PATH_MAX];
        int size = snprintf(cache, sizeof(cache), "%s/_base", root);

        return libvirt_host_exists(doctor->root, root) &&
               (strcmp(root, NOVA_INSTANCES) == 0 ||
                ((size_t)size < sizeof(cache) && libvirt_host_exists(doctor->root, cache)));
}

static void report_layers(struct doctor *doctor, const char *path, enum storage storage) {
        if (storage == STORAGE_ENCRYPTED)
                doctor_report(doctor, FINDING_OK, "nova-layers", NULL,
                              "%s is on an encrypted file system", path);
        else if (storage == STORAGE_UNKNOWN)
                doctor_report(doctor, FINDING_WARNING, "nova-layers", remedy_unknown,
                              "it cannot be told whether what instances of registered images write "
                              "is encrypted: the file system of %s is on no device of its own",
                              path);
        else
                doctor_report(doctor, FINDING_WARNING, "nova-layers", remedy_layers,
                              "what instances of registered images write lies in clear on a disk: "
                              "%s is on no encrypted file system",
                              path);
}

/* What instances write lies there in layers that nobody encrypts but the file system.  It has to be below
 * ImageRoots= for an instance to start. */
static void check_layers(struct doctor *doctor) {
        const struct config_paths *roots = &doctor->config->volumes.image_roots;
        struct libvirt_host host;

        libvirt_host_read(doctor->root, doctor->config->agent.state_directory, &host);
        for (size_t i = 0; host.registered > 0 && i < roots->count; i++) {
                const char *path = roots->paths[i];

                if (!is_of_instances(doctor, path))
                        continue;
                report_layers(doctor, path, encrypted_storage_path(doctor->root, path));
        }
}

void doctor_check_nova(struct doctor *doctor) {
        check_images(doctor);
        check_layers(doctor);
}
