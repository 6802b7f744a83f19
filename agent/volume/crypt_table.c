/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/crypt_table.h"

#include <string.h>

#include "image/luks2_header.h"

#define FIELD_SIZE  256u
#define OPTIONS_MAX 8u

static int fail(const char *what, struct wla_error *err) {
        return wla_fail(err, WLA_E_DENIED, "its table in the kernel has %s", what);
}

/* The next field, or NULL. */
static const char *next_field(const char **line, char field[FIELD_SIZE]) {
        size_t length = strcspn(*line, " ");

        if (length == 0 || length >= FIELD_SIZE)
                return NULL;
        memcpy(field, *line, length);
        field[length] = '\0';
        *line += length;
        *line += **line == ' ';
        return field;
}

/* Digits up to end; what is behind them, or NULL. */
static const char *read_number(const char *text, char end, uint64_t *ret) {
        uint64_t value = 0;
        const char *at = text;

        for (; *at >= '0' && *at <= '9'; at++)
                if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
                        return NULL;
        if (at == text || *at != end)
                return NULL;
        *ret = value;
        return end == '\0' ? at : at + 1;
}

static int read_uint32(const char *text, uint32_t *ret) {
        uint64_t value;

        if (!read_number(text, '\0', &value) || value > UINT32_MAX)
                return -1;
        *ret = (uint32_t)value;
        return 0;
}

/* ":64:logon:DESCRIPTION"; dm-crypt shows a key of its own as hex digits. */
static int read_key(const char *field, struct crypt_table *table, struct wla_error *err) {
        static const char type[] = "logon:";
        uint64_t size;

        if (!field || field[0] != ':')
                return fail("a key that is in no keyring", err);
        const char *rest = read_number(field + 1, ':', &size);
        if (!rest || (size != 64 && size != 32) || strncmp(rest, type, strlen(type)) != 0 ||
            rest[strlen(type)] == '\0')
                return fail("a key of another kind", err);
        table->key_size = (uint32_t)size;
        return 0;
}

static int read_device(const char *field, struct crypt_table *table, struct wla_error *err) {
        uint64_t major;

        const char *rest = field ? read_number(field, ':', &major) : NULL;
        if (!rest || major > UINT32_MAX || read_uint32(rest, &table->minor) < 0)
                return fail("no device below", err);
        table->major = (uint32_t)major;
        return 0;
}

static int read_option(const char *option, struct crypt_table *table, struct wla_error *err) {
        static const char sector_size[] = "sector_size:";

        if (strcmp(option, "allow_discards") == 0) {
                table->discards = true;
                return 0;
        }
        if (strncmp(option, sector_size, strlen(sector_size)) == 0 &&
            read_uint32(option + strlen(sector_size), &table->sector_size) == 0)
                return 0;
        return fail("an unknown option", err);
}

static int read_options(const char *line, struct crypt_table *table, struct wla_error *err) {
        char field[FIELD_SIZE];
        uint64_t count;

        table->sector_size = 512;
        if (*line == '\0')
                return 0;
        if (!next_field(&line, field) || !read_number(field, '\0', &count) || count > OPTIONS_MAX)
                return fail("a malformed count of options", err);
        for (uint64_t i = 0; i < count; i++)
                if (!next_field(&line, field) || read_option(field, table, err) < 0)
                        return fail("an unknown option", err);
        return *line == '\0' ? 0 : fail("an unknown option", err);
}

static int read_line(const char *line, struct crypt_table *table, struct wla_error *err) {
        char field[FIELD_SIZE];

        if (!next_field(&line, field) || strcmp(field, LUKS2_CIPHER) != 0)
                return fail("another cipher than " LUKS2_CIPHER, err);
        if (read_key(next_field(&line, field), table, err) < 0)
                return -1;
        if (!next_field(&line, field) || strcmp(field, "0") != 0)
                return fail("an initial vector that does not start at 0", err);
        if (read_device(next_field(&line, field), table, err) < 0)
                return -1;
        if (!next_field(&line, field) || !read_number(field, '\0', &table->offset))
                return fail("no offset", err);
        return read_options(line, table, err);
}

int crypt_table_read(const struct dm_device *device, struct crypt_table *ret,
                     struct wla_error *err) {
        struct crypt_table table = {.sectors = device->sectors};

        if (strcmp(device->target, "crypt") != 0 || device->start != 0)
                return fail("something else than one line of dm-crypt", err);
        if (read_line(device->parameters, &table, err) < 0)
                return -1;

        *ret = table;
        return 0;
}

bool crypt_table_equal(const struct crypt_table *a, const struct crypt_table *b) {
        return a->sectors == b->sectors && a->offset == b->offset && a->key_size == b->key_size &&
               a->sector_size == b->sector_size && a->discards == b->discards;
}
