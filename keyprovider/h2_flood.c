/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/h2_flood.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#include "base/clock.h"

void h2_flood_init(struct h2_flood *flood) {
        *flood = (struct h2_flood){.skip = NGHTTP2_CLIENT_MAGIC_LEN};
}

static bool is_idle_frame(uint8_t type, uint8_t flags, size_t length) {
        switch (type) {
        case NGHTTP2_HEADERS: /* bounded by the limits on streams and resets */
                return false;
        case NGHTTP2_DATA:
                return !(flags & NGHTTP2_FLAG_END_STREAM) && length < H2_FLOOD_SMALL_DATA;
        default:
                return true;
        }
}

static bool count_frame(struct h2_flood *flood, uint64_t now_usec) {
        if (now_usec - flood->second_usec >= USEC_PER_SEC) {
                flood->second_usec = now_usec;
                flood->frames = 0;
        }

        return ++flood->frames <= H2_FLOOD_FRAMES;
}

static bool take_header(struct h2_flood *flood, uint64_t now_usec) {
        const uint8_t *header = flood->header;

        flood->header_size = 0;
        flood->skip = (size_t)header[0] << 16 | (size_t)header[1] << 8 | header[2];
        return !is_idle_frame(header[3], header[4], flood->skip) || count_frame(flood, now_usec);
}

static size_t least(size_t a, size_t b) {
        return a < b ? a : b;
}

bool h2_flood_scan(struct h2_flood *flood, const uint8_t *data, size_t size, uint64_t now_usec) {
        for (;;) {
                size_t skip = least(flood->skip, size);
                flood->skip -= skip;
                data += skip;
                size -= skip;
                if (size == 0)
                        return true;

                size_t part = least(H2_FRAME_HEADER_SIZE - flood->header_size, size);
                memcpy(flood->header + flood->header_size, data, part);
                flood->header_size += part;
                data += part;
                size -= part;
                if (flood->header_size == H2_FRAME_HEADER_SIZE && !take_header(flood, now_usec))
                        return false;
        }
}

void h2_flood_credit(struct h2_flood *flood) {
        flood->frames -= flood->frames < H2_FLOOD_CREDIT ? flood->frames : H2_FLOOD_CREDIT;
}
