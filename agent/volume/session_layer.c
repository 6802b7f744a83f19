/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "image/header_writer.h"
#include "image/layer_room.h"
#include "image/qcow2_backing.h"
#include "image/qcow2_writer.h"
#include "volume/session.h"

#define BACKING_SIZE (sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE)

static const char hint_full[] =
        "the file system of LayerDirectory= may be full: 'df' tells, else the kernel's log";
static const char hint_layer[] =
        "it was copied from another VM or disk; remove it with 'wlagent volume' "
        "if it is not needed";

static const char hint_below[] = "whoever had this VM's QEMU in hand may have written that, and "
                                 "'qemu-img rebase' does: restore the layer from a backup, or "
                                 "give it up with 'wlagent volume remove'";

static const char hint_again[] = "'dmesg' may tell more; then try again";

static const char hint_damaged[] = "restore the layer from a backup, or give it up with "
                                   "'wlagent volume remove'";

static int open_store(struct session *session, const struct session_step *step,
                      struct wla_error *err) {
        const struct volume_request *request = step->request;

        if (layer_store_open(session->config->volumes.layer_directory, &session->store, err) < 0)
                return -1;
        return layer_store_lock(&session->store, request->vm.text, request->target, false, err);
}

static int check_owner(const struct session *session, struct wla_error *err) {
        const struct luks2_header *header = &session->header;

        if (header->kind != LUKS2_LAYER || !uuid_equal(&header->layer.vm, &session->vm) ||
            strcmp(header->layer.target, session->target) != 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_layer,
                                     "the layer's header is that of another disk");
        return 0;
}

static int inspect(struct session *session, struct wla_error *err) {
        if (layer_files_open(&session->store, &session->vm, session->target, &session->layer, err) <
            0)
                return -1;
        if (sealed_header_copy(session->layer.header_fd, true, &session->sealed, err) < 0 ||
            luks2_header_check(session->sealed.bytes, session->sealed.size, &session->header, err) <
                    0)
                return -1;
        return check_owner(session, err);
}

/* What fails deeper down does not know what is to be done about a layer. */
static int fail_layer(const struct session_step *step, struct wla_error *err) {
        if (!err->hint && (err->code == WLA_E_SYSTEM || err->code == WLA_E_BUSY))
                err->hint = hint_again;
        if (!err->hint && err->code == WLA_E_INPUT)
                err->hint = hint_damaged;
        return wla_wrap(err, "layer of VM %s, disk %s", step->request->vm.text,
                        step->request->target);
}

int session_inspect_layer(struct session *session, struct session_step *step,
                          struct wla_error *err) {
        if (open_store(session, step, err) < 0)
                return fail_layer(step, err);
        session->vm = step->request->vm;
        memcpy(session->target, step->request->target, sizeof(session->target));

        if (inspect(session, err) < 0) {
                if (err->code != WLA_E_NOT_FOUND)
                        return fail_layer(step, err);
                *err = (struct wla_error){0};
                session->state = SESSION_NO_LAYER;
                return 0;
        }

        session->state = SESSION_LAYER;
        step->reply->format = VOLUMED_FORMAT_OURS;
        step->reply->size = session->layer.size;
        step->reply->allocated = session->layer.allocated;
        step->reply->data_device = session->layer.device;
        step->reply->data_inode = session->layer.inode;
        step->reply->writable = 1;
        step->reply_fd = session->sealed.fd;
        return 0;
}

static struct mapping_plan plan_of(const struct session *session, struct crypt_volume *volume) {
        struct mapping_plan plan = {
                .name = {.kind = VOLUME_DISK, .uuid = session->vm},
                .volume = volume,
                .header = &session->header,
                .data_fd = session->layer.disk_fd,
                .data_size = session->layer.size,
                .writable = true,
                .discards = session->config->volumes.discard,
        };

        memcpy(plan.name.target, session->target, sizeof(plan.name.target));
        return plan;
}

static void name_image(const struct uuid *image, char ret[BACKING_SIZE]) {
        const struct volume_name name = {.kind = VOLUME_IMAGE, .uuid = *image};

        memcpy(ret, VOLUME_DEVICE_ROOT, sizeof(VOLUME_DEVICE_ROOT));
        volume_name_write(&name, ret + strlen(VOLUME_DEVICE_ROOT));
}

static int read_head(const struct mapping *mapping, uint8_t *head, size_t size,
                     struct wla_error *err) {
        size_t have;

        if (session_read_start(mapping->fd, head, size, &have, err) < 0)
                return -1;
        if (have < size)
                return wla_fail_hint(err, WLA_E_INPUT, hint_below, "it is too short for a layer");
        return 0;
}

/* From now on QEMU may use what version 3 has: image/layer_room.h. */
static int upgrade(const struct mapping *mapping, const struct qcow2_backing *below, uint8_t *head,
                   struct wla_error *err) {
        const struct qcow2_backing_file backing = {
                .name = below->name[0] ? below->name : NULL,
                .format = below->format,
        };
        _cleanup_close_ int fd = -1;

        if (qcow2_upgrade(head, &backing, err) < 0 || image_file_reopen(mapping->fd, &fd, err) < 0)
                return -1;
        if (file_write_all(fd, (struct wla_bytes){head, QCOW2_UPGRADE_SIZE}) < 0 || fsync(fd) < 0)
                return wla_fail_errno(err, errno, "writing its head");
        return 0;
}

/* QEMU has written the layer.  A guest that has taken QEMU over may name any file of the host there, and
 * libvirt would give it to the VM at this start.  Nothing below it is what blockpull leaves. */
static int check_content(const struct session *session, const struct mapping *mapping,
                         const struct layer_request *layer, struct wla_error *err) {
        _cleanup_free_ uint8_t *head = malloc(QCOW2_BACKING_SPAN);
        struct qcow2_backing below;
        char image[BACKING_SIZE];

        if (!head)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (read_head(mapping, head, QCOW2_BACKING_SPAN, err) < 0)
                return -1;
        if (qcow2_backing_read(head, QCOW2_BACKING_SPAN, &below, err) < 0) {
                err->code = WLA_E_DENIED;
                err->hint = hint_below;
                return -1;
        }
        name_image(&session->header.layer.image, image);
        if (below.name[0] != '\0' &&
            (strcmp(below.name, image) != 0 || below.format != layer->backing_content))
                return wla_fail_hint(
                        err, WLA_E_DENIED, hint_below, "it names %.200s below it, %s", below.name,
                        strcmp(below.name, image) == 0 ? "in another format than its image has"
                                                       : "which is not its image");
        return layer->keeps_places && below.version == 2 ? upgrade(mapping, &below, head, err) : 0;
}

int session_open_layer(struct session *session, struct session_step *step, struct wla_error *err) {
        const struct layer_request *layer = &step->request->layer;
        _cleanup_mapping_ struct mapping mapping = MAPPING_NONE;
        _cleanup_crypt_volume_ struct crypt_volume *volume = NULL;

        if (crypt_volume_open(&session->sealed, &session->header, &volume, err) < 0 ||
            session_give_room(session, step->key, layer->virtual_size, err) < 0)
                return fail_layer(step, err);

        const struct mapping_plan plan = plan_of(session, volume);
        /* From the mapping on nobody else writes to it. */
        if (mapping_make(&plan, step->key, &mapping, err) < 0 ||
            check_content(session, &mapping, layer, err) < 0)
                return fail_layer(step, err);
        session_hold(session, &plan, &mapping, step);
        return 0;
}

static int make_header(const struct session *session, const struct session_step *step,
                       struct buf *header, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        struct header_content content = {.volume_key = step->key, .token = &json};
        struct layer_token token = {
                .vm = session->vm,
                .image = step->request->layer.image,
                .wrapped = step->request->layer.wrapped,
        };

        memcpy(token.target, session->target, sizeof(token.target));
        if (uuid_generate(&content.uuid, err) < 0 || layer_token_write(&token, &json, err) < 0)
                return -1;
        return header_write(&content, header, err);
}

static int prepare_header(struct session *session, const struct session_step *step,
                          struct buf *header, struct wla_error *err) {
        if (make_header(session, step, header, err) < 0 ||
            sealed_header_make(header->data, header->size, &session->sealed, err) < 0 ||
            luks2_header_check(session->sealed.bytes, session->sealed.size, &session->header, err) <
                    0)
                return -1;
        return check_owner(session, err);
}

/* The disk of the guest begins as the image below it. */
static int write_content(const struct mapping *mapping, const struct layer_request *layer,
                         struct wla_error *err) {
        char path[BACKING_SIZE];
        const struct qcow2_backing_file backing = {
                .name = path,
                .format = layer->backing_content,
                .version2 = !layer->keeps_places,
        };
        _cleanup_close_ int fd = -1;

        name_image(&layer->image, path);
        if (image_file_reopen(mapping->fd, &fd, err) < 0 ||
            qcow2_write_empty(fd, layer->virtual_size, &backing, err) < 0)
                return -1;
        if (fsync(fd) < 0) {
                /* A loop device has no other error for a full disk. */
                (void)wla_fail_errno(err, errno, "writing the empty layer");
                err->hint = hint_full;
                return -1;
        }
        return 0;
}

static int create(struct session *session, struct session_step *step, struct layer_draft *draft,
                  struct wla_error *err) {
        const struct layer_request *layer = &step->request->layer;
        _cleanup_buf_ struct buf header = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);
        _cleanup_crypt_volume_ struct crypt_volume *volume = NULL;
        _cleanup_mapping_ struct mapping mapping = MAPPING_NONE;
        struct layer_room room;

        if (prepare_header(session, step, &header, err) < 0 ||
            crypt_volume_open(&session->sealed, &session->header, &volume, err) < 0 ||
            layer_room_for(layer->virtual_size, &room, err) < 0 ||
            layer_draft_new(&session->store, &session->vm, session->target, room.least,
                            layer->ephemeral, draft, err) < 0)
                return -1;

        session->layer.size = room.least;
        session->layer.disk_fd = draft->disk_fd;
        draft->disk_fd = -1;
        /* Made durable with the rest, of a layer that is kept. */
        layer_files_lengthen(session->layer.disk_fd, room.ample, &session->layer.size);
        const struct mapping_plan plan = plan_of(session, volume);
        if (mapping_make(&plan, step->key, &mapping, err) < 0 ||
            write_content(&mapping, layer, err) < 0 ||
            (!layer->ephemeral &&
             layer_draft_keep(draft, session->layer.disk_fd, header.data, header.size, err) < 0))
                return -1;
        session_hold(session, &plan, &mapping, step);
        return 0;
}

int session_create_layer(struct session *session, struct session_step *step,
                         struct wla_error *err) {
        _cleanup_layer_draft_ struct layer_draft draft = LAYER_DRAFT_NONE;

        return create(session, step, &draft, err) < 0 ? fail_layer(step, err) : 0;
}

static int refuse_mapped(const struct session_step *step, struct wla_error *err) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = step->request->vm};
        char text[VOLUME_NAME_SIZE];
        struct dm_device device;

        memcpy(name.target, step->request->target, sizeof(name.target));
        volume_name_write(&name, text);
        if (dm_device_find(text, &device, err) < 0)
                return -1;
        if (device.exists)
                return wla_fail_hint(err, WLA_E_BUSY, "stop the VM first", "%s is in use", text);
        return 0;
}

int session_remove_layer(struct session *session, struct session_step *step,
                         struct wla_error *err) {
        const struct volume_request *request = step->request;

        if (open_store(session, step, err) < 0 || refuse_mapped(step, err) < 0 ||
            layer_files_remove(&session->store, &request->vm, request->target, err) < 0)
                return fail_layer(step, err);
        /* The lock goes before the other side hears of it. */
        layer_store_close(&session->store);
        log_line(LOG_NOTICE, "removed the layer of VM %s, disk %s", request->vm.text,
                 request->target);
        return 0;
}
