/* SPDX-License-Identifier: Apache-2.0 */
#include "key/key_id.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define IMAGES "images/"

static const struct {
        const char *name;
        const char *prefix;
} schemes[_KEY_SCHEME_MAX] = {
        [KEY_SCHEME_LOCAL] = {"local", "local:///"},
        [KEY_SCHEME_HTTPS] = {"https", "https://"},
        [KEY_SCHEME_KBS] = {"kbs", "kbs:///"},
        [KEY_SCHEME_WLS] = {"wls", "wls:///"},
};

const char *key_scheme_name(enum key_scheme scheme) {
        return schemes[scheme].name;
}

static bool is_letter_or_digit(char character) {
        return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
               (character >= '0' && character <= '9');
}

bool key_name_valid(const char *name, size_t size) {
        if (size == 0 || size > KEY_NAME_MAX || !is_letter_or_digit(name[0]))
                return false;

        for (size_t i = 1; i < size; i++)
                if (!is_letter_or_digit(name[i]) && name[i] != '.' && name[i] != '_' &&
                    name[i] != '-')
                        return false;
        return true;
}

static int fail_name(struct wla_error *err) {
        return wla_fail_hint(
                err, WLA_E_INPUT,
                "a key's name has 1 to 64 letters, digits, '.', '_' and '-', and starts "
                "with a letter or a digit",
                "the key id local:///... does not hold a valid name");
}

int key_id_local(const char *name, struct key_id *ret, struct wla_error *err) {
        struct key_id id = {.scheme = KEY_SCHEME_LOCAL};
        size_t size = strnlen(name, KEY_NAME_MAX + 1);

        if (!key_name_valid(name, size))
                return fail_name(err);

        memcpy(id.local_name, name, size);
        (void)snprintf(id.text, sizeof(id.text), "local:///%s", id.local_name);
        *ret = id;
        return 0;
}

int key_id_image(const struct uuid *image, struct key_id *ret, struct wla_error *err) {
        struct key_id id = {.scheme = KEY_SCHEME_WLS, .image = *image};

        if (!uuid_is_version4(image))
                return wla_fail(err, WLA_E_INPUT,
                                "WLS knows images by UUIDs of version 4 only, and %s is none",
                                image->text);
        (void)snprintf(id.text, sizeof(id.text), "wls:///" IMAGES "%s", id.image.text);
        *ret = id;
        return 0;
}

static int parse_wls(const char *path, size_t size, struct key_id *ret, struct wla_error *err) {
        struct uuid image;

        if (size < strlen(IMAGES) || memcmp(path, IMAGES, strlen(IMAGES)) != 0 ||
            uuid_parse(path + strlen(IMAGES), size - strlen(IMAGES), &image, err) < 0)
                return wla_fail_hint(err, WLA_E_INPUT, "the UUID is that of the image in Glance",
                                     "the key id wls:///... does not have the form "
                                     "wls:///images/UUID");
        return key_id_image(&image, ret, err);
}

/* One segment of a path: unreserved characters and '%' (RFC 3986), not "." and not "..". */
static bool segment_valid(const char *segment, size_t size) {
        if (size == 0 || (size <= 2 && memcmp(segment, "..", size) == 0))
                return false;

        for (size_t i = 0; i < size; i++)
                if (!is_letter_or_digit(segment[i]) && !memchr("-._~%", segment[i], 5))
                        return false;
        return true;
}

static int parse_kbs(const char *path, size_t size, struct key_id *id, struct wla_error *err) {
        size_t segments = 0;
        size_t start = 0;

        for (size_t i = 0; i <= size; i++) {
                if (i < size && path[i] != '/')
                        continue;
                if (!segment_valid(path + start, i - start))
                        segments = SIZE_MAX / 2;
                segments++;
                start = i + 1;
        }
        if (segments != 3)
                return wla_fail(err, WLA_E_INPUT,
                                "the key id kbs:///... does not name REPOSITORY/TYPE/TAG");

        (void)snprintf(id->text, sizeof(id->text), "kbs:///%.*s", (int)size, path);
        return 0;
}

/* The authority becomes lower case, so that equal ids compare equal.  What it is worth is decided by the
 * source, against its own configuration. */
static int parse_https(const char *rest, size_t size, struct key_id *id, struct wla_error *err) {
        size_t authority = 0;

        while (authority < size &&
               (is_letter_or_digit(rest[authority]) || memchr("-.:[]", rest[authority], 5)))
                authority++;
        if (authority == 0 || authority == size || rest[authority] != '/')
                return wla_fail(err, WLA_E_INPUT,
                                "the key id https://... does not have the form "
                                "https://HOST[:PORT]/PATH");

        for (size_t i = authority; i < size; i++)
                if (rest[i] != '/' && !is_letter_or_digit(rest[i]) && !memchr("-._~%", rest[i], 5))
                        return wla_fail(err, WLA_E_INPUT,
                                        "the path of the key id https://... holds a character that "
                                        "is not allowed");

        (void)snprintf(id->text, sizeof(id->text), "https://%.*s", (int)size, rest);
        for (size_t i = 0; i < authority; i++)
                id->text[strlen("https://") + i] = (char)tolower(
                        (unsigned char)id->text[strlen("https://") + i]);
        return 0;
}

static int parse_rest(enum key_scheme scheme, const char *rest, size_t size, struct key_id *ret,
                      struct wla_error *err) {
        struct key_id id = {.scheme = scheme};

        if (scheme == KEY_SCHEME_LOCAL) {
                char name[KEY_NAME_MAX + 1];

                if (!key_name_valid(rest, size))
                        return fail_name(err);
                memcpy(name, rest, size);
                name[size] = '\0';
                return key_id_local(name, ret, err);
        }

        if (scheme == KEY_SCHEME_WLS)
                return parse_wls(rest, size, ret, err);

        int outcome = scheme == KEY_SCHEME_KBS ? parse_kbs(rest, size, &id, err)
                                               : parse_https(rest, size, &id, err);
        if (outcome == 0)
                *ret = id;
        return outcome;
}

int key_id_parse(const char *text, size_t size, struct key_id *ret, struct wla_error *err) {
        if (size == 0 || size > KEY_ID_TEXT_MAX)
                return wla_fail(err, WLA_E_INPUT, "a key id has 1 to %u characters, not %zu",
                                KEY_ID_TEXT_MAX, size);

        for (size_t i = 0; i < _KEY_SCHEME_MAX; i++) {
                size_t prefix = strlen(schemes[i].prefix);

                if (size >= prefix && memcmp(text, schemes[i].prefix, prefix) == 0)
                        return parse_rest((enum key_scheme)i, text + prefix, size - prefix, ret,
                                          err);
        }
        return wla_fail_hint(err, WLA_E_INPUT,
                             "key ids have the form local:///NAME, kbs:///REPOSITORY/TYPE/TAG, "
                             "https://HOST/PATH or, for images of VMs, wls:///images/UUID",
                             "the scheme of the key id is not known");
}

bool key_id_equal(const struct key_id *a, const struct key_id *b) {
        return a->scheme == b->scheme && strcmp(a->text, b->text) == 0;
}
