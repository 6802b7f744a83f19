/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/control_client.h"
#include "cli/input.h"

/* wlagentd ends each call by itself; this is for the way there and back. */
#define GRACE_USEC (UINT64_C(5) * USEC_PER_SEC)

/* Not through stdio, whose buffers nobody wipes. */
static int write_all(const struct buf *reply, struct wla_error *err) {
        for (size_t done = 0; done < reply->size;) {
                ssize_t written = write(STDOUT_FILENO, reply->data + done, reply->size - done);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return wla_fail_errno(err, errno, "writing to standard output");
                done += (size_t)written;
        }
        return 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf request = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        const struct config *config;

        (void)arguments;
        if (invocation_config(invocation, &config, err) < 0 || invocation_forbid_dumps(err) < 0 ||
            input_read("-", &request, err) < 0)
                return OUTCOME_FAILED;

        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = CONTROL_KEYPROVIDER,
                .request = &request,
                .timeout_usec = config->keyprovider.call_timeout_usec + GRACE_USEC,
        };
        if (control_call(&call, &reply, err) < 0 || write_all(&reply, err) < 0)
                return OUTCOME_FAILED;

        return OUTCOME_OK;
}

const struct command command_keyprovider = {
        .name = "keyprovider",
        .summary = "Answer one ocicrypt keyprovider request from standard input",
        .details = "For ocicrypt's \"cmd\" transport, where the socket cannot be used; see "
                   "wlagent.conf(5) for AllowUsers=.",
        .operand = OPERAND_NONE,
        .one_line_errors = true,
        .run = run,
};
