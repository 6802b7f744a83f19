/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/crypt_volume.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image/crypt_log.h"
#include "volume/device_mapper.h"

static const char hint_key[] =
        "the key id names another key than the one that it was encrypted with";

static const char hint_module[] =
        "'modprobe dm_crypt' loads it, or says why not; systemd does so at boot (modules-load.d)";

struct crypt_volume {
        struct crypt_device *device;
        const struct luks2_header *header;
        struct crypt_log log;
};

static int fail(const struct crypt_volume *volume, int outcome, const char *what,
                struct wla_error *err) {
        if (outcome == -EEXIST || outcome == -EBUSY || outcome == -ENODEV)
                return wla_fail(err, WLA_E_BUSY, "libcryptsetup cannot %s: %s", what,
                                volume->log.text[0] ? volume->log.text : "somebody else is at it");
        return crypt_log_check(&volume->log, outcome, what, err);
}

static int load(struct crypt_volume *volume, const char *header, struct wla_error *err) {
        int r = crypt_init(&volume->device, header);
        if (r < 0)
                return fail(volume, r, "open the header", err);

        /* The copy is ours alone; the lock would be a file in a directory that is not. */
        r = crypt_metadata_locking(volume->device, 0);
        if (r < 0)
                return fail(volume, r, "switch off locks on the header", err);
        r = crypt_load(volume->device, CRYPT_LUKS2, NULL);
        if (r < 0)
                return fail(volume, r, "read the header", err);
        r = crypt_volume_key_keyring(volume->device, 1);
        return r < 0 ? fail(volume, r, "use the kernel's keyring", err) : 0;
}

int crypt_volume_open(const struct sealed_header *sealed, const struct luks2_header *header,
                      struct crypt_volume **ret, struct wla_error *err) {
        _cleanup_crypt_volume_ struct crypt_volume *volume = calloc(1, sizeof(*volume));
        char path[64];

        if (!volume)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        volume->header = header;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", sealed->fd);
        crypt_log_begin(&volume->log, NULL);
        if (load(volume, path, err) < 0)
                return -1;

        *ret = volume;
        volume = NULL;
        return 0;
}

static int check_size(const struct crypt_volume *volume, struct wla_bytes key,
                      struct wla_error *err) {
        if (key.size == volume->header->volume_key_size)
                return 0;
        return wla_fail(err, WLA_E_INPUT, "a volume key of %zu bytes, not %u", key.size,
                        volume->header->volume_key_size);
}

static int fail_key(const struct crypt_volume *volume, int outcome, struct wla_error *err) {
        if (outcome == -EPERM)
                return wla_fail_hint(err, WLA_E_DENIED, hint_key,
                                     "the key does not open the header");
        return fail(volume, outcome, "check the key", err);
}

int crypt_volume_check_key(struct crypt_volume *volume, const struct wla_secret *volume_key,
                           struct wla_error *err) {
        struct wla_bytes key = wla_secret_view(volume_key);

        if (check_size(volume, key, err) < 0)
                return -1;
        int r = crypt_volume_key_verify(volume->device, (const char *)key.data, key.size);
        return r < 0 ? fail_key(volume, r, err) : 0;
}

/* libcryptsetup says of a table that the kernel refuses what it says of a name that is just going away: that there is no
 * such device.  Without the target no wait helps. */
static int fail_activation(const struct crypt_volume *volume, int outcome, struct wla_error *err) {
        if (outcome == -EPERM)
                return fail_key(volume, outcome, err);
        if (!dm_target_exists("crypt"))
                return wla_fail_hint(err, WLA_E_SYSTEM, hint_module,
                                     "this kernel has no dm-crypt, or cannot load it");
        return fail(volume, outcome, "open the volume", err);
}

/* Whatever way the activation took: nothing stays in the keyring of this thread. */
static void empty_keyring(void) {
        long keyring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 0);

        if (keyring >= 0)
                (void)syscall(SYS_keyctl, KEYCTL_CLEAR, keyring);
}

int crypt_volume_activate(struct crypt_volume *volume, const struct wla_secret *volume_key,
                          const struct crypt_activation *activation, struct wla_error *err) {
        struct wla_bytes key = wla_secret_view(volume_key);
        char below[sizeof(volume->log.text)] = "";
        /* PRIVATE: the host looks for no volume groups and file systems on a guest's disk. */
        uint32_t flags = CRYPT_ACTIVATE_PRIVATE |
                         (activation->writable ? 0 : CRYPT_ACTIVATE_READONLY) |
                         (activation->discards ? CRYPT_ACTIVATE_ALLOW_DISCARDS : 0);

        if (check_size(volume, key, err) < 0)
                return -1;
        crypt_log_begin(&volume->log, NULL);
        dm_message_keep(below, sizeof(below));
        int r = crypt_set_data_device(volume->device, activation->data);
        if (r == 0)
                r = crypt_activate_by_volume_key(volume->device, activation->name,
                                                 (const char *)key.data, key.size, flags);
        empty_keyring();
        dm_message_keep(NULL, 0);
        if (volume->log.text[0] == '\0')
                memcpy(volume->log.text, below, sizeof(below));
        return r < 0 ? fail_activation(volume, r, err) : 0;
}

struct crypt_volume *crypt_volume_free(struct crypt_volume *volume) {
        if (!volume)
                return NULL;

        crypt_free(volume->device);
        crypt_log_end();
        free(volume);
        return NULL;
}
