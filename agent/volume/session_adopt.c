/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "volume/loop_device.h"
#include "volume/session.h"
#include "volume/volume_adopt.h"

static const char hint_detach[] = "close it first: umount, 'cryptsetup close', 'losetup -d'";
static const char hint_inline[] =
        "only volumes with their header in front of their data are adopted";

/* N of /sys/block/loopN. */
static bool loop_number(const char *name, uint32_t *ret) {
        char *end;

        if (strncmp(name, "loop", 4) != 0 || name[4] < '0' || name[4] > '9')
                return false;
        errno = 0;
        unsigned long number = strtoul(name + 4, &end, 10);
        if (errno != 0 || *end != '\0' || number > UINT32_MAX)
                return false;
        *ret = (uint32_t)number;
        return true;
}

/* Whoever made the loop device: what is below it must not be exchanged. */
static int refuse_attached(const struct image_file *image, struct wla_error *err) {
        DIR *directory = opendir("/sys/block");
        int outcome = 0;

        if (!directory)
                return wla_fail_errno(err, errno, "listing block devices");
        for (struct dirent *entry = readdir(directory); entry && outcome == 0;
             entry = readdir(directory)) {
                struct loop_backing backing;
                struct wla_error ignored = {0};
                uint32_t number;

                if (loop_number(entry->d_name, &number) &&
                    loop_device_inspect(LOOP_MAJOR, number, &backing, &ignored) == 0 &&
                    backing.device == image->device && backing.inode == image->inode)
                        outcome = wla_fail_hint(err, WLA_E_BUSY, hint_detach,
                                                "it is open as /dev/%s", entry->d_name);
        }
        (void)closedir(directory);
        return outcome;
}

/* The header has to be that of the file itself, not one that was brought along. */
static int read_own_header(const struct session *session, struct sealed_header *ret,
                           struct luks2_header *ret_header, struct wla_error *err) {
        if (session->image.header_fd >= 0)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_inline,
                                     "it has a header beside it");
        if (sealed_header_copy(session->image.fd, false, ret, err) < 0)
                return -1;
        return luks2_header_check(ret->bytes, ret->size, ret_header, err);
}

static void tell(enum volume_adopted how, char to[static VOLUMED_TEXT_SIZE]) {
        static const char with_key[] =
                "it has a new volume key now, and opens with this key without "
                "a slow derivation";
        static const char *const texts[] = {
                [VOLUME_ADOPTED] = "it opened without a key, so whoever could read the file could "
                                   "read the volume; it has a new volume key now, and opens with "
                                   "this key alone",
                [VOLUME_ADOPTED_KEY] = with_key,
                [VOLUME_ADOPTION_NEEDLESS] = "there is nothing to do: it opens with this key alone",
        };

        (void)snprintf(to, VOLUMED_TEXT_SIZE, "%s", texts[how]);
}

static int adopt(struct session *session, const struct session_step *step, enum volume_adopted *ret,
                 struct wla_error *err) {
        _cleanup_sealed_header_ struct sealed_header sealed = SEALED_HEADER_NONE;
        _cleanup_close_ int directory_fd = -1;
        struct luks2_header header;
        const char *name;

        if (refuse_attached(&session->image, err) < 0 ||
            read_own_header(session, &sealed, &header, err) < 0 ||
            image_file_open_directory(&session->config->volumes.image_roots, session->path,
                                      &directory_fd, &name, err) < 0)
                return -1;

        const struct volume_adoption adoption = {
                .directory_fd = directory_fd,
                .name = name,
                .fd = session->image.fd,
                .header_fd = sealed.fd,
                .header = &header,
                .key = step->key,
        };
        return volume_adopt(&adoption, ret, err);
}

int session_adopt_volume(struct session *session, struct session_step *step,
                         struct wla_error *err) {
        enum volume_adopted how;

        if (session->format != VOLUMED_FORMAT_LUKS2)
                return wla_fail(err, WLA_E_INPUT, "it is no ordinary LUKS2 volume");
        if (adopt(session, step, &how, err) < 0)
                return -1;

        tell(how, step->reply->text);
        sealed_header_clear(&session->sealed);
        image_file_close(&session->image);
        session->state = SESSION_NEW;
        return 0;
}
