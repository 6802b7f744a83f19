/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image_key_place.h"

#include <string.h>

#include "base/aead.h"
#include "cli/input.h"
#include "cli/owner.h"

static const char hint_key[] =
        "name the file of 32 bytes that the image was encrypted with; no other key opens it";

int image_key_place_check(const struct image_key_place *place, struct wla_error *err) {
        struct uuid id;

        if (place->key_file && image_key_place_is_kbs(place))
                return wla_fail(err, WLA_E_INPUT, "the key is either KBS's, or that of --key-file");
        if (place->kbs_key && key_choice_id(place->kbs_key, strlen(place->kbs_key), &id, err) < 0)
                return wla_wrap(err, "--kbs-key");
        return 0;
}

static int find_key(const struct owner *owner, const struct image_key_place *place,
                    const struct key_id *named, struct uuid *ret, struct wla_error *err) {
        struct kbs_key key;

        if (place->kbs_key)
                return key_choice_id(place->kbs_key, strlen(place->kbs_key), ret, err);
        if (!named)
                return wla_fail(err, WLA_E_INPUT,
                                "option --kbs-key is missing: the image does not tell its key");
        if (kbs_key_linked(owner->kbs, named, &key, err) < 0)
                return wla_wrap(err, "the image's key");
        *ret = key.id;
        return 0;
}

int image_key_place_fetch(const struct image_key_place *place, const struct key_id *named,
                          struct wla_secret **ret, struct wla_error *err) {
        const struct used_file out = {.role = "OUT", .path = place->out, .written = true};
        const struct used_files written = {.files = &out, .count = place->out ? 1 : 0};
        _cleanup_owner_ struct owner owner = {0};
        struct uuid id;

        if (place->key_file)
                return input_read_secret(place->key_file, AES256_KEY_SIZE, hint_key, ret, err);
        if (owner_open(place->kbs, &written, &owner, err) < 0 ||
            find_key(&owner, place, named, &id, err) < 0)
                return -1;
        return owner_key_fetch(&owner, &id, ret, err);
}
