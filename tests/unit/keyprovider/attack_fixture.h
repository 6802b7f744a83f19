/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A connection with the echo handler, and bytes for it that no client library sends. */

#include "echo_handler.h"
#include "h2_raw.h"

struct fixture {
        struct echo echo;
        struct h2_connection *connection;
        struct buf bytes; /* what is fed next */
        struct raw_seen seen;
        uint64_t now_usec;
};

#define ATTACK_START UINT64_C(1000000)

/* The preface is exchanged.  hold: the handler keeps its calls. */
void attack_open(struct fixture *fixture, bool hold);
void attack_close(struct fixture *fixture);

/* Feeds the bytes and drains. */
int attack_feed(struct fixture *fixture);
