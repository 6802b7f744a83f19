/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/crypt_volume.h"

#include <errno.h>
#include <libcryptsetup.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_SIZE 160u

static const char hint_key[] =
        "the key id names another key than the one that it was encrypted with";

struct crypt_volume {
        struct crypt_device *device;
        const struct luks2_header *header;
        char log[LOG_SIZE]; /* what libcryptsetup said about its first error */
};

static void keep_first_error(int level, const char *message, void *userdata) {
        struct crypt_volume *volume = userdata;

        if (level == CRYPT_LOG_ERROR && volume->log[0] == '\0')
                (void)snprintf(volume->log, sizeof(volume->log), "%.*s",
                               (int)strcspn(message, "\n"), message);
}

static int fail(const struct crypt_volume *volume, int outcome, const char *what,
                struct wla_error *err) {
        if (outcome == -EEXIST || outcome == -EBUSY || outcome == -ENODEV)
                return wla_fail(err, WLA_E_BUSY, "%s: %s", what,
                                volume->log[0] ? volume->log : "somebody else is at it");
        if (volume->log[0])
                return wla_fail(err, WLA_E_SYSTEM, "%s: %s", what, volume->log);
        return wla_fail_errno(err, -outcome, "%s", what);
}

static int load(struct crypt_volume *volume, const char *header, const char *data,
                struct wla_error *err) {
        int r = data ? crypt_init_data_device(&volume->device, header, data)
                     : crypt_init(&volume->device, header);
        if (r < 0)
                return fail(volume, r, "opening the header", err);

        /* The copy is ours alone; the lock would be a file in a directory that is not. */
        r = crypt_metadata_locking(volume->device, 0);
        if (r < 0)
                return fail(volume, r, "switching off locks on the header", err);
        r = crypt_load(volume->device, CRYPT_LUKS2, NULL);
        if (r < 0)
                return fail(volume, r, "reading the header", err);
        r = crypt_volume_key_keyring(volume->device, 1);
        return r < 0 ? fail(volume, r, "using the kernel's keyring", err) : 0;
}

int crypt_volume_open(const struct sealed_header *sealed, const struct luks2_header *header,
                      const char *data, struct crypt_volume **ret, struct wla_error *err) {
        _cleanup_crypt_volume_ struct crypt_volume *volume = calloc(1, sizeof(*volume));
        char path[64];

        if (!volume)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        volume->header = header;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", sealed->fd);
        /* For the library, not for the device: otherwise crypt_init() speaks on standard error. */
        crypt_set_log_callback(NULL, keep_first_error, volume);
        if (load(volume, path, data, err) < 0)
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
        return fail(volume, outcome, "checking the key", err);
}

int crypt_volume_check_key(struct crypt_volume *volume, const struct wla_secret *volume_key,
                           struct wla_error *err) {
        struct wla_bytes key = wla_secret_view(volume_key);

        if (check_size(volume, key, err) < 0)
                return -1;
        int r = crypt_volume_key_verify(volume->device, (const char *)key.data, key.size);
        return r < 0 ? fail_key(volume, r, err) : 0;
}

int crypt_volume_activate(struct crypt_volume *volume, const struct wla_secret *volume_key,
                          const struct crypt_activation *activation, struct wla_error *err) {
        struct wla_bytes key = wla_secret_view(volume_key);
        /* PRIVATE: the host looks for no volume groups and file systems on a guest's disk. */
        uint32_t flags = CRYPT_ACTIVATE_PRIVATE |
                         (activation->writable ? 0 : CRYPT_ACTIVATE_READONLY) |
                         (activation->discards ? CRYPT_ACTIVATE_ALLOW_DISCARDS : 0);

        if (check_size(volume, key, err) < 0)
                return -1;
        int r = crypt_activate_by_volume_key(volume->device, activation->name,
                                             (const char *)key.data, key.size, flags);
        if (r == -EPERM)
                return fail_key(volume, r, err);
        return r < 0 ? fail(volume, r, "opening the volume", err) : 0;
}

/* Whatever way the activation took: nothing stays in the keyring of this thread. */
static void empty_keyring(void) {
        long keyring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 0);

        if (keyring >= 0)
                (void)syscall(SYS_keyctl, KEYCTL_CLEAR, keyring);
}

struct crypt_volume *crypt_volume_free(struct crypt_volume *volume) {
        if (!volume)
                return NULL;

        crypt_free(volume->device);
        crypt_set_log_callback(NULL, NULL, NULL);
        empty_keyring();
        free(volume);
        return NULL;
}
