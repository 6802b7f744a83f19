/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What programs say to wlagentd on its control socket.
 *
 * A stream socket; one request and one reply a connection.  Each is a fixed header in host byte order
 * followed by size bytes of payload.  The peer is judged by SO_PEERCRED before the first byte is read:
 * root and the daemon's own user may use every command, those in AllowUsers= may use
 * CONTROL_KEYPROVIDER and CONTROL_IMAGE_WRAP.
 *
 *   CONTROL_STATUS       request: nothing             reply: JSON object, UTF-8
 *   CONTROL_METRICS      request: nothing             reply: Prometheus text format 0.0.4
 *   CONTROL_FORGET       request: nothing             reply: nothing; the key cache has been wiped
 *   CONTROL_KEYPROVIDER  request: ocicrypt keyprovider JSON input
 *                        reply: ocicrypt keyprovider JSON output; it holds a layer key
 *   CONTROL_DOMAIN       request: struct control_domain, then the domain's XML
 *                        reply: nothing; a domain that nothing here protects is WLA_OK at once.  Before the
 *                        reply about one that must not start without its disks, as soon as that is known, comes
 *                        a header with code CONTROL_PROTECTED and no payload;
 *                        DOMAIN_STARTED: names below /dev/mapper, a line each, which QEMU has to have open
 *                        for writing by now, or the domain must not go on
 *   CONTROL_VOLUME_OPEN  request: JSON {"vm": UUID, "target": TEXT, "image": PATH, "mode": "layer" |
 *                        "direct" | "ephemeral", and optional "header": PATH, "key": KEY ID,
 *                        "hold_seconds": NUMBER}
 *                        reply: JSON {"device": PATH}
 *   CONTROL_VOLUME_CLOSE request: JSON {"name": NAME below /dev/mapper}    reply: nothing
 *   CONTROL_VOLUMES      request: nothing
 *                        reply: JSON {"volumes": [{"name": NAME, "image": UUID of its header, or "vm":
 *                        UUID, "target": TEXT and "known": BOOL, "device": PATH, "size": BYTES,
 *                        "allocated": BYTES, or null when it is neither a layer with a name nor a
 *                        conversion, "open_count": NUMBER, "writable": BOOL}, ...], "layers": [{"name": NAME that its volume has when it is
 *                        open, "vm": UUID, "target": TEXT, "size": BYTES, "allocated": BYTES,
 *                        "orphan_since": seconds since 1970, or null}, ...],
 *                        "conversions": [{"name": NAME, "image": UUID, "key": KEY ID, "size": BYTES,
 *                        "allocated": BYTES, "layers": NUMBER that stand on it, "last_used": seconds
 *                        since 1970}, ...]}
 *   CONTROL_LAYER_REMOVE request: JSON {"vm": UUID, "target": TEXT, and optional "review": NUMBER, for
 *                        what CONTROL_DOMAINS has named and libvirt still does not know}, or {"image":
 *                        UUID} of a conversion
 *                        reply: nothing; what was written to that disk, or the conversion, is gone
 *   CONTROL_DOMAINS      request: JSON {"domains": [{"uuid": UUID, "active": BOOL}, ...]}: every
 *                        domain that libvirt knows; layers of others are orphans from now on
 *                        reply: JSON {"review": NUMBER, "orphans": [{"vm": UUID, "target": TEXT}, ...]}:
 *                        layers to remove if libvirt, asked once more, does not know their VM
 *   CONTROL_VOLUME_PREPARE
 *   CONTROL_VOLUME_ADOPT request: JSON {"path": PATH, "key": KEY ID}; may take hours
 *                        reply: JSON {"done": TEXT}
 *   CONTROL_IMAGE_WRAP   request: struct control_image_key with a volume key
 *                        reply: the same with the wrapped key; AllowWrap=yes only
 *   CONTROL_IMAGE_UNWRAP request: struct control_image_key with a wrapped key
 *                        reply: the same with the volume key
 *
 * A reply with code other than WLA_OK has a line of text for people as payload.
 */

#include <stdint.h>

#define CONTROL_MAGIC       UINT32_C(0x31414c57) /* "WLA1" on little-endian machines */
#define CONTROL_PAYLOAD_MAX (256u * 1024u)
/* CONTROL_DOMAIN and CONTROL_DOMAINS. */
#define CONTROL_DOMAIN_PAYLOAD_MAX (1024u * 1024u + 64u)
/* Of a reply: the status of a host with thousands of VMs, and what they have open. */
#define CONTROL_REPLY_MAX (4u * 1024u * 1024u)

enum control_command {
        CONTROL_STATUS = 1,
        CONTROL_METRICS = 2,
        CONTROL_FORGET = 3,
        CONTROL_KEYPROVIDER = 4,
        CONTROL_DOMAIN = 5,
        CONTROL_VOLUME_OPEN = 6,
        CONTROL_VOLUME_CLOSE = 7,
        CONTROL_VOLUMES = 8,
        CONTROL_DOMAINS = 9,
        CONTROL_IMAGE_WRAP = 10,
        CONTROL_IMAGE_UNWRAP = 11,
        CONTROL_VOLUME_PREPARE = 12,
        CONTROL_VOLUME_ADOPT = 13,
        CONTROL_LAYER_REMOVE = 14,
};

#define CONTROL_PROTECTED 0xffffu

struct control_header {
        uint32_t magic;
        uint16_t command; /* enum control_command; the reply repeats it */
        uint16_t code;    /* enum wla_code, or CONTROL_PROTECTED; 0 in requests */
        uint32_t size;    /* of the payload */
        uint32_t reserved;
};

_Static_assert(sizeof(struct control_header) == 16, "the control header is part of the protocol");

/* The operations of libvirt's qemu hook. */
enum control_domain_operation {
        DOMAIN_PREPARE = 1,
        DOMAIN_START = 2,
        DOMAIN_STARTED = 3,
        DOMAIN_STOPPED = 4,
        DOMAIN_RELEASE = 5,
        DOMAIN_MIGRATE = 6,
        DOMAIN_RESTORE = 7,
        DOMAIN_RECONNECT = 8,
        DOMAIN_ATTACH = 9,
};

struct control_domain {
        uint16_t operation;
        uint16_t reserved;
        uint32_t xml_size; /* what follows, at most 1 MiB */
};

_Static_assert(sizeof(struct control_domain) == 8, "the domain request is part of the protocol");

#define CONTROL_KEY_ID_SIZE         513u /* with the terminating zero */
#define CONTROL_IMAGE_IDENTITY_SIZE 1024u

/* AES-256-GCM under the key-encryption key, identity as additional data (agent/image/volume_key.h). */
struct control_image_key {
        char key_id[CONTROL_KEY_ID_SIZE];
        uint8_t reserved;
        uint16_t identity_size;
        uint8_t identity[CONTROL_IMAGE_IDENTITY_SIZE];
        uint8_t nonce[12];
        uint8_t key[80]; /* the volume key in the first 64 bytes, or wrapped with its tag */
};
