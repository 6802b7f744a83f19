/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "image/luks2_json.h"

/* Bounds on what one attempt to open costs: a header must not be able to occupy a host.  cryptsetup's
 * own benchmark stays below each of them. */
#define PBKDF2_ITERATIONS_MIN 1000u
#define PBKDF2_ITERATIONS_MAX 20000000u
#define ARGON2_TIME_MIN       1u
#define ARGON2_TIME_MAX       64u
#define ARGON2_MEMORY_MIN     32u             /* KiB */
#define ARGON2_MEMORY_MAX     (1024u * 1024u) /* KiB */
#define ARGON2_CPUS_MAX       8u

#define KDF_SALT_SIZE 32u
#define AF_STRIPES    4000u
#define AREA_UNIT     4096u
#define PRIORITY_MAX  2u

static int read_number(const struct json_value *value, const char *name, uint64_t min, uint64_t max,
                       uint64_t *ret, struct wla_error *err) {
        uint64_t number;

        if (json_unsigned(value, max, &number, err) < 0)
                return wla_wrap(err, "member \"%s\"", name);
        if (number < min)
                return wla_fail(err, WLA_E_INPUT, "member \"%s\" is below %ju", name,
                                (uintmax_t)min);
        *ret = number;
        return 0;
}

static int check_number(const struct json_value *value, const char *name, uint64_t min,
                        uint64_t max, struct wla_error *err) {
        uint64_t ignored;

        return read_number(value, name, min, max, &ignored, err);
}

static int check_salt(const struct json_value *salt, struct wla_error *err) {
        uint8_t bytes[KDF_SALT_SIZE];

        if (json_base64(salt, bytes, sizeof(bytes), err) < 0)
                return wla_wrap(err, "member \"salt\"");
        return 0;
}

static int check_pbkdf2(const struct json_value *kdf, struct luks2_header *header,
                        struct wla_error *err) {
        struct json_value type;
        struct json_value hash;
        struct json_value iterations;
        struct json_value salt;
        const struct json_field fields[] = {
                {"type", &type, JSON_STRING, false},
                {"hash", &hash, JSON_STRING, false},
                {"iterations", &iterations, JSON_NUMBER, false},
                {"salt", &salt, JSON_STRING, false},
        };

        if (json_read_object(kdf, fields, sizeof(fields) / sizeof(fields[0]), err) < 0)
                return -1;
        if (!luks2_hash_known(&hash))
                return wla_fail(err, WLA_E_UNSUPPORTED, "the hash is neither sha256 nor sha512");

        uint64_t cost;
        if (read_number(&iterations, "iterations", PBKDF2_ITERATIONS_MIN, PBKDF2_ITERATIONS_MAX,
                        &cost, err) < 0)
                return -1;
        header->kdf_cost += cost;
        return check_salt(&salt, err);
}

static int check_argon2(const struct json_value *kdf, struct luks2_header *header,
                        struct wla_error *err) {
        struct json_value type;
        struct json_value time;
        struct json_value memory;
        struct json_value cpus;
        struct json_value salt;
        const struct json_field fields[] = {
                {"type", &type, JSON_STRING, false},     {"time", &time, JSON_NUMBER, false},
                {"memory", &memory, JSON_NUMBER, false}, {"cpus", &cpus, JSON_NUMBER, false},
                {"salt", &salt, JSON_STRING, false},
        };

        uint64_t passes;
        uint64_t kib;

        if (json_read_object(kdf, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            read_number(&time, "time", ARGON2_TIME_MIN, ARGON2_TIME_MAX, &passes, err) < 0 ||
            read_number(&memory, "memory", ARGON2_MEMORY_MIN, ARGON2_MEMORY_MAX, &kib, err) < 0 ||
            check_number(&cpus, "cpus", 1, ARGON2_CPUS_MAX, err) < 0)
                return -1;
        header->kdf_cost += passes * kib;
        if (header->kdf_memory < kib)
                header->kdf_memory = (uint32_t)kib;
        return check_salt(&salt, err);
}

static int check_kdf(const struct json_value *kdf, struct luks2_header *header,
                     struct wla_error *err) {
        struct json_value type = json_member(kdf, "type");
        int outcome;

        if (json_string_is(&type, "pbkdf2"))
                outcome = check_pbkdf2(kdf, header, err);
        else if (json_string_is(&type, "argon2i") || json_string_is(&type, "argon2id"))
                outcome = check_argon2(kdf, header, err);
        else
                outcome = wla_fail(err, WLA_E_UNSUPPORTED, "unknown key derivation");
        return outcome < 0 ? wla_wrap(err, "kdf") : 0;
}

static int check_af(const struct json_value *af, struct wla_error *err) {
        struct json_value type;
        struct json_value stripes;
        struct json_value hash;
        const struct json_field fields[] = {
                {"type", &type, JSON_STRING, false},
                {"stripes", &stripes, JSON_NUMBER, false},
                {"hash", &hash, JSON_STRING, false},
        };

        if (json_read_object(af, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            check_number(&stripes, "stripes", AF_STRIPES, AF_STRIPES, err) < 0)
                return wla_wrap(err, "af");
        if (!json_string_is(&type, "luks1") || !luks2_hash_known(&hash))
                return wla_fail(err, WLA_E_UNSUPPORTED, "af: not luks1 with sha256 or sha512");
        return 0;
}

struct area {
        uint64_t offset;
        uint64_t size;
};

static int check_key_size(const struct json_value *value, uint32_t *ret, struct wla_error *err) {
        uint64_t size;

        if (json_unsigned(value, VOLUME_KEY_SIZE, &size, err) < 0)
                return wla_wrap(err, "member \"key_size\"");
        if (size != VOLUME_KEY_SIZE && size != VOLUME_KEY_SIZE / 2)
                return wla_fail(err, WLA_E_UNSUPPORTED, "a key of %ju bytes is none for AES-XTS",
                                (uintmax_t)size);
        *ret = (uint32_t)size;
        return 0;
}

static int check_area(const struct json_value *object, const struct luks2_areas *areas,
                      uint64_t header_size, uint32_t volume_key_size, struct area *ret,
                      struct wla_error *err) {
        struct json_value type;
        struct json_value offset;
        struct json_value size;
        struct json_value encryption;
        struct json_value key_size;
        const struct json_field fields[] = {
                {"type", &type, JSON_STRING, false},
                {"offset", &offset, JSON_STRING, false},
                {"size", &size, JSON_STRING, false},
                {"encryption", &encryption, JSON_STRING, false},
                {"key_size", &key_size, JSON_NUMBER, false},
        };
        struct area area;
        uint32_t area_key_size;

        if (json_read_object(object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            json_decimal_string(&offset, header_size, &area.offset, err) < 0 ||
            json_decimal_string(&size, header_size, &area.size, err) < 0 ||
            check_key_size(&key_size, &area_key_size, err) < 0)
                return wla_wrap(err, "area");
        if (!json_string_is(&type, "raw") || !json_string_is(&encryption, LUKS2_CIPHER))
                return wla_fail(err, WLA_E_UNSUPPORTED, "area: not raw with " LUKS2_CIPHER);
        if (area.offset < 2 * areas->metadata_size || area.offset % AREA_UNIT != 0 ||
            area.size % AREA_UNIT != 0 || area.size > header_size - area.offset ||
            area.size < (uint64_t)volume_key_size * AF_STRIPES)
                return wla_fail(err, WLA_E_INPUT, "area: not inside the area of keyslots");

        *ret = area;
        return 0;
}

static int check_keyslot(const struct json_value *keyslot, const struct luks2_areas *areas,
                         struct luks2_header *header, struct area *ret, struct wla_error *err) {
        struct json_value type;
        struct json_value key_size;
        struct json_value priority;
        struct json_value af;
        struct json_value area;
        struct json_value kdf;
        const struct json_field fields[] = {
                {"type", &type, JSON_STRING, false},
                {"key_size", &key_size, JSON_NUMBER, false},
                {"priority", &priority, JSON_NUMBER, true},
                {"af", &af, JSON_OBJECT, false},
                {"area", &area, JSON_OBJECT, false},
                {"kdf", &kdf, JSON_OBJECT, false},
        };
        uint32_t size;

        /* First the type: what is meant is better said of a "reencrypt" keyslot than what lacks. */
        type = json_member(keyslot, "type");
        if (type.type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "member \"type\" is missing");
        if (!json_string_is(&type, "luks2"))
                return wla_fail(err, WLA_E_UNSUPPORTED, "not of type luks2");

        if (json_read_object(keyslot, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            check_key_size(&key_size, &size, err) < 0)
                return -1;
        if (priority.type != JSON_ABSENT &&
            check_number(&priority, "priority", 0, PRIORITY_MAX, err) < 0)
                return -1;
        if (header->volume_key_size == 0)
                header->volume_key_size = size;
        if (header->volume_key_size != size)
                return wla_fail(err, WLA_E_UNSUPPORTED, "its key is not as long as the others'");
        if (check_af(&af, err) < 0 ||
            check_area(&area, areas, header->header_size, size, ret, err) < 0)
                return -1;
        return check_kdf(&kdf, header, err);
}

static bool overlap(const struct area *a, const struct area *b) {
        return a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

static bool lists(const struct json_value *array, const struct json_value *name) {
        struct json_value element;
        size_t at = 0;

        while (json_next_element(array, &at, &element))
                if (element.type == JSON_STRING && element.size == name->size &&
                    memcmp(element.text, name->text, name->size) == 0)
                        return true;
        return false;
}

static size_t count_elements(const struct json_value *array) {
        struct json_value element;
        size_t count = 0;
        size_t at = 0;

        while (json_next_element(array, &at, &element))
                count++;
        return count;
}

static bool is_slot_number(const struct json_value *name) {
        struct wla_error ignored = {0};
        uint64_t number;

        return json_decimal_string(name, LUKS2_OBJECTS_MAX - 1, &number, &ignored) == 0;
}

int luks2_keyslots_check(const struct json_value *keyslots,
                         const struct json_value *digest_keyslots, const struct luks2_areas *areas,
                         struct luks2_header *header, struct wla_error *err) {
        struct area taken[LUKS2_OBJECTS_MAX];
        struct json_value name;
        struct json_value keyslot;
        size_t count = 0;
        size_t at = 0;

        header->volume_key_size = 0;
        while (json_next_member(keyslots, &at, &name, &keyslot)) {
                if (!is_slot_number(&name))
                        return wla_fail(err, WLA_E_INPUT, "a keyslot's name is no number below %u",
                                        LUKS2_OBJECTS_MAX);
                if (check_keyslot(&keyslot, areas, header, &taken[count], err) < 0)
                        return wla_wrap(err, "keyslot %.*s", (int)name.size - 2, name.text + 1);
                for (size_t i = 0; i < count; i++)
                        if (overlap(&taken[i], &taken[count]))
                                return wla_fail(err, WLA_E_INPUT, "two keyslots share an area");
                if (!lists(digest_keyslots, &name))
                        return wla_fail(err, WLA_E_UNSUPPORTED,
                                        "keyslot %.*s does not hold the volume key",
                                        (int)name.size - 2, name.text + 1);
                count++;
        }
        if (count_elements(digest_keyslots) != count)
                return wla_fail(err, WLA_E_INPUT, "the digest names keyslots that are not there");
        return 0;
}
