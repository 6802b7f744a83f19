/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/image_registry.h"
#include "cli/setup_task.h"
#include "cli/vm.h"
#include "cli/vm_program.h"
#include "cli/volume.h"
#include "source/key_store.h"

/* What a shell may offer next: "wlagent complete WORD..." with the words after "wlagent" so far, the
 * last being the one under the cursor, empty when it is new.  One candidate a line; ":file" asks the
 * shell to offer files.  The shell drops what does not begin with the last word. */

#define FILES ":file"

struct line {
        const struct command *command;     /* as far as the words name one */
        const struct command_option *open; /* waits for its value */
        unsigned operands;                 /* given so far */
};

static const struct command_option *find_option(const struct command *command, const char *word) {
        for (const struct command_option *option = command->options; option && option->name;
             option++)
                if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, option->name) == 0)
                        return option;
        return NULL;
}

static void take_word(struct line *line, struct invocation *invocation, const char *word) {
        if (line->open) {
                if (line->command == &command_wlagent)
                        invocation->config_path = word;
                line->open = NULL;
                return;
        }

        if (word[0] == '-') {
                const struct command_option *option = find_option(line->command, word);

                line->open = option && option->value ? option : NULL;
                return;
        }

        const struct command *next = command_find(line->command, word);
        if (next)
                line->command = next;
        else
                line->operands++;
}

static void offer_options(const struct command *command) {
        for (const struct command_option *option = command->options; option && option->name;
             option++)
                (void)printf("--%s\n", option->name);
        (void)puts("--help");
}

static void offer_subcommands(const struct command *command) {
        for (size_t i = 0; command->subcommands[i]; i++)
                if (command->subcommands[i]->summary)
                        (void)puts(command->subcommands[i]->name);
}

/* Completion is silent: without a readable store there is nothing to offer. */
static void offer_keys(struct invocation *invocation) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        _cleanup_key_names_ struct key_names names = {0};
        struct wla_error ignored = {0};

        if (invocation_key_store(invocation, &store, &ignored) < 0 ||
            key_store_list(&store, &names, &ignored) < 0)
                return;

        for (size_t i = 0; i < names.count; i++)
                (void)puts(names.names[i]);
}

static void offer_tasks(void) {
        (void)puts("all");
        for (const struct setup_task *task = setup_tasks; task->name; task++)
                (void)puts(task->name);
}

/* Becomes the program that knows them.  Silent as well: without it there is nothing to offer. */
static void offer_domains(const struct invocation *invocation) {
        static const struct arguments none = {0};
        struct wla_error ignored = {0};

        vm_program_become(invocation, &command_vm_names, &none, &ignored);
}

static void offer_images(struct invocation *invocation) {
        _cleanup_image_registry_ struct image_registry registry = IMAGE_REGISTRY_CLOSED;
        const struct config *config;
        struct image_names names = {0};
        struct wla_error ignored = {0};

        if (invocation_config(invocation, &config, &ignored) < 0 ||
            image_registry_open(config->agent.state_directory, false, &registry, &ignored) < 0 ||
            image_registry_list(&registry, &names, &ignored) < 0)
                return;

        for (size_t i = 0; i < names.count; i++)
                (void)puts(names.names[i].text);
        file_freep(&names.names);
}

/* "a|b|c" are the values that there are. */
static void offer_value(const struct command_option *option, struct invocation *invocation) {
        const char *value = option->value;

        if (strcmp(value, "KEY") == 0)
                offer_keys(invocation);

        if (strcmp(value, "FILE") == 0)
                (void)puts(FILES);
        if (!strchr(value, '|'))
                return;

        for (size_t size = strcspn(value, "|"); *value; size = strcspn(value, "|")) {
                (void)printf("%.*s\n", (int)size, value);
                value += size + (value[size] == '|');
        }
}

/* false when no further word belongs here. */
static bool offer_words(const struct line *line, struct invocation *invocation) {
        struct wla_error ignored = {0};

        if (line->operands >= (line->command->operand == OPERAND_TWO_FILES ? 2u : 1u))
                return false;

        if (line->command->subcommands)
                offer_subcommands(line->command);
        else if (line->command->operand == OPERAND_KEY)
                offer_keys(invocation);
        else if (line->command->operand == OPERAND_IMAGE)
                offer_images(invocation);
        else if (line->command->operand == OPERAND_FILE ||
                 line->command->operand == OPERAND_TWO_FILES)
                (void)puts(FILES);
        else if (line->command->operand == OPERAND_VOLUME ||
                 line->command->operand == OPERAND_LAYER)
                (void)!volume_print_names(invocation, line->command->operand == OPERAND_LAYER,
                                          &ignored);
        else if (line->command->operand == OPERAND_TASK)
                offer_tasks();
        else if (line->command->operand == OPERAND_DOMAIN)
                offer_domains(invocation);
        else
                return false;
        return true;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        struct line line = {.command = &command_wlagent};
        char **words = arguments->words;

        (void)err;
        for (; words[0] && words[1]; words++)
                take_word(&line, invocation, words[0]);
        const char *last = words[0] ? words[0] : "";

        if (line.open)
                offer_value(line.open, invocation);
        else if ((last[0] == '-' && last[1] != '\0') || !offer_words(&line, invocation))
                offer_options(line.command);

        return OUTCOME_OK;
}

const struct command command_complete = {
        .name = "complete",
        .operand = OPERAND_WORDS,
        .run = run,
};
