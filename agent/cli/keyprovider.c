/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/control_client.h"
#include "cli/input.h"
#include "cli/owner_wrap.h"
#include "keyprovider/provider_request.h"

enum { KBS };

static const struct command_option options[] = {
        [KBS] = {"kbs", NULL, "wrap with keys of Intel SecL's KBS, as the image's owner"},
        {0},
};

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

static int ask_agent(const struct config *config, const struct buf *request, struct buf *reply,
                     struct wla_error *err) {
        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = CONTROL_KEYPROVIDER,
                .request = request,
                .timeout_usec = config->keyprovider.call_timeout_usec + GRACE_USEC,
        };

        return control_call(&call, reply, err);
}

/* Whether the owner answers, and not wlagentd: an owner who reads an image again is a host like others. */
static int is_for_owner(const struct arguments *arguments, const struct buf *request, bool *ret,
                        struct wla_error *err) {
        enum provider_operation operation;

        *ret = false;
        if (!arguments->option[KBS])
                return 0;
        if (provider_operation_read((struct wla_bytes){request->data, request->size}, &operation,
                                    err) < 0)
                return -1;
        *ret = operation == PROVIDER_WRAP;
        return 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf request = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        const struct config *config;
        bool owner;

        if (invocation_config(invocation, &config, err) < 0 || invocation_forbid_dumps(err) < 0 ||
            input_read("-", &request, err) < 0 ||
            is_for_owner(arguments, &request, &owner, err) < 0)
                return OUTCOME_FAILED;

        int outcome = !owner ? ask_agent(config, &request, &reply, err)
                      : invocation_guard_secrets(invocation, err) < 0
                              ? -1
                              : owner_wrap((struct wla_bytes){request.data, request.size}, &reply,
                                           err);
        return outcome < 0 || write_all(&reply, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;
}

const struct command command_keyprovider = {
        .name = "keyprovider",
        .summary = "Answer one ocicrypt keyprovider request from standard input",
        .details = "For ocicrypt's \"cmd\" transport, where the socket cannot be used; see "
                   "wlagent.conf(5) for AllowUsers=.",
        .operand = OPERAND_NONE,
        .options = options,
        .one_line_errors = true,
        .run = run,
};
