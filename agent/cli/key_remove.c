/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "source/key_store.h"

enum { FORCE };

static const struct command_option options[] = {
        [FORCE] = {"force", NULL, "do not ask"},
        {0},
};

/* Damaged files may be removed as well, so only absence counts. */
static int check_exists(const struct key_store *store, const char *name, struct wla_error *err) {
        struct key_file file;

        if (key_store_read(store, name, &file, err) < 0 && err->code == WLA_E_NOT_FOUND)
                return -1;

        *err = (struct wla_error){0};
        return 0;
}

static int ask(const char *name, struct wla_error *err) {
        char question[256];
        char kept[128];

        (void)snprintf(question, sizeof(question),
                       "Remove key %s?  Images that are encrypted with it cannot be opened on this "
                       "host any more.",
                       name);
        (void)snprintf(kept, sizeof(kept), "key %s is still there", name);
        return confirm(question, kept, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        const char *name = arguments->operand;

        if (invocation_key_store(invocation, &store, err) < 0 ||
            check_exists(&store, name, err) < 0)
                return OUTCOME_FAILED;

        if (!arguments->option[FORCE] && ask(name, err) < 0)
                return OUTCOME_FAILED;

        if (key_store_remove(&store, name, err) < 0)
                return OUTCOME_FAILED;

        invocation_forget_cached_keys(invocation);
        (void)printf("Key %s is removed.\n", name);
        return OUTCOME_OK;
}

const struct command command_key_remove = {
        .name = "remove",
        .summary = "Remove a key from the store",
        .operand = OPERAND_KEY,
        .options = options,
        .run = run,
};
