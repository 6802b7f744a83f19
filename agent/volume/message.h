/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What wlagentd and wlagent-volumed say to each other.
 *
 * A SOCK_SEQPACKET unix socket; each request and each reply is one packet of fixed size in host byte
 * order.  volumed judges the peer by SO_PEERCRED (root, or the user of wlagentd), then gives each
 * connection a process of its own.  A connection is a session: it begins with an inspection, which opens
 * the file once; what is opened later is that file and nothing else.  The permit table:
 *
 *   state      request               reply                                        next state
 *   new        INSPECT_IMAGE         header, sizes; memfd with the header          image
 *   new        INSPECT_LAYER         VOLUMED_ABSENT, or sizes and memfd            layer, or no layer
 *   new        LIST                  one reply a mapping, then one without name    new
 *   new        LIST_LAYERS           one reply a layer, then one without name      new
 *   new        CLOSE                                                               new
 *   new        REMOVE_LAYER                                                        new
 *   new        REBASE                                                              new
 *   new        LIST_CONVERSIONS      one reply a conversion, then one without name new
 *   new        REMOVE_CONVERSION                                                   new
 *   new        SET_SECRET   + key    libvirt has the key as the value of a secret  open
 *   new        CLEAR_SECRET          libvirt has no value of that secret           new
 *   image      OPEN_IMAGE   + key    the mapping, read-only                        open
 *   image      OPEN_DIRECT  + key    the mapping, writable                         open
 *   image      DIGEST_IMAGE          how far it is; at its end the digest         image
 *   image      CONVERT_IMAGE + key   header, sizes, memfd of the conversion        image
 *   image      ADOPT_VOLUME + key    what was done, in text                        new
 *   layer      OPEN_LAYER   + key    the mapping, writable                         open
 *   no layer   CREATE_LAYER + key    the mapping, writable, with an empty qcow2    open
 *   open       nothing
 *
 * Anything else ends the session.  The connection in state open is the lease: volumed holds the mapped
 * device open and has asked the kernel to remove it at its last close.  When the connection ends, for
 * whatever reason, the mapping lives on only as long as somebody else (QEMU) has it open.  For a secret it
 * is the lease on its value, which is cleared when the connection ends (volume/secret_keeper.h).
 *
 * A reply with code other than WLA_OK has a line for people in text, and ends the session.  It does not name
 * the image that was asked for.  LIST_CONVERSIONS has the key id there.
 *
 * OPEN_LAYER looks at what QEMU has left in the layer: below it may be the image that its header names, of
 * that content, or nothing.  It makes the layer longer where it was made by an older version.
 *
 * An ISecL-VMC image is converted once (image/isecl_convert.h); from then on INSPECT_IMAGE finds the
 * conversion and answers as for an image of ours.  Before and after, and for such images only, it tells the
 * name that the mapping has: the conversion's header has that UUID.  CONVERT_IMAGE is for such images alone, ADOPT_VOLUME
 * (volume/volume_adopt.h) for ordinary LUKS2 volumes; both may take minutes.
 *
 * DIGEST_IMAGE is for the file at the path, whatever has been made of it.  Each answer comes soon; who asks no
 * more, and hangs up, has the digest computed all the same (volume/image_digest.h).  Once it was asked for,
 * OPEN_IMAGE opens that state of the file and no other.
 *
 * The header of an image is what INSPECT_IMAGE brings, an fd or the path of a file below the roots; without
 * either it is the file beside the image (PATH.header) or the head of the image itself.  volumed always
 * makes its own sealed copy first.
 */

#include <stdint.h>

#include "image/token.h"
#include "volume/image_digest.h"
#include "volume/volume_name.h"

/* "WLA5" on little-endian machines. Another number with each change of a message or of what a program does for it:
 * wlagentd and wlagent-volumed of two versions then refuse each other, and say that both are to be restarted. */
#define VOLUMED_MAGIC     UINT32_C(0x35414c57)
#define VOLUMED_PATH_SIZE 1024u
#define VOLUMED_TEXT_SIZE 768u
#define VOLUMED_KEY_MAX   64u

enum volumed_operation {
        VOLUMED_INSPECT_IMAGE = 1, /* path, and perhaps header or an fd */
        VOLUMED_INSPECT_LAYER = 2, /* vm, target */
        VOLUMED_OPEN_IMAGE = 3,    /* key */
        VOLUMED_OPEN_DIRECT = 4,   /* vm, target, key */
        VOLUMED_OPEN_LAYER = 5,    /* layer: backing_content, keeps_places, virtual_size; key */
        VOLUMED_CREATE_LAYER = 6,  /* layer fields, key */
        VOLUMED_LIST = 7,
        VOLUMED_LIST_LAYERS = 8,
        VOLUMED_CLOSE = 9,          /* name; refused while anybody has it open */
        VOLUMED_REMOVE_LAYER = 10,  /* vm, target; refused while it is mapped */
        VOLUMED_REBASE = 11,        /* path of a Nova disk, name, nova fields; refused while open */
        VOLUMED_CONVERT_IMAGE = 12, /* key, and the id that names it */
        VOLUMED_ADOPT_VOLUME = 13,  /* key */
        VOLUMED_LIST_CONVERSIONS = 14,
        VOLUMED_REMOVE_CONVERSION = 15, /* name; refused while it is open, or layers stand on it */
        VOLUMED_SET_SECRET = 16,        /* secret, key */
        VOLUMED_CLEAR_SECRET = 17,      /* secret */
        VOLUMED_DIGEST_IMAGE = 18,
        _VOLUMED_OPERATION_MAX,
};

enum volumed_format {
        VOLUMED_FORMAT_OURS = 1, /* or a layer */
        VOLUMED_FORMAT_LUKS2 = 2,
        VOLUMED_FORMAT_ISECL = 3,
};

/* Requests hold a key: they are made, sent and received in locked memory. */
struct volumed_request {
        uint32_t magic;
        uint16_t operation;
        uint16_t key_size; /* 0: no key in this request */
        char vm[UUID_TEXT_SIZE];
        char target[DISK_TARGET_SIZE];
        char name[VOLUME_NAME_SIZE];
        char path[VOLUMED_PATH_SIZE];
        char header[VOLUMED_PATH_SIZE]; /* where the image's header is; "": found by path */
        struct {
                char image[UUID_TEXT_SIZE]; /* header UUID of the image below */
                uint8_t ephemeral;       /* the key is nowhere; the layer goes with its mapping */
                uint8_t backing_content; /* enum image_content of the image below */
                uint8_t keeps_places;    /* QEMU is told to free no cluster (image/layer_room.h) */
                uint64_t virtual_size;   /* of the image's disk, bytes */
                struct wrapped_volume_key wrapped; /* zero when ephemeral */
        } layer;
        struct {
                char image[UUID_TEXT_SIZE]; /* in Glance: with the path it tells the base */
                uint8_t to_mapping;         /* the new backing file: 1 the mapping, 0 the base */
                /* With to_mapping only: */
                uint8_t content;       /* enum image_content of what the mapping shows */
                uint64_t virtual_size; /* of it, bytes: the disk must not be smaller */
        } nova;
        char key_id[KEY_ID_TEXT_MAX + 1]; /* canonical */
        char secret[UUID_TEXT_SIZE];      /* of libvirt */
        uint8_t key[VOLUMED_KEY_MAX];
};

struct volumed_reply {
        uint32_t magic;
        uint16_t operation;
        uint16_t code;        /* enum wla_code */
        uint32_t format;      /* enum volumed_format; 0: a layer that does not exist */
        uint32_t open_count;  /* LIST; LIST_CONVERSIONS: layers that stand on it */
        uint64_t size;        /* of the data file, bytes */
        uint64_t allocated;   /* of it on the disk, bytes; LIST: not told */
        uint64_t data_device; /* st_dev and st_ino of the data file */
        uint64_t data_inode;
        uint64_t used_sec;     /* LIST_CONVERSIONS: opened last, seconds since 1970 */
        uint32_t device_major; /* of the mapping */
        uint32_t device_minor;
        uint64_t digested; /* DIGEST_IMAGE: bytes of size */
        uint8_t digest[IMAGE_DIGEST_SIZE];
        uint8_t has_digest;
        uint8_t writable;
        char name
                [VOLUME_NAME_SIZE]; /* of the mapping; LIST_LAYERS, LIST_CONVERSIONS, and INSPECT_IMAGE
                                      * of an ISecL-VMC image: of the one it would have */
        char text[VOLUMED_TEXT_SIZE];
};

/* Every byte of a text behind its terminating zero, and everything that an operation does not use, is
 * zero. */
