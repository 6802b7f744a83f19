/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/image_input.h"
#include "cli/image_registry.h"

enum { HEADER, FORCE };

static const struct command_option options[] = {
        [HEADER] = {"header", "FILE", "the header that 'wlagent image encrypt' has made"},
        [FORCE] = {"force", NULL, "replace a header that is registered already"},
        {0},
};

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_image_registry_ struct image_registry registry = IMAGE_REGISTRY_CLOSED;
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);
        const struct config *config;
        struct luks2_header header;
        struct uuid image;

        if (!arguments->option[HEADER]) {
                (void)wla_fail(err, WLA_E_INPUT, "option --header is missing");
                return OUTCOME_USAGE;
        }
        if (uuid_parse(arguments->operand, strlen(arguments->operand), &image, err) < 0)
                return OUTCOME_USAGE;

        if (invocation_config(invocation, &config, err) < 0 ||
            image_input_header(arguments->option[HEADER], &header, &content, err) < 0 ||
            image_registry_open(config->agent.state_directory, true, &registry, err) < 0 ||
            image_registry_add(&registry, &image, &content, arguments->option[FORCE] != NULL, err) <
                    0)
                return OUTCOME_FAILED;

        (void)printf("Image %s is registered; its key is %s.\n", image.text,
                     header.image.key_id.text);
        return OUTCOME_OK;
}

const struct command command_image_register = {
        .name = "register",
        .summary = "Make an image of OpenStack known to this host, by its UUID in Glance",
        .details = "Whatever instance Nova makes from that image is protected from then on; the\n"
                   "domain itself needs no change.",
        .operand = OPERAND_IMAGE,
        .options = options,
        .run = run,
};
