/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner_option.h"

#include <string.h>

int owner_options_read(const struct owner_options *options, struct uuid *policy,
                       struct owner_key_wish *ret, struct wla_error *err) {
        struct owner_key_wish wish = {.label = options->label};
        const char *id = options->kbs_key;

        if (id && (options->asset_tag || options->policy))
                return wla_fail_hint(err, WLA_E_INPUT, "they are said when a key is made",
                                     "--kbs-key names a key that exists; --asset-tag and "
                                     "--transfer-policy do not change it");
        if (id && key_choice_id(id, strlen(id), &wish.choice.id, err) < 0)
                return wla_wrap(err, "--kbs-key");
        wish.choice.exists = id != NULL;
        if (options->asset_tag && key_usage_parse(options->asset_tag, strlen(options->asset_tag),
                                                  &wish.choice.usage, err) < 0)
                return wla_wrap(err, "--asset-tag");
        if (options->policy &&
            uuid_parse(options->policy, strlen(options->policy), policy, err) < 0)
                return wla_wrap(err, "--transfer-policy");
        wish.policy = options->policy ? policy : NULL;
        if (options->label && kbs_label_check(options->label, err) < 0)
                return wla_wrap(err, "--label");
        *ret = wish;
        return 0;
}
