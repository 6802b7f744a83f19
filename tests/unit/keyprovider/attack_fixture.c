/* SPDX-License-Identifier: Apache-2.0 */
#include "attack_fixture.h"

#include <check.h>
#include <openssl/crypto.h>

void attack_open(struct fixture *fixture, bool hold) {
        struct wla_error err = {0};

        *fixture = (struct fixture){.bytes.limit = 1 << 25, .now_usec = ATTACK_START};
        if (!CRYPTO_secure_malloc_initialized())
                ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        echo_init(&fixture->echo);
        fixture->echo.hold = hold;
        fixture->connection = raw_connection(&fixture->echo.handler, NULL, ATTACK_START);
        raw_preface(&fixture->bytes);
        ck_assert_int_eq(raw_feed(fixture->connection, &fixture->bytes, ATTACK_START), 0);
        raw_drain(fixture->connection, &fixture->seen);
}

void attack_close(struct fixture *fixture) {
        fixture->connection = h2_connection_free(fixture->connection);
        buf_clear(&fixture->bytes);
        ck_assert_uint_eq(fixture->echo.held_count, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
}

int attack_feed(struct fixture *fixture) {
        int outcome = raw_feed(fixture->connection, &fixture->bytes, fixture->now_usec);

        raw_drain(fixture->connection, &fixture->seen);
        return outcome;
}
