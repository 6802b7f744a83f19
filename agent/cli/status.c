/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/control_client.h"

enum { JSON };

static const struct command_option options[] = {
        [JSON] = {"json", NULL, "print the JSON object as wlagentd sends it"},
        {0},
};

#define VALUE_TEXT_MAX 512u

/* Strings lose their quotes; the rest is printed as it was written. */
static void print_value(const char *indent, const struct json_value *name,
                        const struct json_value *value) {
        char label[64];
        char text[VALUE_TEXT_MAX];
        struct wla_error ignored = {0};

        if (json_string_copy(name, label, sizeof(label), &ignored) < 0)
                return;

        if (value->type == JSON_STRING &&
            json_string_copy(value, text, sizeof(text), &ignored) == 0)
                (void)printf("%s%s: %s\n", indent, label, text);
        else if (value->type == JSON_TRUE || value->type == JSON_FALSE)
                (void)printf("%s%s: %s\n", indent, label, value->type == JSON_TRUE ? "yes" : "no");
        else if (value->type == JSON_NULL)
                (void)printf("%s%s: none\n", indent, label);
        else
                (void)printf("%s%s: %.*s\n", indent, label, (int)value->size, value->text);
}

static void print_section(const struct json_value *name, const struct json_value *section) {
        struct json_value member;
        struct json_value value;
        size_t at = 0;

        (void)printf("%.*s\n", name->size > 2 ? (int)name->size - 2 : 0, name->text + 1);
        while (json_next_member(section, &at, &member, &value))
                print_value("  ", &member, &value);
}

/* What stands by itself first, then each object in it under its name. */
static void print_text(const struct json_value *object) {
        struct json_value name;
        struct json_value value;

        for (size_t at = 0; json_next_member(object, &at, &name, &value);)
                if (value.type != JSON_OBJECT)
                        print_value("", &name, &value);

        for (size_t at = 0; json_next_member(object, &at, &name, &value);)
                if (value.type == JSON_OBJECT)
                        print_section(&name, &value);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        const struct config *config;
        struct json_value object;

        if (invocation_config(invocation, &config, err) < 0)
                return OUTCOME_FAILED;

        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = CONTROL_STATUS,
                .timeout_usec = CONTROL_CALL_USEC,
        };
        if (control_call(&call, &reply, err) < 0)
                return OUTCOME_FAILED;

        if (json_check((const char *)reply.data, reply.size, &object, err) < 0) {
                (void)wla_wrap(err, "the answer of wlagentd");
                return OUTCOME_FAILED;
        }

        if (arguments->option[JSON])
                (void)printf("%.*s\n", (int)object.size, object.text);
        else
                print_text(&object);
        return OUTCOME_OK;
}

const struct command command_status = {
        .name = "status",
        .summary = "Say how wlagentd is doing",
        .operand = OPERAND_NONE,
        .options = options,
        .run = run,
};
