/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/shared_mapping.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/sector_cipher.h"
#include "volume/held_device.h"
#include "volume/loop_device.h"

#define SECTOR_MAX IMAGE_SECTOR_SIZE

static const char hint_other[] =
        "'dmsetup table' and 'losetup' show what it is; close it, or whatever "
        "has made it";

static const char hint_copy[] =
        "a VM has a copy of this image open; let both use one file, or make an image of its own of "
        "the copy with 'wlagent image'";

static int fail_other(const char *what, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_DENIED, hint_other, "a mapping of that name %s", what);
}

static int judge_table(const struct mapping_plan *plan, const struct dm_device *device,
                       const struct crypt_table *expected, struct crypt_table *ret,
                       struct wla_error *err) {
        /* Another session has just made the name, and loads the table next. */
        if (device->target[0] == '\0')
                return wla_fail(err, WLA_E_BUSY, "a mapping of that name has no table");
        if (crypt_table_read(device, ret, err) < 0)
                return -1;
        if (!crypt_table_equal(ret, expected) || device->read_only == plan->writable)
                return fail_other("has another table", err);
        return 0;
}

static int judge_file(const struct mapping_plan *plan, const struct crypt_table *table,
                      struct wla_error *err) {
        struct loop_backing backing;
        struct stat status;

        if (fstat(plan->data_fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the image");
        if (loop_device_inspect(table->major, table->minor, &backing, err) < 0)
                return -1;
        if (backing.device != status.st_dev || backing.inode != status.st_ino ||
            backing.offset != 0 || backing.size_limit != 0 || backing.read_only == plan->writable)
                return wla_fail_hint(err, WLA_E_DENIED, hint_copy,
                                     "a mapping of that name shows another file");
        return 0;
}

static int read_sector(int fd, uint64_t at, uint8_t *to, size_t size, struct wla_error *err) {
        ssize_t got = pread(fd, to, size, (off_t)at);

        if (got < 0)
                return wla_fail_errno(err, errno, "comparing the mapping with the image");
        if ((size_t)got != size)
                return wla_fail(err, WLA_E_INPUT, "the image has become shorter");
        return 0;
}

/* Whether the first sector, decrypted with this key, is what the mapping shows. */
static int compare(const struct mapping_plan *plan, int mapped_fd,
                   const struct wla_secret *volume_key, struct wla_error *err) {
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        size_t size = plan->header->sector_size;
        uint8_t own[SECTOR_MAX];
        uint8_t shown[SECTOR_MAX];

        if (sector_cipher_new(volume_key, plan->header->sector_size, SECTOR_DECRYPT, &cipher, err) <
                    0 ||
            read_sector(plan->data_fd, plan->header->data_offset, own, size, err) < 0 ||
            read_sector(mapped_fd, 0, shown, size, err) < 0 ||
            sector_cipher_run(cipher, 0, own, size, err) < 0)
                return -1;

        bool same = CRYPTO_memcmp(own, shown, size) == 0;
        OPENSSL_cleanse(own, sizeof(own));
        OPENSSL_cleanse(shown, sizeof(shown));
        return same ? 0 : fail_other("has another key", err);
}

static int judge_key(const struct mapping_plan *plan, int mapped_fd,
                     const struct wla_secret *volume_key, struct wla_error *err) {
        if (crypt_volume_check_key(plan->volume, volume_key, err) < 0)
                return -1;
        return compare(plan, mapped_fd, volume_key, err);
}

int shared_mapping_take(const struct mapping_plan *plan, const char *name,
                        const struct crypt_table *expected, const struct wla_secret *volume_key,
                        struct mapping *ret, struct wla_error *err) {
        _cleanup_mapping_ struct mapping mapping = MAPPING_NONE;
        struct crypt_table table;
        struct dm_device device;

        if (held_device_open(name, &mapping, &device, err) < 0 ||
            judge_table(plan, &device, expected, &table, err) < 0 ||
            judge_file(plan, &table, err) < 0 || judge_key(plan, mapping.fd, volume_key, err) < 0)
                return -1;
        /* Whoever made it may have died before he asked for this. */
        if (dm_device_remove(name, true, err) < 0)
                return -1;

        *ret = mapping;
        mapping = MAPPING_NONE;
        return 0;
}
