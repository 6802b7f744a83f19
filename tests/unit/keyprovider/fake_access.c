/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_access.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct key_ticket {
        struct key_waiter waiter;
};

struct fake_access fake_access;

static void answer(const struct key_waiter *waiter) {
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct wla_error err = fake_access.err;

        if (err.code == WLA_OK && wla_secret_new(fake_access.key_size, &key, &err) == 0)
                memcpy(wla_secret_fill(key), fake_access.key, fake_access.key_size);
        waiter->ready(waiter->userdata, key, key ? NULL : &err);
}

void key_access_begin(struct key_access *access, const struct key_id *id,
                      const struct key_peer *peer, const struct key_waiter *waiter,
                      struct key_ticket **ret) {
        /* Check allocates; an allocation may have to fail. */
        if (access != fake_access_handle())
                abort();
        fake_access.begun++;
        fake_access.id = *id;
        fake_access.peer = *peer;
        fake_access.deadline_usec = waiter->deadline_usec;

        *ret = NULL;
        if (!fake_access.later) {
                answer(waiter);
                return;
        }

        struct key_ticket *ticket = calloc(1, sizeof(*ticket));
        ck_assert_ptr_nonnull(ticket);
        *ticket = (struct key_ticket){.waiter = *waiter};
        fake_access.tickets[fake_access.waiting++] = ticket;
        *ret = ticket;
}

static void remove_ticket(struct key_ticket *ticket) {
        size_t at = 0;

        while (fake_access.tickets[at] != ticket)
                at++;
        fake_access.waiting--;
        memmove(fake_access.tickets + at, fake_access.tickets + at + 1,
                (fake_access.waiting - at) * sizeof(ticket));
        free(ticket);
}

void key_ticket_cancel(struct key_ticket *ticket) {
        fake_access.cancelled++;
        remove_ticket(ticket);
}

void fake_access_answer(void) {
        struct key_ticket ticket = *fake_access.tickets[0];

        remove_ticket(fake_access.tickets[0]);
        answer(&ticket.waiter);
}
