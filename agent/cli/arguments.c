/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/arguments.h"

#include <getopt.h>
#include <string.h>

#define OPTION_HELP     1000
#define OPTION_UNKNOWN  '?'
#define OPTION_NO_VALUE ':'

static void make_getopt_table(const struct command_option *options,
                              struct option to[static COMMAND_OPTIONS_MAX + 2]) {
        size_t count = 0;

        for (; options && options[count].name; count++)
                to[count] = (struct option){
                        .name = options[count].name,
                        .has_arg = options[count].value ? required_argument : no_argument,
                        .val = (int)count,
                };

        to[count] = (struct option){.name = "help", .val = OPTION_HELP};
}

/* "+" ends the options at the first word; ":" tells a missing value from an unknown option. */
static void make_letters(const struct command *command,
                         char to[static 2 * COMMAND_OPTIONS_MAX + 4]) {
        if (command->operand == OPERAND_WORDS)
                *to++ = '+';
        *to++ = ':';
        *to++ = 'h';
        for (const struct command_letter *at = command->letters; at && at->letter; at++) {
                *to++ = at->letter;
                if (command->options[at->option].value)
                        *to++ = ':';
        }
        *to = '\0';
}

static int place_of_letter(const struct command *command, int option) {
        for (const struct command_letter *at = command->letters; at && at->letter; at++)
                if (at->letter == option)
                        return at->option;
        return option;
}

static enum outcome take_option(const struct command *command, int option, const char *word,
                                struct arguments *arguments, struct wla_error *err) {
        if (option == OPTION_UNKNOWN || option == OPTION_NO_VALUE) {
                (void)wla_fail(err, WLA_E_INPUT,
                               option == OPTION_UNKNOWN ? "there is no option %s here"
                                                        : "option %s needs a value",
                               word);
                return OUTCOME_USAGE;
        }

        if (arguments->option[option]) {
                (void)wla_fail(err, WLA_E_INPUT, "option --%s is given twice",
                               command->options[option].name);
                return OUTCOME_USAGE;
        }

        arguments->option[option] = optarg ? optarg : "";
        return OUTCOME_OK;
}

static int operands_wanted(enum operand operand) {
        if (operand == OPERAND_NONE)
                return 0;
        return operand == OPERAND_TWO_FILES ? 2 : 1;
}

static int operands_needed(enum operand operand) {
        return operand == OPERAND_TASK ? 0 : operands_wanted(operand);
}

static const char *missing_operand(enum operand operand, int count) {
        switch (operand) {
        case OPERAND_KEY:
        case OPERAND_NEW_KEY:
                return "the name of the key is missing";
        case OPERAND_DOMAIN:
                return "the name or UUID of the domain is missing";
        case OPERAND_VOLUME:
        case OPERAND_LAYER:
                return "the name of the volume is missing";
        case OPERAND_IMAGE:
                return "the UUID of the image is missing";
        case OPERAND_TWO_FILES:
                return count == 0 ? "the files are missing" : "the second file is missing";
        case OPERAND_FILE:
        case OPERAND_TASK:
        case OPERAND_NONE:
        case OPERAND_WORDS:
                break;
        }
        return "the file is missing";
}

static enum outcome take_operand(const struct command *command, int count, char **words,
                                 struct arguments *arguments, struct wla_error *err) {
        bool is_key = command->operand == OPERAND_KEY || command->operand == OPERAND_NEW_KEY;

        if (command->operand == OPERAND_WORDS) {
                arguments->words = words;
                return OUTCOME_OK;
        }

        int wanted = operands_wanted(command->operand);
        if (count > wanted) {
                (void)wla_fail(err, WLA_E_INPUT, "'%s' is one word too many", words[wanted]);
                return OUTCOME_USAGE;
        }
        if (count < operands_needed(command->operand)) {
                (void)wla_fail(err, WLA_E_INPUT, "%s", missing_operand(command->operand, count));
                return OUTCOME_USAGE;
        }
        if (count == 0)
                return OUTCOME_OK;

        if (is_key && invocation_check_key_name(words[0], err) < 0)
                return OUTCOME_USAGE;

        arguments->operand = words[0];
        if (wanted > 1)
                arguments->second_operand = words[1];
        return OUTCOME_OK;
}

enum outcome arguments_parse(const struct command *command, int argc, char **argv,
                             struct arguments *ret, bool *ret_help, struct wla_error *err) {
        struct option table[COMMAND_OPTIONS_MAX + 2] = {0};
        char letters[2 * COMMAND_OPTIONS_MAX + 4];
        struct arguments arguments = {0};

        make_getopt_table(command->options, table);
        make_letters(command, letters);
        opterr = 0;
        optind = 0; /* makes glibc's getopt start anew */

        for (;;) {
                int option = place_of_letter(command,
                                             getopt_long(argc, argv, letters, table, NULL));

                if (option < 0)
                        break;
                if (option == OPTION_HELP || option == 'h') {
                        *ret_help = true;
                        return OUTCOME_OK;
                }

                enum outcome outcome = take_option(command, option, argv[optind - 1], &arguments,
                                                   err);
                if (outcome != OUTCOME_OK)
                        return outcome;
        }

        enum outcome outcome = take_operand(command, argc - optind, argv + optind, &arguments, err);
        if (outcome == OUTCOME_OK)
                *ret = arguments;
        return outcome;
}
