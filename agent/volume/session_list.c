/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/log.h"
#include "volume/session.h"
#include "volume/used_files.h"

#define SECTOR 512u

static const char hint_in_use[] =
        "stop the VM that uses it; a mapping goes by itself at its last close";

static int tell_mapping(const char *text, void *userdata, struct wla_error *err) {
        struct session *session = userdata;
        struct volumed_reply reply = {.magic = VOLUMED_MAGIC, .operation = VOLUMED_LIST};
        struct loop_backing backing;
        struct volume_name name;
        struct dm_device device;

        if (dm_device_find(text, &device, err) < 0)
                return -1;
        /* It has gone meanwhile, or somebody has made one with a name like ours. */
        if (!device.exists || volume_name_parse(text, &name, err) < 0) {
                *err = (struct wla_error){0};
                return 0;
        }
        if (used_file_find(&device, &backing, err) == 0) {
                reply.data_device = backing.device;
                reply.data_inode = backing.inode;
        } else if (err->code != WLA_E_NOT_FOUND) {
                return -1;
        }
        *err = (struct wla_error){0};

        volume_name_write(&name, reply.name);
        reply.size = device.sectors * SECTOR;
        reply.open_count = device.open_count;
        reply.device_major = device.major;
        reply.device_minor = device.minor;
        reply.writable = !device.read_only;
        return session_send(session, &reply, -1, err);
}

int session_list(struct session *session, struct session_step *step, struct wla_error *err) {
        (void)step;
        return dm_device_each(tell_mapping, session, err);
}

static int tell_layer(const struct uuid *vm, const char *target, const struct layer_files *files,
                      void *userdata, struct wla_error *err) {
        struct session *session = userdata;
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = *vm};
        struct volumed_reply reply = {
                .magic = VOLUMED_MAGIC,
                .operation = VOLUMED_LIST_LAYERS,
                .format = VOLUMED_FORMAT_OURS,
                .size = files->size,
                .allocated = files->allocated,
                .data_device = files->device,
                .data_inode = files->inode,
                .writable = 1,
        };

        memcpy(name.target, target, strlen(target) + 1);
        volume_name_write(&name, reply.name);
        return session_send(session, &reply, -1, err);
}

int session_list_layers(struct session *session, struct session_step *step, struct wla_error *err) {
        _cleanup_layer_store_ struct layer_store store = LAYER_STORE_NONE;

        (void)step;
        if (layer_store_open(session->config->volumes.layer_directory, &store, err) < 0)
                return -1;
        return layer_store_each(&store, tell_layer, session, err);
}

int session_close(struct session *session, struct session_step *step, struct wla_error *err) {
        char name[VOLUME_NAME_SIZE];

        (void)session;
        volume_name_write(&step->request->name, name);
        if (dm_device_remove(name, false, err) < 0) {
                if (err->code == WLA_E_BUSY)
                        err->hint = hint_in_use;
                return -1;
        }
        log_line(LOG_NOTICE, "closed %s", name);
        return 0;
}
