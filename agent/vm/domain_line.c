/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/domain_line.h"

#include <string.h>

/* As they are in the table below. */
enum attribute {
        TARGET,
        MODE,
        IMAGE,
        HEADER,
        KEY,
        UUID,
        _ATTRIBUTE_MAX,
};

#define BIT(attribute) (1u << (attribute))

static const char *const names[_ATTRIBUTE_MAX] = {
        [TARGET] = "target", [MODE] = "mode", [IMAGE] = "image",
        [HEADER] = "header", [KEY] = "key",   [UUID] = "uuid",
};

static const struct {
        unsigned needed;
        unsigned optional;
        const char *fault;
} lines[] = {
        [DOMAIN_LINE_DISK] = {BIT(TARGET) | BIT(MODE) | BIT(IMAGE), BIT(HEADER) | BIT(KEY),
                              "<disk> in our metadata lacks target, mode or image"},
        [DOMAIN_LINE_SECRET] = {BIT(TARGET) | BIT(UUID) | BIT(KEY), 0,
                                "<secret> in our metadata lacks target, uuid or key"},
};

static int take_path(const char *name, const char *value, char to[VOLUMED_PATH_SIZE],
                     struct wla_error *err) {
        size_t size = strlen(value);

        if (!disk_path_valid(value, size))
                return wla_fail(err, WLA_E_INPUT, "%s= is no absolute path in canonical form",
                                name);
        memcpy(to, value, size + 1);
        return 0;
}

int domain_line_target(const char *value, char to[DISK_TARGET_SIZE], struct wla_error *err) {
        size_t size = strlen(value);

        if (!disk_target_valid(value, size))
                return wla_fail(err, WLA_E_INPUT, "a disk's target is no device name");
        memcpy(to, value, size + 1);
        return 0;
}

int domain_line_take(enum domain_line kind, struct protected_disk *line, const char *name,
                     const char *value, unsigned *seen, struct wla_error *err) {
        unsigned at = 0;

        while (at < _ATTRIBUTE_MAX && strcmp(name, names[at]) != 0)
                at++;
        if (at == _ATTRIBUTE_MAX || !((lines[kind].needed | lines[kind].optional) & BIT(at)))
                return wla_fail(err, WLA_E_INPUT, "an attribute that wlagent does not know");
        *seen |= BIT(at);

        switch ((enum attribute)at) {
        case TARGET:
                return domain_line_target(value, line->target, err);
        case MODE:
                return disk_mode_parse(value, &line->mode, err);
        case IMAGE:
                return take_path(name, value, line->image, err);
        case HEADER:
                return take_path(name, value, line->header, err);
        case UUID:
                line->mode = DISK_SECRET;
                return uuid_parse(value, strlen(value), &line->secret, err);
        default:
                line->has_key_id = true;
                return key_id_parse(value, strlen(value), &line->key_id, err);
        }
}

int domain_line_check(enum domain_line kind, unsigned seen, struct wla_error *err) {
        if ((seen & lines[kind].needed) != lines[kind].needed)
                return wla_fail(err, WLA_E_INPUT, "%s", lines[kind].fault);
        return 0;
}
