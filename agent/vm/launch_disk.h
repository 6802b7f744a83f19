/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One disk on its way from a line in a definition to an open volume:
 *
 *   inspect (worker)   volumed opens image and layer; their headers are checked here
 *   unlock  (loop)     the key that the header names opens the image's volume key
 *   open    (worker)   volumed maps both; the layer is made at the first start
 *
 * Two formats that others made are opened by the key that the line names: ordinary LUKS2 volumes, by one
 * of their keyslots, and images of Intel SecL, which volumed converts at the first start if that can be done
 * in time (FOREIGN_IMAGE_MAX).
 *
 * A disk that libvirt encrypts (DISK_SECRET) has no image: opening it is setting its secret, image is that
 * session, and name is empty.
 *
 * The two sessions with volumed are, once the disk is open, the lease on its mappings.
 *
 * Ownership: embedded; launch_disk_close() releases what it holds, at any point, and is safe on
 *            {.header_fd = -1}.
 * Threads:   one at a time.
 * Failure:   as client.h, luks2_header.h and volume_key.h say; the text names the disk.
 */

#include "flavor/flavor_verdict.h"
#include "image/luks2_header.h"
#include "vm/domain.h"
#include "volume/client.h"

/* The largest image that is converted while libvirt waits, bytes. */
#define FOREIGN_IMAGE_MAX (UINT64_C(8) << 30)

struct launch_disk {
        struct protected_disk line;
        int header_fd;                /* -1, or the header of a registered image */
        struct volume_session *image; /* from inspection on */
        struct volume_session *layer; /* NULL in modes direct and nova */
        enum volumed_format format;   /* of the image */
        uint64_t size;                /* of its file, bytes */
        bool isecl;                   /* the file is an ISecL-VMC image, converted or not */
        struct luks2_header header;   /* of the image; with VOLUMED_FORMAT_ISECL its UUID only */
        bool has_layer;               /* it was there before */
        bool pointed; /* DISK_NOVA: the disk names the mapping since this launch, or may */
        bool set;     /* DISK_SECRET: the secret has its value since this launch, or may */
        struct luks2_header layer_header;
        struct key_id key_id;
        struct flavor_terms terms; /* what came with the key; present with KEY_SCHEME_WLS only */
        /* Between unlock and open: the image's volume key, or for other formats the key itself. */
        struct wla_secret *image_key;
        char name[VOLUME_NAME_SIZE]; /* of the volume that the VM gets */
};

/* The header of an image: volumed's sealed copy, or that of a registered one.  It is read once. */
int launch_header_read(int fd, struct luks2_header *ret, struct wla_error *err) _must_check_;

/* Where, for whom and until when. */
struct launch_place {
        const char *socket;
        const struct uuid *vm;
        bool arriving; /* the VM brings its layer along: one that is there already is in the way */
        bool replaces; /* arriving: the layer that is there is of no use to anybody */
        const struct deadline *deadline;
};

/* What was just let go may be in the way for a moment: whether to try again, after a pause.  Then err is
 * empty again. */
bool launch_disk_try_again(const struct launch_place *place, uint64_t begun_usec,
                           struct wla_error *err);

int launch_disk_inspect(struct launch_disk *disk, const struct launch_place *place,
                        struct wla_error *err) _must_check_;

/* The layer's part of it, once more. */
int launch_disk_inspect_layer(struct launch_disk *disk, const struct launch_place *place,
                              struct wla_error *err) _must_check_;

/* key: what key_id names. */
int launch_disk_unlock(struct launch_disk *disk, const struct wla_secret *key,
                       struct wla_error *err) _must_check_;

/* Instead of the key, the volume key of what the image has been converted to; the key stays on failure. */
int launch_disk_exchange_key(struct launch_disk *disk, struct wla_error *err) _must_check_;

/* VOLUMED_FORMAT_ISECL becomes VOLUMED_FORMAT_OURS; a part of launch_disk_open(). */
int launch_disk_convert(struct launch_disk *disk, const struct launch_place *place,
                        struct wla_error *err) _must_check_;

/* Before the volume is opened: an image whose key comes from WLS by its UUID has to have a flavor that is for
 * it, and to be the file that the flavor is for.  The first takes a key's terms only; the second reads the
 * file, once until it changes, and gives up before the deadline: WLA_E_TIMEOUT, with how far it is. */
int launch_disk_judge_flavor(const struct launch_disk *disk, struct wla_error *err) _must_check_;
int launch_disk_check_digest(struct launch_disk *disk, const struct launch_place *place,
                             struct wla_error *err) _must_check_;

int launch_disk_open(struct launch_disk *disk, const struct launch_place *place,
                     struct wla_error *err) _must_check_;

void launch_disk_end_sessions(struct launch_disk *disk);

/* After another disk has failed: what was changed in a disk of Nova's is as before. */
void launch_disk_undo(struct launch_disk *disk, const struct launch_place *place);

void launch_disk_close(struct launch_disk *disk);
