/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/distinct_files.h"
#include "cli/image_input.h"
#include "cli/image_isecl.h"
#include "cli/image_proof.h"
#include "cli/progress.h"
#include "image/cipher_source.h"
#include "image/image_convert.h"
#include "image/pending_file.h"
#include "image/qcow2_source.h"

#define FILE_MODE 0600 /* plaintext */

enum { KEY_FILE, KBS, KBS_KEY, HEADER, CHANGED, FORCE };

static const struct command_option options[] = {
        [KEY_FILE] = {"key-file", "FILE", "the key itself: 32 raw bytes, \"-\" for standard input"},
        [KBS] = {"kbs", "URL", "fetch the key from Intel SecL's KBS; \"configured\": KBS_BASE_URL"},
        [KBS_KEY] = {"kbs-key", "UUID", "the key's id in KBS, where the image does not tell it"},
        [HEADER] = {"header", "FILE", "the header, when it is not IN.header"},
        [CHANGED] = {"changed", NULL,
                     "a VM has written to IN in the mode direct: take it as it is"},
        [FORCE] = {"force", NULL, "replace OUT"},
        {0},
};

/* Also of an image that has no header beside it: with one it would be taken for another format. */
static int check_distinct(const struct invocation *invocation,
                          const struct image_proof_options *what, const char *out,
                          struct wla_error *err) {
        _cleanup_free_ char *beside = NULL;

        if (image_header_path(what->image, &beside, err) < 0)
                return -1;

        const struct used_file files[] = {
                {.role = "--config", .path = invocation->config_path},
                {.role = "IN", .path = what->image},
                {.role = "IN.header", .path = beside},
                {.role = "--header", .path = what->header},
                {.role = "--key-file", .path = what->place.key_file, .or_input = true},
                {.role = "OUT", .path = out, .written = true},
        };
        return distinct_files_check(files, sizeof(files) / sizeof(files[0]), err);
}

/* The disk behind the cipher and, in a compact image, behind the qcow2. */
static int open_disk(struct image_proof *proof, struct disk_source *ret, struct wla_error *err) {
        _cleanup_disk_source_ struct disk_source plaintext = {0};

        if (cipher_source_open(&proof->ciphertext, proof->volume_key, &plaintext, err) < 0)
                return -1;
        if (proof->header.image.content == IMAGE_CONTENT_QCOW2) {
                if (qcow2_source_open(&plaintext, ret, err) < 0)
                        return wla_wrap(err, "the qcow2 inside the image");
                return 0;
        }

        *ret = plaintext;
        ret->size = proof->header.image.virtual_size;
        plaintext = (struct disk_source){0};
        return 0;
}

static int write_disk(const struct disk_source *disk, const char *path, bool replace,
                      struct wla_error *err) {
        _cleanup_pending_file_ struct pending_file file = PENDING_FILE;
        struct progress progress = progress_begin("decrypting");
        const struct image_progress shown = {.show = progress_show, .userdata = &progress};

        if (pending_file_open(path, FILE_MODE, &file, err) < 0)
                return -1;

        int outcome = image_write_sparse(disk, file.fd, &shown, err);
        progress_end(&progress);
        if (outcome < 0)
                return wla_wrap(err, "writing %s", path);
        return pending_file_publish(&file, replace, err);
}

static int decrypt_isecl(struct invocation *invocation, const struct image_proof_options *what,
                         const char *out, bool replace, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = NULL;

        if (what->changed)
                return wla_fail(err, WLA_E_INPUT,
                                "%s is of Intel SecL's format, which no VM writes to", what->image);
        if (invocation_guard_secrets(invocation, err) < 0 ||
            image_isecl_key(&what->place, &key, err) < 0)
                return -1;
        return image_isecl_decrypt(what->image, key, out, replace, err);
}

static int decrypt(struct invocation *invocation, const struct image_proof_options *what,
                   const char *out, bool replace, struct wla_error *err) {
        _cleanup_image_proof_ struct image_proof proof = {0};
        _cleanup_disk_source_ struct disk_source disk = {0};

        if (check_distinct(invocation, what, out, err) < 0)
                return -1;
        if (!what->header && image_isecl_claimed(what->image))
                return decrypt_isecl(invocation, what, out, replace, err);
        if (image_prove(invocation, what, &proof, err) < 0 || open_disk(&proof, &disk, err) < 0)
                return -1;
        return write_disk(&disk, out, replace, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        const struct image_proof_options what = {
                .image = arguments->operand,
                .header = arguments->option[HEADER],
                .place =
                        {
                                .key_file = arguments->option[KEY_FILE],
                                .kbs = arguments->option[KBS],
                                .kbs_key = arguments->option[KBS_KEY],
                                .out = arguments->second_operand,
                        },
                .changed = arguments->option[CHANGED] != NULL,
        };

        if (image_key_place_check(&what.place, err) < 0)
                return OUTCOME_USAGE;
        if (decrypt(invocation, &what, arguments->second_operand, arguments->option[FORCE] != NULL,
                    err) < 0)
                return OUTCOME_FAILED;

        (void)printf("%s is the disk of %s, not encrypted.\n", arguments->second_operand,
                     arguments->operand);
        return OUTCOME_OK;
}

const struct command command_image_decrypt = {
        .name = "decrypt",
        .summary = "Decrypt the image IN as the disk OUT, after verifying it",
        .operand = OPERAND_TWO_FILES,
        .options = options,
        .run = run,
};
