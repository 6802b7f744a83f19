/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define TEXT_LENGTH (UUID_TEXT_SIZE - 1)

static bool is_dash_place(size_t at) {
        return at == 8 || at == 13 || at == 18 || at == 23;
}

/* The digit in lower case, or 0. */
static char lower_hex(char character) {
        if ((character >= '0' && character <= '9') || (character >= 'a' && character <= 'f'))
                return character;
        if (character >= 'A' && character <= 'F')
                return (char)(character - 'A' + 'a');
        return 0;
}

int uuid_parse(const char *text, size_t size, struct uuid *ret, struct wla_error *err) {
        struct uuid uuid = {0};
        bool zero = true;

        if (size != TEXT_LENGTH)
                return wla_fail(err, WLA_E_INPUT, "a UUID has %u characters, not %zu", TEXT_LENGTH,
                                size);

        for (size_t i = 0; i < TEXT_LENGTH; i++) {
                uuid.text[i] = is_dash_place(i) ? '-' : lower_hex(text[i]);
                if (uuid.text[i] == 0 || (is_dash_place(i) && text[i] != '-'))
                        return wla_fail(err, WLA_E_INPUT,
                                        "character %zu of a UUID is neither hex digit nor '-' in "
                                        "its place",
                                        i + 1);
                zero = zero && (uuid.text[i] == '0' || uuid.text[i] == '-');
        }
        if (zero)
                return wla_fail(err, WLA_E_INPUT, "the UUID of zeros names nothing");

        *ret = uuid;
        return 0;
}

int uuid_generate(struct uuid *ret, struct wla_error *err) {
        uint8_t bytes[16];

        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
                return wla_fail_errno(err, errno, "cannot make a UUID");

        bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
        bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);

        char *to = ret->text;
        for (size_t i = 0; i < sizeof(bytes); i++) {
                if (is_dash_place((size_t)(to - ret->text)))
                        *to++ = '-';
                (void)snprintf(to, 3, "%02x", bytes[i]);
                to += 2;
        }
        return 0;
}

/* RFC 9562 section 4. */
bool uuid_is_version4(const struct uuid *uuid) {
        return uuid->text[14] == '4' && memchr("89ab", uuid->text[19], 4);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b) {
        return strcmp(a->text, b->text) == 0;
}
