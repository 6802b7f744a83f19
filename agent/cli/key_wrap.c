/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/input.h"
#include "cli/random_key.h"
#include "source/key_file.h"

#define PEM_SIZE_MAX 16384u

enum { TO, NAME, KEY_FILE, RANDOM, OUTPUT };

static const struct command_option options[] = {
        [TO] = {"to", "FILE", "the binding-key.pem of the host"},
        [NAME] = {"name", "NAME", "what the host shall call the key"},
        [KEY_FILE] = {"key-file", "FILE", "the key: 32 raw bytes, \"-\" for standard input"},
        [RANDOM] = {"random", NULL, "a new random key, which nobody else will have"},
        [OUTPUT] = {"output", "FILE", "write the key file there; without it, to standard output"},
        {0},
};

static const char hint_pem[] = "'wlagent setup' on the host writes it to "
                               "/var/lib/workload-agent/binding-key.pem";

static const char hint_key[] = "make one with 'openssl rand -out FILE 32', or use --random";

static enum outcome check_options(const struct arguments *arguments, struct wla_error *err) {
        const char *wrong = NULL;

        if (!arguments->option[TO])
                wrong = "option --to is missing: for which host?";
        else if (!arguments->option[NAME])
                wrong = "option --name is missing: what shall the host call the key?";
        else if (!arguments->option[KEY_FILE] == !arguments->option[RANDOM])
                wrong = "exactly one of --key-file and --random is needed";

        if (wrong) {
                (void)wla_fail(err, WLA_E_INPUT, "%s", wrong);
                return OUTCOME_USAGE;
        }

        return invocation_check_key_name(arguments->option[NAME], err) < 0 ? OUTCOME_USAGE
                                                                           : OUTCOME_OK;
}

static int wrap(const struct arguments *arguments, struct buf *text, struct wla_error *err) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(PEM_SIZE_MAX);
        _cleanup_secret_ struct wla_secret *key = NULL;
        const char *to = arguments->option[TO];
        struct key_file file;

        if (input_read(to, &pem, err) < 0)
                return -1;

        int outcome = arguments->option[RANDOM]
                              ? random_key_new(&key, err)
                              : input_read_secret(arguments->option[KEY_FILE], AES_256_KEY_SIZE,
                                                  hint_key, &key, err);
        if (outcome < 0)
                return -1;

        if (key_file_wrap(arguments->option[NAME], (const char *)pem.data, pem.size, key, &file,
                          err) < 0) {
                if (err->code == WLA_E_INPUT)
                        err->hint = hint_pem;
                return wla_wrap(err, "public key %s", input_name(to));
        }

        return key_file_format(&file, text, err);
}

/* A key file that exists is not replaced: it may be the owner's only copy. */
static int write_output(const char *path, const struct buf *text, struct wla_error *err) {
        _cleanup_free_ char *directory = NULL;
        _cleanup_close_ int fd = -1;
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;

        directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
        if (!directory)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        if (file_open_directory(directory, false, 0, &fd, err) < 0)
                return -1;

        if (file_write(fd, name, text->data, text->size, S_IRUSR | S_IWUSR, false, err) < 0)
                return wla_wrap(err, "writing %s", path);
        return 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);

        enum outcome outcome = check_options(arguments, err);
        if (outcome != OUTCOME_OK)
                return outcome;

        if (invocation_guard_secrets(invocation, err) < 0 || wrap(arguments, &text, err) < 0 ||
            (arguments->option[OUTPUT] &&
             write_output(arguments->option[OUTPUT], &text, err) < 0)) {
                (void)wla_wrap(err, "wrapping key %s", arguments->option[NAME]);
                return OUTCOME_FAILED;
        }

        if (!arguments->option[OUTPUT])
                (void)fwrite(text.data, 1, text.size, stdout);
        return OUTCOME_OK;
}

const struct command command_key_wrap = {
        .name = "wrap",
        .summary = "Wrap a key for a host, as the key's owner; needs neither TPM nor wlagentd",
        .details = "Bring what it writes to the host and run 'wlagent key import' there; it is of "
                   "no use to anyone else.\nKeep the key itself: it is what you encrypt images "
                   "with, and wrap for the next host.",
        .operand = OPERAND_NONE,
        .options = options,
        .needed = 1u << TO | 1u << NAME,
        .either = 1u << KEY_FILE | 1u << RANDOM,
        .run = run,
};
