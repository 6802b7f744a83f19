/* SPDX-License-Identifier: Apache-2.0 */

/* A domain definition from libvirt's hook.  What is accepted is typed and fits together. */

#include <string.h>

#include "fuzz.h"
#include "vm/domain.h"

static void check_uuid(const struct uuid *uuid) {
        struct wla_error err = {0};
        struct uuid again;

        FUZZ_CHECK(uuid_parse(uuid->text, strlen(uuid->text), &again, &err) == 0);
        FUZZ_CHECK(uuid_equal(uuid, &again));
}

static void check_disk(const struct protected_disk *disk) {
        FUZZ_CHECK(disk_target_valid(disk->target, strlen(disk->target)));
        if (disk->mode == DISK_SECRET) {
                check_uuid(&disk->secret);
                FUZZ_CHECK(disk->has_key_id && disk->image[0] == '\0');
                return;
        }
        FUZZ_CHECK(disk_path_valid(disk->image, strlen(disk->image)));
        FUZZ_CHECK(disk->header[0] == '\0' || disk_path_valid(disk->header, strlen(disk->header)));
        FUZZ_CHECK(disk->mode < _DISK_MODE_MAX);
        FUZZ_CHECK(disk->mode == DISK_DIRECT || disk->format == IMAGE_CONTENT_QCOW2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct domain domain;
        struct wla_error err = {0};

        if (domain_parse((const char *)data, size, &domain, &err) == 0) {
                check_uuid(&domain.uuid);
                FUZZ_CHECK(domain.disk_count <= DOMAIN_DISKS_MAX);
                for (size_t i = 0; i < domain.disk_count; i++)
                        check_disk(&domain.disks[i]);
                if (domain.nova.disk[0] != '\0')
                        FUZZ_CHECK(domain.nova.present);
                /* Whoever can start can also stop. */
                FUZZ_CHECK(domain_identify((const char *)data, size, &domain, &err) == 0);
        } else {
                FUZZ_CHECK(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED);
        }
        return 0;
}
