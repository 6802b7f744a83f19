/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "cli/arguments.h"

enum { JSON, OUTPUT };

static const struct command_option options[] = {
        [JSON] = {"json", NULL, "x"},
        [OUTPUT] = {"output", "FILE", "x"},
        {0},
};

static const struct command plain = {.name = "plain", .options = options};
static const struct command key = {.name = "key", .operand = OPERAND_KEY, .options = options};
static const struct command file = {.name = "file", .operand = OPERAND_FILE};
static const struct command words = {.name = "words", .operand = OPERAND_WORDS, .options = options};

#define WORDS_MAX 8

static enum outcome parse(const struct command *command, const char *const *line,
                          struct arguments *ret, bool *ret_help, struct wla_error *err) {
        static char copies[WORDS_MAX][80];
        static char *argv[WORDS_MAX + 1];
        int argc = 0;

        for (; line[argc]; argc++) {
                (void)snprintf(copies[argc], sizeof(copies[argc]), "%s", line[argc]);
                argv[argc] = copies[argc];
        }
        argv[argc] = NULL;
        return arguments_parse(command, argc, argv, ret, ret_help, err);
}

#define LINE(...) ((const char *const[]){"command", __VA_ARGS__, NULL})

START_TEST(takes_options_and_operand_in_any_order) {
        struct wla_error err = {0};
        struct arguments arguments;
        bool help = false;

        ck_assert_int_eq(
                parse(&key, LINE("--output", "here", "web-1", "--json"), &arguments, &help, &err),
                OUTCOME_OK);
        ck_assert(!help);
        ck_assert_str_eq(arguments.option[JSON], "");
        ck_assert_str_eq(arguments.option[OUTPUT], "here");
        ck_assert_str_eq(arguments.operand, "web-1");

        ck_assert_int_eq(
                parse(&key, LINE("--output=there", "--", "web-1"), &arguments, &help, &err),
                OUTCOME_OK);
        ck_assert_str_eq(arguments.option[OUTPUT], "there");
        ck_assert_ptr_null(arguments.option[JSON]);

        ck_assert_int_eq(parse(&file, LINE("-"), &arguments, &help, &err), OUTCOME_OK);
        ck_assert_str_eq(arguments.operand, "-");
}
END_TEST

START_TEST(letters_and_an_operand_that_may_be_missing) {
        static const struct command_option with_letters[] = {
                [JSON] = {"json", NULL, "x"},
                [OUTPUT] = {"output", "FILE", "x"},
                {0},
        };
        static const struct command_letter letters[] = {{'j', JSON}, {'o', OUTPUT}, {0}};
        static const struct command task = {.name = "task",
                                            .operand = OPERAND_TASK,
                                            .options = with_letters,
                                            .letters = letters};
        struct wla_error err = {0};
        struct arguments arguments;
        bool help = false;

        ck_assert_int_eq(parse(&task, LINE("-j", "-o", "here", "all"), &arguments, &help, &err),
                         OUTCOME_OK);
        ck_assert_str_eq(arguments.option[JSON], "");
        ck_assert_str_eq(arguments.option[OUTPUT], "here");
        ck_assert_str_eq(arguments.operand, "all");
        ck_assert_int_eq(parse(&task, LINE("-jothere"), &arguments, &help, &err), OUTCOME_OK);
        ck_assert_str_eq(arguments.option[OUTPUT], "there");
        ck_assert_ptr_null(arguments.operand);

        ck_assert_int_eq(parse(&task, LINE("-o"), &arguments, &help, &err), OUTCOME_USAGE);
        ck_assert_str_eq(wla_error_text(&err), "option -o needs a value");
        ck_assert_int_eq(parse(&task, LINE("-x"), &arguments, &help, &err), OUTCOME_USAGE);
        ck_assert_int_eq(parse(&task, LINE("a", "b"), &arguments, &help, &err), OUTCOME_USAGE);
        ck_assert_str_eq(wla_error_text(&err), "'b' is one word too many");
        ck_assert_int_eq(parse(&plain, LINE("-j"), &arguments, &help, &err), OUTCOME_USAGE);
}
END_TEST

START_TEST(words_end_the_options) {
        struct wla_error err = {0};
        struct arguments arguments;
        bool help = false;

        ck_assert_int_eq(
                parse(&words, LINE("--json", "sub", "--output", "x"), &arguments, &help, &err),
                OUTCOME_OK);
        ck_assert_str_eq(arguments.words[0], "sub");
        ck_assert_str_eq(arguments.words[1], "--output");
        ck_assert_str_eq(arguments.words[2], "x");
        ck_assert_ptr_null(arguments.words[3]);
        ck_assert_ptr_null(arguments.option[OUTPUT]);
}
END_TEST

START_TEST(help_comes_first) {
        struct wla_error err = {0};
        struct arguments arguments;
        bool help = false;

        ck_assert_int_eq(parse(&key, LINE("--help"), &arguments, &help, &err), OUTCOME_OK);
        ck_assert(help);
        help = false;
        ck_assert_int_eq(parse(&plain, LINE("-h"), &arguments, &help, &err), OUTCOME_OK);
        ck_assert(help);
}
END_TEST

static void expect_usage(const struct command *command, const char *const *line, const char *text) {
        struct wla_error err = {0};
        struct arguments arguments;
        bool help = false;

        ck_assert_int_eq(parse(command, line, &arguments, &help, &err), OUTCOME_USAGE);
        ck_assert_str_eq(wla_error_text(&err), text);
}

START_TEST(each_mistake_has_its_text) {
        expect_usage(&plain, LINE("--jason"), "there is no option --jason here");
        expect_usage(&plain, LINE("-x"), "there is no option -x here");
        expect_usage(&plain, LINE("--json=yes"), "there is no option --json=yes here");
        expect_usage(&plain, LINE("--output"), "option --output needs a value");
        expect_usage(&plain, LINE("--json", "--json"), "option --json is given twice");
        expect_usage(&plain, LINE("word"), "'word' is one word too many");
        expect_usage(&key, LINE("web-1", "web-2"), "'web-2' is one word too many");
        expect_usage(&key, LINE("--json"), "the name of the key is missing");
        expect_usage(&file, ((const char *const[]){"command", NULL}), "the file is missing");
        expect_usage(&key, LINE("../web-1"), "'../web-1' is not a key name");
        expect_usage(&key, LINE(""), "'' is not a key name");
        expect_usage(&key, LINE(".hidden"), "'.hidden' is not a key name");
        expect_usage(&key, LINE("web/1"), "'web/1' is not a key name");
}
END_TEST

SUITE_MAIN("arguments", takes_options_and_operand_in_any_order,
           letters_and_an_operand_that_may_be_missing, words_end_the_options, help_comes_first,
           each_mistake_has_its_text)
