/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/distinct_files.h"
#include "cli/flavor_output.h"
#include "cli/image_input.h"
#include "cli/image_isecl.h"
#include "cli/progress.h"

#define PIECE (1024u * 1024u)

enum { KEY, PLAINTEXT, LABEL, FLAVOR_KEY, FORCE };

static const struct command_option options[] = {
        [KEY] = {"key", "KEY", "the id of the image's key, when its header does not tell"},
        [PLAINTEXT] = {"plaintext", NULL, "the image is not encrypted, and hosts need no key"},
        [LABEL] = {"label", "TEXT", "what WLS shall call the flavor"},
        [FLAVOR_KEY] = {"flavor-key", "FILE", "the key that signs it, PEM"},
        [FORCE] = {"force", NULL, "replace OUT"},
        {0},
};

static enum outcome check_options(const struct arguments *arguments,
                                  struct flavor_options *ret_options, struct key_id *ret_key,
                                  struct wla_error *err) {
        const char *key = arguments->option[KEY];

        *ret_options = (struct flavor_options){
                .path = arguments->second_operand,
                .key_path = arguments->option[FLAVOR_KEY],
                .label = arguments->option[LABEL],
                .replace = arguments->option[FORCE] != NULL,
        };
        if (key && arguments->option[PLAINTEXT]) {
                (void)wla_fail(err, WLA_E_INPUT, "an image that is not encrypted has no key");
                return OUTCOME_USAGE;
        }
        if (flavor_options_check(ret_options, err) < 0 ||
            (key && (key_id_parse(key, strlen(key), ret_key, err) < 0 ||
                     flavor_key_check(ret_key, err) < 0)))
                return OUTCOME_USAGE;
        return OUTCOME_OK;
}

/* What the header says of the image's key, which nobody may contradict. */
static int key_of_header(const char *image, const char *header, bool given, struct key_id *key,
                         struct wla_error *err) {
        _cleanup_disk_source_ struct disk_source ciphertext = {0};
        struct luks2_header content;

        if (image_input_header(header, NULL, &content, NULL, err) < 0 ||
            image_input_ciphertext(image, &content, &ciphertext, err) < 0)
                return -1;
        if (given && !key_id_equal(key, &content.image.key_id))
                return wla_fail(err, WLA_E_INPUT, "the header of %s says that its key is %s", image,
                                content.image.key_id.text);
        *key = content.image.key_id;
        return flavor_key_check(key, err);
}

static int check_distinct(const struct invocation *invocation, const struct arguments *arguments,
                          const char *header, struct wla_error *err) {
        const struct used_file files[] = {
                {.role = "--config", .path = invocation->config_path},
                {.role = "IN", .path = arguments->operand},
                {.role = "IN.header", .path = header},
                {.role = "OUT", .path = arguments->second_operand, .written = true},
                {.role = "--flavor-key", .path = arguments->option[FLAVOR_KEY]},
        };

        return distinct_files_check(files, sizeof(files) / sizeof(files[0]), err);
}

/* A flavor says whether an image is encrypted, and with which key: this one has to say what is so. */
static int judge_image(const struct invocation *invocation, const struct arguments *arguments,
                       struct key_id *key, struct wla_error *err) {
        const char *image = arguments->operand;
        _cleanup_free_ char *header = NULL;

        if (image_header_path(image, &header, err) < 0 ||
            check_distinct(invocation, arguments, header, err) < 0)
                return -1;

        bool ours = faccessat(AT_FDCWD, header, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        bool isecl = !ours && image_isecl_claimed(image);
        if (arguments->option[PLAINTEXT])
                return ours || isecl ? wla_fail(err, WLA_E_INPUT, "%s is an encrypted image", image)
                                     : 0;
        if (ours)
                return key_of_header(image, header, arguments->option[KEY] != NULL, key, err);
        if (!isecl)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "--plaintext makes a flavor for one that is not",
                                     "%s is no encrypted image", image);
        if (!arguments->option[KEY])
                return wla_fail(err, WLA_E_INPUT,
                                "option --key is missing: an image of Intel SecL's format does "
                                "not tell its key");
        return 0;
}

static int digest_all(const struct disk_source *file, struct ordered_digest *digest,
                      uint8_t *buffer, struct wla_error *err) {
        struct progress progress = progress_begin("reading");
        struct disk_reader reader;
        int outcome = 0;

        if (disk_reader_open(file, &reader, err) < 0)
                return -1;
        for (uint64_t number = 0; outcome == 0 && number * PIECE < file->size; number++) {
                uint64_t left = file->size - number * PIECE;
                size_t size = left < PIECE ? (size_t)left : PIECE;

                outcome = disk_reader_read(&reader, number * PIECE, buffer, size, err);
                if (outcome == 0)
                        outcome = ordered_digest_add(digest, number, buffer, size, err);
                progress_show(&progress, number * PIECE + size, file->size);
        }
        disk_reader_close(&reader);
        progress_end(&progress);
        return outcome;
}

static int digest_file(const char *path, uint8_t ret[SHA384_SIZE], struct wla_error *err) {
        _cleanup_disk_source_ struct disk_source file = {0};
        _cleanup_free_ uint8_t *buffer = aligned_alloc(DISK_ALIGNMENT, PIECE);
        struct ordered_digest *digest = NULL;
        bool qcow2;

        if (!buffer)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (image_input_disk(path, "raw", &file, &qcow2, err) < 0 ||
            ordered_digest_new(&digest, err) < 0)
                return -1;
        int outcome = digest_all(&file, digest, buffer, err);
        if (outcome == 0)
                outcome = disk_source_check_unchanged(&file, err);
        if (outcome == 0)
                outcome = ordered_digest_finish(digest, ret, err);
        ordered_digest_free(digest);
        return outcome < 0 ? wla_wrap(err, "%s", path) : 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_flavor_output_ struct flavor_output output = FLAVOR_OUTPUT;
        struct flavor_options wanted;
        struct key_id key;
        uint8_t digest[SHA384_SIZE];

        enum outcome outcome = check_options(arguments, &wanted, &key, err);
        if (outcome != OUTCOME_OK)
                return outcome;
        if (judge_image(invocation, arguments, &key, err) < 0 ||
            invocation_guard_secrets(invocation, err) < 0 ||
            flavor_output_begin(&wanted, &output, err) < 0 ||
            digest_file(arguments->operand, digest, err) < 0 ||
            flavor_output_write(&output, arguments->option[PLAINTEXT] ? NULL : &key, digest, err) <
                    0 ||
            flavor_output_publish(&output, err) < 0)
                return OUTCOME_FAILED;
        (void)printf("%s is the flavor of %s, for POST /flavors of WLS.\n", wanted.path,
                     arguments->operand);
        return OUTCOME_OK;
}

const struct command command_flavor_create = {
        .name = "create",
        .summary = "Write the signed flavor of the encrypted image IN to OUT",
        .details = "'wlagent image encrypt --flavor' does so at once.",
        .operand = OPERAND_TWO_FILES,
        .options = options,
        .needed = 1u << LABEL | 1u << FLAVOR_KEY,
        .run = run,
};
