/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image_proof.h"

#include "base/file.h"
#include "cli/image_input.h"
#include "cli/image_key.h"
#include "cli/progress.h"
#include "image/header_writer.h"
#include "image/image_convert.h"

void image_proof_done(struct image_proof *proof) {
        disk_source_close(&proof->ciphertext);
        proof->volume_key = wla_secret_free(proof->volume_key);
}

static int open_header(const struct image_proof_options *what, struct image_proof *proof,
                       struct buf *bytes, struct wla_error *err) {
        _cleanup_free_ char *beside = NULL;

        if (!what->header && image_header_path(what->image, &beside, err) < 0)
                return -1;
        return image_input_header(what->header ? what->header : beside,
                                  what->header ? NULL : what->image, &proof->header, bytes, err);
}

static int check_probe(const struct image_proof_options *what, const struct image_proof *proof,
                       struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (file_open_named(what->image, &fd, err) < 0)
                return -1;
        return image_probe_check(proof->volume_key, &proof->header, fd, err) < 0
                       ? wla_wrap(err, "%s", what->image)
                       : 0;
}

static int check_seal(const struct image_proof_options *what, const struct image_proof *proof,
                      struct wla_error *err) {
        struct progress progress = progress_begin("verifying");
        const struct image_progress shown = {.show = progress_show, .userdata = &progress};
        const struct image_check check = {
                .ciphertext = &proof->ciphertext,
                .volume_key = proof->volume_key,
                .header = &proof->header,
                .progress = &shown,
        };
        int outcome = proof->header.image.sealed ? image_verify(&check, err) : 0;

        progress_end(&progress);
        return outcome < 0 ? wla_wrap(err, "%s", what->image) : 0;
}

static int prove(struct invocation *invocation, const struct image_proof_options *what,
                 struct image_proof *proof, struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);

        if (open_header(what, proof, &bytes, err) < 0 ||
            image_input_ciphertext(what->image, &proof->header, &proof->ciphertext, err) < 0 ||
            invocation_guard_secrets(invocation, err) < 0 ||
            image_key_open(invocation, &what->place, &proof->header, &proof->volume_key, err) < 0 ||
            header_check_key(&bytes, proof->volume_key, err) < 0)
                return -1;
        if (what->changed)
                return 0;
        return check_probe(what, proof, err) < 0 ? -1 : check_seal(what, proof, err);
}

int image_prove(struct invocation *invocation, const struct image_proof_options *what,
                struct image_proof *ret, struct wla_error *err) {
        struct image_proof proof = {0};

        if (prove(invocation, what, &proof, err) < 0) {
                image_proof_done(&proof);
                return -1;
        }
        *ret = proof;
        return 0;
}
