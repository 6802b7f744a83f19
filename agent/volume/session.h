/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One connection of volume/message.h, in a process of its own.
 *
 * The steps of a session are in the files session_*.c; session.c receives, permits and answers.
 *
 * Ownership: of the socket; everything goes with the process at the latest.
 * Threads:   the only one.
 */

#include "config/config.h"
#include "volume/image_digest.h"
#include "volume/image_file.h"
#include "volume/layer_store.h"
#include "volume/mapping.h"
#include "volume/request.h"
#include "volume/secret_keeper.h"

struct session {
        int fd;
        const struct config *config;
        enum session_state state;
        struct image_file image;    /* SESSION_IMAGE */
        bool isecl;                 /* what stands there is an ISecL-VMC image */
        struct uuid identity;       /* then of that */
        bool converted;             /* it is the conversion of what stands there */
        int source_fd;              /* then that; else -1 */
        struct image_digest digest; /* of what stands there, as soon as it is asked for */
        struct layer_store store;   /* as soon as it is needed */
        struct layer_files layer;   /* SESSION_LAYER */
        struct uuid vm;             /* SESSION_LAYER and SESSION_NO_LAYER */
        char target[DISK_TARGET_SIZE];
        char path[VOLUMED_PATH_SIZE]; /* where image stands */
        enum volumed_format format;
        struct sealed_header sealed;
        struct luks2_header
                header;         /* what the check found in sealed; not with VOLUMED_FORMAT_ISECL */
        struct mapping mapping; /* SESSION_OPEN: the lease */
        struct secret_keeper keeper; /* or this one */
};

/* What a step works on. */
struct session_step {
        const struct volume_request *request;
        const struct wla_secret *key; /* NULL when the operation takes none */
        int attached_fd;              /* -1 when nothing was attached */
        struct volumed_reply *reply;
        int reply_fd; /* to be attached to the reply; stays the session's */
};

/* Serves until the connection ends.  Takes the socket. */
void session_run(int fd, const struct config *config);

int session_inspect_image(struct session *session, struct session_step *step,
                          struct wla_error *err) _must_check_;
int session_open_image(struct session *session, struct session_step *step,
                       struct wla_error *err) _must_check_;
int session_open_direct(struct session *session, struct session_step *step,
                        struct wla_error *err) _must_check_;

/* Checks what is behind image and sealed now, and tells it. */
int session_judge_image(struct session *session, struct session_step *step,
                        struct wla_error *err) _must_check_;

/* An image in Intel's format: when it has been converted, the conversion takes its place. */
int session_find_conversion(struct session *session, struct wla_error *err) _must_check_;
int session_convert_image(struct session *session, struct session_step *step,
                          struct wla_error *err) _must_check_;
/* A part of it, or what is known of it; and whether the image still is the one that has that digest. */
int session_digest_image(struct session *session, struct session_step *step,
                         struct wla_error *err) _must_check_;
int session_check_digested(const struct session *session, struct wla_error *err) _must_check_;

/* Nobody asks any more: the next session will. */
void session_finish_digest(struct session *session);
int session_open_digests(const struct session *session, int *ret_fd,
                         struct wla_error *err) _must_check_;

int session_list_conversions(struct session *session, struct session_step *step,
                             struct wla_error *err) _must_check_;
int session_remove_conversion(struct session *session, struct session_step *step,
                              struct wla_error *err) _must_check_;

/* When the image is a conversion: it is in use now. */
void session_note_use(const struct session *session);

int session_adopt_volume(struct session *session, struct session_step *step,
                         struct wla_error *err) _must_check_;

int session_inspect_layer(struct session *session, struct session_step *step,
                          struct wla_error *err) _must_check_;
int session_open_layer(struct session *session, struct session_step *step,
                       struct wla_error *err) _must_check_;
int session_create_layer(struct session *session, struct session_step *step,
                         struct wla_error *err) _must_check_;
/* Makes the layer's file as long as it has to be now (image/layer_room.h), before it is mapped. */
int session_give_room(struct session *session, const struct wla_secret *key, uint64_t virtual_size,
                      struct wla_error *err) _must_check_;
/* The first bytes of a file or device: all of size, or all that it has. */
int session_read_start(int fd, uint8_t *to, size_t size, size_t *ret,
                       struct wla_error *err) _must_check_;
int session_remove_layer(struct session *session, struct session_step *step,
                         struct wla_error *err) _must_check_;

/* Send a reply for each; the last one is the caller's. */
int session_list(struct session *session, struct session_step *step,
                 struct wla_error *err) _must_check_;
int session_list_layers(struct session *session, struct session_step *step,
                        struct wla_error *err) _must_check_;
int session_close(struct session *session, struct session_step *step,
                  struct wla_error *err) _must_check_;

int session_rebase(struct session *session, struct session_step *step,
                   struct wla_error *err) _must_check_;

/* Keeps other sessions away from a file until this one ends; without writable, those that write to it. */
int session_claim(struct session *session, dev_t device, ino_t inode, bool writable,
                  struct wla_error *err) _must_check_;

int session_set_secret(struct session *session, struct session_step *step,
                       struct wla_error *err) _must_check_;
int session_clear_secret(struct session *session, struct session_step *step,
                         struct wla_error *err) _must_check_;

/* The mapping that has been opened becomes the lease. */
void session_hold(struct session *session, const struct mapping_plan *plan, struct mapping *mapping,
                  struct session_step *step);

/* Sends a reply in front of the last one. */
int session_send(struct session *session, const struct volumed_reply *reply, int attached_fd,
                 struct wla_error *err) _must_check_;
