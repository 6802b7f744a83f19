/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The service between a gRPC client and the fake key access; and its other transport. */

#include "fake_access.h"
#include "h2_client.h"
#include "keyprovider/service.h"

struct fixture {
        struct keyprovider_service *service;
        struct client client;
        struct buf json;    /* the request that is sent next */
        struct buf message; /* the same with its frames */
        size_t heap_used;   /* by OpenSSL's random generator */
};

/* allow: WrapKey and counter mode.  The key is that of VECTOR_COUNTED_PACKET. */
void service_open(struct fixture *fixture, bool allow);
void service_close(struct fixture *fixture);

void service_set_key(const char *base64);

/* Sends fixture->json. */
struct client_reply *service_call(struct fixture *fixture, const char *path);
struct client_reply *service_unwrap(struct fixture *fixture, const char *packet);

void expect_plain(const struct client_reply *reply, const char *plain);

/* Trailers only, with text in the grpc-message. */
void expect_refusal(const struct client_reply *reply, int status, const char *text);

/* What keyprovider_service_begin() has called back with. */
struct outcome {
        unsigned calls;
        struct wla_error err;
        struct buf json;
};

void note_outcome(void *userdata, struct wla_secret *reply, const struct wla_error *err);

/* Sends fixture->json by the other transport. */
struct keyprovider_call *service_begin_bare(struct fixture *fixture, struct outcome *outcome);
void service_unwrap_bare(struct fixture *fixture, const char *packet, struct outcome *outcome);
