/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/command.h"
#include "cli/json_writer.h"
#include "cli/owner_option.h"

enum { URL, ASSET_TAG, POLICY, LABEL, JSON };

static const struct command_option options[] = {
        [URL] = {"kbs", "URL", "KBS's base URL, instead of KBS_BASE_URL"},
        [ASSET_TAG] = {"asset-tag", "TAGS", "only for hosts with all of NAME:VALUE[,NAME:VALUE]"},
        [POLICY] = {"transfer-policy", "UUID", "under this transfer policy of KBS"},
        [LABEL] = {"label", "TEXT", "what KBS shall call it"},
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

static int print_json(const struct owner_key *key, const struct owner_key_wish *wish,
                      struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

        json_open_object(&writer, NULL);
        json_put_text(&writer, "id", key->kbs.id.text);
        json_put_text(&writer, "key", key->kbs.link.text);
        json_put_text(&writer, "asset_tags", wish->choice.usage.text);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        const struct owner_options wanted = {
                .asset_tag = arguments->option[ASSET_TAG],
                .policy = arguments->option[POLICY],
                .label = arguments->option[LABEL],
        };
        _cleanup_owner_key_ struct owner_key key = {0};
        _cleanup_owner_ struct owner owner = {0};
        struct owner_key_wish wish = {0};
        struct uuid policy;

        if (owner_options_read(&wanted, &policy, &wish, err) < 0)
                return OUTCOME_USAGE;
        if (invocation_guard_secrets(invocation, err) < 0 ||
            owner_open(arguments->option[URL], NULL, &owner, err) < 0 ||
            owner_key_make(&owner, &wish, &key, err) < 0)
                return OUTCOME_FAILED;

        if (arguments->option[JSON]) {
                if (print_json(&key, &wish, err) == 0)
                        return OUTCOME_OK;
                (void)owner_key_unused(&key, err);
                return OUTCOME_FAILED;
        }
        (void)printf("%s\n", key.kbs.id.text);
        return OUTCOME_OK;
}

const struct command command_kbs_create = {
        .name = "create",
        .summary = "Make an AES-256 key in KBS, and print its id",
        .details = "With it all layers of a container image may have one key: encrypt with\n"
                   "provider:isecl:key-id:ID.",
        .operand = OPERAND_NONE,
        .options = options,
        .run = run,
};
