/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What programs say to wlagentd on its control socket.
 *
 * A stream socket; one request and one reply a connection.  Each is a fixed header in host byte order
 * followed by size bytes of payload.  The peer is judged by SO_PEERCRED before the first byte is read:
 * root and the daemon's own user may use every command, those in AllowUsers= may use
 * CONTROL_KEYPROVIDER.
 *
 *   CONTROL_STATUS       request: nothing             reply: JSON object, UTF-8
 *   CONTROL_METRICS      request: nothing             reply: Prometheus text format 0.0.4
 *   CONTROL_FORGET       request: nothing             reply: nothing; the key cache has been wiped
 *   CONTROL_KEYPROVIDER  request: ocicrypt keyprovider JSON input
 *                        reply: ocicrypt keyprovider JSON output; it holds a layer key
 *
 * A reply with code other than WLA_OK has a line of text for people as payload.
 */

#include <stdint.h>

#define CONTROL_MAGIC       UINT32_C(0x31414c57) /* "WLA1" on little-endian machines */
#define CONTROL_PAYLOAD_MAX (256u * 1024u)

enum control_command {
        CONTROL_STATUS = 1,
        CONTROL_METRICS = 2,
        CONTROL_FORGET = 3,
        CONTROL_KEYPROVIDER = 4,
};

struct control_header {
        uint32_t magic;
        uint16_t command; /* enum control_command; the reply repeats it */
        uint16_t code;    /* enum wla_code; 0 in requests */
        uint32_t size;    /* of the payload */
        uint32_t reserved;
};

_Static_assert(sizeof(struct control_header) == 16, "the control header is part of the protocol");
