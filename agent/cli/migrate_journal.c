/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/json_object.h"
#include "cli/migrate_put.h"

#define JOURNAL      "journal.json"
#define JOURNAL_MAX  (512u * 1024u)
#define COPY_MAX     (256u * 1024u)
#define BACKUP_MODE  0700
#define PRIVATE_MODE 0600
#define BITS         07777

static const char *const kind_words[_MIGRATE_WAS_MAX] = {
        [MIGRATE_WAS_ABSENT] = "absent",
        [MIGRATE_WAS_FILE] = "file",
        [MIGRATE_WAS_LINK] = "link",
        [MIGRATE_WAS_DIRECTORY] = "directory",
};

static const char hint_damaged[] =
        "the files beside it are what was replaced; put them back by hand";

static void original_done(struct migrate_original *original) {
        file_freep(&original->path);
        file_freep(&original->target);
}

void migrate_journal_done(struct migrate_journal *journal) {
        for (size_t i = 0; i < journal->count; i++)
                original_done(&journal->originals[i]);
        file_freep(&journal->originals);
        file_closep(&journal->fd);
        *journal = MIGRATE_JOURNAL_CLOSED;
}

static void copy_name(size_t i, char to[static 32]) {
        (void)snprintf(to, 32, MIGRATE_COPY, i);
}

/* Takes over what original holds, also when it fails. */
static int add(struct migrate_journal *journal, struct migrate_original *original,
               struct wla_error *err) {
        struct migrate_original *grown = NULL;

        if (journal->count == MIGRATE_ORIGINALS_MAX) {
                original_done(original);
                return wla_fail(err, WLA_E_INPUT, "more than %u files to change",
                                MIGRATE_ORIGINALS_MAX);
        }
        if (original->path)
                grown = reallocarray(journal->originals, journal->count + 1, sizeof(*grown));
        if (!grown) {
                original_done(original);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        journal->originals = grown;
        journal->originals[journal->count++] = *original;
        return 0;
}

static struct migrate_original *find(const struct migrate_journal *journal, const char *path) {
        for (size_t i = 0; i < journal->count; i++)
                if (strcmp(journal->originals[i].path, path) == 0)
                        return &journal->originals[i];
        return NULL;
}

static int copy_content(const struct migrate_journal *journal, const char *path, size_t i,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(COPY_MAX);
        char name[32];

        copy_name(i, name);
        if (host_root_read(journal->root, path, &content, err) < 0)
                return -1;
        return file_write(journal->fd, name, content.data, content.size, PRIVATE_MODE, true, err);
}

/* What is there; a copy is on the disk before this returns. */
static int note(struct migrate_journal *journal, const char *path, bool content,
                struct wla_error *err) {
        struct migrate_original original = {0};
        struct wla_error why = {0};
        struct stat facts = {0};
        char target[PATH_MAX];

        if (host_root_stat(journal->root, path, &facts, &why) == 0) {
                if (S_ISREG(facts.st_mode))
                        original.kind = MIGRATE_WAS_FILE;
                else if (S_ISDIR(facts.st_mode))
                        original.kind = MIGRATE_WAS_DIRECTORY;
                else if (S_ISLNK(facts.st_mode))
                        original.kind = MIGRATE_WAS_LINK;
                else
                        return wla_fail(err, WLA_E_INPUT, "%s is no file, directory or link", path);
        } else if (why.code != WLA_E_NOT_FOUND) {
                *err = why;
                return -1;
        }

        if (original.kind == MIGRATE_WAS_LINK) {
                if (host_root_link(journal->root, path, target, err) < 0)
                        return -1;
                original.target = strdup(target);
                if (!original.target)
                        return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        original.copied = content && original.kind == MIGRATE_WAS_FILE;
        original.uid = facts.st_uid;
        original.gid = facts.st_gid;
        original.mode = facts.st_mode & BITS;
        original.changed = facts.st_mtim;
        if ((original.copied && copy_content(journal, path, journal->count, err) < 0) ||
            migrate_state_read(journal->root, path, original.left, err) < 0) {
                original_done(&original);
                return -1;
        }
        original.path = strdup(path);
        return add(journal, &original, err);
}

int migrate_journal_keep(struct migrate_journal *journal, const char *path, bool content,
                         struct wla_error *err) {
        char parent[PATH_MAX];

        for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
                if (!strchr(parent + 1, '/') || host_root_exists(journal->root, parent))
                        continue;
                if ((!find(journal, parent) && note(journal, parent, false, err) < 0) ||
                    migrate_journal_expect(journal, parent, MIGRATE_STATE_DIRECTORY, err) < 0)
                        return -1;
        }
        return find(journal, path) ? 0 : note(journal, path, content, err);
}

/* What is there now is going to be replaced whoever has made it, so it counts as left by an --apply. */
int migrate_journal_expect(struct migrate_journal *journal, const char *path, const char *next,
                           struct wla_error *err) {
        struct migrate_original *original = find(journal, path);

        if (!original)
                return wla_fail(err, WLA_E_SYSTEM, "%s is not noted", path);
        (void)snprintf(original->next, sizeof(original->next), "%s", next);
        return migrate_state_read(journal->root, path, original->left, err);
}

int migrate_journal_settle(struct migrate_journal *journal, struct wla_error *err) {
        for (size_t i = 0; i < journal->count; i++) {
                struct migrate_original *original = &journal->originals[i];

                if (strcmp(original->next, MIGRATE_STATE_ANY) == 0) {
                        if (migrate_state_read(journal->root, original->path, original->left, err) <
                            0)
                                return -1;
                } else if (original->next[0] != '\0') {
                        memcpy(original->left, original->next, sizeof(original->left));
                }
                original->next[0] = '\0';
        }
        return 0;
}

static int write_original(const struct migrate_original *original, struct buf *to,
                          struct wla_error *err) {
        const char *target = original->target ? original->target : "";

        if (buf_append_text(to, "{\"path\":", err) < 0 ||
            json_write_string(to, original->path, strlen(original->path), err) < 0 ||
            buf_printf(to, err,
                       ",\"kind\":\"%s\",\"uid\":%ju,\"gid\":%ju,\"mode\":%ju,\"seconds\":%ju,"
                       "\"nanoseconds\":%ju,\"copied\":%u,\"target\":\"",
                       kind_words[original->kind], (uintmax_t)original->uid,
                       (uintmax_t)original->gid, (uintmax_t)original->mode,
                       (uintmax_t)original->changed.tv_sec, (uintmax_t)original->changed.tv_nsec,
                       original->copied ? 1u : 0u) < 0 ||
            base64_append(to, (const uint8_t *)target, strlen(target), err) < 0)
                return -1;
        return buf_printf(to, err, "\",\"left\":\"%s\",\"next\":\"%s\"}", original->left,
                          original->next);
}

int migrate_journal_save(const struct migrate_journal *journal, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(JOURNAL_MAX);

        if (buf_printf(&text, err, "{\"version\":1,\"complete\":%u,\"service_ran\":%u,\"files\":[",
                       journal->complete ? 1u : 0u, journal->service_ran ? 1u : 0u) < 0)
                return -1;
        for (size_t i = 0; i < journal->count; i++)
                if (buf_append_text(&text, i > 0 ? ",\n" : "\n", err) < 0 ||
                    write_original(&journal->originals[i], &text, err) < 0)
                        return -1;
        if (buf_append_text(&text, "]}\n", err) < 0)
                return -1;
        if (file_write(journal->fd, JOURNAL, text.data, text.size, PRIVATE_MODE, true, err) < 0)
                return wla_wrap(err, MIGRATE_BACKUP);
        return 0;
}

static int read_bool(const struct json_value *value, bool *ret, struct wla_error *err) {
        uint64_t number;

        if (json_unsigned(value, 1, &number, err) < 0)
                return -1;
        *ret = number == 1;
        return 0;
}

static int read_kind(const struct json_value *value, enum migrate_original_kind *ret,
                     struct wla_error *err) {
        for (unsigned kind = 0; kind < _MIGRATE_WAS_MAX; kind++)
                if (json_string_is(value, kind_words[kind])) {
                        *ret = kind;
                        return 0;
                }
        return wla_fail(err, WLA_E_INPUT, "an unknown kind");
}

static int read_target(const struct json_value *value, struct migrate_original *original,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf target = BUF_WITH_LIMIT(PATH_MAX);

        if (original->kind != MIGRATE_WAS_LINK)
                return 0;
        if (value->size < 2 || base64_decode(value->text + 1, value->size - 2, &target, err) < 0)
                return wla_fail(err, WLA_E_INPUT, "no target of a link");
        const char *text = buf_text(&target, err);
        if (!text)
                return -1;
        original->target = strdup(text);
        return original->target ? 0 : wla_fail(err, WLA_E_BUSY, "out of memory");
}

static int read_original(struct migrate_journal *journal, const struct json_value *object,
                         struct wla_error *err) {
        struct json_value path, kind, uid, gid, mode, seconds, nanoseconds, copied, target, left,
                next;
        const struct json_field fields[] = {
                {"path", &path, JSON_STRING, false},
                {"kind", &kind, JSON_STRING, false},
                {"uid", &uid, JSON_NUMBER, false},
                {"gid", &gid, JSON_NUMBER, false},
                {"mode", &mode, JSON_NUMBER, false},
                {"seconds", &seconds, JSON_NUMBER, false},
                {"nanoseconds", &nanoseconds, JSON_NUMBER, false},
                {"copied", &copied, JSON_NUMBER, false},
                {"target", &target, JSON_STRING, false},
                {"left", &left, JSON_STRING, false},
                {"next", &next, JSON_STRING, false},
        };
        struct migrate_original original = {0};
        uint64_t numbers[5];
        char text[PATH_MAX];

        if (json_read_object(object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            json_string_copy(&path, text, sizeof(text), err) < 0 ||
            read_kind(&kind, &original.kind, err) < 0 ||
            json_unsigned(&uid, UINT32_MAX, &numbers[0], err) < 0 ||
            json_unsigned(&gid, UINT32_MAX, &numbers[1], err) < 0 ||
            json_unsigned(&mode, BITS, &numbers[2], err) < 0 ||
            json_unsigned(&seconds, INT64_MAX, &numbers[3], err) < 0 ||
            json_unsigned(&nanoseconds, 999999999, &numbers[4], err) < 0 ||
            read_bool(&copied, &original.copied, err) < 0 ||
            json_string_copy(&left, original.left, sizeof(original.left), err) < 0 ||
            json_string_copy(&next, original.next, sizeof(original.next), err) < 0 ||
            read_target(&target, &original, err) < 0)
                return -1;

        original.uid = (uid_t)numbers[0];
        original.gid = (gid_t)numbers[1];
        original.mode = (mode_t)numbers[2];
        original.changed = (struct timespec){.tv_sec = (time_t)numbers[3],
                                             .tv_nsec = (long)numbers[4]};
        original.path = strdup(text);
        return add(journal, &original, err);
}

static int read_journal(struct migrate_journal *journal, const struct buf *text,
                        struct wla_error *err) {
        struct json_value object, version, complete, service_ran, files, file;
        const struct json_field fields[] = {
                {"version", &version, JSON_NUMBER, false},
                {"complete", &complete, JSON_NUMBER, false},
                {"service_ran", &service_ran, JSON_NUMBER, false},
                {"files", &files, JSON_ARRAY, false},
        };
        uint64_t number;

        if (json_check((const char *)text->data, text->size, &object, err) < 0 ||
            json_read_object(&object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            json_unsigned(&version, 1, &number, err) < 0 ||
            read_bool(&complete, &journal->complete, err) < 0 ||
            read_bool(&service_ran, &journal->service_ran, err) < 0)
                return -1;
        for (size_t at = 0; json_next_element(&files, &at, &file);)
                if (read_original(journal, &file, err) < 0)
                        return -1;
        return 0;
}

static int check_backup(int fd, struct wla_error *err) {
        struct stat facts;

        if (fstat(fd, &facts) < 0)
                return wla_fail_errno(err, errno, "cannot examine " MIGRATE_BACKUP);
        if (facts.st_uid != geteuid() || (facts.st_mode & (S_IRWXG | S_IRWXO)))
                return wla_fail_hint(err, WLA_E_DENIED,
                                     "find out who made it; it has to be root's, with mode 0700",
                                     MIGRATE_BACKUP " is open to others than root");
        return 0;
}

static int open_backup(const struct host_root *root, bool make, int *ret, struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        const char *name;

        if (make && migrate_put_parents(root, MIGRATE_BACKUP, err) < 0)
                return -1;
        if (host_root_parent(root, MIGRATE_BACKUP, &parent, &name, err) < 0)
                return -1;
        if (make && mkdirat(parent, name, BACKUP_MODE) < 0 && errno != EEXIST)
                return wla_fail_errno(err, errno, "cannot make " MIGRATE_BACKUP);

        _cleanup_close_ int fd = openat(parent, name,
                                        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no backup " MIGRATE_BACKUP);
        if (fd < 0)
                return wla_fail_errno(err, errno, "cannot open " MIGRATE_BACKUP);
        if (check_backup(fd, err) < 0)
                return -1;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return wla_fail(err, WLA_E_BUSY, "another 'wlagent migrate' is at work");
        *ret = TAKE_FD(fd);
        return 0;
}

int migrate_journal_open(const struct host_root *root, bool make, struct migrate_journal *ret,
                         struct wla_error *err) {
        _cleanup_migrate_journal_ struct migrate_journal journal = MIGRATE_JOURNAL_CLOSED;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(JOURNAL_MAX);
        struct wla_error why = {0};

        journal.root = root;
        if (open_backup(root, make, &journal.fd, err) < 0)
                return -1;
        if (file_read(journal.fd, JOURNAL, &text, &why) < 0 && why.code != WLA_E_NOT_FOUND) {
                *err = why;
                return wla_wrap(err, MIGRATE_BACKUP);
        }
        if (text.size > 0 && read_journal(&journal, &text, err) < 0) {
                err->hint = hint_damaged;
                return wla_wrap(err, MIGRATE_BACKUP "/" JOURNAL);
        }
        *ret = journal;
        journal = MIGRATE_JOURNAL_CLOSED;
        return 0;
}

/* Before the first --apply.  Content that was not to be changed was not copied. */
static int original_state(const struct migrate_journal *journal, size_t i,
                          char to[static MIGRATE_STATE_SIZE], struct wla_error *err) {
        const struct migrate_original *original = &journal->originals[i];
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(COPY_MAX);
        const char *word = MIGRATE_STATE_ABSENT;
        char name[32];

        if (original->kind == MIGRATE_WAS_LINK)
                return migrate_state_of_link(original->target, to, err);
        if (original->copied) {
                copy_name(i, name);
                if (file_read(journal->fd, name, &content, err) < 0)
                        return wla_wrap(err, MIGRATE_BACKUP);
                const struct wla_bytes bytes = {.data = content.data, .size = content.size};
                return migrate_state_of_file(bytes, to, err);
        }
        if (original->kind == MIGRATE_WAS_FILE)
                word = original->left;
        else if (original->kind == MIGRATE_WAS_DIRECTORY)
                word = MIGRATE_STATE_DIRECTORY;
        (void)snprintf(to, MIGRATE_STATE_SIZE, "%s", word);
        return 0;
}

int migrate_journal_is_unchanged(const struct migrate_journal *journal, size_t i, bool *ret,
                                 struct wla_error *err) {
        const struct migrate_original *original = &journal->originals[i];
        char now[MIGRATE_STATE_SIZE];
        char before[MIGRATE_STATE_SIZE];

        if (migrate_state_read(journal->root, original->path, now, err) < 0 ||
            original_state(journal, i, before, err) < 0)
                return -1;
        *ret = strcmp(now, original->left) == 0 || strcmp(now, original->next) == 0 ||
               strcmp(now, before) == 0 || strcmp(original->next, MIGRATE_STATE_ANY) == 0;
        return 0;
}

/* What somebody has removed since stays removed: its content was never changed here. */
static int restore_access(const struct migrate_journal *journal,
                          const struct migrate_original *original, const struct migrate_put *put,
                          struct wla_error *err) {
        struct wla_error why = {0};

        if (migrate_put_access(journal->root, original->path, put, &why) == 0 ||
            why.code == WLA_E_NOT_FOUND)
                return 0;
        *err = why;
        return -1;
}

static int restore_file(const struct migrate_journal *journal, size_t i, struct wla_error *err) {
        const struct migrate_original *original = &journal->originals[i];
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(COPY_MAX);
        const struct migrate_put put = {
                .uid = original->uid,
                .gid = original->gid,
                .mode = original->mode,
                .changed = &original->changed,
        };
        char name[32];

        if (!original->copied)
                return restore_access(journal, original, &put, err);

        copy_name(i, name);
        if (file_read(journal->fd, name, &content, err) < 0)
                return wla_wrap(err, MIGRATE_BACKUP);
        const struct wla_bytes bytes = {.data = content.data, .size = content.size};
        return migrate_put_file(journal->root, original->path, bytes, &put, err);
}

int migrate_journal_restore(const struct migrate_journal *journal, size_t i,
                            struct wla_error *err) {
        const struct migrate_original *original = &journal->originals[i];
        const struct migrate_put put = {
                .uid = original->uid,
                .gid = original->gid,
                .mode = original->mode,
                .changed = &original->changed,
        };

        switch (original->kind) {
        case MIGRATE_WAS_ABSENT:
                return migrate_put_nothing(journal->root, original->path, err);
        case MIGRATE_WAS_FILE:
                return restore_file(journal, i, err);
        case MIGRATE_WAS_LINK:
                return migrate_put_link(journal->root, original->path, original->target, &put, err);
        case MIGRATE_WAS_DIRECTORY:
                return restore_access(journal, original, &put, err);
        case _MIGRATE_WAS_MAX:
                break;
        }
        return 0;
}

int migrate_journal_remove(struct migrate_journal *journal, struct wla_error *err) {
        char name[32];

        if (unlinkat(journal->fd, JOURNAL, 0) < 0 && errno != ENOENT)
                return wla_fail_errno(err, errno, "cannot remove " MIGRATE_BACKUP "/" JOURNAL);
        if (fsync(journal->fd) < 0)
                return wla_fail_errno(err, errno, MIGRATE_BACKUP);
        for (size_t i = 0; i < MIGRATE_ORIGINALS_MAX; i++) {
                copy_name(i, name);
                (void)unlinkat(journal->fd, name, 0);
        }
        file_closep(&journal->fd);
        return migrate_put_nothing(journal->root, MIGRATE_BACKUP, err);
}
