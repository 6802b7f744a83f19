/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/input.h"
#include "source/key_store.h"

enum { NAME, FORCE };

static const struct command_option options[] = {
        [NAME] = {"name", "NAME", "store it as NAME, not under the name in the file"},
        [FORCE] = {"force", NULL, "replace a key of that name"},
        {0},
};

static const char hint_file[] = "name the file that 'wlagent key wrap' has written";
static const char hint_setup[] =
        "run 'wlagent setup', and have the key's owner wrap the key to the "
        "binding-key.pem it writes";
static const char hint_wrap[] = "have the key's owner run 'wlagent key wrap --to' with the "
                                "binding-key.pem of this host";

static int read_key_file(const char *path, struct key_file *ret, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);

        if (input_read(path, &text, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        err->hint = hint_file;
                return -1;
        }

        if (key_file_parse((const char *)text.data, text.size, ret, err) < 0)
                return wla_wrap(err, "key file %s", input_name(path));
        return 0;
}

static int check_for_this_host(struct invocation *invocation, const struct key_file *file,
                               struct wla_error *err) {
        char host[KEY_FINGERPRINT_SIZE];

        if (invocation_host_fingerprint(invocation, host, err) < 0)
                return -1;

        if (host[0] == '\0')
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_setup,
                                     "this host has no binding key yet");

        if (strcmp(host, file->binding_key) != 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_wrap,
                                     "key %s is wrapped for the host with binding key %.16s..., "
                                     "and this host's is %.16s...",
                                     file->name, file->binding_key, host);
        return 0;
}

static int import(struct invocation *invocation, const struct arguments *arguments,
                  struct key_file *file, struct wla_error *err) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        const char *name = arguments->option[NAME];

        if (read_key_file(arguments->operand, file, err) < 0 ||
            check_for_this_host(invocation, file, err) < 0 ||
            invocation_key_store(invocation, &store, err) < 0)
                return -1;

        if (name) {
                memset(file->name, 0, sizeof(file->name));
                memcpy(file->name, name, strlen(name));
        }

        return key_store_write(&store, file, arguments->option[FORCE] != NULL, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        struct key_file file;

        if (arguments->option[NAME] && invocation_check_key_name(arguments->option[NAME], err) < 0)
                return OUTCOME_USAGE;

        if (import(invocation, arguments, &file, err) < 0) {
                (void)wla_wrap(err, "importing a key");
                return OUTCOME_FAILED;
        }

        if (arguments->option[FORCE])
                invocation_forget_cached_keys(invocation);
        (void)printf("Key %s is in the store.\n", file.name);
        return OUTCOME_OK;
}

const struct command command_key_import = {
        .name = "import",
        .summary = "Put a key that its owner wrapped for this host into the store",
        .details =
                "FILE is what 'wlagent key wrap' made, \"-\" for standard input.  A key that was "
                "wrapped for\nanother host is refused.",
        .operand = OPERAND_FILE,
        .options = options,
        .run = run,
};
