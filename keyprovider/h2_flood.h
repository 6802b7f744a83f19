/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Bounds the HTTP/2 frames that bring no request forward: PING, SETTINGS, PRIORITY, RST_STREAM,
 * WINDOW_UPDATE, CONTINUATION, unknown types, small DATA.
 *
 * A client may send H2_FLOOD_FRAMES of them a second, and H2_FLOOD_CREDIT more for each whole request:
 * a busy client acknowledges and probes in proportion to its calls, an attacker does not call.
 *
 * Pure; the owner embeds the struct and brings the time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_FLOOD_FRAMES 200u
#define H2_FLOOD_CREDIT 8u

/* DATA below this size that does not end a request counts. */
#define H2_FLOOD_SMALL_DATA 64u

struct h2_flood {
        uint64_t window_usec; /* when the present second began */
        uint32_t frames;
};

bool h2_flood_is_idle_frame(uint8_t type, uint8_t flags, size_t length);

/* Counts one such frame; false when the bound is passed. */
bool h2_flood_count(struct h2_flood *flood, uint64_t now_usec);

/* A whole request has arrived. */
void h2_flood_credit(struct h2_flood *flood);
