/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume_name.h"

#include <stdio.h>
#include <string.h>

#define IMAGE_PREFIX     VOLUME_NAME_PREFIX "image-"
#define UUID_TEXT_LENGTH (UUID_TEXT_SIZE - 1)

_Static_assert(sizeof(VOLUME_NAME_PREFIX) + UUID_TEXT_LENGTH + sizeof("-") - 1 + DISK_TARGET_SIZE <=
                       VOLUME_NAME_SIZE,
               "every name fits");

static int fail_name(const char *text, struct wla_error *err) {
        return wla_fail(err, WLA_E_INPUT, "\"%.*s\" is not the name of a volume of wlagent",
                        (int)VOLUME_NAME_SIZE, text);
}

static int parse_disk(const char *rest, struct volume_name *name, struct wla_error *err) {
        if (uuid_parse(rest, strnlen(rest, UUID_TEXT_LENGTH), &name->uuid, err) < 0)
                return -1;

        const char *target = rest + UUID_TEXT_LENGTH;
        size_t length = strnlen(target, VOLUME_NAME_SIZE);
        if (target[0] != '-' || length > DISK_TARGET_SIZE ||
            !disk_target_valid(target + 1, length - 1))
                return wla_fail(err, WLA_E_INPUT, "the target is malformed");

        name->kind = VOLUME_DISK;
        memcpy(name->target, target + 1, length);
        return 0;
}

int volume_name_parse(const char *text, struct volume_name *ret, struct wla_error *err) {
        struct volume_name name = {0};
        char again[VOLUME_NAME_SIZE];
        int r;

        if (strncmp(text, IMAGE_PREFIX, strlen(IMAGE_PREFIX)) == 0) {
                const char *rest = text + strlen(IMAGE_PREFIX);

                name.kind = VOLUME_IMAGE;
                r = uuid_parse(rest, strnlen(rest, VOLUME_NAME_SIZE), &name.uuid, err);
        } else if (strncmp(text, VOLUME_NAME_PREFIX, strlen(VOLUME_NAME_PREFIX)) == 0) {
                r = parse_disk(text + strlen(VOLUME_NAME_PREFIX), &name, err);
        } else {
                return fail_name(text, err);
        }
        if (r < 0)
                return fail_name(text, err);

        /* One name for one volume: upper case is parsed, and is another file below /dev/mapper. */
        volume_name_write(&name, again);
        if (strcmp(text, again) != 0)
                return fail_name(text, err);

        *ret = name;
        return 0;
}

void volume_name_write(const struct volume_name *name, char ret[VOLUME_NAME_SIZE]) {
        if (name->kind == VOLUME_IMAGE)
                (void)snprintf(ret, VOLUME_NAME_SIZE, IMAGE_PREFIX "%s", name->uuid.text);
        else
                (void)snprintf(ret, VOLUME_NAME_SIZE, VOLUME_NAME_PREFIX "%s-%s", name->uuid.text,
                               name->target);
}
