/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/volume_list.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 16u

static int make_room(struct volume_list *list, struct wla_error *err) {
        size_t room = list->room ? 2 * list->room : FIRST_ROOM;

        if (list->count < list->room)
                return 0;
        if (list->count == VOLUME_LIST_MAX)
                return wla_fail(err, WLA_E_INPUT, "wlagent-volumed lists more than %u volumes",
                                VOLUME_LIST_MAX);
        struct volume_entry *entries = realloc(list->entries, room * sizeof(*entries));
        if (!entries)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        list->entries = entries;
        list->room = room;
        return 0;
}

int volume_list_add(struct volume_list *list, const struct volume_entry *entry,
                    struct wla_error *err) {
        if (make_room(list, err) < 0)
                return -1;
        list->entries[list->count++] = *entry;
        return 0;
}

static int take_key_id(const struct volumed_reply *reply, struct volume_entry *entry,
                       struct wla_error *err) {
        struct key_id id;

        if (reply->operation != VOLUMED_LIST_CONVERSIONS)
                return 0;
        if (key_id_parse(reply->text, strlen(reply->text), &id, err) < 0)
                return wla_wrap(err, "the key of %s", reply->name);
        memcpy(entry->key_id, id.text, sizeof(entry->key_id));
        return 0;
}

static int take_reply(struct volume_list *list, const struct volumed_reply *reply,
                      struct wla_error *err) {
        struct volume_entry entry = {
                .open_count = reply->open_count,
                .size = reply->size,
                .allocated = reply->allocated,
                .data_device = reply->data_device,
                .data_inode = reply->data_inode,
                .writable = reply->writable != 0,
                .used_sec = reply->used_sec,
        };

        memcpy(entry.text, reply->name, sizeof(entry.text));
        if (volume_name_parse(reply->name, &entry.name, err) < 0 ||
            take_key_id(reply, &entry, err) < 0)
                return -1;
        return volume_list_add(list, &entry, err);
}

static int read_replies(struct volume_session *session, const struct volumed_request *request,
                        const struct deadline *deadline, struct volume_list *list,
                        struct wla_error *err) {
        const struct volume_call call = {.request = request, .header_fd = -1};
        struct volumed_reply reply;

        if (volume_session_call(session, &call, deadline, &reply, err) < 0)
                return -1;
        while (reply.name[0] != '\0')
                if (take_reply(list, &reply, err) < 0 ||
                    volume_session_next(session, deadline, &reply, err) < 0)
                        return -1;
        return 0;
}

int volume_list_read(const char *socket, enum volumed_operation operation,
                     const struct deadline *deadline, struct volume_list *ret,
                     struct wla_error *err) {
        const struct volumed_request request = {.operation = (uint16_t)operation};
        struct volume_session *session;
        struct volume_list list = {0};

        if (volume_session_open(socket, deadline, &session, err) < 0)
                return -1;
        int outcome = read_replies(session, &request, deadline, &list, err);
        volume_session_free(session);
        if (outcome < 0) {
                volume_list_clear(&list);
                return -1;
        }
        *ret = list;
        return 0;
}

const struct volume_entry *volume_list_find(const struct volume_list *list, const char *name) {
        for (size_t i = 0; i < list->count; i++)
                if (strcmp(list->entries[i].text, name) == 0)
                        return &list->entries[i];
        return NULL;
}

void volume_list_clear(struct volume_list *list) {
        free(list->entries);
        *list = (struct volume_list){0};
}
