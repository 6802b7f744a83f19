/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/nova_cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/isecl_image.h"
#include "volume/nova_path.h"

#define IMAGE_HEAD 16u

/* Of an image, and not of what else is there: locks, files of another size, downloads. */
static bool is_cache_name(const char *name) {
        return strlen(name) == NOVA_CACHE_NAME_SIZE - 1 &&
               strspn(name, "0123456789abcdef") == NOVA_CACHE_NAME_SIZE - 1;
}

bool nova_cache_has_isecl(int dir_fd, const char *name) {
        if (!is_cache_name(name))
                return false;

        _cleanup_close_ int fd = openat(dir_fd, name,
                                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        uint8_t head[IMAGE_HEAD];
        struct stat facts;

        return fd >= 0 && fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) &&
               read(fd, head, sizeof(head)) == (ssize_t)sizeof(head) &&
               isecl_image_claimed(head, sizeof(head));
}

/* Whether a file of the registry is for the image that Nova keeps by that name. */
static bool is_for(const char *file, const char *name) {
        size_t length = strcspn(file, ".");
        char disk[sizeof(NOVA_INSTANCES) + UUID_TEXT_SIZE + sizeof("/disk")];
        char path[VOLUMED_PATH_SIZE];
        struct wla_error ignored = {0};
        struct uuid image;

        if (strcmp(file + length, ".header") != 0 || uuid_parse(file, length, &image, &ignored) < 0)
                return false;
        /* The cache is beside whichever instance. */
        (void)snprintf(disk, sizeof(disk), NOVA_INSTANCES "/%s/disk", image.text);
        return nova_base_path(disk, &image, path, NULL, &ignored) == 0 &&
               strcmp(path + strlen(NOVA_CACHE "/"), name) == 0;
}

bool nova_cache_is_registered(DIR *registry, const char *name) {
        const struct dirent *entry;

        if (!registry)
                return false;
        rewinddir(registry);
        while ((entry = readdir(registry)))
                if (is_for(entry->d_name, name))
                        return true;
        return false;
}
