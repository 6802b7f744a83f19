/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_plan.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define CREDENTIALS_DIRECTORY "/etc/credstore.encrypted/"

static const char *const change_words[_MIGRATE_CHANGE_MAX] = {
        [MIGRATE_WRITE] = "write",
        [MIGRATE_REMOVE] = "remove",
        [MIGRATE_ACCESS] = "access",
        [MIGRATE_CREDENTIAL] = "credential",
};

static const struct {
        const char *word; /* in JSON */
        const char *title;
} note_kinds[_MIGRATE_NOTE_MAX] = {
        [MIGRATE_BLOCKS] = {"problems", "to be mended first"},
        [MIGRATE_BY_HAND] = {"by_hand", "by hand"},
        [MIGRATE_DROPPED] = {"dropped", "without a counterpart"},
        [MIGRATE_KEPT] = {"kept", "stays as it is"},
};

static int fail_memory(struct wla_error *err) {
        return wla_fail(err, WLA_E_BUSY, "out of memory");
}

static void change_done(struct migrate_change *change) {
        file_freep(&change->path);
        file_freep(&change->why);
        file_freep(&change->text);
}

void migrate_plan_done(struct migrate_plan *plan) {
        for (size_t i = 0; i < plan->change_count; i++)
                change_done(&plan->changes[i]);
        for (size_t i = 0; i < plan->note_count; i++) {
                file_freep(&plan->notes[i].subject);
                file_freep(&plan->notes[i].text);
        }
        file_freep(&plan->changes);
        file_freep(&plan->notes);
        *plan = (struct migrate_plan){0};
}

/* Takes over what change holds, also when it fails. */
static int add_change(struct migrate_plan *plan, struct migrate_change *change,
                      struct wla_error *err) {
        struct migrate_change *grown = NULL;

        if (change->path && change->why)
                grown = reallocarray(plan->changes, plan->change_count + 1, sizeof(*grown));
        if (!grown) {
                change_done(change);
                return fail_memory(err);
        }
        plan->changes = grown;
        plan->changes[plan->change_count++] = *change;
        return 0;
}

int migrate_plan_write(struct migrate_plan *plan, const char *path, const char *text, mode_t mode,
                       const char *why, struct wla_error *err) {
        struct migrate_change change = {
                .kind = MIGRATE_WRITE,
                .path = strdup(path),
                .why = strdup(why),
                .text = strdup(text),
                .mode = mode,
        };

        if (!change.text) {
                change_done(&change);
                return fail_memory(err);
        }
        return add_change(plan, &change, err);
}

int migrate_plan_remove(struct migrate_plan *plan, const char *path, const char *why,
                        struct wla_error *err) {
        struct migrate_change change = {
                .kind = MIGRATE_REMOVE,
                .path = strdup(path),
                .why = strdup(why),
        };

        return add_change(plan, &change, err);
}

int migrate_plan_access(struct migrate_plan *plan, const char *path,
                        const struct migrate_access *access, const char *why,
                        struct wla_error *err) {
        struct migrate_change change = {
                .kind = MIGRATE_ACCESS,
                .path = strdup(path),
                .why = strdup(why),
                .mode = access->mode,
                .uid = access->uid,
                .gid = access->gid,
        };

        return add_change(plan, &change, err);
}

int migrate_plan_credential(struct migrate_plan *plan, const char *name,
                            const struct wla_secret *secret, const char *why,
                            struct wla_error *err) {
        struct migrate_change change = {
                .kind = MIGRATE_CREDENTIAL,
                .why = strdup(why),
                .credential = name,
                .secret = secret,
        };

        if (asprintf(&change.path, CREDENTIALS_DIRECTORY "%s", name) < 0)
                change.path = NULL;
        return add_change(plan, &change, err);
}

/* Names of files may hold what a terminal obeys. */
static void make_printable(char *text) {
        for (; text && *text; text++)
                if ((unsigned char)*text < ' ' || *text == 0x7f)
                        *text = '?';
}

int migrate_plan_note(struct migrate_plan *plan, struct wla_error *err, enum migrate_note_kind kind,
                      const char *subject, const char *format, ...) {
        struct migrate_note note = {.kind = kind, .subject = strdup(subject)};
        struct migrate_note *grown = NULL;
        va_list args;

        va_start(args, format);
        if (vasprintf(&note.text, format, args) < 0)
                note.text = NULL;
        va_end(args);
        make_printable(note.subject);
        make_printable(note.text);

        if (note.subject && note.text)
                grown = reallocarray(plan->notes, plan->note_count + 1, sizeof(*grown));
        if (!grown) {
                file_freep(&note.subject);
                file_freep(&note.text);
                return fail_memory(err);
        }
        plan->notes = grown;
        plan->notes[plan->note_count++] = note;
        plan->blocks += kind == MIGRATE_BLOCKS ? 1 : 0;
        return 0;
}

/* The file's text, indented; comments are for its readers. */
static void print_content(const char *text) {
        while (*text) {
                size_t size = strcspn(text, "\n");

                if (size > 0 && text[0] != '#')
                        (void)printf("                | %.*s\n", (int)size, text);
                text += size + (text[size] == '\n' ? 1 : 0);
        }
}

static void print_change(const struct migrate_change *change) {
        (void)printf("  %-12s  %s\n                %s\n", change_words[change->kind], change->path,
                     change->why);
        if (change->kind == MIGRATE_ACCESS)
                (void)printf("                owner %u:%u, mode %04o\n", change->uid, change->gid,
                             change->mode);
        if (change->text)
                print_content(change->text);
}

void migrate_plan_print(const struct migrate_plan *plan) {
        (void)printf("%s\n", plan->change_count > 0 ? "changes" : "nothing to change");
        for (size_t i = 0; i < plan->change_count; i++)
                print_change(&plan->changes[i]);

        for (size_t kind = 0; kind < _MIGRATE_NOTE_MAX; kind++) {
                bool titled = false;

                for (size_t i = 0; i < plan->note_count; i++) {
                        const struct migrate_note *note = &plan->notes[i];

                        if (note->kind != kind)
                                continue;
                        if (!titled)
                                (void)printf("\n%s\n", note_kinds[kind].title);
                        titled = true;
                        (void)printf("  %s\n                %s\n", note->subject, note->text);
                }
        }
}

static void write_change(const struct migrate_change *change, struct json_writer *to) {
        char mode[8];

        json_open_object(to, NULL);
        json_put_text(to, "action", change_words[change->kind]);
        json_put_text(to, "path", change->path);
        json_put_text(to, "why", change->why);
        if (change->credential)
                json_put_text(to, "credential", change->credential);
        if (change->text)
                json_put_text(to, "content", change->text);
        if (change->kind == MIGRATE_ACCESS) {
                (void)snprintf(mode, sizeof(mode), "%04o", change->mode & 07777);
                json_put_number(to, "uid", change->uid);
                json_put_number(to, "gid", change->gid);
                json_put_text(to, "mode", mode);
        }
        json_close_object(to);
}

void migrate_plan_write_json(const struct migrate_plan *plan, struct json_writer *to) {
        json_open_array(to, "changes");
        for (size_t i = 0; i < plan->change_count; i++)
                write_change(&plan->changes[i], to);
        json_close_array(to);

        for (size_t kind = 0; kind < _MIGRATE_NOTE_MAX; kind++) {
                json_open_array(to, note_kinds[kind].word);
                for (size_t i = 0; i < plan->note_count; i++) {
                        const struct migrate_note *note = &plan->notes[i];

                        if (note->kind != kind)
                                continue;
                        json_open_object(to, NULL);
                        json_put_text(to, "subject", note->subject);
                        json_put_text(to, "text", note->text);
                        json_close_object(to);
                }
                json_close_array(to);
        }
}
