/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include "cli/migrate.h"

/* Intel's hook is a short shell script that runs "wlagent prepare-vm", "start-vm" and "stop-vm".  Its releases
 * differ, so it is known by what all of it does: look at the operation, call Intel's agent, write to its log.
 * A script that could have any other effect has been written by the site, or added to.  Where this reader does
 * not follow a script, it is not Intel's either: what is lost then is that the hook goes by itself. */

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define DIGITS  "0123456789"
#define BLANKS  " \t"
#define QUOTES  "\"'"
#define ENDS    " \t;|&`()\n"

/* Behind these another command begins. */
static const char *const keywords[] = {"if", "elif", "then", "else", "!", NULL};

/* None of them changes anything, whatever stands behind it; redirections are looked at by themselves. */
static const char *const harmless[] = {"esac", "fi", "exit", "echo", "cat", "true", NULL};

static const char *const agents[] = {"wlagent", INTEL_COMMAND, INTEL_PROGRAM, NULL};
static const char *const agent_words[] = {"prepare-vm", "start-vm", "stop-vm", NULL};

/* Which operation it is, and whether the agent has failed: a condition about anything else, as the name of the
 * VM, would be a rule of the site. */
static const char *const conditions[] = {
        "$2", "${2}", "$?",      "=",     "==",      "!=",   "-eq",     "-ne", "-a",
        "-o", "&&",   "||",      "0",     "1",       "-z",   "-n",      "*",   "|",
        "#",  "!",    "prepare", "start", "started", "stop", "stopped", NULL,
};

static const char *const logs[] = {"/var/log/workload-agent/", "/var/log/workloadagent/", NULL};

static bool is_one_of(const char *word, size_t size, const char *const *list) {
        for (; *list; list++)
                if (strlen(*list) == size && strncmp(word, *list, size) == 0)
                        return true;
        return false;
}

/* The next word behind blanks, without quotes around it; false at the end of the line, or where none begins. */
static bool next_word(const char **at, const char **ret_word, size_t *ret_size) {
        const char *word = *at + strspn(*at, BLANKS);
        char quote = *word == '"' || *word == '\'' ? *word : '\0';
        const char stop[] = {quote, '\n', '\0'};
        size_t size = quote ? strcspn(word + 1, stop) : strcspn(word, BLANKS ";)\n");

        if (quote && word[1 + size] != quote)
                return false;
        *ret_word = word + (quote ? 1 : 0);
        *ret_size = size;
        *at = *ret_word + size + (quote ? 1 : 0);
        return size > 0;
}

/* Behind "[", "[[" or "case". */
static bool is_known_condition(const char *at, bool is_case) {
        const char *word;
        size_t size;

        while (next_word(&at, &word, &size)) {
                if (is_case && size == 2 && strncmp(word, "in", size) == 0) {
                        at += strspn(at, BLANKS);
                        return *at == '\n' || *at == '\0' || *at == '#';
                }
                if (!is_case && (strncmp(word, "]", size) == 0 || strncmp(word, "]]", size) == 0))
                        return true;
                if (!is_one_of(word, size, conditions))
                        return false;
        }
        return false;
}

/* "date" can also set the clock. */
static bool is_plain_date(const char *at) {
        at += strspn(at, BLANKS);
        if (*at == '\0' || strchr(";|&`)#\n", *at))
                return true;
        at += strspn(at, QUOTES);
        if (*at != '+')
                return false;
        at += 1 + strspn(at + 1, LETTERS "%-_:./");
        at += strspn(at, QUOTES);
        return *at == '\0' || strchr(";|&`)\n", *at);
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

/* A command, and what stands behind it as far as that makes the difference. */
static bool has_known_effect(const char *word, size_t size) {
        const char *at = word + size;
        const char *next;
        size_t length;

        if (is_one_of(word, size, harmless) || is_assignment(word))
                return true;
        if (size == 1 && *word == '[')
                return is_known_condition(at, false);
        if (size == 2 && strncmp(word, "[[", size) == 0)
                return is_known_condition(at, false);
        if (size == 4 && strncmp(word, "case", size) == 0)
                return is_known_condition(at, true);
        if (size == 4 && strncmp(word, "date", size) == 0)
                return is_plain_date(at);
        if (!next_word(&at, &next, &length))
                return false;
        if (is_one_of(word, size, agents))
                return is_one_of(next, length, agent_words);
        return size == 10 && strncmp(word, "xmlstarlet", size) == 0 && length == 3 &&
               strncmp(next, "sel", length) == 0;
}

/* The command that begins here, or nothing. */
static bool is_known_command(const char *at) {
        for (;;) {
                at += strspn(at, BLANKS);
                size_t size = strcspn(at, ENDS);

                if (size == 0)
                        return *at != '(' && *at != '`';
                if (*at == '#')
                        return true;
                if (!is_one_of(at, size, keywords))
                        return has_known_effect(at, size);
                at += size;
        }
}

/* The pattern of a case in front of its commands; NULL: one that is not of Intel's. */
static const char *behind_pattern(const char *line) {
        size_t size = strspn(line, LETTERS "-*|\" ");
        const char *at = line;

        if (size == 0 || line[size] != ')')
                return line;
        while (at < line + size) {
                at += strspn(at, "\"| ");
                size_t length = strcspn(at, "\"| )");

                if (length > 0 && !is_one_of(at, length, conditions))
                        return NULL;
                at += length;
        }
        return line + size + 1;
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

/* A file where Intel's agent keeps its logs, and nothing behind it. */
static bool is_log(const char *at) {
        at += *at == '"' || *at == '\'' ? 1 : 0;
        for (size_t i = 0; logs[i]; i++) {
                const char *name = at + strlen(logs[i]);

                if (strncmp(at, logs[i], strlen(logs[i])) != 0)
                        continue;
                size_t size = strspn(name, LETTERS ".-");
                const char *end = name + size;
                end += *end == '"' || *end == '\'' ? 1 : 0;
                return size > 0 && name[0] != '.' && (*end == '\0' || strchr(ENDS, *end));
        }
        return false;
}

/* Whether each NAME=VALUE of a script gives it a log, and there is one. */
static bool is_name_of_log(const char *text, const char *name, size_t size) {
        bool is = false;

        for (const char *at = text; (at = strchr(at, '=')); at++) {
                if ((size_t)(at - text) <= size || strncmp(at - size, name, size) != 0 ||
                    strchr(LETTERS, at[-(ptrdiff_t)size - 1]))
                        continue;
                if (!is_log(at + 1))
                        return false;
                is = true;
        }
        return is;
}

/* Behind '>' and what follows it. */
static bool is_known_target(const char *text, const char *at) {
        static const char null[] = "/dev/null";

        if (*at == '&' && strchr(DIGITS, at[1]) && at[1] != '\0')
                return at[2] == '\0' || strchr(ENDS, at[2]);
        at += *at == '>' || *at == '&' ? 1 : 0;
        at += strspn(at, BLANKS);
        if (strncmp(at, null, strlen(null)) == 0)
                return at[strlen(null)] == '\0' || strchr(ENDS, at[strlen(null)]);
        if (is_log(at))
                return true;

        at += *at == '"' ? 1 : 0;
        if (*at++ != '$')
                return false;
        bool braces = *at == '{';
        at += braces ? 1 : 0;
        const char *name = at;
        size_t size = strspn(name, LETTERS);
        at += size;
        if (size == 0 || (braces && *at++ != '}'))
                return false;
        at += *at == '"' ? 1 : 0;
        return (*at == '\0' || strchr(ENDS, *at)) && is_name_of_log(text, name, size);
}

static bool redirects_as_known(const char *text, const char *line, size_t size) {
        for (size_t i = 0; i < size; i++) {
                if (line[i] == '<')
                        return false;
                if (line[i] != '>')
                        continue;
                if (!is_known_target(text, line + i + 1))
                        return false;
                i += line[i + 1] == '>' ? 1 : 0;
        }
        return true;
}

/* What goes on in the next line is not followed. */
static bool ends_in_itself(const char *line, size_t size) {
        unsigned quotes[2] = {0};

        for (size_t i = 0; i < size; i++) {
                quotes[0] += line[i] == '"' ? 1 : 0;
                quotes[1] += line[i] == '\'' ? 1 : 0;
        }
        return quotes[0] % 2 == 0 && quotes[1] % 2 == 0 && (size == 0 || line[size - 1] != '\\');
}

static bool is_known_line(const char *text, const char *line, size_t size) {
        const char *first = behind_pattern(line);
        bool quoted = false;

        if (!first || !ends_in_itself(line, size) || !redirects_as_known(text, line, size) ||
            !is_known_command(first))
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

                if (line[0] != '#' && !is_known_line(text, line, size))
                        known = false;
                line += size + (line[size] == '\n' ? 1 : 0);
        }
        return known && *ret_calls;
}
