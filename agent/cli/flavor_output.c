/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/flavor_output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/private_file.h"
#include "flavor/flavor_sign.h"
#include "kbs/kbs_client.h"

#define FILE_MODE      0666 /* less what the umask takes away: nothing in it is secret */
#define SIGNER_PEM_MAX 16384u

int flavor_options_check(const struct flavor_options *options, struct wla_error *err) {
        if (options->path && !options->key_path)
                return wla_fail_hint(err, WLA_E_INPUT, "give the signing key with --flavor-key",
                                     "a flavor has to be signed");
        if (options->path && !options->label)
                return wla_fail_hint(err, WLA_E_INPUT, "give it with --label",
                                     "a flavor needs a label, by which WLS knows it");
        if (!options->path && options->key_path)
                return wla_fail(err, WLA_E_INPUT, "--flavor-key signs a flavor, and there is none");
        if (options->label && kbs_label_check(options->label, err) < 0)
                return wla_wrap(err, "--label");
        return 0;
}

int flavor_key_check(const struct key_id *key, struct wla_error *err) {
        if (key->scheme != KEY_SCHEME_HTTPS)
                return wla_fail_hint(err, WLA_E_INPUT, "encrypt with a key of KBS: --kbs",
                                     "a flavor cannot name the key %s: WLS asks KBS for it",
                                     key->text);
        if (strlen(key->text) >= FLAVOR_TEXT_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the key id is too long for a flavor");
        return 0;
}

static void set_description(struct flavor *flavor, enum flavor_description member,
                            const char *text) {
        memcpy(flavor->description[member], text, strlen(text) + 1);
}

static int describe(const struct flavor_output *output, const struct key_id *key,
                    const uint8_t digest[SHA384_SIZE], struct flavor *ret, struct wla_error *err) {
        struct uuid id;

        if (uuid_generate(&id, err) < 0)
                return -1;
        *ret = (struct flavor){
                .has_description = true,
                .encryption_required = key != NULL,
                .has_encryption = key != NULL,
        };
        memcpy(ret->id, id.text, sizeof(ret->id));
        set_description(ret, FLAVOR_PART, FLAVOR_PART_IMAGE);
        set_description(ret, FLAVOR_LABEL, output->options.label);
        if (key) {
                memcpy(ret->key_url, key->text, strlen(key->text) + 1);
                memcpy(ret->digest, digest, SHA384_SIZE);
        }
        return 0;
}

static int try_signer(const struct flavor_output *output, struct wla_error *err) {
        static const uint8_t nothing[SHA384_SIZE];
        struct flavor_signature signature;
        struct flavor flavor;

        if (describe(output, NULL, nothing, &flavor, err) < 0)
                return -1;
        return flavor_sign(&flavor, output->signer, &signature, err);
}

static int check_free(const struct flavor_options *options, struct wla_error *err) {
        if (options->replace || faccessat(AT_FDCWD, options->path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, "--force replaces it", "%s exists already",
                             options->path);
}

int flavor_output_begin(const struct flavor_options *options, struct flavor_output *ret,
                        struct wla_error *err) {
        if (!options->path)
                return 0;
        ret->options = *options;
        if (check_free(options, err) < 0)
                return -1;
        if (private_file_read(options->key_path, SIGNER_PEM_MAX, &ret->signer, err) < 0 ||
            try_signer(ret, err) < 0)
                return wla_wrap(err, "the signing key of flavors");
        return pending_file_open(options->path, FILE_MODE, &ret->file, err);
}

static int write_document(const struct flavor_output *output, const struct buf *text,
                          struct wla_error *err) {
        for (size_t done = 0; done < text->size;) {
                ssize_t written = write(output->file.fd, text->data + done, text->size - done);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written <= 0)
                        return wla_fail_errno(err, written < 0 ? errno : ENOSPC, "cannot write %s",
                                              output->options.path);
                done += (size_t)written;
        }
        return 0;
}

int flavor_output_write(struct flavor_output *output, const struct key_id *key,
                        const uint8_t digest[SHA384_SIZE], struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        struct flavor_signature signature;
        struct flavor flavor;

        if (!output->options.path)
                return 0;
        if (describe(output, key, digest, &flavor, err) < 0 ||
            flavor_sign(&flavor, output->signer, &signature, err) < 0 ||
            flavor_write(&flavor, &signature, &text, err) < 0 ||
            buf_append_text(&text, "\n", err) < 0)
                return wla_wrap(err, "the image's flavor");
        return write_document(output, &text, err);
}

int flavor_output_publish(struct flavor_output *output, struct wla_error *err) {
        if (!output->options.path)
                return 0;
        return pending_file_publish(&output->file, output->options.replace, err);
}

void flavor_output_done(struct flavor_output *output) {
        output->signer = wla_secret_free(output->signer);
        pending_file_clear(&output->file);
}
