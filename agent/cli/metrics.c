/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/command.h"
#include "cli/control_client.h"

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        const struct config *config;

        (void)arguments;
        if (invocation_config(invocation, &config, err) < 0)
                return OUTCOME_FAILED;

        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = CONTROL_METRICS,
                .timeout_usec = CONTROL_CALL_USEC,
        };
        if (control_call(&call, &reply, err) < 0)
                return OUTCOME_FAILED;

        (void)fwrite(reply.data, 1, reply.size, stdout);
        return OUTCOME_OK;
}

const struct command command_metrics = {
        .name = "metrics",
        .summary = "Print the counters of wlagentd in Prometheus' text format",
        .operand = OPERAND_NONE,
        .run = run,
};
