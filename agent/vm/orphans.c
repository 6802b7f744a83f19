/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/orphans.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "vm/report.h"

#define FILE_NAME "orphans.json"
#define FILE_MAX  (8u * 1024u * 1024u)

enum stage {
        KEPT,
        CHOSEN,
        REMOVING,
        UNHEARD, /* volumed was asked to remove it, and has not answered */
};

struct orphan {
        char name[VOLUME_NAME_SIZE];
        struct uuid vm;
        uint64_t since_sec;
        uint64_t age_usec; /* at the last review */
        enum stage stage;
        uint64_t unheard_usec;
};

struct orphans {
        char *directory;
        uint64_t reviewed_usec; /* the last review; CLOCK_MONOTONIC, perhaps of a former boot */
        size_t count;
        struct orphan *list;
};

static const char hint_again[] = "run 'wlagent vm reconcile' again";
static const char hint_unheard[] = "run 'wlagent vm reconcile', which finds out, and start the VM "
                                   "again";
static const char hint_removed[] = "libvirt had not known the VM for OrphanSeconds=; if it starts "
                                   "again, it starts with the unchanged image";

static struct orphan *find(const struct orphans *orphans, const char *name) {
        for (size_t i = 0; i < orphans->count; i++)
                if (strcmp(orphans->list[i].name, name) == 0)
                        return &orphans->list[i];
        return NULL;
}

static int add(struct orphans *orphans, const struct orphan *orphan, struct wla_error *err) {
        struct orphan *list = realloc(orphans->list, (orphans->count + 1) * sizeof(*list));

        if (!list)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        orphans->list = list;
        list[orphans->count++] = *orphan;
        return 0;
}

static int take_entry(struct orphans *orphans, const struct json_value *entry,
                      struct wla_error *err) {
        const struct json_value name = json_member(entry, "name");
        const struct json_value since = json_member(entry, "since");
        const struct json_value age = json_member(entry, "age_usec");
        struct orphan orphan = {.stage = KEPT};
        struct volume_name parsed;

        if (json_string_copy(&name, orphan.name, sizeof(orphan.name), err) < 0 ||
            volume_name_parse(orphan.name, &parsed, err) < 0 ||
            json_unsigned(&since, INT64_MAX, &orphan.since_sec, err) < 0 ||
            json_unsigned(&age, INT64_MAX, &orphan.age_usec, err) < 0)
                return -1;
        orphan.vm = parsed.uuid;
        return find(orphans, orphan.name) ? 0 : add(orphans, &orphan, err);
}

static int parse(struct orphans *orphans, const struct buf *json, struct wla_error *err) {
        struct json_value object;
        struct json_value entry;

        if (json_check((const char *)json->data, json->size, &object, err) < 0)
                return -1;
        const struct json_value reviewed = json_member(&object, "reviewed_usec");
        const struct json_value layers = json_member(&object, "layers");
        if (json_unsigned(&reviewed, INT64_MAX, &orphans->reviewed_usec, err) < 0)
                return -1;
        for (size_t at = 0; json_next_element(&layers, &at, &entry);)
                if (take_entry(orphans, &entry, err) < 0)
                        return -1;
        return 0;
}

static int load(struct orphans *orphans, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(FILE_MAX);
        _cleanup_close_ int fd = -1;

        if (file_open_directory(orphans->directory, /* create= */ false, 0, &fd, err) < 0 ||
            file_read(fd, FILE_NAME, &json, err) < 0)
                return err->code == WLA_E_NOT_FOUND ? 0 : -1;
        return parse(orphans, &json, err);
}

int orphans_new(const char *state_directory, struct orphans **ret, struct wla_error *err) {
        struct orphans *orphans = calloc(1, sizeof(*orphans));
        struct wla_error cause = {0};

        if (!orphans)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        orphans->directory = strdup(state_directory);
        if (!orphans->directory) {
                free(orphans);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        if (load(orphans, &cause) < 0) {
                log_line(LOG_WARNING, "%s is not understood, layers without a VM count anew: %s",
                         FILE_NAME, wla_error_text(&cause));
                orphans->count = 0;
        }
        *ret = orphans;
        return 0;
}

struct orphans *orphans_free(struct orphans *orphans) {
        if (orphans) {
                free(orphans->directory);
                free(orphans->list);
                free(orphans);
        }
        return NULL;
}

static int write_json(const struct orphans *orphans, struct buf *json, struct wla_error *err) {
        if (buf_printf(json, err, "{\"reviewed_usec\":%" PRIu64 ",\"layers\":[",
                       orphans->reviewed_usec) < 0)
                return -1;
        for (size_t i = 0; i < orphans->count; i++) {
                const struct orphan *orphan = &orphans->list[i];

                if (buf_printf(json, err,
                               "%s{\"name\":\"%s\",\"since\":%" PRIu64 ",\"age_usec\":%" PRIu64 "}",
                               i > 0 ? "," : "", orphan->name, orphan->since_sec,
                               orphan->age_usec) < 0)
                        return -1;
        }
        return buf_append_text(json, "]}\n", err);
}

static int save(const struct orphans *orphans, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(FILE_MAX);
        _cleanup_close_ int fd = -1;

        if (file_open_directory(orphans->directory, /* create= */ false, 0, &fd, err) < 0)
                return -1;
        if (write_json(orphans, &json, err) == 0 &&
            file_write(fd, FILE_NAME, json.data, json.size, 0600, /* replace= */ true, err) == 0)
                return 0;
        /* Without the file all of them count anew: what it says is too old to be kept. */
        (void)unlinkat(fd, FILE_NAME, 0);
        return -1;
}

static void save_or_tell(const struct orphans *orphans) {
        struct wla_error err = {0};

        if (save(orphans, &err) < 0)
                log_line(LOG_WARNING, "%s", wla_error_text(&err));
}

uint64_t orphans_since(const struct orphans *orphans, const char *name) {
        const struct orphan *orphan = find(orphans, name);

        return orphan ? orphan->since_sec : 0;
}

static uint64_t time_passed(const struct orphans *orphans, uint64_t now_usec) {
        return now_usec >= orphans->reviewed_usec ? now_usec - orphans->reviewed_usec : now_usec;
}

static void grow_older(struct orphans *orphans, uint64_t now_usec) {
        for (size_t i = 0; i < orphans->count; i++) {
                struct orphan *orphan = &orphans->list[i];

                orphan->age_usec += time_passed(orphans, now_usec);
                if (orphan->stage == CHOSEN)
                        orphan->stage = KEPT;
        }
        orphans->reviewed_usec = now_usec;
}

static bool is_leaving(const struct orphan *orphan) {
        return orphan->stage == REMOVING || orphan->stage == UNHEARD;
}

/* Those that have a VM again, or are gone. */
static void drop_others(struct orphans *orphans, const struct orphans_review *review) {
        size_t kept = 0;

        for (size_t i = 0; i < orphans->count; i++) {
                const struct orphan *orphan = &orphans->list[i];

                if (is_leaving(orphan) || (volume_list_find(review->layers, orphan->name) &&
                                           !review->known(review->userdata, &orphan->vm)))
                        orphans->list[kept++] = *orphan;
        }
        orphans->count = kept;
}

static int begin_orphan(struct orphans *orphans, const struct orphans_review *review,
                        const struct volume_entry *entry, struct wla_error *err) {
        struct orphan orphan = {.vm = entry->name.uuid, .since_sec = review->now_sec};

        memcpy(orphan.name, entry->text, sizeof(orphan.name));
        report_orphan(&entry->name, /* removed= */ false);
        return add(orphans, &orphan, err);
}

static int judge_layer(struct orphans *orphans, const struct orphans_review *review,
                       const struct volume_entry *entry, struct volume_list *chosen,
                       struct wla_error *err) {
        struct orphan *orphan = find(orphans, entry->text);

        if (!orphan)
                return begin_orphan(orphans, review, entry, err);
        if (orphan->since_sec > review->now_sec)
                /* The clock was wrong then, or is now. */
                orphan->since_sec = review->now_sec;
        if (orphan->age_usec < review->age_usec || is_leaving(orphan) ||
            chosen->count == ORPHAN_CHOICE_MAX)
                return 0;
        orphan->stage = CHOSEN;
        return volume_list_add(chosen, entry, err);
}

/* What is listed now was not removed, or will be gone in the next list. */
static void settle(struct orphans *orphans, const struct orphans_review *review) {
        for (size_t i = 0; i < orphans->count; i++) {
                struct orphan *orphan = &orphans->list[i];

                if (orphan->stage == UNHEARD && review->listed_usec > orphan->unheard_usec)
                        orphan->stage = KEPT;
        }
}

static void choose_none(struct orphans *orphans) {
        for (size_t i = 0; i < orphans->count; i++)
                if (orphans->list[i].stage == CHOSEN)
                        orphans->list[i].stage = KEPT;
}

int orphans_judge(struct orphans *orphans, const struct orphans_review *review,
                  struct volume_list *ret, struct wla_error *err) {
        bool had_some = orphans->count > 0;
        struct volume_list chosen = {0};
        int outcome = 0;

        grow_older(orphans, review->now_usec);
        settle(orphans, review);
        drop_others(orphans, review);
        for (size_t i = 0; i < review->layers->count && outcome == 0; i++) {
                const struct volume_entry *entry = &review->layers->entries[i];

                if (entry->name.kind == VOLUME_DISK &&
                    !review->known(review->userdata, &entry->name.uuid))
                        outcome = judge_layer(orphans, review, entry, &chosen, err);
        }
        if (outcome == 0 && (had_some || orphans->count > 0))
                outcome = save(orphans, err);
        if (outcome < 0) {
                choose_none(orphans);
                volume_list_clear(&chosen);
                return -1;
        }
        *ret = chosen;
        return 0;
}

static bool is_chosen(const struct orphans *orphans, const struct orphan *orphan,
                      uint64_t now_usec) {
        return orphan->stage == CHOSEN && now_usec - orphans->reviewed_usec < ORPHAN_CHOICE_USEC;
}

bool orphans_leaving(const struct orphans *orphans, const char *name, uint64_t now_usec) {
        const struct orphan *orphan = find(orphans, name);

        return orphan && (is_leaving(orphan) || is_chosen(orphans, orphan, now_usec));
}

bool orphans_left(const struct orphans *orphans, const struct uuid *vm) {
        for (size_t i = 0; i < orphans->count; i++)
                if (uuid_equal(&orphans->list[i].vm, vm))
                        return true;
        return false;
}

int orphans_claim(struct orphans *orphans, const struct uuid *vm, struct wla_error *err) {
        size_t kept = 0;

        for (size_t i = 0; i < orphans->count; i++) {
                const struct orphan *orphan = &orphans->list[i];

                if (!is_leaving(orphan) || !uuid_equal(&orphan->vm, vm))
                        continue;
                return wla_fail_hint(err, WLA_E_BUSY,
                                     orphan->stage == UNHEARD ? hint_unheard : hint_removed,
                                     "the layer %s is %s removed", orphan->name,
                                     orphan->stage == UNHEARD ? "perhaps being" : "just being");
        }
        for (size_t i = 0; i < orphans->count; i++)
                if (!uuid_equal(&orphans->list[i].vm, vm))
                        orphans->list[kept++] = orphans->list[i];
        if (kept < orphans->count) {
                orphans->count = kept;
                save_or_tell(orphans);
        }
        return 0;
}

int orphans_remove_begin(struct orphans *orphans, const char *name, uint64_t review_usec,
                         uint64_t now_usec, struct wla_error *err) {
        struct orphan *orphan = find(orphans, name);

        if (!orphan || review_usec != orphans->reviewed_usec ||
            !is_chosen(orphans, orphan, now_usec))
                return wla_fail_hint(err, WLA_E_BUSY, hint_again,
                                     "the layer %s is not to be removed any more: its VM was "
                                     "started, or wlagentd has another list of domains by now",
                                     name);
        orphan->stage = REMOVING;
        return 0;
}

void orphans_remove_end(struct orphans *orphans, const char *name, uint64_t now_usec,
                        const struct wla_error *failure) {
        struct orphan *orphan = find(orphans, name);

        if (!orphan)
                return;
        if (failure) {
                bool unheard = failure->code == WLA_E_TIMEOUT || failure->code == WLA_E_UNAVAILABLE;

                orphan->stage = unheard ? UNHEARD : KEPT;
                orphan->unheard_usec = now_usec;
                return;
        }
        *orphan = orphans->list[--orphans->count];
        save_or_tell(orphans);
}

void orphans_remove_cancel(struct orphans *orphans, const char *name) {
        struct orphan *orphan = find(orphans, name);

        if (orphan)
                orphan->stage = KEPT;
}
