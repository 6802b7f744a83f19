/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Bounds the HTTP/2 frames that bring no request forward: PING, SETTINGS, PRIORITY, RST_STREAM,
 * WINDOW_UPDATE, CONTINUATION, unknown types, small DATA.
 *
 * A client may send H2_FLOOD_FRAMES of them a second, and H2_FLOOD_CREDIT more for each whole request:
 * a busy client acknowledges and probes in proportion to its calls, an attacker does not call.
 * Frames are counted here, not by nghttp2, which passes some over in silence.
 *
 * Wire: RFC 9113 sections 3.4 and 4.1; what does not follow them is left for nghttp2 to refuse.
 * Pure; the owner embeds the struct and brings the time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_FLOOD_FRAMES 200u
#define H2_FLOOD_CREDIT 8u

/* DATA below this size that does not end a request counts. */
#define H2_FLOOD_SMALL_DATA 64u

#define H2_FRAME_HEADER_SIZE 9u

struct h2_flood {
        uint64_t second_usec; /* when the present second began */
        uint32_t frames;
        size_t skip; /* bytes of preface or payload still to come */
        uint8_t header[H2_FRAME_HEADER_SIZE];
        size_t header_size;
};

void h2_flood_init(struct h2_flood *flood);

/* Takes what has been received, split anywhere; false when the bound is passed. */
bool h2_flood_scan(struct h2_flood *flood, const uint8_t *data, size_t size, uint64_t now_usec);

/* A whole request has arrived. */
void h2_flood_credit(struct h2_flood *flood);
