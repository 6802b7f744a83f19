/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/image_registry.h"

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_image_registry_ struct image_registry registry = IMAGE_REGISTRY_CLOSED;
        const struct config *config;
        struct uuid image;

        if (uuid_parse(arguments->operand, strlen(arguments->operand), &image, err) < 0)
                return OUTCOME_USAGE;
        if (invocation_config(invocation, &config, err) < 0 ||
            image_registry_open(config->agent.state_directory, false, &registry, err) < 0 ||
            image_registry_remove(&registry, &image, err) < 0)
                return OUTCOME_FAILED;

        (void)printf("Image %s is not registered any more.\n", image.text);
        return OUTCOME_OK;
}

const struct command command_image_unregister = {
        .name = "unregister",
        .summary =
                "Forget an image of OpenStack; instances made from it do not start here any more",
        .operand = OPERAND_IMAGE,
        .run = run,
};
