/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/orphans.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "vm/report.h"

#define FILE_NAME "orphans.json"
#define FILE_MAX  (8u * 1024u * 1024u)

/* Between two reviews the clock may be put forward this far without a layer being the older for it. */
#define CLOCK_SLACK_SEC 60u

struct orphan {
        char name[VOLUME_NAME_SIZE];
        uint64_t since_sec;
};

struct orphans {
        char *directory;
        /* The last review, by the clock on the wall and by the one that nobody sets; 0: none yet. */
        uint64_t reviewed_sec;
        uint64_t reviewed_usec;
        size_t count;
        struct orphan *list;
};

static struct orphan *find(const struct orphans *orphans, const char *name) {
        for (size_t i = 0; i < orphans->count; i++)
                if (strcmp(orphans->list[i].name, name) == 0)
                        return &orphans->list[i];
        return NULL;
}

static int add(struct orphans *orphans, const char *name, uint64_t since_sec,
               struct wla_error *err) {
        struct orphan *list = realloc(orphans->list, (orphans->count + 1) * sizeof(*list));

        if (!list)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        orphans->list = list;
        struct orphan *orphan = &list[orphans->count++];
        *orphan = (struct orphan){.since_sec = since_sec};
        (void)snprintf(orphan->name, sizeof(orphan->name), "%s", name);
        return 0;
}

static int take_entry(struct orphans *orphans, const struct json_value *entry,
                      struct wla_error *err) {
        const struct json_value name = json_member(entry, "name");
        const struct json_value since = json_member(entry, "since");
        struct volume_name parsed;
        char text[VOLUME_NAME_SIZE];
        uint64_t since_sec;

        if (json_string_copy(&name, text, sizeof(text), err) < 0 ||
            volume_name_parse(text, &parsed, err) < 0 ||
            json_unsigned(&since, INT64_MAX, &since_sec, err) < 0)
                return -1;
        return find(orphans, text) ? 0 : add(orphans, text, since_sec, err);
}

static int parse(struct orphans *orphans, const struct buf *json, struct wla_error *err) {
        struct json_value object;
        struct json_value entry;

        if (json_check((const char *)json->data, json->size, &object, err) < 0)
                return -1;
        const struct json_value layers = json_member(&object, "layers");
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

static int save(const struct orphans *orphans, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(FILE_MAX);
        _cleanup_close_ int fd = -1;

        if (buf_append_text(&json, "{\"layers\":[", err) < 0)
                return -1;
        for (size_t i = 0; i < orphans->count; i++)
                if (buf_printf(&json, err, "%s{\"name\":\"%s\",\"since\":%" PRIu64 "}",
                               i > 0 ? "," : "", orphans->list[i].name,
                               orphans->list[i].since_sec) < 0)
                        return -1;
        if (buf_append_text(&json, "]}\n", err) < 0 ||
            file_open_directory(orphans->directory, /* create= */ false, 0, &fd, err) < 0)
                return -1;
        return file_write(fd, FILE_NAME, json.data, json.size, 0600, /* replace= */ true, err);
}

uint64_t orphans_since(const struct orphans *orphans, const char *name) {
        const struct orphan *orphan = find(orphans, name);

        return orphan ? orphan->since_sec : 0;
}

/* Those that have a VM again, or are gone. */
static bool drop_others(struct orphans *orphans, const struct orphans_review *review) {
        size_t kept = 0;

        for (size_t i = 0; i < orphans->count; i++) {
                const struct volume_entry *entry = volume_list_find(review->layers,
                                                                    orphans->list[i].name);

                if (entry && !review->known(review->userdata, &entry->name.uuid))
                        orphans->list[kept++] = orphans->list[i];
        }
        bool changed = kept != orphans->count;
        orphans->count = kept;
        return changed;
}

static int judge_layer(struct orphans *orphans, const struct orphans_review *review,
                       const struct volume_entry *entry, struct volume_list *old, bool *changed,
                       struct wla_error *err) {
        struct orphan *orphan = find(orphans, entry->text);

        if (!orphan) {
                *changed = true;
                report_orphan(&entry->name, /* removed= */ false);
                return add(orphans, entry->text, review->now_sec, err);
        }
        if (orphan->since_sec > review->now_sec) {
                /* The clock was wrong then, or is now. */
                orphan->since_sec = review->now_sec;
                *changed = true;
        }
        if (review->now_sec - orphan->since_sec >= review->age_sec)
                return volume_list_add(old, entry, err);
        return 0;
}

/* A host that boots with its clock far back puts it forward later: that is no time that has passed. */
static bool discount_jump(struct orphans *orphans, uint64_t now_sec) {
        uint64_t now_usec = clock_now_usec();
        uint64_t passed_sec = (now_usec - orphans->reviewed_usec) / USEC_PER_SEC;
        uint64_t latest_sec = orphans->reviewed_sec + passed_sec + CLOCK_SLACK_SEC;
        bool jumped = orphans->reviewed_usec != 0 && now_sec > latest_sec;

        for (size_t i = 0; jumped && i < orphans->count; i++)
                orphans->list[i].since_sec += now_sec - latest_sec;
        orphans->reviewed_sec = now_sec;
        orphans->reviewed_usec = now_usec;
        return jumped;
}

int orphans_judge(struct orphans *orphans, const struct orphans_review *review,
                  struct volume_list *ret, struct wla_error *err) {
        bool jumped = discount_jump(orphans, review->now_sec);
        bool changed = drop_others(orphans, review) || jumped;
        struct volume_list old = {0};
        int outcome = 0;

        for (size_t i = 0; i < review->layers->count && outcome == 0; i++) {
                const struct volume_entry *entry = &review->layers->entries[i];

                if (entry->name.kind == VOLUME_DISK &&
                    !review->known(review->userdata, &entry->name.uuid))
                        outcome = judge_layer(orphans, review, entry, &old, &changed, err);
        }
        if (outcome == 0 && changed)
                outcome = save(orphans, err);
        if (outcome < 0) {
                volume_list_clear(&old);
                return -1;
        }
        *ret = old;
        return 0;
}

void orphans_forget(struct orphans *orphans, const char *name) {
        struct orphan *orphan = find(orphans, name);
        struct wla_error err = {0};

        if (!orphan)
                return;
        *orphan = orphans->list[--orphans->count];
        if (save(orphans, &err) < 0)
                log_line(LOG_WARNING, "%s", wla_error_text(&err));
}
