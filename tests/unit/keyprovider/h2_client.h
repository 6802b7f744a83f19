/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A gRPC client on nghttp2's client side, wired to an h2_connection in the same process.
 *
 * client_exchange() carries bytes both ways until both sides are quiet.
 * Time stands still unless the test moves now_usec.
 */

#include <nghttp2/nghttp2.h>

#include "keyprovider/h2_connection.h"

#define CLIENT_STREAMS_MAX 256

struct client_reply {
        int http_status;
        int grpc_status; /* -1: none came */
        char grpc_message[1024];
        char content_type[64];
        struct buf body; /* DATA, with the gRPC prefix */
        unsigned header_frames;
        bool ended; /* END_STREAM came */
        bool closed;
        uint32_t close_code;
        const uint8_t *request;
        size_t request_size;
        size_t request_sent;
        size_t request_hold; /* bytes at the end that are not sent yet */
};

struct client {
        nghttp2_session *session;
        struct h2_connection *server;
        uint64_t now_usec;
        size_t chunk;     /* of what is fed */
        size_t out_limit; /* of one drain */
        unsigned wakes;
        int feed_outcome;
        struct wla_error feed_error;
        bool goaway;
        uint32_t goaway_code;
        unsigned pings;
        unsigned window_updates;
        size_t largest_data;
        struct client_reply replies[CLIENT_STREAMS_MAX]; /* by stream id / 2 */
};

extern const struct h2_limits client_limits;

/* no_auto_window: the client never opens its window again. */
void client_open(struct client *client, const struct grpc_handler *handler,
                 const struct h2_limits *limits, bool no_auto_window);
void client_close(struct client *client);

/* Submits POST path with a body that is sent as it is; returns its reply.  The body must stay. */
struct client_reply *client_post(struct client *client, const char *path, const void *body,
                                 size_t size);

/* The same with all headers given. */
struct client_reply *client_request(struct client *client, const nghttp2_nv *headers, size_t count,
                                    const void *body, size_t size);

int32_t client_stream_id(const struct client *client, const struct client_reply *reply);

/* Lets the held bytes of a request go. */
void client_resume(struct client *client, struct client_reply *reply);

void client_exchange(struct client *client);

/* Only from the server to the client, or only to the server. */
bool client_receive(struct client *client);
bool client_send(struct client *client);

/* Moves time and ticks the server. */
void client_pass(struct client *client, uint64_t usec);

#define HEADER(header, text)                                                                   \
        {                                                                                      \
                .name = (uint8_t *)(uintptr_t)(header), .value = (uint8_t *)(uintptr_t)(text), \
                .namelen = strlen(header), .valuelen = strlen(text),                           \
        }
