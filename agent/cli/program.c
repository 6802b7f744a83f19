/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"

const struct command_option program_options[] = {
        [PROGRAM_CONFIG] = {"config", "FILE", "read FILE instead of " CONFIG_DEFAULT_PATH},
        [PROGRAM_VERSION] = {"version", NULL, "print the version"},
        {0},
};

static void print_error(const struct command *command, const struct invocation *invocation,
                        const struct wla_error *err) {
        const char *text = (const char *)invocation->faults.data;

        for (size_t rest = invocation->faults.size; rest > 0;) {
                const char *end = memchr(text, '\n', rest);
                size_t length = end ? (size_t)(end - text) : rest;

                (void)fprintf(stderr, "wlagent: %.*s\n", (int)length, text);
                text += end ? length + 1 : length;
                rest -= end ? length + 1 : length;
        }

        if (command->one_line_errors) {
                char line[1024];

                wla_error_format(err, line, sizeof(line));
                (void)fprintf(stderr, "wlagent: %s\n", line);
                return;
        }

        (void)fprintf(stderr, "wlagent: %s\n", wla_error_text(err));
        if (err->hint)
                (void)fprintf(stderr, "hint: %s\n", err->hint);
}

/* Where in the table the words have led to. */
struct place {
        const struct command *parent;
        const struct command *command;
};

static enum outcome usage(struct wla_error *err, const char *what, const char *word) {
        (void)wla_fail(err, WLA_E_INPUT, "%s%s", what, word);
        return OUTCOME_USAGE;
}

static enum outcome run(struct invocation *invocation, struct place *place, int argc, char **argv,
                        struct wla_error *err) {
        for (;;) {
                const struct command *command = place->command;
                struct arguments arguments;
                bool help = false;

                enum outcome outcome = arguments_parse(command, argc, argv, &arguments, &help, err);
                if (outcome != OUTCOME_OK)
                        return outcome;

                if (help) {
                        command_print_help(place->parent, command);
                        return OUTCOME_OK;
                }

                if (command == &command_wlagent && arguments.option[PROGRAM_VERSION]) {
                        (void)puts("wlagent " WLAGENT_VERSION);
                        return OUTCOME_OK;
                }
                if (command == &command_wlagent)
                        invocation->config_path = arguments.option[PROGRAM_CONFIG];

                if (command->run)
                        return command->run(invocation, &arguments, err);
                if (!arguments.words[0])
                        return usage(err, "the command is missing", "");

                const struct command *next = command_find(command, arguments.words[0]);
                if (!next)
                        return usage(err, "there is no command ", arguments.words[0]);

                *place = (struct place){.parent = command, .command = next};
                argc -= (int)(arguments.words - argv);
                argv += arguments.words - argv;
        }
}

/* What users of Intel SecL's workload agent type for the same. */
static void take_former_words(int argc, char **argv) {
        static const char *const former[][2] = {
                {"-v", "--version"},
                {"version", "--version"},
                {"-h", "--help"},
                {"help", "--help"},
        };
        static char word[sizeof("--version")];

        if (argc != 2)
                return;
        for (size_t i = 0; i < sizeof(former) / sizeof(former[0]); i++)
                if (strcmp(argv[1], former[i][0]) == 0) {
                        (void)snprintf(word, sizeof(word), "%s", former[i][1]);
                        argv[1] = word;
                        return;
                }
}

int program_run(int argc, char **argv) {
        _cleanup_invocation_ struct invocation invocation = INVOCATION;
        struct place place = {.command = &command_wlagent};
        struct wla_error err = {0};

        take_former_words(argc, argv);
        enum outcome outcome = run(&invocation, &place, argc, argv, &err);

        if (outcome == OUTCOME_OK && (fflush(stdout) != 0 || ferror(stdout))) {
                (void)wla_fail_errno(&err, errno, "writing to standard output");
                outcome = OUTCOME_FAILED;
        }
        if (outcome != OUTCOME_OK && err.code != WLA_OK)
                print_error(place.command, &invocation, &err);
        if (outcome == OUTCOME_USAGE)
                command_print_usage(stderr, place.parent, place.command);

        return (int)outcome;
}
