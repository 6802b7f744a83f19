/* SPDX-License-Identifier: Apache-2.0 */
#include "source/key_file.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "base/base64.h"
#include "base/json.h"

#define VERSION         1u
#define VERSION_MAX     1000000u
#define QUOTED_NAME_MAX 40

static const char hint_damaged[] = "the file is damaged: import it again from its owner's copy, or "
                                   "have the owner wrap the key again";
static const char hint_version[] =
        "update wlagent, or have the key's owner wrap it with this version";

static int damaged(struct wla_error *err, const char *what) {
        return wla_fail_hint(err, WLA_E_INPUT, hint_damaged, "%s", what);
}

static int read_version(const struct json_value *value, struct key_file *file,
                        struct wla_error *err) {
        uint64_t version;

        (void)file;
        if (json_unsigned(value, VERSION_MAX, &version, err) < 0)
                return damaged(err, "member \"version\" is not a version number");

        if (version != VERSION)
                return wla_fail_hint(err, WLA_E_INPUT, hint_version,
                                     "version %u is not known, only version %u", (unsigned)version,
                                     VERSION);
        return 0;
}

static int read_name(const struct json_value *value, struct key_file *file, struct wla_error *err) {
        if (json_string_copy(value, file->name, sizeof(file->name), err) < 0 ||
            !key_name_valid(file->name, strlen(file->name)))
                return damaged(err, "member \"name\" is not a key name");
        return 0;
}

static int read_algorithm(const struct json_value *value, struct key_file *file,
                          struct wla_error *err) {
        char algorithm[64];

        (void)file;
        if (json_string_copy(value, algorithm, sizeof(algorithm), err) < 0)
                return damaged(err, "member \"algorithm\" is not the name of an algorithm");

        if (strcmp(algorithm, KEY_FILE_ALGORITHM) != 0)
                return wla_fail_hint(err, WLA_E_INPUT, hint_version,
                                     "algorithm %s is not known, only " KEY_FILE_ALGORITHM,
                                     algorithm);
        return 0;
}

static int read_binding_key(const struct json_value *value, struct key_file *file,
                            struct wla_error *err) {
        char *to = file->binding_key;

        if (json_string_copy(value, to, sizeof(file->binding_key), err) < 0 ||
            strspn(to, "0123456789abcdef") != sizeof(file->binding_key) - 1)
                return damaged(err, "member \"binding_key\" is not a fingerprint of 64 lower-case "
                                    "hex digits");
        return 0;
}

/* strptime() alone would take spaces for digits. */
static bool has_form_of_time(const char *text) {
        static const char form[] = "dddd-dd-ddTdd:dd:ddZ";

        for (size_t i = 0; i < sizeof(form); i++) {
                bool digit = text[i] >= '0' && text[i] <= '9';

                if (form[i] == 'd' ? !digit : text[i] != form[i])
                        return false;
        }
        return true;
}

static int read_created(const struct json_value *value, struct key_file *file,
                        struct wla_error *err) {
        struct tm time;
        char *to = file->created;

        if (json_string_copy(value, to, sizeof(file->created), err) < 0 || !has_form_of_time(to) ||
            !strptime(to, "%Y-%m-%dT%H:%M:%SZ", &time))
                return damaged(err, "member \"created\" is not a time like 2026-01-31T23:59:59Z");
        return 0;
}

static int read_wrapped_key(const struct json_value *value, struct key_file *file,
                            struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);
        _cleanup_buf_ struct buf wrapped = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);

        if (json_string(value, &text, err) < 0 ||
            base64_decode((const char *)text.data, text.size, &wrapped, err) < 0) {
                if (err->code == WLA_E_BUSY)
                        return -1;
                return damaged(err, "member \"wrapped_key\" is not base64");
        }

        if (wrapped.size != sizeof(file->wrapped))
                return wla_fail_hint(err, WLA_E_INPUT, hint_damaged,
                                     "member \"wrapped_key\" holds %zu bytes, not %zu",
                                     wrapped.size, sizeof(file->wrapped));

        memcpy(file->wrapped, wrapped.data, wrapped.size);
        return 0;
}

/* In the order of their checks: who meets a later version hears of that first. */
static const struct member {
        const char *name;
        int (*read)(const struct json_value *value, struct key_file *file, struct wla_error *err);
} members[] = {
        {"version", read_version}, {"algorithm", read_algorithm},
        {"name", read_name},       {"binding_key", read_binding_key},
        {"created", read_created}, {"wrapped_key", read_wrapped_key},
};

#define MEMBERS (sizeof(members) / sizeof(members[0]))

static bool member_known(const struct json_value *quoted) {
        for (size_t i = 0; i < MEMBERS; i++)
                if (quoted->size == strlen(members[i].name) + 2 &&
                    memcmp(quoted->text + 1, members[i].name, quoted->size - 2) == 0)
                        return true;
        return false;
}

static int refuse_unknown_members(const struct json_value *object, struct wla_error *err) {
        struct json_value name;
        struct json_value value;
        size_t at = 0;

        while (json_next_member(object, &at, &name, &value)) {
                if (member_known(&name))
                        continue;

                int length = name.size < QUOTED_NAME_MAX ? (int)name.size : QUOTED_NAME_MAX;
                return wla_fail_hint(err, WLA_E_INPUT, hint_damaged, "unknown member %.*s", length,
                                     name.text);
        }
        return 0;
}

int key_file_parse(const char *text, size_t size, struct key_file *ret, struct wla_error *err) {
        struct json_value object;
        struct key_file file = {0};

        if (size > KEY_FILE_SIZE_MAX)
                return wla_fail_hint(err, WLA_E_INPUT, hint_damaged,
                                     "larger than %u KiB, which no key file is",
                                     KEY_FILE_SIZE_MAX / 1024);
        if (size == 0)
                return damaged(err, "empty");

        if (json_check(text, size, &object, err) < 0) {
                err->hint = hint_damaged;
                return wla_wrap(err, "not a whole JSON text");
        }
        if (object.type != JSON_OBJECT)
                return damaged(err, "not a JSON object");

        for (size_t i = 0; i < MEMBERS; i++) {
                struct json_value value = json_member(&object, members[i].name);

                if (value.type == JSON_ABSENT)
                        return wla_fail_hint(err, WLA_E_INPUT, hint_damaged,
                                             "member \"%s\" is missing", members[i].name);
                if (members[i].read(&value, &file, err) < 0)
                        return -1;
        }

        if (refuse_unknown_members(&object, err) < 0)
                return -1;

        *ret = file;
        return 0;
}

int key_file_format(const struct key_file *file, struct buf *to, struct wla_error *err) {
        assert(key_name_valid(file->name, strlen(file->name)));

        if (buf_printf(to, err,
                       "{\n"
                       "  \"version\": %u,\n"
                       "  \"name\": \"%s\",\n"
                       "  \"algorithm\": \"" KEY_FILE_ALGORITHM "\",\n"
                       "  \"binding_key\": \"%s\",\n"
                       "  \"created\": \"%s\",\n"
                       "  \"wrapped_key\": \"",
                       VERSION, file->name, file->binding_key, file->created) < 0 ||
            base64_append(to, file->wrapped, sizeof(file->wrapped), err) < 0)
                return -1;

        return buf_append_text(to, "\"\n}\n", err);
}

static int format_now(char to[static KEY_FILE_CREATED_SIZE], struct wla_error *err) {
        struct tm parts;
        time_t now = time(NULL);

        if (!gmtime_r(&now, &parts) ||
            strftime(to, KEY_FILE_CREATED_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
                return wla_fail_hint(err, WLA_E_SYSTEM, "set the clock of this host",
                                     "the time of day cannot be written as a date");
        return 0;
}

int key_file_wrap(const char *name, const char *pem, size_t pem_size,
                  const struct wla_secret *secret, struct key_file *ret, struct wla_error *err) {
        _cleanup_buf_ struct buf wrapped = BUF_WITH_LIMIT(RSA_WRAPPED_SIZE);
        struct key_file file = {0};

        assert(key_name_valid(name, strlen(name)));
        memcpy(file.name, name, strlen(name));

        if (rsa_public_fingerprint(pem, pem_size, file.binding_key, err) < 0 ||
            rsa_wrap(pem, pem_size, secret, &wrapped, err) < 0 || format_now(file.created, err) < 0)
                return -1;

        assert(wrapped.size == sizeof(file.wrapped));
        memcpy(file.wrapped, wrapped.data, wrapped.size);
        *ret = file;
        return 0;
}
