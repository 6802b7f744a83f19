/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/libvirt_host.h"
#include "cli/migrate.h"
#include "cli/nova_cache.h"
#include "vm/domain.h"
#include "volume/nova_path.h"

/* Images in Intel's format in Nova's cache, which instances start from when they are registered.  A file there is
 * named after the image's UUID, by its SHA-1: so the UUIDs are looked for where they may be, in the definitions of
 * instances and in the list of Intel's agent, and compared. */

#define REGISTERED     "/var/lib/workload-agent/images"
#define NOVA_NAMESPACE "openstack.org/xmlns/libvirt/nova"
#define UUID_LENGTH    (UUID_TEXT_SIZE - 1)

struct images {
        struct migrate *migrate;
        int fd; /* of the cache */
        size_t count;
        char (*names)[NOVA_CACHE_NAME_SIZE]; /* of those whose UUIDs are known */
};

static void free_names(struct images *images) {
        free(images->names);
}

static bool is_known(const struct images *images, const char *name) {
        for (size_t i = 0; i < images->count; i++)
                if (strcmp(images->names[i], name) == 0)
                        return true;
        return false;
}

/* Each is a file of the cache. */
static int know(struct images *images, const char *name, struct wla_error *err) {
        void *grown = reallocarray(images->names, images->count + 1, sizeof(images->names[0]));

        if (!grown)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        images->names = grown;
        memcpy(images->names[images->count++], name, sizeof(images->names[0]));
        return 0;
}

static int look_uuid(struct images *images, const struct uuid *image, struct wla_error *err) {
        struct migrate *migrate = images->migrate;
        char disk[sizeof(NOVA_INSTANCES) + UUID_TEXT_SIZE + sizeof("/disk")];
        char registered[sizeof(REGISTERED) + UUID_TEXT_SIZE + sizeof(".header")];
        char path[VOLUMED_PATH_SIZE];

        /* The cache is beside whichever instance. */
        (void)snprintf(disk, sizeof(disk), NOVA_INSTANCES "/%s/disk", image->text);
        if (nova_base_path(disk, image, path, NULL, err) < 0)
                return -1;
        const char *name = path + strlen(NOVA_CACHE "/");
        if (is_known(images, name) || !nova_cache_has_isecl(images->fd, name))
                return 0;

        if (know(images, name, err) < 0)
                return -1;
        (void)snprintf(registered, sizeof(registered), REGISTERED "/%s.header", image->text);
        if (host_root_exists(&migrate->root, registered))
                return 0;
        return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, path,
                                 "an image in Intel's format. Instances of Nova start from it when "
                                 "it has been registered: 'wlagent image register --wls %s'; see "
                                 "wlagent-nova(7)",
                                 image->text);
}

static int look_text(struct images *images, const struct buf *text, struct wla_error *err) {
        const char *bytes = (const char *)text->data;

        for (size_t at = 0; at + UUID_LENGTH <= text->size; at++) {
                struct wla_error ignored = {0};
                struct uuid image;

                if (bytes[at + 8] == '-' && bytes[at + 13] == '-' &&
                    uuid_parse(bytes + at, UUID_LENGTH, &image, &ignored) == 0 &&
                    look_uuid(images, &image, err) < 0)
                        return -1;
        }
        return 0;
}

/* Read as a text: what else is in it has a SHA-1 that no image has. */
static int look_definitions(struct images *images, struct wla_error *err) {
        _cleanup_list_ DIR *list = host_root_list(&images->migrate->root, LIBVIRT_DEFINITIONS);
        const struct dirent *entry;
        int outcome = 0;

        while (list && outcome == 0 && (entry = readdir(list))) {
                _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(DOMAIN_XML_MAX);
                struct wla_error ignored = {0};
                const char *end = strrchr(entry->d_name, '.');

                if (end && strcmp(end, ".xml") == 0 &&
                    file_read(dirfd(list), entry->d_name, &text, &ignored) == 0 &&
                    memmem(text.data, text.size, NOVA_NAMESPACE, strlen(NOVA_NAMESPACE)))
                        outcome = look_text(images, &text, err);
        }
        return outcome;
}

static int look_association(struct images *images, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(INTEL_ASSOCIATION_MAX);
        struct wla_error ignored = {0};

        if (host_root_read(&images->migrate->root, INTEL_ASSOCIATION, &text, &ignored) < 0)
                return 0;
        return look_text(images, &text, err);
}

/* No instance is defined here: one of them stands for all. */
static int look_others(struct images *images, DIR *list, struct wla_error *err) {
        _cleanup_list_ DIR *registry = host_root_list(&images->migrate->root, REGISTERED);
        const struct dirent *entry;

        while ((entry = readdir(list))) {
                char path[sizeof(NOVA_CACHE) + sizeof(entry->d_name)];

                (void)snprintf(path, sizeof(path), NOVA_CACHE "/%s", entry->d_name);
                if (!nova_cache_has_isecl(dirfd(list), entry->d_name) ||
                    is_known(images, entry->d_name) ||
                    nova_cache_is_registered(registry, entry->d_name))
                        continue;
                return migrate_plan_note(
                        &images->migrate->plan, err, MIGRATE_BY_HAND, path,
                        "an image in Intel's format that no instance on this host has. Instances "
                        "of Nova start from such images when they have been registered, each by "
                        "its UUID in Glance, whose SHA-1 is the file's name: 'wlagent image "
                        "register --wls UUID'; see wlagent-nova(7)");
        }
        return 0;
}

int migrate_look_images(struct migrate *migrate, struct wla_error *err) {
        _cleanup_list_ DIR *list = host_root_list(&migrate->root, NOVA_CACHE);
        __attribute__((cleanup(free_names))) struct images images = {.migrate = migrate};

        if (!list)
                return 0;
        images.fd = dirfd(list);
        if (look_definitions(&images, err) < 0 || look_association(&images, err) < 0)
                return -1;
        return look_others(&images, list, err);
}
