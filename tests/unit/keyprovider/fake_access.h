/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Stands in for key/access.c at link time: answers at once, or when the test says so. */

#include "key/access.h"

struct fake_access {
        uint8_t key[64];
        size_t key_size;
        struct wla_error err; /* code is not WLA_OK: the answer */
        bool later;           /* give a ticket; the test calls fake_access_answer() */

        unsigned begun;
        unsigned cancelled;
        struct key_id id; /* of the last request */
        struct key_peer peer;
        uint64_t deadline_usec;
        size_t waiting;
        struct key_ticket *tickets[64];
};

extern struct fake_access fake_access;

/* To the oldest ticket. */
void fake_access_answer(void);

static inline struct key_access *fake_access_handle(void) {
        return (struct key_access *)&fake_access;
}
