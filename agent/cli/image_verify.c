/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/image_isecl.h"
#include "cli/image_proof.h"
#include "cli/json_writer.h"

enum { KEY_FILE, KBS, KBS_KEY, HEADER, JSON };

static const struct command_option options[] = {
        [KEY_FILE] = {"key-file", "FILE", "the key itself: 32 raw bytes, \"-\" for standard input"},
        [KBS] = {"kbs", "URL", "fetch the key from Intel SecL's KBS; \"configured\": KBS_BASE_URL"},
        [KBS_KEY] = {"kbs-key", "UUID", "the key's id in KBS, where the image does not tell it"},
        [HEADER] = {"header", "FILE", "the header, when it is not FILE.header"},
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

static int print_json(const struct image_proof *proof, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

        json_open_object(&writer, NULL);
        json_put_text(&writer, "uuid", proof->header.uuid.text);
        json_put_text(&writer, "key", proof->header.image.key_id.text);
        json_put_bool(&writer, "sealed", proof->header.image.sealed);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static int print_isecl_json(const struct isecl_image *image, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

        json_open_object(&writer, NULL);
        json_put_text(&writer, "format", "isecl");
        json_put_text(&writer, "uuid", image->identity.text);
        json_put_text(&writer, "key", NULL);
        json_put_bool(&writer, "sealed", true);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static int verify_isecl(struct invocation *invocation, const struct image_proof_options *what,
                        bool json, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct isecl_image image;

        if (invocation_guard_secrets(invocation, err) < 0 ||
            image_isecl_key(&what->place, &key, err) < 0 ||
            image_isecl_verify(what->image, key, &image, err) < 0)
                return -1;
        if (json)
                return print_isecl_json(&image, err);
        (void)printf("%s is whole and unchanged.\n", what->image);
        return 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_image_proof_ struct image_proof proof = {0};
        const struct image_proof_options what = {
                .image = arguments->operand,
                .header = arguments->option[HEADER],
                .place =
                        {
                                .key_file = arguments->option[KEY_FILE],
                                .kbs = arguments->option[KBS],
                                .kbs_key = arguments->option[KBS_KEY],
                        },
        };

        if (image_key_place_check(&what.place, err) < 0)
                return OUTCOME_USAGE;
        if (!what.header && image_isecl_claimed(what.image))
                return verify_isecl(invocation, &what, arguments->option[JSON] != NULL, err) < 0
                               ? OUTCOME_FAILED
                               : OUTCOME_OK;
        if (image_prove(invocation, &what, &proof, err) < 0)
                return OUTCOME_FAILED;
        if (arguments->option[JSON])
                return print_json(&proof, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;

        (void)printf(proof.header.image.sealed
                             ? "%s is whole and unchanged.\n"
                             : "%s opens with its key, and both ends are its own; it has no seal "
                               "that would prove the rest.\n",
                     arguments->operand);
        return OUTCOME_OK;
}

const struct command command_image_verify = {
        .name = "verify",
        .summary = "Prove that an image is what its key has encrypted",
        .operand = OPERAND_FILE,
        .options = options,
        .run = run,
};
