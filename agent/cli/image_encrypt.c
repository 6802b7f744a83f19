/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/image_input.h"
#include "cli/image_key.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "image/compact_source.h"
#include "image/header_writer.h"
#include "image/image_convert.h"
#include "image/image_pair.h"

#define FILE_MODE 0666 /* less what the umask takes away: ciphertext, and nothing secret */

enum { KEY, KEY_FILE, COMPACT, FORMAT, NO_SEAL, FORCE, JSON };

static const struct command_option options[] = {
        [KEY] = {"key", "KEY", "the key's id, or its name in the local store"},
        [KEY_FILE] = {"key-file", "FILE", "the key itself: 32 raw bytes, \"-\" for standard input"},
        [COMPACT] = {"compact", NULL, "store allocated parts only; others can see which these are"},
        [FORMAT] = {"format", "raw|qcow2", "what IN is, instead of judging by its first bytes"},
        [NO_SEAL] = {"no-seal", NULL, "without the code that 'wlagent image verify' checks"},
        [FORCE] = {"force", NULL, "replace OUT and its header"},
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

struct job {
        const char *in;
        const char *out;
        char *out_header;
        bool replace;
        struct disk_source disk;
        struct uuid uuid;
        struct image_token token;
        struct wla_secret *volume_key;
        uint64_t started_usec;
};

static void job_done(struct job *job) {
        disk_source_close(&job->disk);
        job->volume_key = wla_secret_free(job->volume_key);
        file_freep(&job->out_header);
}

#define _cleanup_job_ __attribute__((cleanup(job_done)))

static enum outcome check_options(const struct arguments *arguments, struct image_token *token,
                                  struct wla_error *err) {
        const char *format = arguments->option[FORMAT];

        if (!arguments->option[KEY]) {
                (void)wla_fail(err, WLA_E_INPUT, "option --key is missing: under which key?");
                return OUTCOME_USAGE;
        }
        if (format && strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0) {
                (void)wla_fail(err, WLA_E_INPUT, "'%.20s' is no format: raw or qcow2", format);
                return OUTCOME_USAGE;
        }
        return image_key_id(arguments->option[KEY], &token->key_id, err) < 0 ? OUTCOME_USAGE
                                                                             : OUTCOME_OK;
}

/* Asked before the work, and again by the kernel when the files get their names. */
static int check_free(const struct job *job, struct wla_error *err) {
        const char *const paths[] = {job->out, job->out_header};
        struct stat in;
        struct stat out;

        if (stat(job->in, &in) == 0 && stat(job->out, &out) == 0 && in.st_dev == out.st_dev &&
            in.st_ino == out.st_ino)
                return wla_fail(err, WLA_E_INPUT, "%s would replace itself", job->in);

        for (size_t i = 0; i < 2; i++) {
                if (image_pair_check(paths[i], err) < 0)
                        return -1;
                if (!job->replace && faccessat(AT_FDCWD, paths[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                        return wla_fail_hint(err, WLA_E_INPUT, "--force replaces it",
                                             "%s exists already", paths[i]);
        }
        return 0;
}

static uint64_t whole_sectors(uint64_t size) {
        return (size + DISK_SECTOR_SIZE - 1) / DISK_SECTOR_SIZE * DISK_SECTOR_SIZE;
}

static int open_disk(const struct arguments *arguments, struct job *job, struct wla_error *err) {
        bool qcow2;

        if (image_input_disk(job->in, arguments->option[FORMAT], &job->disk, &qcow2, err) < 0)
                return -1;

        job->token.virtual_size = whole_sectors(job->disk.size);
        job->token.content = IMAGE_CONTENT_RAW;
        if (arguments->option[COMPACT]) {
                struct disk_source compact = {0};

                if (compact_source_open(&job->disk, &compact, err) < 0)
                        return wla_wrap(err, "%s", job->in);
                job->disk = compact;
                job->token.content = IMAGE_CONTENT_QCOW2;
        }
        job->token.size = image_ciphertext_size(job->disk.size);
        job->token.sealed = !arguments->option[NO_SEAL];
        return 0;
}

/* The key comes first: whoever may not have it should not wait an hour to hear that. */
static int make_keys(struct invocation *invocation, const struct arguments *arguments,
                     struct job *job, struct wla_error *err) {
        if (uuid_generate(&job->uuid, err) < 0 || volume_key_generate(&job->volume_key, err) < 0)
                return -1;
        return image_key_seal(invocation, arguments->option[KEY_FILE], &job->uuid, job->volume_key,
                              &job->token, err);
}

static int encrypt_to(struct job *job, int fd, struct wla_error *err) {
        struct progress progress = progress_begin("encrypting");
        const struct image_progress shown = {.show = progress_show, .userdata = &progress};
        const struct image_encryption what = {
                .plaintext = &job->disk,
                .volume_key = job->volume_key,
                .header = job->uuid,
                .fd = fd,
                .progress = &shown,
        };
        int outcome = image_encrypt(&what, &job->token, err);

        progress_end(&progress);
        return outcome < 0 ? wla_wrap(err, "encrypting %s to %s", job->in, job->out) : 0;
}

static int make_header(const struct job *job, struct pending_file *file, struct wla_error *err) {
        _cleanup_buf_ struct buf token = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);

        if (image_token_write(&job->token, &token, err) < 0)
                return -1;

        const struct header_content content = {
                .uuid = job->uuid,
                .volume_key = job->volume_key,
                .token = &token,
        };
        if (header_write(&content, &bytes, err) < 0 ||
            pending_file_open(job->out_header, FILE_MODE, file, err) < 0)
                return -1;
        if (write(file->fd, bytes.data, bytes.size) != (ssize_t)bytes.size)
                return wla_fail_errno(err, errno ? errno : ENOSPC, "cannot write %s",
                                      job->out_header);
        return 0;
}

static int encrypt(struct job *job, struct wla_error *err) {
        _cleanup_image_pair_ struct image_pair pair = IMAGE_PAIR;

        if (pending_file_open(job->out, FILE_MODE, &pair.image, err) < 0 ||
            encrypt_to(job, pair.image.fd, err) < 0 || make_header(job, &pair.header, err) < 0)
                return -1;
        return image_pair_publish(&pair, job->replace, err);
}

static int print_json(const struct job *job, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

        json_open_object(&writer, NULL);
        json_put_text(&writer, "image", job->out);
        json_put_text(&writer, "header", job->out_header);
        json_put_text(&writer, "uuid", job->uuid.text);
        json_put_text(&writer, "key", job->token.key_id.text);
        json_put_text(&writer, "content", image_content_name(job->token.content));
        json_put_number(&writer, "size", job->token.size);
        json_put_number(&writer, "virtual_size", job->token.virtual_size);
        json_put_bool(&writer, "sealed", job->token.sealed);
        json_put_number(&writer, "milliseconds",
                        (clock_now_usec() - job->started_usec) / USEC_PER_MSEC);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_job_ struct job job = {
                .in = arguments->operand,
                .out = arguments->second_operand,
                .replace = arguments->option[FORCE] != NULL,
                .started_usec = clock_now_usec(),
        };

        enum outcome outcome = check_options(arguments, &job.token, err);
        if (outcome != OUTCOME_OK)
                return outcome;

        if (image_header_path(job.out, &job.out_header, err) < 0 || check_free(&job, err) < 0 ||
            invocation_guard_secrets(invocation, err) < 0 || open_disk(arguments, &job, err) < 0 ||
            make_keys(invocation, arguments, &job, err) < 0 || encrypt(&job, err) < 0)
                return OUTCOME_FAILED;

        if (arguments->option[JSON])
                return print_json(&job, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;
        (void)printf("%s is encrypted under %s; keep %s with it.\n", job.out, job.token.key_id.text,
                     job.out_header);
        return OUTCOME_OK;
}

const struct command command_image_encrypt = {
        .name = "encrypt",
        .summary = "Encrypt the disk IN, raw or qcow2, as the image OUT and OUT.header",
        .details = "OUT and its header get their names when both are whole.\n"
                   "Without --key-file wlagentd wraps the image's key, which needs AllowWrap=yes.",
        .operand = OPERAND_TWO_FILES,
        .options = options,
        .run = run,
};
