/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/base64.h"
#include "base/json_walk.h"
#include "flavor/flavor.h"
#include "flavor/flavor_names.h"

const char *const flavor_description_names[_FLAVOR_DESCRIPTION_MAX] = {
        [FLAVOR_PART] = "flavor_part",
        [FLAVOR_SOURCE] = "source",
        [FLAVOR_LABEL] = "label",
        [FLAVOR_IP_ADDRESS] = "ip_address",
        [FLAVOR_BIOS_NAME] = "bios_name",
        [FLAVOR_BIOS_VERSION] = "bios_version",
        [FLAVOR_OS_NAME] = "os_name",
        [FLAVOR_OS_VERSION] = "os_version",
        [FLAVOR_VMM_NAME] = "vmm_name",
        [FLAVOR_VMM_VERSION] = "vmm_version",
        [FLAVOR_TPM_VERSION] = "tpm_version",
        [FLAVOR_HARDWARE_UUID] = "hardware_uuid",
        [FLAVOR_COMMENT] = "comment",
};

/* What Go's encoder escapes besides quote and backslash, so that JSON can stand in HTML and JavaScript. */
static const struct {
        const char *text;
        const char *escape;
} escapes[] = {
        {"\"", "\\\""},
        {"\\", "\\\\"},
        {"&", "\\u0026"},
        {"<", "\\u003c"},
        {">", "\\u003e"},
        {"\xe2\x80\xa8", "\\u2028"},
        {"\xe2\x80\xa9", "\\u2029"},
};

static const char *find_escape(const char *text) {
        for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++)
                if (strncmp(text, escapes[i].text, strlen(escapes[i].text)) == 0)
                        return escapes[i].escape;
        return NULL;
}

static int append_character(struct buf *to, const char *text, size_t left, size_t *ret,
                            struct wla_error *err) {
        const char *escape = find_escape(text);

        *ret = json_utf8_sequence((const unsigned char *)text, left);
        if (*ret == 0 || (unsigned char)*text < ' ' || *text == 0x7f)
                return wla_fail(err, WLA_E_INPUT,
                                "a text of the flavor has a control character, or "
                                "is not UTF-8");
        return escape ? buf_append_text(to, escape, err) : buf_append(to, text, *ret, err);
}

static int append_string(struct buf *to, const char *text, struct wla_error *err) {
        size_t size = strnlen(text, FLAVOR_TEXT_SIZE);

        if (buf_append_text(to, "\"", err) < 0)
                return -1;
        for (size_t at = 0; at < size;) {
                size_t length = 0;

                if (append_character(to, text + at, size - at, &length, err) < 0)
                        return -1;
                at += length;
        }
        return buf_append_text(to, "\"", err);
}

/* "name":"text", unless it is empty; *first: no comma is due. */
static int append_member(struct buf *to, const char *name, const char *text, bool *first,
                         struct wla_error *err) {
        if (text[0] == '\0')
                return 0;
        if (buf_printf(to, err, "%s\"%s\":", *first ? "" : ",", name) < 0)
                return -1;
        *first = false;
        return append_string(to, text, err);
}

/* "object":{"name":"text"}, unless it is empty, with a comma on one side. */
static int append_single(struct buf *to, const char *before, const char *name, const char *text,
                         const char *after, struct wla_error *err) {
        if (text[0] == '\0')
                return 0;
        if (buf_printf(to, err, "%s{\"%s\":", before, name) < 0 || append_string(to, text, err) < 0)
                return -1;
        return buf_printf(to, err, "}%s", after);
}

static int append_description(const struct flavor *flavor, struct buf *to, struct wla_error *err) {
        bool first = true;

        if (!flavor->has_description)
                return buf_append_text(to, "null", err);
        if (buf_append_text(to, "{", err) < 0)
                return -1;
        for (size_t i = 0; i < _FLAVOR_DESCRIPTION_MAX; i++)
                if (append_member(to, flavor_description_names[i], flavor->description[i], &first,
                                  err) < 0)
                        return -1;
        return buf_append_text(to, "}", err);
}

static int append_meta(const struct flavor *flavor, struct buf *to, struct wla_error *err) {
        bool first = true;

        if (append_single(to, "\"schema\":", "uri", flavor->schema_uri, ",", err) < 0 ||
            append_member(to, "id", flavor->id, &first, err) < 0 ||
            append_single(to, ",\"author\":", "email", flavor->author_email, "", err) < 0 ||
            append_member(to, "realm", flavor->realm, &first, err) < 0 ||
            buf_append_text(to, ",\"description\":", err) < 0)
                return -1;
        return append_description(flavor, to, err);
}

static int append_encryption(const struct flavor *flavor, struct buf *to, struct wla_error *err) {
        if (!flavor->has_encryption)
                return 0;
        if (buf_append_text(to, "\"encryption\":{\"key_url\":", err) < 0 ||
            append_string(to, flavor->key_url, err) < 0 ||
            buf_append_text(to, ",\"digest\":\"", err) < 0 ||
            base64_append(to, flavor->digest, sizeof(flavor->digest), err) < 0)
                return -1;
        return buf_append_text(to, "\"},", err);
}

static const char *bool_text(bool value) {
        return value ? "true" : "false";
}

int flavor_format(const struct flavor *flavor, struct buf *to, struct wla_error *err) {
        struct uuid id;

        if (uuid_parse(flavor->id, strnlen(flavor->id, sizeof(flavor->id)), &id, err) < 0 ||
            !uuid_is_version4(&id))
                return wla_fail(err, WLA_E_INPUT, "the flavor's id is no UUID of version 4");
        if (flavor->has_encryption && flavor->key_url[0] == '\0')
                return wla_fail(err, WLA_E_INPUT, "the flavor names no key");
        if (buf_append_text(to, "{\"flavor\":{\"meta\":{", err) < 0 ||
            append_meta(flavor, to, err) < 0 ||
            buf_printf(to, err, "},\"encryption_required\":%s,",
                       bool_text(flavor->encryption_required)) < 0 ||
            append_encryption(flavor, to, err) < 0 ||
            buf_printf(to, err, "\"integrity_enforced\":%s",
                       bool_text(flavor->integrity_enforced)) < 0 ||
            append_single(to, ",\"integrity\":", "notary_url", flavor->notary_url, "", err) < 0)
                return -1;
        return buf_append_text(to, "}}", err);
}

int flavor_write(const struct flavor *flavor, const struct flavor_signature *signature,
                 struct buf *to, struct wla_error *err) {
        if (flavor_format(flavor, to, err) < 0)
                return -1;
        /* Over the last brace. */
        to->size--;
        if (buf_append_text(to, ",\"signature\":\"", err) < 0 ||
            base64_append(to, signature->bytes, signature->size, err) < 0)
                return -1;
        return buf_append_text(to, "\"}", err);
}
