/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/base64.h"
#include "base/json_object.h"
#include "flavor/flavor.h"
#include "flavor/flavor_names.h"

static int read_text(const struct json_value *value, const char *name, char to[FLAVOR_TEXT_SIZE],
                     struct wla_error *err) {
        if (value->type == JSON_ABSENT)
                return 0;
        if (json_string_copy(value, to, FLAVOR_TEXT_SIZE, err) < 0)
                return wla_wrap(err, "member \"%s\"", name);
        return 0;
}

/* An empty one could have been written as none. */
static int read_needed_text(const struct json_value *value, const char *name,
                            char to[FLAVOR_TEXT_SIZE], struct wla_error *err) {
        if (read_text(value, name, to, err) < 0)
                return -1;
        return to[0] ? 0 : wla_fail(err, WLA_E_INPUT, "member \"%s\" is empty", name);
}

/* Go takes null for an object that is not there, and so writes none. */
static bool is_there(const struct json_value *value) {
        return value->type != JSON_ABSENT && value->type != JSON_NULL;
}

/* An object that is nothing but one text. */
static int read_single(const struct json_value *parent, const char *object_name, const char *name,
                       char to[FLAVOR_TEXT_SIZE], struct wla_error *err) {
        const struct json_value object = json_member(parent, object_name);
        struct json_value text;
        const struct json_field fields[] = {{name, &text, JSON_STRING, false}};

        if (!is_there(&object))
                return 0;
        if (json_read_object(&object, fields, 1, err) < 0 ||
            read_needed_text(&text, name, to, err) < 0)
                return wla_wrap(err, "member \"%s\"", object_name);
        return 0;
}

static int read_description(const struct json_value *object, struct flavor *flavor,
                            struct wla_error *err) {
        struct json_value texts[_FLAVOR_DESCRIPTION_MAX];
        struct json_field fields[_FLAVOR_DESCRIPTION_MAX];

        if (!is_there(object))
                return 0;
        for (size_t i = 0; i < _FLAVOR_DESCRIPTION_MAX; i++)
                fields[i] = (struct json_field){
                        .name = flavor_description_names[i],
                        .to = &texts[i],
                        .type = JSON_STRING,
                        .optional = true,
                };
        if (json_read_object(object, fields, _FLAVOR_DESCRIPTION_MAX, err) < 0)
                return -1;
        for (size_t i = 0; i < _FLAVOR_DESCRIPTION_MAX; i++)
                if (read_text(&texts[i], fields[i].name, flavor->description[i], err) < 0)
                        return -1;
        flavor->has_description = true;
        return 0;
}

/* What json_read_object() would say, for objects some of whose members have one of two types. */
static int check_names(const struct json_value *object, const char *const *names, size_t count,
                       struct wla_error *err) {
        struct json_value name;
        struct json_value value;
        size_t at = 0;

        if (object->type != JSON_OBJECT)
                return wla_fail(err, WLA_E_INPUT, "JSON: an object is expected");
        while (json_next_member(object, &at, &name, &value)) {
                bool known = false;

                for (size_t i = 0; i < count; i++)
                        known = known || json_string_is(&name, names[i]);
                if (!known)
                        return wla_fail(err, WLA_E_INPUT, "there is a member that is not known");
        }
        return 0;
}

static int read_id(const struct json_value *value, char to[UUID_TEXT_SIZE], struct wla_error *err) {
        struct uuid uuid;

        if (value->type != JSON_STRING || value->size != UUID_TEXT_SIZE + 1 ||
            uuid_parse(value->text + 1, UUID_TEXT_SIZE - 1, &uuid, err) < 0 ||
            !uuid_is_version4(&uuid))
                return wla_fail(err, WLA_E_INPUT, "member \"id\" is no UUID of version 4");
        memcpy(to, value->text + 1, UUID_TEXT_SIZE - 1);
        to[UUID_TEXT_SIZE - 1] = '\0';
        return 0;
}

static int read_meta(const struct json_value *meta, struct flavor *flavor, struct wla_error *err) {
        static const char *const names[] = {"schema", "id", "author", "realm", "description"};
        const struct json_value id = json_member(meta, "id");
        const struct json_value realm = json_member(meta, "realm");
        const struct json_value description = json_member(meta, "description");

        if (check_names(meta, names, sizeof(names) / sizeof(names[0]), err) < 0 ||
            read_id(&id, flavor->id, err) < 0 ||
            read_single(meta, "schema", "uri", flavor->schema_uri, err) < 0 ||
            read_single(meta, "author", "email", flavor->author_email, err) < 0 ||
            read_text(&realm, "realm", flavor->realm, err) < 0)
                return -1;
        if (read_description(&description, flavor, err) < 0)
                return wla_wrap(err, "member \"description\"");
        return 0;
}

static int read_bool(const struct json_value *parent, const char *name, bool *ret,
                     struct wla_error *err) {
        const struct json_value value = json_member(parent, name);

        if (value.type != JSON_TRUE && value.type != JSON_FALSE && value.type != JSON_ABSENT)
                return wla_fail(err, WLA_E_INPUT, "member \"%s\" is neither true nor false", name);
        *ret = value.type == JSON_TRUE;
        return 0;
}

static int read_encryption(const struct json_value *object, struct flavor *flavor,
                           struct wla_error *err) {
        struct json_value key_url;
        struct json_value digest;
        const struct json_field fields[] = {
                {"key_url", &key_url, JSON_STRING, false},
                {"digest", &digest, JSON_STRING, false},
        };

        if (!is_there(object))
                return 0;
        if (json_read_object(object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            read_needed_text(&key_url, "key_url", flavor->key_url, err) < 0)
                return -1;
        if (json_base64(&digest, flavor->digest, sizeof(flavor->digest), err) < 0)
                return wla_wrap(err, "member \"digest\"");
        flavor->has_encryption = true;
        return 0;
}

static int read_flavor(const struct json_value *object, struct flavor *flavor,
                       struct wla_error *err) {
        static const char *const names[] = {"meta", "encryption_required", "encryption",
                                            "integrity_enforced", "integrity"};
        const struct json_value meta = json_member(object, "meta");
        const struct json_value encryption = json_member(object, "encryption");

        if (check_names(object, names, sizeof(names) / sizeof(names[0]), err) < 0)
                return -1;
        if (read_meta(&meta, flavor, err) < 0)
                return wla_wrap(err, "member \"meta\"");
        if (read_encryption(&encryption, flavor, err) < 0)
                return wla_wrap(err, "member \"encryption\"");
        if (read_bool(object, "encryption_required", &flavor->encryption_required, err) < 0 ||
            read_bool(object, "integrity_enforced", &flavor->integrity_enforced, err) < 0)
                return -1;
        return read_single(object, "integrity", "notary_url", flavor->notary_url, err);
}

static int read_signature(const struct json_value *value, struct flavor_signature *signature,
                          struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(FLAVOR_SIGNATURE_MAX);

        if (value->type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "there is no text");
        if (base64_decode(value->text + 1, value->size - 2, &bytes, err) < 0)
                return -1;
        if (bytes.size > 0)
                memcpy(signature->bytes, bytes.data, bytes.size);
        signature->size = bytes.size;
        return 0;
}

int flavor_read(const struct json_value *flavor, const struct json_value *signature,
                struct flavor *ret, struct flavor_signature *ret_signature, struct wla_error *err) {
        *ret = (struct flavor){0};
        *ret_signature = (struct flavor_signature){0};
        if (read_flavor(flavor, ret, err) < 0)
                return wla_wrap(err, "the flavor");
        if (read_signature(signature, ret_signature, err) < 0)
                return wla_wrap(err, "the flavor: member \"signature\"");
        return 0;
}

int flavor_parse(const char *text, size_t size, struct flavor *ret,
                 struct flavor_signature *ret_signature, struct wla_error *err) {
        struct json_value root;
        struct json_value flavor;
        struct json_value signature;
        const struct json_field fields[] = {
                {"flavor", &flavor, JSON_OBJECT, false},
                {"signature", &signature, JSON_STRING, false},
        };

        if (size > FLAVOR_DOCUMENT_MAX)
                return wla_fail(err, WLA_E_INPUT, "the flavor has more than %u bytes",
                                FLAVOR_DOCUMENT_MAX);
        if (json_check(text, size, &root, err) < 0 ||
            json_read_object(&root, fields, sizeof(fields) / sizeof(fields[0]), err) < 0)
                return wla_wrap(err, "the flavor");
        return flavor_read(&flavor, &signature, ret, ret_signature, err);
}
