/* SPDX-License-Identifier: Apache-2.0 */

/* A whole connection: HTTP/2, gRPC, the service and its packets, over a key access that answers at
 * once, later, or never.
 *
 * The first byte says how: bit 0 the preface is put in front, bits 1 and 2 when the key comes, bits 3
 * to 5 the size of what is fed at a time.  The rest is what the client sends. */

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "fuzz.h"
#include "keyprovider/service.h"

#define TICKETS_MAX 64u

struct key_ticket {
        struct key_waiter waiter;
        bool used;
};

static struct {
        unsigned mode;
        struct key_ticket tickets[TICKETS_MAX];
} access_double;

enum { ANSWER_NOW, ANSWER_LATER, ANSWER_NEVER, REFUSE_NOW };

static void answer(const struct key_waiter *waiter, bool refuse) {
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct wla_error err = {0};

        if (refuse)
                (void)wla_fail_hint(&err, WLA_E_NOT_FOUND, "hint", "no such key");
        else
                (void)!wla_secret_new(32, &key, &err);
        waiter->ready(waiter->userdata, key, key ? NULL : &err);
}

void key_access_begin(struct key_access *access, const struct key_id *id,
                      const struct key_peer *peer, const struct key_waiter *waiter,
                      struct key_ticket **ret) {
        size_t at = 0;

        (void)access;
        (void)id;
        (void)peer;
        *ret = NULL;
        while (at < TICKETS_MAX && access_double.tickets[at].used)
                at++;
        if (access_double.mode == ANSWER_NOW || access_double.mode == REFUSE_NOW ||
            at == TICKETS_MAX) {
                answer(waiter, access_double.mode == REFUSE_NOW);
                return;
        }
        access_double.tickets[at] = (struct key_ticket){.waiter = *waiter, .used = true};
        *ret = &access_double.tickets[at];
}

void key_ticket_cancel(struct key_ticket *ticket) {
        FUZZ_CHECK(ticket->used);
        ticket->used = false;
}

static void answer_all(void) {
        for (size_t i = 0; i < TICKETS_MAX; i++) {
                struct key_ticket *ticket = &access_double.tickets[i];

                if (!ticket->used)
                        continue;
                ticket->used = false;
                answer(&ticket->waiter, i % 2 == 1);
        }
}

static void drain(struct h2_connection *connection, size_t limit) {
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(limit);
        struct wla_error err = {0};

        do {
                buf_reset(&out);
                if (h2_connection_drain(connection, &out, &err) < 0)
                        return;
        } while (out.size > 0);
}

static void wake(void *userdata) {
        unsigned *wakes = userdata;

        (*wakes)++;
}

static void run(struct h2_connection *connection, const uint8_t *data, size_t size, size_t chunk) {
        uint64_t now_usec = clock_now_usec();
        struct wla_error err = {0};

        while (size > 0) {
                size_t part = size < chunk ? size : chunk;

                if (h2_connection_feed(connection, data, part, now_usec, &err) < 0)
                        break;
                data += part;
                size -= part;
                now_usec += 1000;
                drain(connection, 100 + 100 * chunk);
                if (access_double.mode == ANSWER_LATER)
                        answer_all();
        }

        drain(connection, 65536);
        h2_connection_tick(connection, now_usec + USEC_PER_SEC);
        h2_connection_tick(connection, h2_connection_next_usec(connection));
        drain(connection, 65536);
}

static struct keyprovider_service *open_service(void) {
        static const struct keyprovider_settings settings = {true, true};
        static bool heap_ready;
        struct keyprovider_service *service;
        struct wla_error err = {0};

        if (!heap_ready)
                FUZZ_CHECK(wla_secret_heap_init(true, &err) == 0);
        heap_ready = true;
        log_set_level(LOG_EMERG);
        FUZZ_CHECK(keyprovider_service_new(NULL, &settings, &service, &err) == 0);
        return service;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const struct h2_limits limits = {65536, 8, USEC_PER_SEC, USEC_PER_SEC};
        static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
        unsigned wakes = 0;
        struct wla_error err = {0};

        if (size == 0)
                return 0;

        struct keyprovider_service *service = open_service();
        const struct h2_connection_options options = {
                .handler = keyprovider_service_handler(service),
                .limits = &limits,
                .wake = wake,
                .userdata = &wakes,
        };
        struct h2_connection *connection;

        access_double.mode = data[0] >> 1 & 3;
        FUZZ_CHECK(h2_connection_new(&options, clock_now_usec(), &connection, &err) == 0);
        if (data[0] & 1)
                FUZZ_CHECK(h2_connection_feed(connection, preface, sizeof(preface),
                                              clock_now_usec(), &err) == 0);
        run(connection, data + 1, size - 1, (size_t)1 << 2 * (data[0] >> 3 & 7));
        connection = h2_connection_free(connection);
        service = keyprovider_service_free(service);
        for (size_t i = 0; i < TICKETS_MAX; i++)
                FUZZ_CHECK(!access_double.tickets[i].used);
        return 0;
}
