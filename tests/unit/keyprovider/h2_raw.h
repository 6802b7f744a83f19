/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* HTTP/2 frames byte by byte (RFC 9113), for what a proper client library does not send. */

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "keyprovider/h2_connection.h"

struct raw_frame {
        uint8_t type;
        uint8_t flags;
        int32_t stream_id;
        const uint8_t *payload;
        size_t size;
};

/* What a server has sent, counted. */
struct raw_seen {
        size_t bytes;
        unsigned frames[16]; /* by type; the last counts all others */
        struct raw_frame first;
        bool goaway;
        uint32_t goaway_code;
        unsigned ended; /* frames with END_STREAM */
        unsigned resets;
};

/* Client preface and an empty SETTINGS frame. */
void raw_preface(struct buf *to);

void raw_frame(struct buf *to, struct raw_frame frame);

/* HEADERS of an UnWrapKey call; HPACK without its dynamic table. */
void raw_headers(struct buf *to, int32_t stream_id, uint8_t flags);

/* The same with more headers; the block goes into one frame, however large. */
void raw_headers_with(struct buf *to, int32_t stream_id, uint8_t flags, const nghttp2_nv *more,
                      size_t more_count);

/* A header block alone. */
void raw_block(struct buf *to, const nghttp2_nv *more, size_t more_count);

/* DATA: one gRPC message of size zero bytes, END_STREAM. */
void raw_message(struct buf *to, int32_t stream_id, size_t size);

/* A connection that nobody drives but the test. */
struct h2_connection *raw_connection(const struct grpc_handler *handler,
                                     const struct h2_limits *limits, uint64_t now_usec);

/* Feeds all of bytes, then empties it. */
int raw_feed(struct h2_connection *connection, struct buf *bytes, uint64_t now_usec);

/* Drains all and adds it up. */
void raw_drain(struct h2_connection *connection, struct raw_seen *seen);
