/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json_object.h"
#include "cli/command.h"
#include "cli/control_client.h"

enum { JSON };

static const struct command_option options[] = {
        [JSON] = {"json", NULL, "print the JSON object as wlagentd sends it"},
        {0},
};

#define VALUE_TEXT_MAX 2048u /* the path of an image, the id of a key */

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

static const char *text_of(const struct json_value *object, const char *name, char *to,
                           size_t size) {
        const struct json_value value = json_member(object, name);
        struct wla_error ignored = {0};

        return json_string_copy(&value, to, size, &ignored) == 0 && to[0] != '\0' ? to : "?";
}

static void print_since(const struct json_value *vm) {
        const struct json_value since = json_member(vm, "since");
        struct wla_error ignored = {0};
        struct tm broken_down;
        uint64_t seconds;
        char text[32];

        if (json_unsigned(&since, INT64_MAX, &seconds, &ignored) < 0)
                return;
        time_t moment = (time_t)seconds;
        if (localtime_r(&moment, &broken_down) &&
            strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &broken_down) > 0)
                (void)printf(" since %s%s", text,
                             json_member(vm, "since_reconnect").type == JSON_TRUE
                                     ? ", when libvirt found it"
                                     : "");
}

/* A moment in seconds since 1970. */
static void print_moment(const char *label, const struct json_value *moment) {
        struct wla_error ignored = {0};
        struct tm broken_down;
        uint64_t seconds;
        char text[32] = "never";

        if (json_unsigned(moment, INT64_MAX, &seconds, &ignored) == 0) {
                time_t when = (time_t)seconds;

                if (!localtime_r(&when, &broken_down) ||
                    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &broken_down) == 0)
                        return;
        }
        (void)printf("  %s: %s", label, text);
}

static void print_requests(const struct json_value *requests) {
        struct json_value name;
        struct json_value count;
        const char *separator = " ";

        (void)printf("  requests:");
        for (size_t at = 0; json_next_member(requests, &at, &name, &count); separator = ", ")
                (void)printf("%s%.*s %.*s", separator, (int)count.size, count.text,
                             name.size > 2 ? (int)name.size - 2 : 0, name.text + 1);
        (void)printf("%s\n", separator[0] == ' ' ? " none" : "");
}

static void print_broker(const struct json_value *broker) {
        const struct json_value answer = json_member(broker, "last_answer");
        const struct json_value result = json_member(broker, "last_result");
        const struct json_value requests = json_member(broker, "requests");
        const struct json_value token = json_member(broker, "token_until");
        const struct json_value trusted = json_member(broker, "host_trusted");
        const struct json_value judged = json_member(broker, "host_judged");
        char text[VALUE_TEXT_MAX];

        (void)printf("broker\n  server: %s\n", text_of(broker, "server", text, sizeof(text)));
        print_moment("last answer", &answer);
        if (result.type == JSON_STRING)
                (void)printf(", last result: %s",
                             text_of(broker, "last_result", text, sizeof(text)));
        (void)printf("\n");
        print_requests(&requests);
        print_moment("token is used until", &token);
        (void)printf("\n");
        if (trusted.type != JSON_TRUE && trusted.type != JSON_FALSE) {
                (void)printf("  HVS trusts this host: not asked yet\n");
                return;
        }
        (void)printf("  HVS trusts this host: %s\n", trusted.type == JSON_TRUE ? "yes" : "no");
        print_moment("it was judged", &judged);
        (void)printf("\n");
}

static void print_disk(const struct json_value *disk) {
        char target[32];
        char mode[32];
        char image[VALUE_TEXT_MAX];
        char key[VALUE_TEXT_MAX];

        if (json_member(disk, "secret").type == JSON_STRING) {
                (void)printf("  %s: libvirt's secret %s, key %s, %s\n",
                             text_of(disk, "target", target, sizeof(target)),
                             text_of(disk, "secret", image, sizeof(image)),
                             text_of(disk, "key_id", key, sizeof(key)),
                             json_member(disk, "held").type == JSON_TRUE ? "set" : "not set");
                return;
        }
        (void)printf("  %s: %s, mode %s, key %s%s\n",
                     text_of(disk, "target", target, sizeof(target)),
                     text_of(disk, "image", image, sizeof(image)),
                     text_of(disk, "mode", mode, sizeof(mode)),
                     text_of(disk, "key_id", key, sizeof(key)),
                     json_member(disk, "by_hand").type == JSON_TRUE ? ", opened by hand" : "");
}

static void print_vms(const struct json_value *vms) {
        struct json_value vm;
        struct json_value disk;

        for (size_t at = 0; json_next_element(vms, &at, &vm);) {
                const struct json_value disks = json_member(&vm, "disks");
                char name[VALUE_TEXT_MAX];
                char uuid[64];
                char state[32];

                (void)printf("vm %s (%s): %s", text_of(&vm, "name", name, sizeof(name)),
                             text_of(&vm, "uuid", uuid, sizeof(uuid)),
                             text_of(&vm, "state", state, sizeof(state)));
                print_since(&vm);
                (void)printf("\n");
                for (size_t inner = 0; json_next_element(&disks, &inner, &disk);)
                        print_disk(&disk);
        }
}

/* What stands by itself first, then each object in it under its name, then the VMs. */
static void print_text(const struct json_value *object) {
        const struct json_value vms = json_member(object, "vms");
        struct json_value name;
        struct json_value value;

        for (size_t at = 0; json_next_member(object, &at, &name, &value);)
                if (value.type != JSON_OBJECT && value.type != JSON_ARRAY)
                        print_value("", &name, &value);

        for (size_t at = 0; json_next_member(object, &at, &name, &value);)
                if (value.type == JSON_OBJECT && json_string_is(&name, "broker"))
                        print_broker(&value);
                else if (value.type == JSON_OBJECT)
                        print_section(&name, &value);
        print_vms(&vms);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
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
