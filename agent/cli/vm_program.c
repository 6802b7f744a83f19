/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vm_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/vm.h"

#define PROGRAM        "wlagent-vm"
#define ARGUMENT_LIMIT (64u * 1024u)
/* --config=FILE, vm, the command, each option, --, the operand, with the program's name and a NULL. */
#define WORDS_MAX (7u + COMMAND_OPTIONS_MAX)

static const char hint_install[] =
        "install wlagent from a build without -Dlibvirt=disabled; only 'wlagent vm' needs it";

/* One word a string; they lie behind each other in text. */
struct command_line {
        struct buf *text;
        size_t at[WORDS_MAX];
        size_t count;
};

static int add_word(struct command_line *line, const char *word, struct wla_error *err) {
        line->at[line->count++] = line->text->size;
        return buf_append(line->text, word, strlen(word) + 1, err);
}

static int add_option(struct command_line *line, const struct command_option *option,
                      const char *value, struct wla_error *err) {
        line->at[line->count++] = line->text->size;
        if (buf_printf(line->text, err, "--%s%s", option->name, option->value ? "=" : "") < 0)
                return -1;
        return buf_append(line->text, value, strlen(value) + 1, err);
}

static int write_command_line(const struct invocation *invocation, const struct command *command,
                              const struct arguments *arguments, struct command_line *line,
                              struct wla_error *err) {
        if (add_word(line, PROGRAM, err) < 0 ||
            (invocation->config_path && add_option(line, &program_options[PROGRAM_CONFIG],
                                                   invocation->config_path, err) < 0) ||
            add_word(line, command_vm.name, err) < 0 || add_word(line, command->name, err) < 0)
                return -1;

        for (size_t i = 0; command->options && command->options[i].name; i++)
                if (arguments->option[i] &&
                    add_option(line, &command->options[i], arguments->option[i], err) < 0)
                        return -1;

        if (arguments->operand &&
            (add_word(line, "--", err) < 0 || add_word(line, arguments->operand, err) < 0))
                return -1;
        return 0;
}

void vm_program_become(const struct invocation *invocation, const struct command *command,
                       const struct arguments *arguments, struct wla_error *err) {
        _cleanup_buf_ struct buf path = BUF_WITH_LIMIT(ARGUMENT_LIMIT);
        _cleanup_buf_ struct buf words = BUF_WITH_LIMIT(ARGUMENT_LIMIT);
        struct command_line line = {.text = &words};
        const char *directory = secure_getenv("WLAGENT_LIBEXEC");
        char *argv[WORDS_MAX] = {0};

        if (write_command_line(invocation, command, arguments, &line, err) < 0 ||
            buf_printf(&path, err, "%s/%s", directory ? directory : LIBEXEC_DIRECTORY, PROGRAM) < 0)
                return;
        const char *program = buf_text(&path, err);
        if (!program)
                return;

        for (size_t i = 0; i < line.count; i++)
                argv[i] = (char *)words.data + line.at[i];
        (void)execv(program, argv);

        if (errno == ENOENT)
                wla_error_set(err, WLA_E_NOT_FOUND, hint_install, "%s is not installed", program);
        else
                wla_error_set_errno(err, errno, "running %s", program);
}

static enum outcome become(struct invocation *invocation, const struct command *command,
                           const struct arguments *arguments, struct wla_error *err) {
        vm_program_become(invocation, command, arguments, err);
        return OUTCOME_FAILED;
}

enum outcome vm_protect(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        return become(invocation, &command_vm_protect, arguments, err);
}

enum outcome vm_unprotect(struct invocation *invocation, const struct arguments *arguments,
                          struct wla_error *err) {
        return become(invocation, &command_vm_unprotect, arguments, err);
}

enum outcome vm_list(struct invocation *invocation, const struct arguments *arguments,
                     struct wla_error *err) {
        return become(invocation, &command_vm_list, arguments, err);
}

enum outcome vm_reconcile(struct invocation *invocation, const struct arguments *arguments,
                          struct wla_error *err) {
        return become(invocation, &command_vm_reconcile, arguments, err);
}

enum outcome vm_names(struct invocation *invocation, const struct arguments *arguments,
                      struct wla_error *err) {
        return become(invocation, &command_vm_names, arguments, err);
}
