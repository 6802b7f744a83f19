/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/volume.h"

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer request = JSON_WRITER;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        char canonical[VOLUME_NAME_SIZE];
        struct volume_name name;
        struct json_value nothing;

        if (volume_take_name(arguments->operand, &name, err) < 0)
                return OUTCOME_USAGE;
        volume_name_write(&name, canonical);

        json_open_object(&request, NULL);
        json_put_text(&request, "name", canonical);
        json_close_object(&request);
        if (volume_ask(invocation, CONTROL_VOLUME_CLOSE, &request, &text, &nothing, err) < 0)
                return OUTCOME_FAILED;

        (void)printf("%s is closed.\n", canonical);
        return OUTCOME_OK;
}

const struct command command_volume_close = {
        .name = "close",
        .summary = "Close a volume that nothing uses",
        .operand = OPERAND_VOLUME,
        .run = run,
};
