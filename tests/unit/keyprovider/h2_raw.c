/* SPDX-License-Identifier: Apache-2.0 */
#include "h2_raw.h"

#include <check.h>
#include <string.h>

#include "h2_client.h"
#include "keyprovider/service.h"

#define FRAME_HEADER_SIZE 9u

static void append(struct buf *to, const void *data, size_t size) {
        struct wla_error err = {0};

        ck_assert_msg(buf_append(to, data, size, &err) == 0, "%s", wla_error_text(&err));
}

void raw_frame(struct buf *to, struct raw_frame frame) {
        const uint8_t header[FRAME_HEADER_SIZE] = {
                (uint8_t)(frame.size >> 16),
                (uint8_t)(frame.size >> 8),
                (uint8_t)frame.size,
                frame.type,
                frame.flags,
                (uint8_t)(frame.stream_id >> 24),
                (uint8_t)(frame.stream_id >> 16),
                (uint8_t)(frame.stream_id >> 8),
                (uint8_t)frame.stream_id,
        };

        append(to, header, sizeof(header));
        append(to, frame.payload, frame.size);
}

void raw_preface(struct buf *to) {
        append(to, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        raw_frame(to, (struct raw_frame){.type = NGHTTP2_SETTINGS});
}

void raw_block(struct buf *to, const nghttp2_nv *more, size_t more_count) {
        const nghttp2_nv headers[] = {
                HEADER(":method", "POST"),
                HEADER(":scheme", "http"),
                HEADER(":path", KEYPROVIDER_METHOD_UNWRAP),
                HEADER(":authority", "localhost"),
                HEADER("content-type", "application/grpc"),
        };
        const size_t count = sizeof(headers) / sizeof(headers[0]);
        nghttp2_nv all[1024];
        nghttp2_hd_deflater *deflater;
        struct wla_error err = {0};

        ck_assert_uint_le(count + more_count, sizeof(all) / sizeof(all[0]));
        memcpy(all, headers, sizeof(headers));
        if (more_count > 0)
                memcpy(all + count, more, more_count * sizeof(*more));
        ck_assert_int_eq(nghttp2_hd_deflate_new(&deflater, 0), 0);
        size_t bound = nghttp2_hd_deflate_bound(deflater, all, count + more_count);
        uint8_t *at = buf_extend(to, bound, &err);
        ck_assert_ptr_nonnull(at);
        ssize_t size = nghttp2_hd_deflate_hd(deflater, at, bound, all, count + more_count);
        ck_assert_int_gt((int)size, 0);
        to->size -= bound - (size_t)size;
        nghttp2_hd_deflate_del(deflater);
}

void raw_headers_with(struct buf *to, int32_t stream_id, uint8_t flags, const nghttp2_nv *more,
                      size_t more_count) {
        _cleanup_buf_ struct buf block = BUF_WITH_LIMIT(1 << 24);

        raw_block(&block, more, more_count);
        raw_frame(to, (struct raw_frame){NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS,
                                         stream_id, block.data, block.size});
}

void raw_headers(struct buf *to, int32_t stream_id, uint8_t flags) {
        raw_headers_with(to, stream_id, flags, NULL, 0);
}

void raw_message(struct buf *to, int32_t stream_id, size_t size) {
        uint8_t bytes[16384] = {0, 0, 0, (uint8_t)(size >> 8), (uint8_t)size};

        ck_assert_uint_le(size, sizeof(bytes) - 5);
        raw_frame(to, (struct raw_frame){NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream_id, bytes,
                                         size + 5});
}

static void ignore_wake(void *userdata) {
        (void)userdata;
}

struct h2_connection *raw_connection(const struct grpc_handler *handler,
                                     const struct h2_limits *limits, uint64_t now_usec) {
        const struct h2_connection_options options = {
                .handler = handler,
                .limits = limits ? limits : &client_limits,
                .wake = ignore_wake,
        };
        struct h2_connection *connection;
        struct wla_error err = {0};

        ck_assert_int_eq(h2_connection_new(&options, now_usec, &connection, &err), 0);
        return connection;
}

int raw_feed(struct h2_connection *connection, struct buf *bytes, uint64_t now_usec) {
        struct wla_error err = {0};
        int outcome = h2_connection_feed(connection, bytes->data, bytes->size, now_usec, &err);

        buf_reset(bytes);
        return outcome;
}

static void see_frame(struct raw_seen *seen, struct raw_frame frame) {
        if (seen->bytes == 0)
                seen->first = frame;
        seen->bytes += frame.size + FRAME_HEADER_SIZE;
        seen->frames[frame.type < 15 ? frame.type : 15]++;
        if ((frame.type == NGHTTP2_DATA || frame.type == NGHTTP2_HEADERS) &&
            (frame.flags & NGHTTP2_FLAG_END_STREAM))
                seen->ended++;
        if (frame.type == NGHTTP2_RST_STREAM)
                seen->resets++;
        if (frame.type == NGHTTP2_GOAWAY) {
                seen->goaway = true;
                seen->goaway_code = (uint32_t)frame.payload[4] << 24 |
                                    (uint32_t)frame.payload[5] << 16 |
                                    (uint32_t)frame.payload[6] << 8 | frame.payload[7];
        }
}

static void see_frames(struct raw_seen *seen, const struct buf *out) {
        for (size_t at = 0; at < out->size;) {
                const uint8_t *header = out->data + at;
                struct raw_frame frame = {
                        .size = (size_t)header[0] << 16 | (size_t)header[1] << 8 | header[2],
                        .type = header[3],
                        .flags = header[4],
                        .stream_id = (int32_t)((uint32_t)header[5] << 24 |
                                               (uint32_t)header[6] << 16 |
                                               (uint32_t)header[7] << 8 | header[8]),
                        .payload = header + FRAME_HEADER_SIZE,
                };

                ck_assert_uint_le(at + FRAME_HEADER_SIZE + frame.size, out->size);
                see_frame(seen, frame);
                at += FRAME_HEADER_SIZE + frame.size;
        }
}

void raw_drain(struct h2_connection *connection, struct raw_seen *seen) {
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(1 << 24);
        struct wla_error err = {0};

        ck_assert_int_eq(h2_connection_drain(connection, &out, &err), 0);
        see_frames(seen, &out);
}
