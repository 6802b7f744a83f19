/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/encrypt_job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/distinct_files.h"
#include "cli/image_input.h"
#include "cli/image_key.h"
#include "cli/input.h"
#include "cli/progress.h"
#include "image/compact_source.h"
#include "image/disk_content.h"
#include "image/header_writer.h"
#include "image/image_convert.h"
#include "image/isecl_encrypt.h"

#define FILE_MODE 0666 /* less what the umask takes away: ciphertext, and nothing secret */

void encrypt_job_done(struct encrypt_job *job) {
        disk_source_close(&job->disk);
        job->volume_key = wla_secret_free(job->volume_key);
        owner_close(&job->owner);
        owner_key_clear(&job->owner_key);
        image_pair_clear(&job->pair);
        flavor_output_done(&job->flavor);
        file_freep(&job->out_header);
}

static bool exists(const char *path) {
        return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int check_header_free(const struct encrypt_job *job, struct wla_error *err) {
        const struct encrypt_options *options = job->options;

        if (image_pair_check(job->out_header, err) < 0)
                return -1;
        if (options->isecl && exists(job->out_header))
                return wla_fail_hint(err, WLA_E_INPUT, "remove it, or choose another name",
                                     "%s is the header of another image, and %s would have none",
                                     job->out_header, options->out);
        if (!options->isecl && !options->replace && exists(job->out_header))
                return wla_fail_hint(err, WLA_E_INPUT, "--force replaces it", "%s exists already",
                                     job->out_header);
        return 0;
}

enum { OUT, OUT_HEADER, FLAVOR, _WRITTEN_MAX };

/* A header that is not written makes what lies beside it an image of our format all the same. */
static void list_written(const struct encrypt_job *job, struct used_file ret[_WRITTEN_MAX]) {
        const struct encrypt_options *options = job->options;

        ret[OUT] = (struct used_file){.role = "OUT", .path = options->out, .written = true};
        ret[OUT_HEADER] = (struct used_file){
                .role = "OUT.header", .path = job->out_header, .written = !options->isecl};
        ret[FLAVOR] = (struct used_file){
                .role = "--flavor", .path = options->flavor.path, .written = true};
}

/* What the command line names. */
static int check_distinct(const struct invocation *invocation, const struct encrypt_job *job,
                          struct wla_error *err) {
        const struct encrypt_options *options = job->options;
        struct used_file written[_WRITTEN_MAX];

        list_written(job, written);
        const struct used_file files[] = {
                {.role = "--config", .path = invocation->config_path},
                {.role = "IN", .path = options->in},
                written[OUT],
                written[OUT_HEADER],
                written[FLAVOR],
                {.role = "--flavor-key", .path = options->flavor.key_path},
                {.role = "--key-file", .path = options->key_file, .or_input = true},
        };

        return distinct_files_check(files, sizeof(files) / sizeof(files[0]), err);
}

/* And the owner's configuration, before anything is written anywhere. */
static int open_owner(struct encrypt_job *job, struct wla_error *err) {
        struct used_file files[_WRITTEN_MAX];
        const struct used_files written = {.files = files, .count = _WRITTEN_MAX};

        if (!job->options->by_kbs)
                return 0;
        list_written(job, files);
        return owner_open(job->options->url, &written, &job->owner, err);
}

/* Asked before the work, and again by the kernel when the files get their names. */
static int check_free(const struct encrypt_job *job, struct wla_error *err) {
        const struct encrypt_options *options = job->options;

        if (image_pair_check(options->out, err) < 0)
                return -1;
        if (!options->replace && exists(options->out))
                return wla_fail_hint(err, WLA_E_INPUT, "--force replaces it", "%s exists already",
                                     options->out);
        return check_header_free(job, err);
}

static uint64_t whole_sectors(uint64_t size) {
        return (size + DISK_SECTOR_SIZE - 1) / DISK_SECTOR_SIZE * DISK_SECTOR_SIZE;
}

/* The file as it is; but one that no host would open is refused here already. */
static int open_file(struct encrypt_job *job, struct wla_error *err) {
        const char *in = job->options->in;
        uint8_t head[DISK_CONTENT_HEAD];
        struct disk_content content;
        struct disk_reader reader;
        bool qcow2;

        if (image_input_disk(in, "raw", &job->disk, &qcow2, err) < 0)
                return -1;

        uint64_t size = job->disk.size;
        size_t head_size = size < sizeof(head) ? (size_t)size : sizeof(head);
        if (isecl_size_check(size, err) < 0 || disk_reader_open(&job->disk, &reader, err) < 0)
                return wla_wrap(err, "%s", in);
        int outcome = disk_reader_read(&reader, 0, head, head_size, err);
        disk_reader_close(&reader);
        if (outcome < 0 || disk_content_check(head, head_size, size, &content, err) < 0)
                return wla_wrap(err, "%s", in);
        job->token.content = content.content;
        job->token.virtual_size = content.virtual_size;
        job->token.size = size;
        return 0;
}

static int open_disk(struct encrypt_job *job, struct wla_error *err) {
        const struct encrypt_options *options = job->options;
        bool qcow2;

        if (options->isecl)
                return open_file(job, err);
        if (image_input_disk(options->in, options->format, &job->disk, &qcow2, err) < 0)
                return -1;

        job->token.virtual_size = whole_sectors(job->disk.size);
        job->token.content = IMAGE_CONTENT_RAW;
        if (options->compact) {
                struct disk_source compact = {0};

                if (compact_source_open(&job->disk, &compact, err) < 0)
                        return wla_wrap(err, "%s", options->in);
                job->disk = compact;
                job->token.content = IMAGE_CONTENT_QCOW2;
        }
        job->token.size = image_ciphertext_size(job->disk.size);
        job->token.sealed = options->seal;
        return 0;
}

/* Whoever may not have the key should not wait an hour to hear that. */
static int get_owner_key(struct encrypt_job *job, struct wla_error *err) {
        int outcome = owner_key_get(&job->owner, &job->options->wish, &job->owner_key, err);

        owner_close(&job->owner);
        if (outcome < 0)
                return -1;
        job->token.key_id = job->owner_key.kbs.link;
        if (job->owner_key.made)
                (void)fprintf(stderr, "wlagent: KBS has made key %s for %s\n",
                              job->owner_key.kbs.id.text, job->options->out);
        return job->options->flavor.path ? flavor_key_check(&job->token.key_id, err) : 0;
}

static int get_key(struct encrypt_job *job, struct wla_error *err) {
        if (job->options->by_kbs)
                return get_owner_key(job, err);
        job->token.key_id = job->options->key_id;
        return job->options->isecl ? input_read_secret(job->options->key_file, AES256_KEY_SIZE,
                                                       IMAGE_KEY_HINT, &job->owner_key.secret, err)
                                   : 0;
}

static int seal_volume_key(struct invocation *invocation, struct encrypt_job *job,
                           struct wla_error *err) {
        if (job->options->isecl)
                return 0;
        if (uuid_generate(&job->uuid, err) < 0 || volume_key_generate(&job->volume_key, err) < 0)
                return -1;
        if (job->options->by_kbs) {
                int outcome = image_key_wrap(job->owner_key.secret, &job->uuid, job->volume_key,
                                             &job->token, err);

                owner_key_clear(&job->owner_key);
                return outcome;
        }
        return image_key_seal(invocation, job->options->key_file, &job->uuid, job->volume_key,
                              &job->token, err);
}

static int encrypt_ours(struct encrypt_job *job, const struct image_progress *shown,
                        struct wla_error *err) {
        struct ordered_digest *digest = NULL;

        if (job->options->flavor.path && ordered_digest_new(&digest, err) < 0)
                return -1;

        const struct image_encryption what = {
                .plaintext = &job->disk,
                .volume_key = job->volume_key,
                .header = job->uuid,
                .fd = job->pair.image.fd,
                .digest = digest,
                .progress = shown,
        };
        int outcome = image_encrypt(&what, &job->token, err);
        job->digested = digest != NULL;
        if (outcome == 0 && digest)
                outcome = ordered_digest_finish(digest, job->digest, err);
        ordered_digest_free(digest);
        return outcome;
}

static int encrypt_isecl(struct encrypt_job *job, const struct image_progress *shown,
                         struct wla_error *err) {
        struct isecl_encryption what = {
                .plaintext = &job->disk,
                .key = job->owner_key.secret,
                .fd = job->pair.image.fd,
                .progress = shown,
        };

        job->digested = true;
        return isecl_nonce_make(what.nonce, err) < 0 ? -1 : isecl_encrypt(&what, job->digest, err);
}

static int encrypt(struct encrypt_job *job, struct wla_error *err) {
        const struct encrypt_options *options = job->options;
        struct progress progress = progress_begin("encrypting");
        const struct image_progress shown = {.show = progress_show, .userdata = &progress};
        int outcome = options->isecl ? encrypt_isecl(job, &shown, err)
                                     : encrypt_ours(job, &shown, err);

        progress_end(&progress);
        return outcome < 0 ? wla_wrap(err, "encrypting %s to %s", options->in, options->out) : 0;
}

static int make_header(struct encrypt_job *job, struct wla_error *err) {
        _cleanup_buf_ struct buf token = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);

        if (job->options->isecl)
                return 0;
        if (image_token_write(&job->token, &token, err) < 0)
                return -1;

        const struct header_content content = {
                .uuid = job->uuid,
                .volume_key = job->volume_key,
                .token = &token,
        };
        if (header_write(&content, &bytes, err) < 0 ||
            pending_file_open(job->out_header, FILE_MODE, &job->pair.header, err) < 0)
                return -1;
        if (write(job->pair.header.fd, bytes.data, bytes.size) != (ssize_t)bytes.size)
                return wla_fail_errno(err, errno ? errno : ENOSPC, "cannot write %s",
                                      job->out_header);
        return 0;
}

static int publish(struct encrypt_job *job, struct wla_error *err) {
        bool replace = job->options->replace;

        if (job->options->isecl)
                return pending_file_publish(&job->pair.image, replace, err);
        return image_pair_publish(&job->pair, replace, err);
}

/* What needs the key. */
static int work(struct invocation *invocation, struct encrypt_job *job, struct wla_error *err) {
        if (seal_volume_key(invocation, job, err) < 0 || encrypt(job, err) < 0 ||
            make_header(job, err) < 0 ||
            flavor_output_write(&job->flavor, &job->token.key_id, job->digest, err) < 0 ||
            publish(job, err) < 0)
                return -1;
        return 0;
}

int encrypt_job_run(struct invocation *invocation, struct encrypt_job *job, struct wla_error *err) {
        const struct encrypt_options *options = job->options;

        if (image_header_path(options->out, &job->out_header, err) < 0 ||
            check_distinct(invocation, job, err) < 0 || check_free(job, err) < 0 ||
            invocation_guard_secrets(invocation, err) < 0 || open_disk(job, err) < 0 ||
            open_owner(job, err) < 0 ||
            flavor_output_begin(&options->flavor, &job->flavor, err) < 0 ||
            pending_file_open(options->out, FILE_MODE, &job->pair.image, err) < 0)
                return -1;
        if (get_key(job, err) < 0 || work(invocation, job, err) < 0)
                return owner_key_unused(&job->owner_key, err);
        if (flavor_output_publish(&job->flavor, err) < 0)
                return wla_wrap(err,
                                "%s is whole, but its flavor is not there; 'wlagent flavor "
                                "create' makes it",
                                options->out);
        return 0;
}
