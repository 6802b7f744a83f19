/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include "cli/migrate.h"

/* Intel's hook is a short shell script that runs "wlagent prepare-vm", "start-vm" and "stop-vm".  Its releases
 * differ, so it is known by its vocabulary: every command in it is one of these.  A script that runs anything
 * else has been written by the site, or added to.  Where this reader does not follow a script, it is not
 * Intel's either. */

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define BLANKS  " \t"
#define ENDS    " \t;|&`()\n"

/* Behind these another command begins. */
static const char *const keywords[] = {"if", "elif", "then", "else", "while", "until", "do", "!"};

static const char intel_command[] = INTEL_COMMAND;
static const char intel_program[] = INTEL_PROGRAM;

static const char *const commands[] = {
        "wlagent", intel_command, intel_program, "xmlstarlet", "xmllint", "[",     "[[",
        "case",    "esac",        "for",         "fi",         "done",    "exit",  "return",
        "echo",    "cat",         "date",        "rm",         "logger",  "set",   "read",
        "local",   "export",      "shift",       "true",       "false",   "sleep",
};

static bool is_one_of(const char *word, size_t size, const char *const *list, size_t count) {
        for (size_t i = 0; i < count; i++)
                if (strlen(list[i]) == size && strncmp(word, list[i], size) == 0)
                        return true;
        return false;
}

/* NAME=VALUE, and no command that it would be set for. */
static bool is_assignment(const char *at) {
        size_t name = strspn(at, LETTERS);

        if (name == 0 || at[name] != '=')
                return false;
        for (at += name + 1; *at != '\0' && !strchr(" \t\n;|&", *at); at++) {
                char end = *at == '$' && at[1] == '(' ? ')' : *at;

                if (!strchr("\"'`)", end))
                        continue;
                const char *closing = strchr(at + 1, end);
                if (!closing || closing - at > (ptrdiff_t)strcspn(at, "\n"))
                        return false;
                at = closing;
        }
        at += strspn(at, BLANKS);
        return *at == '\0' || strchr("\n;|&#", *at);
}

/* The pattern of a case in front of its commands. */
static const char *behind_pattern(const char *line) {
        size_t size = strspn(line, LETTERS "-*|\" ");

        return size > 0 && line[size] == ')' ? line + size + 1 : line;
}

/* The command that begins here, NAME=VALUE, or nothing. */
static bool is_known_command(const char *at) {
        for (;;) {
                at += strspn(at, BLANKS);
                size_t size = strcspn(at, ENDS);

                if (size == 0)
                        return *at != '(' && *at != '`';
                if (is_one_of(at, size, keywords, sizeof(keywords) / sizeof(keywords[0]))) {
                        at += size;
                        continue;
                }
                return is_one_of(at, size, commands, sizeof(commands) / sizeof(commands[0])) ||
                       is_assignment(at);
        }
}

/* Whether a command begins behind character i; redirections have '&' as well. */
static bool separates(const char *line, size_t i, bool *quoted) {
        switch (line[i]) {
        case '`':
                *quoted = !*quoted;
                return *quoted;
        case ';':
        case '|':
                return line[i + 1] != line[i];
        case '&':
                return line[i + 1] != '&' && line[i + 1] != '>' && (i == 0 || line[i - 1] != '>');
        case '(':
                return i > 0 && line[i - 1] == '$';
        default:
                return false;
        }
}

static bool is_known_line(const char *line, size_t size) {
        bool quoted = false;

        const char *first = behind_pattern(line);
        if (!is_known_command(first))
                return false;
        for (size_t i = (size_t)(first - line); i < size; i++)
                if (separates(line, i, &quoted) && !is_known_command(line + i + 1))
                        return false;
        return true;
}

bool migrate_is_intel_hook(const char *text, bool *ret_calls) {
        bool known = strncmp(text, "#!", 2) == 0;

        *ret_calls = strstr(text, "wlagent") &&
                     (strstr(text, "start-vm") || strstr(text, "prepare-vm") ||
                      strstr(text, "stop-vm"));
        for (const char *line = text; *line;) {
                line += strspn(line, BLANKS);
                size_t size = strcspn(line, "\n");

                if (line[0] != '#' && !is_known_line(line, size))
                        known = false;
                line += size + (line[size] == '\n' ? 1 : 0);
        }
        return known && *ret_calls;
}
