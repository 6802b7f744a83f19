/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/h2_flood.h"

#include <nghttp2/nghttp2.h>

#include "base/clock.h"

bool h2_flood_is_idle_frame(uint8_t type, uint8_t flags, size_t length) {
        switch (type) {
        case NGHTTP2_HEADERS: /* bounded by the limits on streams and resets */
                return false;
        case NGHTTP2_DATA:
                return !(flags & NGHTTP2_FLAG_END_STREAM) && length < H2_FLOOD_SMALL_DATA;
        default:
                return true;
        }
}

bool h2_flood_count(struct h2_flood *flood, uint64_t now_usec) {
        if (now_usec - flood->window_usec >= USEC_PER_SEC)
                *flood = (struct h2_flood){.window_usec = now_usec};

        return ++flood->frames <= H2_FLOOD_FRAMES;
}

void h2_flood_credit(struct h2_flood *flood) {
        flood->frames -= flood->frames < H2_FLOOD_CREDIT ? flood->frames : H2_FLOOD_CREDIT;
}
