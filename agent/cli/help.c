/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/command.h"

#define NAME_WIDTH 22

static const char *operand_word(const struct command *command) {
        if (command->subcommands)
                return " COMMAND";

        switch (command->operand) {
        case OPERAND_VOLUME:
        case OPERAND_LAYER:
        case OPERAND_KEY:
        case OPERAND_NEW_KEY:
                return " NAME";
        case OPERAND_FILE:
                return " FILE";
        case OPERAND_DOMAIN:
                return " DOMAIN";
        case OPERAND_TWO_FILES:
                return " IN OUT";
        case OPERAND_IMAGE:
                return " UUID";
        case OPERAND_WORDS:
                return " WORD...";
        case OPERAND_TASK:
                return " [TASK]";
        case OPERAND_NONE:
                break;
        }
        return "";
}

static void print_path(FILE *to, const struct command *parent, const struct command *command) {
        (void)fputs(command_wlagent.name, to);
        if (parent && parent != &command_wlagent)
                (void)fprintf(to, " %s", parent->name);
        if (command != &command_wlagent)
                (void)fprintf(to, " %s", command->name);
}

static void print_word(FILE *to, const char *before, const struct command_option *option) {
        (void)fprintf(to, "%s--%s%s%s", before, option->name, option->value ? " " : "",
                      option->value ? option->value : "");
}

/* In brackets what may be left out.  Where one of several is needed, all of them stand at the first. */
static void print_option(FILE *to, const struct command *command, unsigned place) {
        const struct command_option *options = command->options;
        unsigned bit = 1u << place;

        if (!((command->needed | command->either) & bit)) {
                print_word(to, " [", &options[place]);
                (void)fputs("]", to);
                return;
        }
        if ((command->either & bit) && (command->either & (bit - 1u)))
                return;

        print_word(to, " ", &options[place]);
        for (unsigned i = place + 1; (command->either & bit) && options[i].name; i++)
                if (command->either & 1u << i)
                        print_word(to, "|", &options[i]);
}

void command_print_usage(FILE *to, const struct command *parent, const struct command *command) {
        (void)fputs("usage: ", to);
        print_path(to, parent, command);

        for (unsigned i = 0; command->options && command->options[i].name; i++)
                print_option(to, command, i);

        (void)fprintf(to, "%s\n", operand_word(command));
}

static void print_row(const char *name, const char *text) {
        (void)printf("  %-*s  %s\n", NAME_WIDTH, name, text);
}

static char letter_of(const struct command *command, int option) {
        for (const struct command_letter *at = command->letters; at && at->letter; at++)
                if (at->option == option)
                        return at->letter;
        return '\0';
}

static void print_options(const struct command *command) {
        (void)puts("\nOptions:");

        for (const struct command_option *option = command->options; option && option->name;
             option++) {
                char letter[] = ", -?";
                char name[64];

                letter[3] = letter_of(command, (int)(option - command->options));
                (void)snprintf(name, sizeof(name), "--%s%s%s%s", option->name,
                               letter[3] ? letter : "", option->value ? " " : "",
                               option->value ? option->value : "");
                print_row(name, option->help);
        }

        print_row("--help", "say this");
}

void command_print_help(const struct command *parent, const struct command *command) {
        command_print_usage(stdout, parent, command);
        (void)printf("\n%s.\n", command->summary ? command->summary : command->name);
        if (command->details)
                (void)printf("\n%s\n", command->details);

        if (command->subcommands) {
                (void)puts("\nCommands:");
                for (size_t i = 0; command->subcommands[i]; i++)
                        if (command->subcommands[i]->summary)
                                print_row(command->subcommands[i]->name,
                                          command->subcommands[i]->summary);
        }

        print_options(command);
}

const struct command *command_find(const struct command *parent, const char *name) {
        for (size_t i = 0; parent->subcommands && parent->subcommands[i]; i++)
                if (strcmp(parent->subcommands[i]->name, name) == 0)
                        return parent->subcommands[i];
        return NULL;
}
