/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "cli/path_option.h"
#include "cli/volume.h"

/* "prepare" and "adopt": both hand a file and a key id over, and wait for what was done. */

enum { KEY };

static const struct command_option options[] = {
        [KEY] = {"key", "KEYID", "the key, as 'vm protect --key' names it"},
        {0},
};

#define PATH_LIMIT 4096u
#define TEXT_LIMIT 1024u

static int write_request(const struct arguments *arguments, struct json_writer *request,
                         struct wla_error *err) {
        _cleanup_buf_ struct buf whole = BUF_WITH_LIMIT(PATH_LIMIT);
        const char *path;

        if (!arguments->option[KEY])
                return wla_fail(err, WLA_E_INPUT, "option --key is missing: under which key?");
        if (path_option_take(arguments->operand, &whole, &path, err) < 0)
                return -1;
        json_open_object(request, NULL);
        json_put_text(request, "path", path);
        json_put_text(request, "key", arguments->option[KEY]);
        json_close_object(request);
        return 0;
}

static enum outcome work(struct invocation *invocation, enum control_command command,
                         const struct arguments *arguments, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer request = JSON_WRITER;
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        struct json_value object;
        char text[TEXT_LIMIT];

        if (write_request(arguments, &request, err) < 0)
                return OUTCOME_USAGE;
        if (isatty(STDERR_FILENO))
                (void)fprintf(stderr, "Working on %s; a large one takes minutes.\n",
                              arguments->operand);
        if (volume_ask(invocation, command, &request, &reply, &object, err) < 0)
                return OUTCOME_FAILED;

        const struct json_value done = json_member(&object, "done");
        if (json_string_copy(&done, text, sizeof(text), err) < 0) {
                (void)wla_wrap(err, "the answer of wlagentd");
                return OUTCOME_FAILED;
        }
        (void)printf("%s: %s\n", arguments->operand, text);
        return OUTCOME_OK;
}

static enum outcome run_prepare(struct invocation *invocation, const struct arguments *arguments,
                                struct wla_error *err) {
        return work(invocation, CONTROL_VOLUME_PREPARE, arguments, err);
}

static enum outcome run_adopt(struct invocation *invocation, const struct arguments *arguments,
                              struct wla_error *err) {
        return work(invocation, CONTROL_VOLUME_ADOPT, arguments, err);
}

const struct command command_volume_prepare = {
        .name = "prepare",
        .summary = "Convert an image of Intel SecL, so that starts need not",
        .details = "The conversion is kept encrypted in LayerDirectory=; the image stays as it is. "
                   "What has been\nbegun is finished, also when this command is interrupted.",
        .operand = OPERAND_FILE,
        .options = options,
        .needed = 1u << KEY,
        .run = run_prepare,
};

const struct command command_volume_adopt = {
        .name = "adopt",
        .summary = "Encrypt a LUKS2 volume again that opens without a key",
        .details = "Intel SecL's agent left the volumes of VMs like this. The volume gets a new "
                   "volume key, and the key\nas its only one; it is replaced when its successor is "
                   "whole, which needs room for both. What has\nbeen begun is finished, also when "
                   "this command is interrupted.",
        .operand = OPERAND_FILE,
        .options = options,
        .needed = 1u << KEY,
        .run = run_adopt,
};
