/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/ordinary_key.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "image/crypt_log.h"

/* The header is tried twice, and a launch has 20 s for everything. */
#define KDF_COST_MAX   5000000u
#define KDF_MEMORY_MAX (256u * 1024u) /* KiB; starts happen in parallel */

static const char hint_convert[] =
        "a random key needs no slow derivation: 'cryptsetup luksConvertKey --pbkdf pbkdf2 "
        "--pbkdf-force-iterations 1000 FILE'; a volume of Intel's agent: 'wlagent volume adopt'";
static const char hint_adopt[] =
        "whoever could read the file could read the volume; 'wlagent volume adopt' gives it a new "
        "volume key and this key";
static const char hint_other_key[] =
        "the key that the domain names must be the passphrase of a keyslot, as binary: "
        "'cryptsetup luksAddKey FILE KEY-FILE'";

static int fail_call(int outcome, const char *what, const struct crypt_log *log,
                     struct wla_error *err) {
        if (outcome == -ENOMEM)
                return wla_fail_hint(err, WLA_E_BUSY, hint_convert,
                                     "there is no memory for the key derivation");
        return crypt_log_check(log, outcome, what, err);
}

static int try_keyslots(struct crypt_device *device, const struct wla_secret *passphrase,
                        struct wla_secret *volume_key, const struct crypt_log *log,
                        enum ordinary_key_outcome *ret, struct wla_error *err) {
        struct wla_bytes bytes = {(const uint8_t *)"", 0};
        size_t size = wla_secret_view(volume_key).size;
        size_t expected = size;

        if (passphrase)
                bytes = wla_secret_view(passphrase);

        int slot = crypt_volume_key_get(device, CRYPT_ANY_SLOT, (char *)wla_secret_fill(volume_key),
                                        &size, (const char *)bytes.data, bytes.size);
        if (slot == -EPERM || slot == -ENOENT) {
                *ret = ORDINARY_KEY_REFUSED;
                return 0;
        }
        if (slot < 0)
                return fail_call(slot, "open a keyslot", log, err);
        if (size != expected)
                return wla_fail(err, WLA_E_INPUT, "the keyslot holds a key of %zu bytes", size);
        *ret = ORDINARY_KEY_OPENED;
        return 0;
}

static int load_and_try(const char *path, const struct wla_secret *passphrase,
                        struct wla_secret *volume_key, enum ordinary_key_outcome *ret,
                        struct wla_error *err) {
        struct crypt_device *device = NULL;
        struct crypt_log log = {0};

        int outcome = crypt_init(&device, path);
        if (outcome < 0)
                return fail_call(outcome, "open the header", &log, err);

        crypt_log_begin(&log, device);
        /* The copy is ours alone; the lock would be a file in a directory that is not. */
        (void)crypt_metadata_locking(device, 0);
        outcome = crypt_load(device, CRYPT_LUKS2, NULL);
        if (outcome < 0)
                outcome = fail_call(outcome, "read the header", &log, err);
        else
                outcome = try_keyslots(device, passphrase, volume_key, &log, ret, err);
        crypt_free(device);
        return outcome;
}

int ordinary_key_try(int header_fd, const struct luks2_header *header,
                     const struct wla_secret *passphrase, enum ordinary_key_outcome *ret,
                     struct wla_secret **ret_volume_key, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        enum ordinary_key_outcome outcome = ORDINARY_KEY_REFUSED;
        char path[32];

        assert(!CRYPTO_secure_malloc_initialized());
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", header_fd);
        if (wla_secret_new(header->volume_key_size, &volume_key, err) < 0 ||
            load_and_try(path, passphrase, volume_key, &outcome, err) < 0)
                return -1;

        if (outcome == ORDINARY_KEY_OPENED)
                *ret_volume_key = TAKE_PTR(volume_key);
        *ret = outcome;
        return 0;
}

int ordinary_key_check_cost(const struct luks2_header *header, struct wla_error *err) {
        if (header->kdf_memory > KDF_MEMORY_MAX)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_convert,
                                     "the key derivation of a keyslot takes %u MiB of memory; at "
                                     "most %u are given to it",
                                     header->kdf_memory / 1024, KDF_MEMORY_MAX / 1024);
        if (header->kdf_cost > KDF_COST_MAX)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_convert,
                                     "the key derivation of the keyslots takes too long");
        return 0;
}

int ordinary_key_get(int header_fd, const struct luks2_header *header,
                     const struct wla_secret *passphrase, struct wla_secret **ret_volume_key,
                     struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        enum ordinary_key_outcome outcome = ORDINARY_KEY_REFUSED;

        if (ordinary_key_check_cost(header, err) < 0 ||
            ordinary_key_try(header_fd, header, NULL, &outcome, &volume_key, err) < 0)
                return -1;
        if (outcome == ORDINARY_KEY_OPENED)
                return wla_fail_hint(err, WLA_E_DENIED, hint_adopt,
                                     "the volume opens with an empty passphrase, as Intel SecL's "
                                     "agent made them");

        if (ordinary_key_try(header_fd, header, passphrase, &outcome, &volume_key, err) < 0)
                return -1;
        if (outcome == ORDINARY_KEY_REFUSED)
                return wla_fail_hint(err, WLA_E_DENIED, hint_other_key,
                                     "the key opens no keyslot of the LUKS2 header");
        *ret_volume_key = TAKE_PTR(volume_key);
        return 0;
}
