/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A client, a connection and the echo handler behind it. */

#include "echo_handler.h"
#include "h2_client.h"

#define FIXTURE_PATH "/a.B/C"

struct fixture {
        struct echo echo;
        struct client client;
        struct buf body;
};

void fixture_open(struct fixture *fixture);

/* no_auto_window: as client_open() has it. */
void fixture_open_with(struct fixture *fixture, const struct h2_limits *limits,
                       bool no_auto_window);

/* Nothing may be held, and no secret alive. */
void fixture_close(struct fixture *fixture);

/* Makes the body a message of size counted bytes behind its prefix; returns what the handler should
 * sum up. */
uint32_t fixture_fill(struct fixture *fixture, size_t size);

/* Posts the body to FIXTURE_PATH. */
struct client_reply *fixture_post(struct fixture *fixture);

/* Posts the body with these headers, and exchanges. */
struct client_reply *fixture_request(struct fixture *fixture, const char *method,
                                     nghttp2_nv content_type, nghttp2_nv extra);

void expect_ok(const struct client_reply *reply, size_t size);

/* Trailers only, as gRPC wants errors. */
void expect_status(const struct client_reply *reply, int status, const char *text);
