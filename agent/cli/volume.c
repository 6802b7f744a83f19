/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/volume.h"

#include <string.h>

#include "base/clock.h"
#include "cli/control_client.h"

/* Above what the agent takes to open a disk, so that its own reason arrives. */
#define ANSWER_USEC (5 * USEC_PER_SEC)

/* And what may take hours. */
#define WORK_USEC (24 * 3600 * USEC_PER_SEC)

static const char hint_names[] = "'wlagent volume list' names those that there are";

static bool takes_long(enum control_command command) {
        return command == CONTROL_VOLUME_PREPARE || command == CONTROL_VOLUME_ADOPT;
}

int volume_ask(struct invocation *invocation, enum control_command command,
               const struct json_writer *request, struct buf *text, struct json_value *ret,
               struct wla_error *err) {
        const struct config *config;

        if (invocation_config(invocation, &config, err) < 0)
                return -1;
        if (request && request->error.code != WLA_OK) {
                *err = request->error;
                return -1;
        }

        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = command,
                .request = request ? &request->text : NULL,
                .timeout_usec = (takes_long(command) ? WORK_USEC
                                                     : config->libvirt.launch_timeout_usec) +
                                ANSWER_USEC,
        };
        if (control_call(&call, text, err) < 0)
                return -1;

        *ret = (struct json_value){0};
        if (text->size > 0 && json_check((const char *)text->data, text->size, ret, err) < 0)
                return wla_wrap(err, "the answer of wlagentd");
        return 0;
}

int volume_take_name(const char *word, struct volume_name *ret, struct wla_error *err) {
        const char *name = word;

        if (strncmp(word, VOLUME_DEVICE_ROOT, strlen(VOLUME_DEVICE_ROOT)) == 0)
                name += strlen(VOLUME_DEVICE_ROOT);
        if (volume_name_parse(name, ret, err) == 0)
                return 0;

        return wla_fail_hint(err, WLA_E_INPUT, hint_names, "'%.80s' is not the name of a volume",
                             word);
}

static const struct command *const subcommands[] = {
        &command_volume_list,
        &command_volume_open,
        &command_volume_close,
        &command_volume_remove,
        &command_volume_prepare,
        &command_volume_adopt,
        NULL,
};

const struct command command_volume = {
        .name = "volume",
        .summary = "Look after the encrypted volumes of VMs",
        .details = "wlagentd opens and closes the disks of VMs by itself when they start and stop; "
                   "these are\nfor maintenance, and for disks that a running VM gets.",
        .operand = OPERAND_WORDS,
        .subcommands = subcommands,
};
