/* SPDX-License-Identifier: Apache-2.0 */
#include "image/luks2_json.h"

#include <string.h>

#define DIGEST_SALT_SIZE      32u
#define DIGEST_ITERATIONS_MIN 1000u
#define DIGEST_ITERATIONS_MAX 20000000u
#define SHA256_SIZE           32u
#define SHA512_SIZE           64u
#define BINARY_HEADER_SIZE    4096u
#define KEYSLOTS_SIZE_UNIT    4096u

/* The members of the outermost object. */
struct sections {
        struct json_value keyslots;
        struct json_value tokens;
        struct json_value segments;
        struct json_value digests;
        struct json_value config;
};

bool luks2_hash_known(const struct json_value *hash) {
        return json_string_is(hash, "sha256") || json_string_is(hash, "sha512");
}

/* An object that holds "0" and nothing else. */
static int only_object(const struct json_value *section, const char *what, struct json_value *ret,
                       struct wla_error *err) {
        size_t count = json_count_members(section);

        if (count != 1)
                return wla_fail(err, WLA_E_UNSUPPORTED, "%zu %ss where there must be one", count,
                                what);

        *ret = json_member(section, "0");
        if (ret->type != JSON_OBJECT)
                return wla_fail(err, WLA_E_INPUT, "there is no %s 0", what);
        return 0;
}

static int check_config(const struct json_value *config, const struct luks2_areas *areas,
                        struct luks2_header *header, struct wla_error *err) {
        struct json_value json_size;
        struct json_value keyslots_size;
        struct json_value flags;
        struct json_value requirements;
        struct json_value element;
        const struct json_field fields[] = {
                {"json_size", &json_size, JSON_STRING, false},
                {"keyslots_size", &keyslots_size, JSON_STRING, false},
                {"flags", &flags, JSON_ARRAY, true},
                {"requirements", &requirements, JSON_OBJECT, true},
        };
        uint64_t json_area;
        uint64_t keyslots_area;
        size_t at = 0;

        if (json_read_object(config, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            json_decimal_string(&json_size, UINT32_MAX, &json_area, err) < 0 ||
            json_decimal_string(&keyslots_size, UINT32_MAX, &keyslots_area, err) < 0)
                return -1;
        if (requirements.type != JSON_ABSENT)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED,
                                     "finish the re-encryption with cryptsetup first",
                                     "the header has requirements");
        if (flags.type != JSON_ABSENT && json_next_element(&flags, &at, &element))
                return wla_fail(err, WLA_E_UNSUPPORTED, "the header has persistent flags");
        if (json_area != areas->metadata_size - BINARY_HEADER_SIZE)
                return wla_fail(err, WLA_E_INPUT, "json_size is not what the binary header says");
        if (keyslots_area % KEYSLOTS_SIZE_UNIT != 0)
                return wla_fail(err, WLA_E_INPUT, "keyslots_size is no multiple of %u",
                                KEYSLOTS_SIZE_UNIT);

        header->header_size = 2 * areas->metadata_size + keyslots_area;
        if (header->header_size > areas->bytes_size || header->header_size > LUKS2_HEADER_MAX)
                return wla_fail(err, WLA_E_INPUT, "the area of keyslots ends behind the header");
        return 0;
}

static bool sector_size_valid(uint64_t size) {
        return size == 512 || size == 1024 || size == 2048 || size == 4096;
}

static int check_segment(const struct json_value *segment, struct luks2_header *header,
                         struct wla_error *err) {
        struct json_value type;
        struct json_value offset;
        struct json_value size;
        struct json_value iv_tweak;
        struct json_value encryption;
        struct json_value sector_size;
        const struct json_field fields[] = {
                {"type", &type, JSON_STRING, false},
                {"offset", &offset, JSON_STRING, false},
                {"size", &size, JSON_STRING, false},
                {"iv_tweak", &iv_tweak, JSON_STRING, false},
                {"encryption", &encryption, JSON_STRING, false},
                {"sector_size", &sector_size, JSON_NUMBER, false},
        };
        uint64_t sector;

        if (json_read_object(segment, fields, sizeof(fields) / sizeof(fields[0]), err) < 0)
                return -1;
        if (!json_string_is(&type, "crypt"))
                return wla_fail(err, WLA_E_UNSUPPORTED, "not of type crypt");
        if (!json_string_is(&encryption, LUKS2_CIPHER))
                return wla_fail(err, WLA_E_UNSUPPORTED, "the cipher is not " LUKS2_CIPHER);
        if (!json_string_is(&size, "dynamic") || !json_string_is(&iv_tweak, "0"))
                return wla_fail(err, WLA_E_UNSUPPORTED, "not the whole of its file");
        if (json_decimal_string(&offset, INT64_MAX, &header->data_offset, err) < 0 ||
            json_unsigned(&sector_size, IMAGE_SECTOR_SIZE, &sector, err) < 0)
                return -1;
        if (!sector_size_valid(sector) || header->data_offset % IMAGE_SECTOR_SIZE != 0)
                return wla_fail(err, WLA_E_INPUT, "sector size or offset is no power or multiple");
        if (header->data_offset != 0 && header->data_offset < header->header_size)
                return wla_fail(err, WLA_E_INPUT, "it begins inside the header");

        header->sector_size = (uint32_t)sector;
        return 0;
}

/* keyslots: those that the digest is for. */
static int check_digest(const struct json_value *digest, struct json_value *ret_keyslots,
                        struct wla_error *err) {
        struct json_value type;
        struct json_value segments;
        struct json_value hash;
        struct json_value iterations;
        struct json_value salt;
        struct json_value value;
        const struct json_field fields[] = {
                {"type", &type, JSON_STRING, false},
                {"keyslots", ret_keyslots, JSON_ARRAY, false},
                {"segments", &segments, JSON_ARRAY, false},
                {"hash", &hash, JSON_STRING, false},
                {"iterations", &iterations, JSON_NUMBER, false},
                {"salt", &salt, JSON_STRING, false},
                {"digest", &value, JSON_STRING, false},
        };
        struct json_value element;
        struct json_value second;
        uint8_t bytes[SHA512_SIZE];
        uint64_t count;
        size_t at = 0;

        if (json_read_object(digest, fields, sizeof(fields) / sizeof(fields[0]), err) < 0)
                return -1;
        if (!json_string_is(&type, "pbkdf2") || !luks2_hash_known(&hash))
                return wla_fail(err, WLA_E_UNSUPPORTED, "not pbkdf2 with sha256 or sha512");
        if (!json_next_element(&segments, &at, &element) || !json_string_is(&element, "0") ||
            json_next_element(&segments, &at, &second))
                return wla_fail(err, WLA_E_UNSUPPORTED, "not of segment 0 and that alone");
        if (json_unsigned(&iterations, DIGEST_ITERATIONS_MAX, &count, err) < 0)
                return -1;
        if (count < DIGEST_ITERATIONS_MIN)
                return wla_fail(err, WLA_E_INPUT, "fewer than %u iterations",
                                DIGEST_ITERATIONS_MIN);
        if (json_base64(&salt, bytes, DIGEST_SALT_SIZE, err) < 0)
                return wla_wrap(err, "member \"salt\"");
        if (json_base64(&value, bytes, json_string_is(&hash, "sha256") ? SHA256_SIZE : SHA512_SIZE,
                        err) < 0)
                return wla_wrap(err, "member \"digest\"");
        return 0;
}

/* A header with one token of ours. */
static int check_ours(const struct sections *sections, const struct json_value *token,
                      const struct json_value *digest_keyslots, struct luks2_header *header,
                      struct wla_error *err) {
        struct json_value type = json_member(token, "type");
        struct json_value element;
        size_t at = 0;
        int outcome;

        if (json_string_is(&type, IMAGE_TOKEN_TYPE)) {
                header->kind = LUKS2_IMAGE;
                outcome = image_token_read(token, &header->image, err);
        } else if (json_string_is(&type, LAYER_TOKEN_TYPE)) {
                header->kind = LUKS2_LAYER;
                outcome = layer_token_read(token, &header->layer, err);
        } else {
                outcome = wla_fail(err, WLA_E_UNSUPPORTED, "it is of a type that is not known");
        }
        if (outcome < 0)
                return wla_wrap(err, "token 0");

        if (json_count_members(&sections->keyslots) != 0 ||
            json_next_element(digest_keyslots, &at, &element))
                return wla_fail(err, WLA_E_UNSUPPORTED, "an image of wlagent has no keyslots");
        if (header->data_offset != 0 || header->sector_size != IMAGE_SECTOR_SIZE)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "an image of wlagent begins at 0 and has sectors of %u bytes",
                                IMAGE_SECTOR_SIZE);
        header->volume_key_size = VOLUME_KEY_SIZE;
        return 0;
}

static int check_kind(const struct sections *sections, const struct json_value *digest_keyslots,
                      const struct luks2_areas *areas, struct luks2_header *header,
                      struct wla_error *err) {
        struct json_value token;

        if (json_count_members(&sections->tokens) > 0) {
                if (only_object(&sections->tokens, "token", &token, err) < 0)
                        return -1;
                return check_ours(sections, &token, digest_keyslots, header, err);
        }

        header->kind = LUKS2_ORDINARY;
        if (json_count_members(&sections->keyslots) == 0)
                return wla_fail(err, WLA_E_UNSUPPORTED, "there is neither a keyslot nor a token");
        return luks2_keyslots_check(&sections->keyslots, digest_keyslots, areas, header, err);
}

static int check_sections(const struct sections *sections, const struct luks2_areas *areas,
                          struct luks2_header *header, struct wla_error *err) {
        struct json_value segment;
        struct json_value digest;
        struct json_value digest_keyslots;

        if (check_config(&sections->config, areas, header, err) < 0)
                return wla_wrap(err, "config");
        if (only_object(&sections->segments, "segment", &segment, err) < 0 ||
            only_object(&sections->digests, "digest", &digest, err) < 0)
                return -1;
        if (check_segment(&segment, header, err) < 0)
                return wla_wrap(err, "segment 0");
        if (check_digest(&digest, &digest_keyslots, err) < 0)
                return wla_wrap(err, "digest 0");
        return check_kind(sections, &digest_keyslots, areas, header, err);
}

int luks2_json_check(const char *text, size_t size, const struct luks2_areas *areas,
                     struct luks2_header *ret, struct wla_error *err) {
        struct sections sections;
        struct json_value root;
        const struct json_field fields[] = {
                {"keyslots", &sections.keyslots, JSON_OBJECT, false},
                {"tokens", &sections.tokens, JSON_OBJECT, false},
                {"segments", &sections.segments, JSON_OBJECT, false},
                {"digests", &sections.digests, JSON_OBJECT, false},
                {"config", &sections.config, JSON_OBJECT, false},
        };

        if (json_check(text, size, &root, err) < 0 ||
            json_read_object(&root, fields, sizeof(fields) / sizeof(fields[0]), err) < 0)
                return -1;
        return check_sections(&sections, areas, ret, err);
}
