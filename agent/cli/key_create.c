/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/random_key.h"
#include "source/key_store.h"
#include "tpm/tpm.h"

static int create(struct invocation *invocation, const char *name, struct wla_error *err) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        _cleanup_secret_ struct wla_secret *key = NULL;
        const struct config *config;
        struct binding_key_info host;
        struct key_file file;

        if (invocation_config(invocation, &config, err) < 0 ||
            invocation_guard_secrets(invocation, err) < 0 ||
            binding_key_info_read(config->agent.state_directory, &host, err) < 0 ||
            key_store_open(config->agent.state_directory, &store, err) < 0)
                return -1;

        if (random_key_new(&key, err) < 0 ||
            key_file_wrap(name, host.pem, strlen(host.pem), key, &file, err) < 0)
                return -1;

        return key_store_write(&store, &file, false, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        if (create(invocation, arguments->operand, err) < 0) {
                (void)wla_wrap(err, "creating key %s", arguments->operand);
                return OUTCOME_FAILED;
        }

        (void)printf("Key %s is made; only the TPM of this host opens it.\n", arguments->operand);
        return OUTCOME_OK;
}

const struct command command_key_create = {
        .name = "create",
        .summary = "Make a random AES-256 key for this host and put it into the store",
        .details = "The key is wrapped to the binding key in this host's TPM and exists nowhere "
                   "else: when that\nbinding key is gone, so is the key, and what it encrypts.  An "
                   "existing key is never replaced.",
        .operand = OPERAND_NEW_KEY,
        .run = run,
};
