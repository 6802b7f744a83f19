/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "image/isecl_convert.h"
#include "volume/layer_directory.h"
#include "volume/session.h"
#include "volume/used_files.h"

/* In LayerDirectory=; no UUID, so never a VM's. */
#define CONVERTED_DIRECTORY "converted"

#define ALLOCATED_UNIT 512u /* of st_blocks; stat(3type) */
#define LAYERS_MAX     65536u

static const char hint_layers[] = "what the VM has written is lost without it; remove the layer "
                                  "first: 'wlagent volume remove'";

static int open_converted_directory(struct session *session, int *ret_fd, struct wla_error *err) {
        if (layer_store_open(session->config->volumes.layer_directory, &session->store, err) < 0)
                return -1;
        return layer_directory_make(session->store.fd, CONVERTED_DIRECTORY, ret_fd, err);
}

/* From here on the conversion is what the session serves. */
static int take_conversion(struct session *session, int *data_fd, int *header_fd,
                           struct wla_error *err) {
        struct stat status;

        if (fstat(*data_fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the converted image");
        if (sealed_header_copy(*header_fd, true, &session->sealed, err) < 0)
                return wla_wrap(err, "the converted image");

        session->source_fd = TAKE_FD(session->image.fd);
        image_file_close(&session->image);
        session->image = (struct image_file){
                .fd = TAKE_FD(*data_fd),
                .header_fd = TAKE_FD(*header_fd),
                .device = status.st_dev,
                .inode = status.st_ino,
                .size = (uint64_t)status.st_size,
                .allocated = (uint64_t)status.st_blocks * ALLOCATED_UNIT,
        };
        session->format = VOLUMED_FORMAT_OURS;
        session->converted = true;
        return 0;
}

static int find_in(struct session *session, int directory_fd, const struct isecl_image *image,
                   struct wla_error *err) {
        _cleanup_close_ int data_fd = -1;
        _cleanup_close_ int header_fd = -1;

        if (isecl_converted_open(directory_fd, &image->identity, &data_fd, &header_fd, err) == 0)
                return take_conversion(session, &data_fd, &header_fd, err);
        if (err->code != WLA_E_NOT_FOUND)
                return -1;
        *err = (struct wla_error){0};
        return 0;
}

int session_find_conversion(struct session *session, struct wla_error *err) {
        _cleanup_close_ int directory_fd = -1;
        struct isecl_image image;

        if (isecl_image_read(session->image.fd, &image, err) < 0 ||
            open_converted_directory(session, &directory_fd, err) < 0)
                return -1;
        session->isecl = true;
        session->identity = image.identity;
        return find_in(session, directory_fd, &image, err);
}

/* Of a conversion that others have made nothing is known. */
static int keep_digest(const struct session *session, const struct image_state *before,
                       const struct isecl_conversion *conversion, struct wla_error *err) {
        _cleanup_close_ int directory_fd = -1;
        struct image_state after;

        if (!conversion->digested)
                return 0;
        if (image_state_read(session->image.fd, &after, err) < 0)
                return -1;
        if (!image_state_equal(before, &after))
                return wla_fail(err, WLA_E_INPUT, "the image was changed while it was converted");
        if (session_open_digests(session, &directory_fd, err) < 0)
                return -1;
        return image_digest_store(directory_fd, before, conversion->digest, err);
}

static int convert(struct session *session, const struct session_step *step,
                   struct wla_error *err) {
        _cleanup_close_ int directory_fd = -1;
        struct image_state state;
        struct isecl_image image;
        struct isecl_conversion conversion = {
                .image_fd = session->image.fd,
                .image = &image,
                .key = step->key,
                .key_id = &step->request->key_id,
                .wants_digest = step->request->key_id.scheme == KEY_SCHEME_WLS,
        };

        if (isecl_image_read(session->image.fd, &image, err) < 0 ||
            image_state_read(session->image.fd, &state, err) < 0 ||
            open_converted_directory(session, &directory_fd, err) < 0)
                return -1;
        conversion.directory_fd = directory_fd;
        if (isecl_convert(&conversion, err) < 0 ||
            keep_digest(session, &state, &conversion, err) < 0)
                return -1;
        return find_in(session, directory_fd, &image, err);
}

int session_convert_image(struct session *session, struct session_step *step,
                          struct wla_error *err) {
        if (session->format != VOLUMED_FORMAT_ISECL)
                return wla_fail(err, WLA_E_INPUT, "the image is not in Intel's format");
        if (convert(session, step, err) < 0)
                return -1;
        if (session->format != VOLUMED_FORMAT_OURS)
                return wla_fail(err, WLA_E_SYSTEM, "the converted image has gone");
        return session_judge_image(session, step, err);
}

/* When a conversion was opened last is the time of its header: nothing else writes to that. */
void session_note_use(const struct session *session) {
        if (session->converted && futimens(session->image.header_fd, NULL) < 0)
                log_line(LOG_DEBUG, "the time of a converted image's last use cannot be written");
}

/* The images that layers stand on: a struct uuid each. */
struct bases {
        struct buf uuids;
        bool strict; /* a layer that cannot be read is an error */
};

static int note_base(const struct uuid *vm, const char *target, const struct layer_files *files,
                     void *userdata, struct wla_error *err) {
        _cleanup_sealed_header_ struct sealed_header sealed = SEALED_HEADER_NONE;
        struct bases *bases = userdata;
        struct luks2_header header;

        if (sealed_header_copy(files->header_fd, true, &sealed, err) < 0 ||
            luks2_header_check(sealed.bytes, sealed.size, &header, err) < 0) {
                if (bases->strict)
                        return wla_wrap(err, "the layer of VM %s, disk %s", vm->text, target);
                *err = (struct wla_error){0};
                return 0;
        }
        if (header.kind != LUKS2_LAYER)
                return 0;
        return buf_append(&bases->uuids, &header.layer.image, sizeof(header.layer.image), err);
}

static uint32_t count_layers(const struct bases *bases, const struct uuid *image) {
        const struct uuid *uuids = (const void *)bases->uuids.data;
        uint32_t count = 0;

        for (size_t i = 0; i < bases->uuids.size / sizeof(*uuids); i++)
                count += uuid_equal(&uuids[i], image);
        return count;
}

struct listing {
        struct session *session;
        struct bases bases;
        int directory_fd;
};

/* One that cannot be read, or has just been removed, is told when it is asked for. */
static bool describe(const struct listing *listing, const struct uuid *identity,
                     struct volumed_reply *reply) {
        _cleanup_sealed_header_ struct sealed_header sealed = SEALED_HEADER_NONE;
        _cleanup_close_ int data_fd = -1;
        _cleanup_close_ int header_fd = -1;
        struct luks2_header header;
        struct wla_error ignored = {0};
        struct stat data;
        struct stat used;

        if (isecl_converted_open(listing->directory_fd, identity, &data_fd, &header_fd, &ignored) <
                    0 ||
            fstat(data_fd, &data) < 0 || fstat(header_fd, &used) < 0 ||
            sealed_header_copy(header_fd, true, &sealed, &ignored) < 0 ||
            luks2_header_check(sealed.bytes, sealed.size, &header, &ignored) < 0 ||
            header.kind != LUKS2_IMAGE)
                return false;

        reply->size = (uint64_t)data.st_size;
        reply->allocated = (uint64_t)data.st_blocks * ALLOCATED_UNIT;
        reply->data_device = data.st_dev;
        reply->data_inode = data.st_ino;
        reply->used_sec = used.st_mtim.tv_sec > 0 ? (uint64_t)used.st_mtim.tv_sec : 0;
        (void)snprintf(reply->text, sizeof(reply->text), "%s", header.image.key_id.text);
        return true;
}

static int tell_conversion(const struct uuid *identity, void *userdata, struct wla_error *err) {
        const struct volume_name name = {.kind = VOLUME_IMAGE, .uuid = *identity};
        struct listing *listing = userdata;
        struct volumed_reply reply = {
                .magic = VOLUMED_MAGIC,
                .operation = VOLUMED_LIST_CONVERSIONS,
                .format = VOLUMED_FORMAT_ISECL,
                .open_count = count_layers(&listing->bases, identity),
        };

        if (!describe(listing, identity, &reply))
                return 0;
        volume_name_write(&name, reply.name);
        return session_send(listing->session, &reply, -1, err);
}

int session_list_conversions(struct session *session, struct session_step *step,
                             struct wla_error *err) {
        _cleanup_close_ int directory_fd = -1;
        struct listing listing = {
                .session = session,
                .bases.uuids = BUF_WITH_LIMIT(LAYERS_MAX * sizeof(struct uuid)),
        };

        (void)step;
        if (open_converted_directory(session, &directory_fd, err) < 0)
                return -1;
        listing.directory_fd = directory_fd;
        int outcome = layer_store_each(&session->store, note_base, &listing.bases, err);
        if (outcome == 0)
                outcome = isecl_converted_each(directory_fd, tell_conversion, &listing, err);
        buf_clear(&listing.bases.uuids);
        return outcome;
}

static int refuse_needed(const struct session *session, const struct uuid *image,
                         struct wla_error *err) {
        struct bases bases = {
                .uuids = BUF_WITH_LIMIT(LAYERS_MAX * sizeof(struct uuid)),
                .strict = true,
        };
        int outcome = layer_store_each(&session->store, note_base, &bases, err);
        uint32_t count = outcome == 0 ? count_layers(&bases, image) : 0;

        buf_clear(&bases.uuids);
        if (count > 0)
                return wla_fail_hint(err, WLA_E_BUSY, hint_layers, "%u layers of VMs stand on it",
                                     count);
        return outcome;
}

/* From the lock on nobody opens it; and a layer is made only above an image that is open. */
static int remove_conversion(struct session *session, const struct uuid *image,
                             struct wla_error *err) {
        _cleanup_close_ int directory_fd = -1;
        _cleanup_close_ int data_fd = -1;
        _cleanup_close_ int header_fd = -1;
        struct stat status;

        if (open_converted_directory(session, &directory_fd, err) < 0 ||
            isecl_converted_open(directory_fd, image, &data_fd, &header_fd, err) < 0)
                return -1;
        if (fstat(data_fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at it");
        if (session_claim(session, status.st_dev, status.st_ino, true, err) < 0 ||
            used_file_refuse(status.st_dev, status.st_ino, false, err) < 0 ||
            refuse_needed(session, image, err) < 0)
                return -1;
        return isecl_converted_remove(directory_fd, image, err);
}

int session_remove_conversion(struct session *session, struct session_step *step,
                              struct wla_error *err) {
        const struct volume_name *name = &step->request->name;

        if (name->kind != VOLUME_IMAGE)
                return wla_fail(err, WLA_E_INPUT, "the name is not that of an image");
        if (remove_conversion(session, &name->uuid, err) < 0)
                return wla_wrap(err, "the converted image %s", name->uuid.text);
        /* The lock goes before the other side hears of it. */
        layer_store_close(&session->store);
        log_line(LOG_NOTICE, "removed the converted image %s", name->uuid.text);
        return 0;
}
