/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/path_option.h"
#include "cli/volume.h"

enum { VM, DISK, IMAGE, MODE, KEY, HEADER, HOLD, JSON };

static const struct command_option options[] = {
        [VM] = {"vm", "UUID", "the VM that gets the disk, as 'virsh domuuid' names it"},
        [DISK] = {"disk", "TARGET", "the disk's target in that VM, like vdb"},
        [IMAGE] = {"image", "FILE", "the encrypted image"},
        [MODE] = {"mode", "layer|direct|ephemeral", "where its writes go, as for 'vm protect'"},
        [KEY] = {"key", "KEYID", "the image's key, when its header names none"},
        [HEADER] = {"header", "FILE", "the image's header, when it is not beside it"},
        [HOLD] = {"hold", "SECONDS", "how long it stays open when nothing uses it"},
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

#define PATH_LIMIT  4096u
#define HOLD_MAX    86400u
#define HOLD_DIGITS 5u

static int parse_hold(const char *text, uint64_t *ret, struct wla_error *err) {
        size_t length = strlen(text);
        const struct json_value number = {.type = JSON_NUMBER, .text = text, .size = length};
        struct wla_error ignored = {0};

        if (length > 0 && length <= HOLD_DIGITS && strspn(text, "0123456789") == length &&
            json_unsigned(&number, HOLD_MAX, ret, &ignored) == 0 && *ret > 0)
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, "write a number of 1..86400",
                             "'%.40s' is no number of seconds", text);
}

static int check_options(const struct arguments *arguments, struct uuid *vm,
                         struct wla_error *err) {
        const char *const *given = arguments->option;

        if (!given[VM])
                return wla_fail(err, WLA_E_INPUT, "option --vm is missing: for which VM?");
        if (!given[DISK])
                return wla_fail(err, WLA_E_INPUT, "option --disk is missing: as which disk?");
        if (!given[IMAGE])
                return wla_fail(err, WLA_E_INPUT, "option --image is missing: which image?");
        if (uuid_parse(given[VM], strlen(given[VM]), vm, err) < 0)
                return wla_wrap(err, "option --vm");
        if (!disk_target_valid(given[DISK], strlen(given[DISK])))
                return wla_fail(err, WLA_E_INPUT, "'%.32s' is not the target of a disk",
                                given[DISK]);
        return 0;
}

static int put_path(struct json_writer *request, const char *name, const char *path,
                    struct wla_error *err) {
        _cleanup_buf_ struct buf whole = BUF_WITH_LIMIT(PATH_LIMIT);
        const char *text;

        if (path_option_take(path, &whole, &text, err) < 0)
                return -1;
        json_put_text(request, name, text);
        return 0;
}

static int write_request(const struct arguments *arguments, struct json_writer *request,
                         struct wla_error *err) {
        const char *const *given = arguments->option;
        struct uuid vm;
        uint64_t hold;

        if (check_options(arguments, &vm, err) < 0)
                return -1;

        json_open_object(request, NULL);
        json_put_text(request, "vm", vm.text);
        json_put_text(request, "target", given[DISK]);
        json_put_text(request, "mode", given[MODE] ? given[MODE] : "layer");
        if (put_path(request, "image", given[IMAGE], err) < 0 ||
            (given[HEADER] && put_path(request, "header", given[HEADER], err) < 0))
                return -1;
        if (given[KEY])
                json_put_text(request, "key", given[KEY]);
        if (given[HOLD]) {
                if (parse_hold(given[HOLD], &hold, err) < 0)
                        return wla_wrap(err, "option --hold");
                json_put_number(request, "hold_seconds", hold);
        }
        json_close_object(request);
        return 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer request = JSON_WRITER;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        char device[sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE];
        struct json_value object;

        if (write_request(arguments, &request, err) < 0)
                return OUTCOME_USAGE;
        if (volume_ask(invocation, CONTROL_VOLUME_OPEN, &request, &text, &object, err) < 0)
                return OUTCOME_FAILED;

        if (arguments->option[JSON]) {
                (void)printf("%.*s\n", (int)object.size, object.text);
                return OUTCOME_OK;
        }
        const struct json_value value = json_member(&object, "device");
        if (json_string_copy(&value, device, sizeof(device), err) < 0) {
                (void)wla_wrap(err, "the answer of wlagentd");
                return OUTCOME_FAILED;
        }
        (void)puts(device);
        return OUTCOME_OK;
}

const struct command command_volume_open = {
        .name = "open",
        .summary = "Open a disk for a VM, and print its device",
        .details = "It is held until the VM uses it, for a limited time, and closes when the VM "
                   "lets go of it.",
        .operand = OPERAND_NONE,
        .options = options,
        .needed = 1u << VM | 1u << DISK | 1u << IMAGE,
        .run = run,
};
