/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/key_choice.h"

#include <string.h>

#define ASSET_TAG "asset-tag:"
#define KEY_ID    "key-id:"

static const char hint_forms[] = "write provider:NAME:any, provider:NAME:asset-tag:NAME:VALUE or "
                                 "provider:NAME:key-id:UUID";

static bool is(const char *text, size_t size, const char *wanted) {
        return size == strlen(wanted) && memcmp(text, wanted, size) == 0;
}

static bool begins(const char *text, size_t size, const char *prefix) {
        return size >= strlen(prefix) && memcmp(text, prefix, strlen(prefix)) == 0;
}

int key_choice_id(const char *text, size_t size, struct uuid *ret, struct wla_error *err) {
        struct uuid id;

        if (uuid_parse(text, size, &id, err) < 0)
                return wla_wrap(err, "the key's id");
        if (!uuid_is_version4(&id))
                return wla_fail(err, WLA_E_INPUT,
                                "the key's id: the UUIDs of keys in KBS are of version 4");
        *ret = id;
        return 0;
}

int key_choice_parse(const char *text, size_t size, struct key_choice *ret, struct wla_error *err) {
        struct key_choice choice = {0};
        size_t tag = strlen(ASSET_TAG);
        size_t id = strlen(KEY_ID);

        if (begins(text, size, ASSET_TAG)) {
                if (key_usage_parse(text + tag, size - tag, &choice.usage, err) < 0)
                        return -1;
        } else if (begins(text, size, KEY_ID)) {
                choice.exists = true;
                if (key_choice_id(text + id, size - id, &choice.id, err) < 0)
                        return -1;
        } else if (size > 0 && !is(text, size, "any") && !is(text, size, "Enabled")) {
                return wla_fail_hint(err, WLA_E_INPUT, hint_forms,
                                     "the parameter is neither any, nor asset-tag:..., nor "
                                     "key-id:...");
        }
        *ret = choice;
        return 0;
}
