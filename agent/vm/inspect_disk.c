/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/image_room.h"
#include "vm/launch_disk.h"

static const char hint_encrypt[] = "'wlagent image encrypt' makes images that wlagent opens";
static const char hint_key[] = "run 'wlagent vm protect' again with --key";
static const char hint_prepare[] = "'wlagent volume prepare' converts it, once";
static const char hint_register[] = "run 'wlagent image register --force' with the image's header";
static const char hint_if_ours[] = "if it is one of wlagent's own, run 'wlagent image register "
                                   "--force' with its header";
static const char hint_size[] = "copy the image again, together with its header";
static const char hint_layer[] = "put the image back that this VM was started with, or remove its "
                                 "layer, and with it what the VM has written";

static const char hint_arrival[] =
        "if the newest data are on the other host, 'virsh undefine' it here and "
        "run 'wlagent vm reconcile', or remove the layer with 'wlagent "
        "volume remove'; then migrate again";

static int fail_short(struct wla_error *err) {
        return wla_fail(err, WLA_E_SYSTEM, "its header cannot be read");
}

int launch_header_read(int fd, struct luks2_header *ret, struct wla_error *err) {
        struct stat status;

        if (fstat(fd, &status) < 0 || status.st_size <= 0)
                return fail_short(err);
        if ((uint64_t)status.st_size > LUKS2_HEADER_MAX)
                return wla_fail(err, WLA_E_INPUT, "its header is too large");

        size_t size = (size_t)status.st_size;
        _cleanup_free_ uint8_t *bytes = malloc(size);
        if (!bytes)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        for (size_t have = 0; have < size;) {
                ssize_t got = pread(fd, bytes + have, size - have, (off_t)have);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        return fail_short(err);
                have += (size_t)got;
        }
        return luks2_header_check(bytes, size, ret, err);
}

static int inspect(const struct launch_place *place, const struct volumed_request *request,
                   int header_fd, struct volume_session **session, struct volumed_reply *reply,
                   struct luks2_header *header, struct wla_error *err) {
        _cleanup_close_ int memory_fd = -1;
        const struct volume_call call = {
                .request = request, .header_fd = header_fd, .ret_header = &memory_fd};

        if (volume_session_open(place->socket, place->deadline, session, err) < 0 ||
            volume_session_call(*session, &call, place->deadline, reply, err) < 0)
                return -1;
        if (reply->format == 0)
                return 0;
        if (reply->format == VOLUMED_FORMAT_ISECL)
                return 0;
        if (memory_fd < 0)
                return fail_short(err);
        return launch_header_read(memory_fd, header, err);
}

/* Of a key that comes with a flavor, the flavor has the link (vm/launch_flavor.c). */
static bool names_same_key(const struct key_id *line, const struct key_id *header) {
        return key_id_equal(line, header) ||
               (line->scheme == KEY_SCHEME_WLS && header->scheme == KEY_SCHEME_HTTPS);
}

/* Nothing in an image of Intel's names its key: its conversion names whichever opened it the first time. */
static int judge_named_key(const struct launch_disk *disk, struct wla_error *err) {
        const struct protected_disk *line = &disk->line;

        if (disk->isecl || !line->has_key_id ||
            names_same_key(&line->key_id, &disk->header.image.key_id))
                return 0;
        return wla_fail_hint(err, WLA_E_DENIED,
                             "take key= out of the domain's line, or use the image of that key",
                             "its header names another key than the domain");
}

static int judge_ours(struct launch_disk *disk, const struct volumed_reply *reply,
                      struct wla_error *err) {
        const struct luks2_header *header = &disk->header;
        const struct protected_disk *line = &disk->line;

        if (header->kind != LUKS2_IMAGE)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_encrypt,
                                     "its header is not that of an image of wlagent");
        if (reply->size != header->data_offset + header->image.size)
                return wla_fail_hint(err, WLA_E_INPUT, hint_size,
                                     "it has %" PRIu64 " bytes, but its header is for %" PRIu64,
                                     reply->size, header->data_offset + header->image.size);
        if (judge_named_key(disk, err) < 0)
                return -1;
        if (line->mode == DISK_DIRECT && !line->any_format && line->format != header->image.content)
                return wla_fail_hint(err, WLA_E_INPUT, "run 'wlagent vm protect' again",
                                     "the driver's type of the disk has to be %s",
                                     image_content_name(header->image.content));
        if (line->mode == DISK_DIRECT && image_room_check(&header->image, err) < 0)
                return -1;
        disk->key_id = line->has_key_id ? line->key_id : header->image.key_id;
        return 0;
}

/* Nothing in them names a key. */
static int judge_foreign(struct launch_disk *disk, const struct volumed_reply *reply,
                         struct wla_error *err) {
        const struct protected_disk *line = &disk->line;
        bool isecl = reply->format == VOLUMED_FORMAT_ISECL;

        if (!isecl &&
            (disk->header.kind != LUKS2_ORDINARY || reply->size <= disk->header.data_offset))
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_encrypt,
                                     "it is encrypted, but not by wlagent");
        if (!line->has_key_id)
                return wla_fail_hint(err, WLA_E_INPUT, hint_key,
                                     "nothing in it names its key, and neither does the domain");
        if (isecl && line->mode == DISK_DIRECT)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, "choose mode layer or ephemeral",
                                     "an image in Intel's format cannot be written to");
        if (line->mode == DISK_DIRECT && !line->any_format && line->format != IMAGE_CONTENT_RAW)
                return wla_fail_hint(err, WLA_E_INPUT, "run 'wlagent vm protect' again",
                                     "nothing says what is in it, so the driver's type of the disk "
                                     "has to be raw");
        if (isecl && reply->size > FOREIGN_IMAGE_MAX)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_prepare,
                                     "to convert %" PRIu64 " bytes takes longer than a start can "
                                     "wait",
                                     reply->size);
        disk->key_id = line->key_id;
        return 0;
}

/* A flavor is for one content of the file. */
static int judge_use(const struct launch_disk *disk, struct wla_error *err) {
        if (disk->key_id.scheme != KEY_SCHEME_WLS)
                return 0;
        if (disk->line.mode == DISK_DIRECT)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, "choose mode layer or ephemeral",
                                     "an image with a flavor cannot be written to");
        if (disk->line.mode == DISK_NOVA &&
            !uuid_equal(&disk->key_id.image, &disk->line.nova_image))
                return wla_fail(err, WLA_E_DENIED, "its header names the key of the image %s",
                                disk->key_id.image.text);
        return 0;
}

/* volumed knows it before the image is converted, and the converted one's header says the same. */
static int judge_identity(struct launch_disk *disk, const struct volumed_reply *reply,
                          struct wla_error *err) {
        struct volume_name name;

        disk->isecl = reply->name[0] != '\0';
        if (!disk->isecl)
                return disk->format == VOLUMED_FORMAT_ISECL
                               ? wla_fail(err, WLA_E_INPUT, "wlagent-volumed does not identify it")
                               : 0;
        if (volume_name_parse(reply->name, &name, err) < 0)
                return -1;
        if (disk->format == VOLUMED_FORMAT_ISECL)
                disk->header = (struct luks2_header){.uuid = name.uuid};
        else if (!uuid_equal(&disk->header.uuid, &name.uuid))
                return wla_fail(err, WLA_E_INPUT, "its conversion is that of another image");
        return 0;
}

static bool is_registered_as_isecl(const struct launch_disk *disk) {
        return disk->line.mode == DISK_NOVA && disk->header_fd < 0;
}

/* Without its header an image of ours has no other way to say what it is. */
static int judge_registration(const struct launch_disk *disk, struct wla_error *err) {
        if (!is_registered_as_isecl(disk) || disk->isecl)
                return 0;
        return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_register,
                             "it is registered without a header, and not in Intel's format");
}

static int judge_image(struct launch_disk *disk, const struct volumed_reply *reply,
                       struct wla_error *err) {
        if (reply->format == 0)
                return wla_fail(err, WLA_E_INPUT, "wlagent-volumed found no image there");

        disk->format = (enum volumed_format)reply->format;
        disk->size = reply->size;
        if (judge_identity(disk, reply, err) < 0 || judge_registration(disk, err) < 0)
                return -1;
        if ((disk->format == VOLUMED_FORMAT_OURS ? judge_ours : judge_foreign)(disk, reply, err) <
            0)
                return -1;
        return judge_use(disk, err);
}

/* volumed does not know how it was registered, and the file of an image of ours is bare ciphertext. */
static int fail_inspection(const struct launch_disk *disk, struct wla_error *err) {
        if (is_registered_as_isecl(disk) && err->code == WLA_E_INPUT && !err->hint) {
                err->hint = hint_if_ours;
                return wla_wrap(err, "it is registered as one in Intel's format");
        }
        return -1;
}

static int inspect_image(struct launch_disk *disk, const struct launch_place *place,
                         struct wla_error *err) {
        struct volumed_request request = {.operation = VOLUMED_INSPECT_IMAGE};
        struct volumed_reply reply;

        memcpy(request.path, disk->line.image, sizeof(request.path));
        memcpy(request.header, disk->line.header, sizeof(request.header));
        int outcome = inspect(place, &request, disk->header_fd, &disk->image, &reply, &disk->header,
                              err);
        if (outcome < 0)
                outcome = fail_inspection(disk, err);
        if (outcome < 0 || judge_image(disk, &reply, err) < 0)
                return wla_wrap(err, "the image %s", disk->line.image);
        return 0;
}

/* volumed found the layer by this VM and target; its token has to say the same, and name this image. */
static int judge_layer(const struct launch_disk *disk, const struct uuid *vm,
                       struct wla_error *err) {
        const struct luks2_header *header = &disk->layer_header;

        if (disk->line.mode == DISK_EPHEMERAL)
                return wla_fail_hint(err, WLA_E_INPUT, "choose mode layer, or remove the layer",
                                     "the disk has a layer that is kept, which mode ephemeral "
                                     "would hide");
        if (header->kind != LUKS2_LAYER || !uuid_equal(&header->layer.vm, vm) ||
            strcmp(header->layer.target, disk->line.target) != 0)
                return wla_fail(err, WLA_E_DENIED, "its header is not that of this disk's layer");
        return 0;
}

static int judge_pair(const struct launch_disk *disk, struct wla_error *err) {
        if (uuid_equal(&disk->layer_header.layer.image, &disk->header.uuid))
                return 0;
        return wla_fail_hint(err, WLA_E_DENIED, hint_layer,
                             "it was made over another image than %s", disk->line.image);
}

/* It may hold the newest data of the VM, whatever another host sends. */
static int judge_arrival(const struct launch_place *place, struct wla_error *err) {
        if (place->replaces)
                return 0;
        return wla_fail_hint(err, WLA_E_DENIED, hint_arrival,
                             "one is on this host already, from when the VM ran here");
}

int launch_disk_inspect_layer(struct launch_disk *disk, const struct launch_place *place,
                              struct wla_error *err) {
        struct volumed_request request = {.operation = VOLUMED_INSPECT_LAYER};
        struct volumed_reply reply;

        memcpy(request.vm, place->vm->text, sizeof(request.vm));
        memcpy(request.target, disk->line.target, sizeof(request.target));
        if (inspect(place, &request, -1, &disk->layer, &reply, &disk->layer_header, err) < 0)
                return wla_wrap(err, "the layer");
        disk->has_layer = reply.format != 0;
        if (!disk->has_layer)
                return 0;
        if (place->arriving && disk->line.mode == DISK_LAYER)
                return judge_arrival(place, err) < 0 ? wla_wrap(err, "the layer") : 0;
        /* Which image it is shows when it has been converted. */
        if (judge_layer(disk, place->vm, err) < 0 ||
            (disk->format != VOLUMED_FORMAT_ISECL && judge_pair(disk, err) < 0))
                return wla_wrap(err, "the layer");
        return 0;
}

/* volumed does not stop because nobody waits. */
static int fail_conversion(struct wla_error *err) {
        *err = (struct wla_error){0};
        return wla_fail_hint(err, WLA_E_TIMEOUT,
                             "start the VM again: the conversion goes on meanwhile, and is done "
                             "once",
                             "it is being converted, which takes longer than a start can wait");
}

static int convert(struct launch_disk *disk, const struct launch_place *place,
                   struct wla_error *err) {
        _cleanup_close_ int memory_fd = -1;
        const struct uuid identity = disk->header.uuid;
        struct volumed_request request = {.operation = VOLUMED_CONVERT_IMAGE};
        const struct volume_call call = {
                .request = &request,
                .key = disk->image_key,
                .header_fd = -1,
                .ret_header = &memory_fd,
        };
        struct volumed_reply reply;

        memcpy(request.key_id, disk->key_id.text, sizeof(request.key_id));
        if (volume_session_call(disk->image, &call, place->deadline, &reply, err) < 0)
                return err->code == WLA_E_TIMEOUT ? fail_conversion(err) : -1;
        if (reply.format != VOLUMED_FORMAT_OURS || memory_fd < 0)
                return fail_short(err);
        if (launch_header_read(memory_fd, &disk->header, err) < 0 ||
            judge_image(disk, &reply, err) < 0)
                return -1;
        if (!uuid_equal(&disk->header.uuid, &identity))
                return wla_fail(err, WLA_E_INPUT, "wlagent-volumed has converted another image");
        return disk->has_layer && !place->arriving ? judge_pair(disk, err) : 0;
}

int launch_disk_convert(struct launch_disk *disk, const struct launch_place *place,
                        struct wla_error *err) {
        if (convert(disk, place, err) < 0)
                return wla_wrap(err, "the image %s", disk->line.image);
        if (launch_disk_exchange_key(disk, err) < 0) {
                disk->format = VOLUMED_FORMAT_ISECL;
                return -1;
        }
        return 0;
}

static bool has_own_layer(enum disk_mode mode) {
        return mode == DISK_LAYER || mode == DISK_EPHEMERAL;
}

static int inspect_once(struct launch_disk *disk, const struct launch_place *place,
                        struct wla_error *err) {
        if (inspect_image(disk, place, err) < 0)
                return -1;
        return has_own_layer(disk->line.mode) ? launch_disk_inspect_layer(disk, place, err) : 0;
}

int launch_disk_inspect(struct launch_disk *disk, const struct launch_place *place,
                        struct wla_error *err) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = *place->vm};
        uint64_t begun_usec = clock_now_usec();

        if (disk->line.mode == DISK_SECRET && disk->line.key_id.scheme == KEY_SCHEME_WLS)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "disk %s: the key of an image is not for a secret",
                                disk->line.target);
        if (disk->line.mode == DISK_SECRET) {
                disk->key_id = disk->line.key_id;
                return 0;
        }
        memcpy(name.target, disk->line.target, sizeof(name.target));
        volume_name_write(&name, disk->name);
        while (inspect_once(disk, place, err) < 0) {
                launch_disk_end_sessions(disk);
                if (!launch_disk_try_again(place, begun_usec, err))
                        return wla_wrap(err, "disk %s", disk->line.target);
        }
        if (disk->line.mode == DISK_NOVA) {
                name = (struct volume_name){.kind = VOLUME_IMAGE, .uuid = disk->header.uuid};
                volume_name_write(&name, disk->name);
        }
        return 0;
}
