/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/image_input.h"
#include "cli/image_registry.h"

enum { HEADER, WLS, FORCE };

static const struct command_option options[] = {
        [HEADER] = {"header", "FILE", "the header that 'wlagent image encrypt' has made"},
        [WLS] = {"wls", NULL,
                 "have WLS give key and flavor; without --header: an image in Intel's format"},
        [FORCE] = {"force", NULL, "replace what is registered already"},
        {0},
};

static const char hint_header[] =
        "an image in Intel's format has none, and is registered with --wls";

/* Its key is a broker's link, or WLS's by this very UUID. */
static int check_wls(const struct key_id *key, const struct key_id *wanted, struct wla_error *err) {
        if (key->scheme == KEY_SCHEME_HTTPS || key_id_equal(key, wanted))
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, "register it without --wls",
                             "WLS does not give the key that the header names: %s", key->text);
}

/* What is to be registered, and the key that will be asked for; the header stays empty for an image in Intel's
 * format, in which nothing names a key. */
static int read_what(const struct arguments *arguments, const struct uuid *image,
                     struct buf *content, struct key_id *ret_key, struct wla_error *err) {
        struct luks2_header header;
        struct key_id wanted;

        if (arguments->option[WLS] && key_id_image(image, &wanted, err) < 0)
                return -1;
        if (!arguments->option[HEADER]) {
                *ret_key = wanted;
                return 0;
        }
        if (image_input_header(arguments->option[HEADER], NULL, &header, content, err) < 0 ||
            (arguments->option[WLS] && check_wls(&header.image.key_id, &wanted, err) < 0))
                return -1;
        *ret_key = header.image.key_id;
        return 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_image_registry_ struct image_registry registry = IMAGE_REGISTRY_CLOSED;
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);
        const struct config *config;
        struct key_id key;
        struct uuid image;
        const struct image_registration registration = {
                .header = &content,
                .wls = arguments->option[WLS] != NULL,
                .replace = arguments->option[FORCE] != NULL,
        };

        if (!arguments->option[HEADER] && !registration.wls) {
                (void)wla_fail_hint(err, WLA_E_INPUT, hint_header, "option --header is missing");
                return OUTCOME_USAGE;
        }
        if (uuid_parse(arguments->operand, strlen(arguments->operand), &image, err) < 0)
                return OUTCOME_USAGE;

        if (invocation_config(invocation, &config, err) < 0 ||
            read_what(arguments, &image, &content, &key, err) < 0 ||
            image_registry_open(config->agent.state_directory, true, &registry, err) < 0 ||
            image_registry_add(&registry, &image, &registration, err) < 0)
                return OUTCOME_FAILED;

        (void)printf("Image %s is registered%s; its key is %s%s.\n", image.text,
                     content.size > 0 ? "" : " as one in Intel's format", key.text,
                     registration.wls ? ", as its flavor says" : "");
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
