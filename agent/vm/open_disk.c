/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "image/volume_key.h"
#include "vm/disk_secret.h"
#include "vm/launch_disk.h"
#include "vm/layer_remove.h"
#include "vm/nova.h"

/* The mapping of a lease that was just dropped, or of a VM that just ended, is gone when the kernel has
 * closed it: very soon, but not at once. */
#define BUSY_PATIENCE   (3 * USEC_PER_SEC)
#define ATTEMPT_TIME    (500 * USEC_PER_MSEC) /* with less than this there is no other attempt */
#define BUSY_PAUSE_NSEC 50000000

#define UNDO_TIME (2 * USEC_PER_SEC)

static const char hint_replaced[] =
        "start the VM again; if that is refused too, look who writes to "
        "that file and to its header";
static const char hint_removed[] = "start the VM again: the image is converted anew";

static int check_name(const struct volumed_reply *reply, const char *expected,
                      struct wla_error *err) {
        if (strcmp(reply->name, expected) == 0)
                return 0;
        return wla_fail(err, WLA_E_INPUT, "wlagent-volumed has opened another volume than %s",
                        expected);
}

static int call(struct volume_session *session, const struct volumed_request *request,
                const struct wla_secret *key, const char *expected,
                const struct launch_place *place, struct wla_error *err) {
        const struct volume_call call = {.request = request, .key = key, .header_fd = -1};
        struct volumed_reply reply;

        if (volume_session_call(session, &call, place->deadline, &reply, err) < 0)
                return -1;
        return check_name(&reply, expected, err);
}

static int open_direct(const struct launch_disk *disk, const struct launch_place *place,
                       struct wla_error *err) {
        struct volumed_request request = {.operation = VOLUMED_OPEN_DIRECT};

        memcpy(request.vm, place->vm->text, sizeof(request.vm));
        memcpy(request.target, disk->line.target, sizeof(request.target));
        return call(disk->image, &request, disk->image_key, disk->name, place, err);
}

static int open_image(const struct launch_disk *disk, const struct launch_place *place,
                      struct wla_error *err) {
        const struct volumed_request request = {.operation = VOLUMED_OPEN_IMAGE};
        const struct volume_name name = {.kind = VOLUME_IMAGE, .uuid = disk->header.uuid};
        char expected[VOLUME_NAME_SIZE];

        volume_name_write(&name, expected);
        return call(disk->image, &request, disk->image_key, expected, place, err);
}

/* In other formats nothing says what it is, and to guess would let a guest choose. */
static enum image_content content_below(const struct launch_disk *disk) {
        return disk->format == VOLUMED_FORMAT_OURS ? disk->header.image.content : IMAGE_CONTENT_RAW;
}

static uint64_t size_below(const struct launch_disk *disk) {
        return disk->format == VOLUMED_FORMAT_OURS ? disk->header.image.virtual_size
                                                   : disk->size - disk->header.data_offset;
}

static int open_layer(const struct launch_disk *disk, const struct launch_place *place,
                      struct wla_error *err) {
        const struct volumed_request request = {
                .operation = VOLUMED_OPEN_LAYER,
                .layer.backing_content = (uint8_t)content_below(disk),
                .layer.keeps_places = disk->line.keeps_places,
                .layer.virtual_size = size_below(disk),
        };
        _cleanup_secret_ struct wla_secret *key = NULL;

        if (layer_key_unwrap(disk->image_key, &disk->layer_header.layer, &key, err) < 0)
                return -1;
        return call(disk->layer, &request, key, disk->name, place, err);
}

static int create_layer(const struct launch_disk *disk, const struct launch_place *place,
                        struct wla_error *err) {
        struct volumed_request request = {
                .operation = VOLUMED_CREATE_LAYER,
                .layer.ephemeral = disk->line.mode == DISK_EPHEMERAL,
                .layer.backing_content = (uint8_t)content_below(disk),
                .layer.keeps_places = disk->line.keeps_places,
                .layer.virtual_size = size_below(disk),
        };
        struct layer_token token = {.vm = *place->vm, .image = disk->header.uuid};
        _cleanup_secret_ struct wla_secret *key = NULL;

        memcpy(token.target, disk->line.target, sizeof(token.target));
        memcpy(request.layer.image, disk->header.uuid.text, sizeof(request.layer.image));
        if (volume_key_generate(&key, err) < 0)
                return -1;
        if (disk->line.mode == DISK_LAYER && layer_key_wrap(disk->image_key, key, &token, err) < 0)
                return -1;
        request.layer.wrapped = token.wrapped;
        return call(disk->layer, &request, key, disk->name, place, err);
}

/* What the VM has left here, or never filled. */
static int remove_old_layer(struct launch_disk *disk, const struct launch_place *place,
                            struct wla_error *err) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = *place->vm};

        memcpy(name.target, disk->line.target, sizeof(name.target));
        disk->layer = volume_session_free(disk->layer);
        if (layer_remove(place->socket, &name, place->deadline, err) < 0)
                return wla_wrap(err, "removing its old layer");
        return launch_disk_inspect_layer(disk, place, err);
}

static struct nova_target target_of(const struct launch_disk *disk, bool to_mapping) {
        return (struct nova_target){
                .base = disk->line.image,
                .image = disk->line.nova_image,
                .header = disk->header.uuid,
                .to_mapping = to_mapping,
                .content = to_mapping ? disk->header.image.content : 0,
                .virtual_size = to_mapping ? disk->header.image.virtual_size : 0,
        };
}

/* Without an answer, or when writing fails, nobody knows how far it has come. */
static bool may_have_happened(const struct wla_error *err) {
        return err->code == WLA_E_TIMEOUT || err->code == WLA_E_UNAVAILABLE ||
               err->code == WLA_E_SYSTEM;
}

static int point_nova(struct launch_disk *disk, const struct launch_place *place,
                      struct wla_error *err) {
        const struct nova_target target = target_of(disk, /* to_mapping= */ true);

        int outcome = nova_point(&target, place, err);
        disk->pointed = outcome == 0 || may_have_happened(err);
        return outcome;
}

static int set_secret(struct launch_disk *disk, const struct launch_place *place,
                      struct wla_error *err) {
        int outcome = disk_secret_set(&disk->line.secret, disk->image_key, place, &disk->image,
                                      err);

        disk->set = disk->set || outcome == 0 || may_have_happened(err);
        return outcome;
}

static int open_once(struct launch_disk *disk, const struct launch_place *place,
                     struct wla_error *err) {
        if (disk->line.mode == DISK_SECRET)
                return set_secret(disk, place, err);
        if (disk->format == VOLUMED_FORMAT_ISECL && launch_disk_convert(disk, place, err) < 0)
                return -1;
        if (launch_disk_check_digest(disk, place, err) < 0)
                return -1;
        if (disk->line.mode == DISK_DIRECT)
                return open_direct(disk, place, err) < 0 ? wla_wrap(err, "opening its image") : 0;
        if (open_image(disk, place, err) < 0)
                return wla_wrap(err, "opening its image");
        if (disk->line.mode == DISK_NOVA)
                return point_nova(disk, place, err);
        if (disk->has_layer && place->arriving && remove_old_layer(disk, place, err) < 0)
                return -1;
        if ((disk->has_layer ? open_layer : create_layer)(disk, place, err) < 0)
                return wla_wrap(err, "%s its layer", disk->has_layer ? "opening" : "making");
        return 0;
}

void launch_disk_end_sessions(struct launch_disk *disk) {
        /* The layer lies over the image. */
        disk->layer = volume_session_free(disk->layer);
        disk->image = volume_session_free(disk->image);
}

static bool same_wrapping(const struct wrapped_volume_key *a, const struct wrapped_volume_key *b) {
        return memcmp(a->nonce, b->nonce, sizeof(a->nonce)) == 0 &&
               memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static int fail_replaced(const struct launch_disk *disk, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_DENIED, hint_replaced,
                             "disk %s: the image %s was replaced meanwhile", disk->line.target,
                             disk->line.image);
}

/* What is in hand is the key of the conversion only. */
static int fail_removed(const struct launch_disk *disk, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_UNAVAILABLE, hint_removed,
                             "disk %s: the conversion of the image %s was removed meanwhile",
                             disk->line.target, disk->line.image);
}

/* The key in hand is for the header that was inspected first, and what was noted of this launch for its image. */
static int inspect_again(struct launch_disk *disk, const struct launch_place *place,
                         struct wla_error *err) {
        const struct luks2_header before = disk->header;
        bool to_convert = disk->format == VOLUMED_FORMAT_ISECL;

        launch_disk_end_sessions(disk);
        if (launch_disk_inspect(disk, place, err) < 0)
                return -1;
        if (!uuid_equal(&before.uuid, &disk->header.uuid))
                return fail_replaced(disk, err);
        /* Somebody else has converted it, and what is in hand is the key of it all. */
        if (to_convert && disk->format == VOLUMED_FORMAT_OURS)
                return launch_disk_exchange_key(disk, err);
        if (!to_convert && disk->format == VOLUMED_FORMAT_ISECL)
                return fail_removed(disk, err);
        if (!same_wrapping(&before.image.wrapped, &disk->header.image.wrapped))
                return fail_replaced(disk, err);
        return 0;
}

bool launch_disk_try_again(const struct launch_place *place, uint64_t begun_usec,
                           struct wla_error *err) {
        const struct timespec pause = {.tv_nsec = BUSY_PAUSE_NSEC};

        if (err->code != WLA_E_BUSY || clock_now_usec() - begun_usec >= BUSY_PATIENCE ||
            deadline_left_usec(place->deadline) < ATTEMPT_TIME)
                return false;
        (void)nanosleep(&pause, NULL);
        *err = (struct wla_error){0};
        return true;
}

int launch_disk_open(struct launch_disk *disk, const struct launch_place *place,
                     struct wla_error *err) {
        uint64_t begun_usec = clock_now_usec();

        while (open_once(disk, place, err) < 0) {
                if (!launch_disk_try_again(place, begun_usec, err))
                        return wla_wrap(err, "disk %s", disk->line.target);
                if (inspect_again(disk, place, err) < 0)
                        return -1;
        }
        disk->image_key = wla_secret_free(disk->image_key);
        return 0;
}

void launch_disk_undo(struct launch_disk *disk, const struct launch_place *place) {
        const struct nova_target target = target_of(disk, /* to_mapping= */ false);
        struct launch_place anew = *place;
        struct deadline deadline;
        struct wla_error err = {0};

        if (!disk->pointed)
                return;
        deadline_init(&deadline, clock_now_usec() + UNDO_TIME);
        anew.deadline = &deadline;
        uint64_t begun_usec = clock_now_usec();
        /* Busy: who has not answered may still be at it. */
        while (nova_point(&target, &anew, &err) < 0)
                if (!launch_disk_try_again(&anew, begun_usec, &err)) {
                        log_line(LOG_WARNING, "the disk of instance %s still names a mapping: %s",
                                 place->vm->text, wla_error_text(&err));
                        break;
                }
        disk->pointed = false;
}

int launch_disk_unlock(struct launch_disk *disk, const struct wla_secret *key,
                       struct wla_error *err) {
        int outcome = disk->format == VOLUMED_FORMAT_OURS && disk->line.mode != DISK_SECRET
                              ? image_key_unwrap(key, &disk->header, &disk->image_key, err)
                              : wla_secret_copy(key, &disk->image_key, err);

        if (outcome < 0)
                return wla_wrap(err, "disk %s: the image %s", disk->line.target, disk->line.image);
        return 0;
}

int launch_disk_exchange_key(struct launch_disk *disk, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = TAKE_PTR(disk->image_key);

        if (launch_disk_unlock(disk, key, err) == 0)
                return 0;
        disk->image_key = TAKE_PTR(key);
        return -1;
}

void launch_disk_close(struct launch_disk *disk) {
        launch_disk_end_sessions(disk);
        disk->image_key = wla_secret_free(disk->image_key);
        file_closep(&disk->header_fd);
}
