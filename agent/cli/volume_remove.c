/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/confirm.h"
#include "cli/volume.h"

enum { FORCE };

static const struct command_option options[] = {
        [FORCE] = {"force", NULL, "do not ask"},
        {0},
};

static int ask(const struct volume_name *name, struct wla_error *err) {
        char question[256];
        char kept[128];

        if (name->kind == VOLUME_IMAGE) {
                (void)snprintf(question, sizeof(question),
                               "Remove the converted image %s?  Whoever needs it again needs the "
                               "image that it was made of.",
                               name->uuid.text);
                (void)snprintf(kept, sizeof(kept), "the converted image %s is still there",
                               name->uuid.text);
                return confirm(question, kept, err);
        }
        (void)snprintf(question, sizeof(question),
                       "Remove the layer of disk %s of VM %s?  All that the VM has written to that "
                       "disk is gone.",
                       name->target, name->uuid.text);
        (void)snprintf(kept, sizeof(kept), "the layer of disk %s of VM %s is still there",
                       name->target, name->uuid.text);
        return confirm(question, kept, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer request = JSON_WRITER;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        struct volume_name name;
        struct json_value nothing;

        if (volume_take_name(arguments->operand, &name, err) < 0)
                return OUTCOME_USAGE;
        if (!arguments->option[FORCE] && ask(&name, err) < 0)
                return OUTCOME_FAILED;

        json_open_object(&request, NULL);
        if (name.kind == VOLUME_IMAGE) {
                json_put_text(&request, "image", name.uuid.text);
        } else {
                json_put_text(&request, "vm", name.uuid.text);
                json_put_text(&request, "target", name.target);
        }
        json_close_object(&request);
        if (volume_ask(invocation, CONTROL_LAYER_REMOVE, &request, &text, &nothing, err) < 0)
                return OUTCOME_FAILED;

        if (name.kind == VOLUME_IMAGE)
                (void)printf("The converted image %s is removed.\n", name.uuid.text);
        else
                (void)printf("The layer of disk %s of VM %s is removed.\n", name.target,
                             name.uuid.text);
        return OUTCOME_OK;
}

const struct command command_volume_remove = {
        .name = "remove",
        .summary = "Remove a VM's layer, with what the VM has written to it, or a converted image",
        .operand = OPERAND_LAYER,
        .options = options,
        .run = run,
};
