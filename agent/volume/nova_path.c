/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/nova_path.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define DISK_NAME   "disk"
#define BASE_PART   "/_base/"
#define UUID_LENGTH (UUID_TEXT_SIZE - 1)
#define SHA1_SIZE   20u

/* Length of INSTANCES in INSTANCES/<uuid>/disk, counted from the end: any part of it may be named
 * "disk" too. */
static int split(const char *disk, size_t *ret_root, struct uuid *ret_instance,
                 struct wla_error *err) {
        static const char tail[] = "/" DISK_NAME;
        size_t length = strnlen(disk, VOLUMED_PATH_SIZE);
        size_t behind_root = 1 + UUID_LENGTH + strlen(tail);

        if (length == VOLUMED_PATH_SIZE || length <= behind_root || disk[0] != '/')
                return -1;

        const char *uuid = disk + length - behind_root;
        if (uuid[0] != '/' || strcmp(uuid + 1 + UUID_LENGTH, tail) != 0 ||
            uuid_parse(uuid + 1, UUID_LENGTH, ret_instance, err) < 0 ||
            memcmp(ret_instance->text, uuid + 1, UUID_LENGTH) != 0)
                return -1;

        *ret_root = length - behind_root;
        return 0;
}

static int image_hash(const struct uuid *image, char ret[2 * SHA1_SIZE + 1],
                      struct wla_error *err) {
        uint8_t digest[SHA1_SIZE];

        /* The name that Nova gives a file; nothing rests on its strength. */
        if (EVP_Digest(image->text, strlen(image->text), digest, NULL, EVP_sha1(), NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL computes no SHA-1");
        for (size_t i = 0; i < SHA1_SIZE; i++)
                (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
        return 0;
}

int nova_base_path(const char *disk, const struct uuid *image, char ret_base[VOLUMED_PATH_SIZE],
                   struct uuid *ret_instance, struct wla_error *err) {
        char hash[2 * SHA1_SIZE + 1];
        struct uuid instance;
        size_t root = 0;

        if (split(disk, &root, &instance, err) < 0)
                return wla_fail(err, WLA_E_INPUT,
                                "%.*s is not the root disk of a Nova instance, INSTANCES/UUID/disk",
                                (int)VOLUMED_PATH_SIZE, disk);
        if (image_hash(image, hash, err) < 0)
                return -1;

        int written = snprintf(ret_base, VOLUMED_PATH_SIZE, "%.*s" BASE_PART "%s", (int)root, disk,
                               hash);
        if (written < 0 || (size_t)written >= VOLUMED_PATH_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the path of the Nova instance is too long");
        if (ret_instance)
                *ret_instance = instance;
        return 0;
}

int nova_disk_path(const char *base, const struct uuid *instance, char ret_disk[VOLUMED_PATH_SIZE],
                   struct wla_error *err) {
        size_t tail = strlen(BASE_PART) + 2 * SHA1_SIZE;
        size_t length = strnlen(base, VOLUMED_PATH_SIZE);

        if (length <= tail || strncmp(base + length - tail, BASE_PART, strlen(BASE_PART)) != 0)
                return wla_fail(err, WLA_E_INPUT, "%.*s is not in Nova's cache of images",
                                (int)VOLUMED_PATH_SIZE, base);

        int written = snprintf(ret_disk, VOLUMED_PATH_SIZE, "%.*s/%s/" DISK_NAME,
                               (int)(length - tail), base, instance->text);
        if (written < 0 || (size_t)written >= VOLUMED_PATH_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the path of the Nova instance is too long");
        return 0;
}
