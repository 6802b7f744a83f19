/* SPDX-License-Identifier: Apache-2.0 */

/* Commands that take time: they are a service's, which answers when it can. */

#include "suite.h"

#include <string.h>

#include "base/clock.h"
#include "control/control_connection.h"
#include "fail_allocation.h"

#define START_USEC   1000u
#define TIMEOUT      (30 * USEC_PER_SEC)
#define LONG_TIMEOUT (90 * USEC_PER_SEC)

static struct {
        uint16_t command;
        size_t payload_size;
        uint64_t deadline_usec;
        control_done_fn done;
        void *userdata;
        unsigned begun;
        unsigned cancelled;
        bool at_once; /* done is called before begin returns */
        bool protected;
} seen;

static uint64_t timeout_usec(void *self, uint16_t command, const struct buf *payload) {
        (void)self;
        (void)payload;
        return command == CONTROL_DOMAIN ? LONG_TIMEOUT : TIMEOUT;
}

static void begin(void *self, const struct control_request *request, control_done_fn done,
                  void *userdata, void **ret) {
        seen.begun++;
        seen.command = request->command;
        seen.payload_size = request->payload->size;
        seen.deadline_usec = request->deadline_usec;
        seen.done = done;
        seen.userdata = userdata;
        *request->ret_protected = seen.protected;
        *ret = NULL;
        if (seen.at_once)
                done(userdata, &(struct control_result){0});
        else
                *ret = self;
}

static void cancel(void *self, void *call) {
        ck_assert_ptr_eq(self, call);
        seen.cancelled++;
}

static struct control_service service = {
        .timeout_usec = timeout_usec, .begin = begin, .cancel = cancel, .self = &service};
static const struct control_handlers handlers = {.vms = &service, .images = &service};

static void wake(void *userdata) {
        ++*(unsigned *)userdata;
}

static unsigned wakes;

static struct control_connection *connect_as(bool may_administer) {
        const struct control_connection_options options = {
                .handlers = &handlers,
                .may_administer = may_administer,
                .timeout_usec = TIMEOUT,
                .wake = wake,
                .userdata = &wakes,
        };
        struct control_connection *connection;
        struct wla_error err = {0};

        memset(&seen, 0, sizeof(seen));
        service.for_everybody = false;
        wakes = 0;
        ck_assert_int_eq(control_connection_new(&options, START_USEC, &connection, &err), 0);
        return connection;
}

static int send_header(struct control_connection *connection, uint16_t command, uint32_t size) {
        const struct control_header header = {
                .magic = CONTROL_MAGIC, .command = command, .size = size};
        struct wla_error err = {0};

        return control_connection_feed(connection, (const uint8_t *)&header, sizeof(header), &err);
}

static int send_payload(struct control_connection *connection, size_t size) {
        static uint8_t bytes[4096];
        struct wla_error err = {0};

        for (size_t sent = 0; sent < size;) {
                size_t part = size - sent < sizeof(bytes) ? size - sent : sizeof(bytes);

                if (control_connection_feed(connection, bytes, part, &err) < 0)
                        return -1;
                sent += part;
        }
        return 0;
}

static void read_reply(struct control_connection *connection, struct control_header *ret,
                       char text[256]) {
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(1024);
        struct wla_error err = {0};

        ck_assert_int_eq(control_connection_drain(connection, &out, &err), 0);
        ck_assert(control_connection_finished(connection));
        ck_assert_uint_ge(out.size, sizeof(*ret));
        memcpy(ret, out.data, sizeof(*ret));
        ck_assert_uint_eq(ret->size, out.size - sizeof(*ret));
        ck_assert_uint_lt(ret->size, 256);
        memcpy(text, out.data + sizeof(*ret), ret->size);
        text[ret->size] = '\0';
}

START_TEST(the_answer_comes_later) {
        struct control_connection *connection = connect_as(true);
        struct buf reply = BUF_WITH_LIMIT(64);
        struct control_header header;
        struct wla_error err = {0};
        struct wla_secret *secret;
        char text[256];

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(send_header(connection, CONTROL_VOLUMES, 3), 0);
        ck_assert_uint_eq(seen.begun, 0);
        ck_assert_int_eq(send_payload(connection, 3), 0);
        ck_assert_uint_eq(seen.begun, 1);
        ck_assert_uint_eq(seen.command, CONTROL_VOLUMES);
        ck_assert_uint_eq(seen.payload_size, 3);
        ck_assert_uint_eq(seen.deadline_usec, START_USEC + TIMEOUT);
        ck_assert(!control_connection_finished(connection));
        control_connection_shutdown(connection);
        ck_assert(!control_connection_finished(connection));
        ck_assert_int_lt(send_payload(connection, 1), 0);

        ck_assert_int_eq(buf_append_text(&reply, "both ", &err), 0);
        ck_assert_int_eq(wla_secret_new(2, &secret, &err), 0);
        memcpy(wla_secret_fill(secret), "ok", 2);
        const struct control_result result = {.text = &reply, .secret = secret};
        seen.done(seen.userdata, &result);
        ck_assert_uint_eq(wakes, 1);
        ck_assert_uint_eq(reply.size, 0);
        read_reply(connection, &header, text);
        ck_assert_uint_eq(header.code, WLA_OK);
        ck_assert_uint_eq(header.command, CONTROL_VOLUMES);
        ck_assert_str_eq(text, "both ok");
        control_connection_free(connection);
        ck_assert_uint_eq(seen.cancelled, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
}
END_TEST

START_TEST(the_answer_is_an_error) {
        struct control_connection *connection = connect_as(true);
        struct control_header header;
        struct wla_error err = {0};
        char text[256];

        ck_assert_int_eq(send_header(connection, CONTROL_VOLUME_OPEN, 0), 0);
        wla_error_set(&err, WLA_E_DENIED, "ask", "no");
        seen.done(seen.userdata, &(struct control_result){.err = &err});
        read_reply(connection, &header, text);
        ck_assert_uint_eq(header.code, WLA_E_DENIED);
        ck_assert_str_eq(text, "no (ask)");
        control_connection_free(connection);
}
END_TEST

START_TEST(the_answer_comes_at_once) {
        struct control_connection *connection = connect_as(true);
        struct control_header header;
        char text[256];

        seen.at_once = true;
        ck_assert_int_eq(send_header(connection, CONTROL_DOMAIN, 0), 0);
        ck_assert_uint_eq(seen.begun, 1);
        read_reply(connection, &header, text);
        ck_assert_uint_eq(header.code, WLA_OK);
        ck_assert_str_eq(text, "");
        control_connection_free(connection);
        ck_assert_uint_eq(seen.cancelled, 0);
}
END_TEST

static void read_notice(struct control_connection *connection) {
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(64);
        struct control_header header;
        struct wla_error err = {0};

        ck_assert_int_eq(control_connection_drain(connection, &out, &err), 0);
        ck_assert_uint_ge(out.size, sizeof(header));
        memcpy(&header, out.data, sizeof(header));
        ck_assert_uint_eq(header.command, CONTROL_DOMAIN);
        ck_assert_uint_eq(header.code, CONTROL_PROTECTED);
        ck_assert_uint_eq(header.size, 0);
        if (seen.at_once) {
                ck_assert_uint_eq(out.size, 2 * sizeof(header));
                memcpy(&header, out.data + sizeof(header), sizeof(header));
                ck_assert_uint_eq(header.code, WLA_OK);
        } else {
                ck_assert_uint_eq(out.size, sizeof(header));
        }
}

START_TEST(the_peer_hears_at_once_that_a_domain_is_protected) {
        struct control_connection *connection = connect_as(true);
        struct control_header header;
        char text[256];

        seen.protected = true;
        ck_assert_int_eq(send_header(connection, CONTROL_DOMAIN, 0), 0);
        read_notice(connection);
        ck_assert(!control_connection_finished(connection));
        seen.done(seen.userdata, &(struct control_result){0});
        read_reply(connection, &header, text);
        ck_assert_uint_eq(header.code, WLA_OK);
        control_connection_free(connection);

        connection = connect_as(true);
        seen.protected = true;
        seen.at_once = true;
        ck_assert_int_eq(send_header(connection, CONTROL_DOMAIN, 0), 0);
        read_notice(connection);
        ck_assert(control_connection_finished(connection));
        control_connection_free(connection);
}
END_TEST

START_TEST(a_peer_that_goes_cancels) {
        struct control_connection *connection = connect_as(true);

        ck_assert_int_eq(send_header(connection, CONTROL_DOMAIN, 0), 0);
        control_connection_free(connection);
        ck_assert_uint_eq(seen.cancelled, 1);
}
END_TEST

START_TEST(the_time_is_the_services) {
        struct control_connection *connection = connect_as(true);
        struct control_header header;
        char text[256];

        ck_assert_int_eq(send_header(connection, CONTROL_DOMAIN, 0), 0);
        ck_assert_uint_eq(control_connection_next_usec(connection), START_USEC + LONG_TIMEOUT);
        control_connection_tick(connection, START_USEC + LONG_TIMEOUT - 1);
        ck_assert_uint_eq(seen.cancelled, 0);
        control_connection_tick(connection, START_USEC + LONG_TIMEOUT);
        ck_assert_uint_eq(seen.cancelled, 1);
        read_reply(connection, &header, text);
        ck_assert_uint_eq(header.code, WLA_E_TIMEOUT);
        ck_assert_ptr_nonnull(strstr(text, "within 90 seconds"));
        control_connection_free(connection);
        ck_assert_uint_eq(seen.cancelled, 1);
}
END_TEST

START_TEST(large_payloads_are_for_few) {
        static const struct {
                uint16_t command;
                bool may_administer;
                uint32_t size;
                bool fits;
        } rows[] = {
                {CONTROL_DOMAIN, true, CONTROL_DOMAIN_PAYLOAD_MAX, true},
                {CONTROL_DOMAINS, true, CONTROL_DOMAIN_PAYLOAD_MAX, true},
                {CONTROL_DOMAIN, true, CONTROL_DOMAIN_PAYLOAD_MAX + 1, false},
                {CONTROL_DOMAIN, false, CONTROL_PAYLOAD_MAX + 1, false},
                {CONTROL_DOMAINS, false, CONTROL_PAYLOAD_MAX + 1, false},
                {CONTROL_VOLUME_OPEN, true, CONTROL_PAYLOAD_MAX + 1, false},
                {CONTROL_VOLUME_OPEN, true, CONTROL_PAYLOAD_MAX, true},
                {CONTROL_IMAGE_WRAP, true, CONTROL_PAYLOAD_MAX + 1, false},
                {CONTROL_STATUS, true, UINT32_MAX, false},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct control_connection *connection = connect_as(rows[i].may_administer);
                int outcome = send_header(connection, rows[i].command, rows[i].size);

                /* Nothing of the payload is needed to refuse it. */
                ck_assert_msg(outcome == (rows[i].fits ? 0 : -1), "%zu", i);
                if (rows[i].fits) {
                        ck_assert_int_eq(send_payload(connection, rows[i].size), 0);
                        ck_assert_uint_eq(seen.begun, 1);
                        ck_assert_uint_eq(seen.payload_size, rows[i].size);
                }
                control_connection_free(connection);
        }
}
END_TEST

START_TEST(who_may_ask) {
        static const uint16_t commands[] = {
                CONTROL_DOMAIN,  CONTROL_VOLUME_OPEN, CONTROL_VOLUMES,     CONTROL_VOLUME_CLOSE,
                CONTROL_DOMAINS, CONTROL_IMAGE_WRAP,  CONTROL_IMAGE_UNWRAP};

        for (size_t i = 0; i < 2 * sizeof(commands) / sizeof(commands[0]); i++) {
                struct control_connection *connection = connect_as(false);
                struct control_header header;
                char text[256];

                service.for_everybody = i % 2;
                ck_assert_int_eq(send_header(connection, commands[i / 2], 0), 0);
                ck_assert_uint_eq(seen.begun, i % 2);
                if (i % 2 == 0) {
                        read_reply(connection, &header, text);
                        ck_assert_uint_eq(header.code, WLA_E_DENIED);
                }
                control_connection_free(connection);
        }
}
END_TEST

START_TEST(failed_allocations) {
        bool hit = true;

        for (size_t n = 1; hit; n++) {
                struct control_connection *connection = connect_as(true);
                _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(1024);
                struct buf reply = BUF_WITH_LIMIT(64);
                struct wla_error err = {0};
                struct wla_error ignored = {0};

                ck_assert_int_eq(buf_append_text(&reply, "text", &err), 0);
                (void)fail_allocation_arm(n);
                if (send_header(connection, CONTROL_VOLUMES, 3) == 0 &&
                    send_payload(connection, 3) == 0)
                        seen.done(seen.userdata, &(struct control_result){.text = &reply});
                fail_allocation_disarm();
                hit = fail_allocation_hit();
                ck_assert_int_eq(control_connection_drain(connection, &out, &ignored), 0);
                ck_assert(out.size == 0 || memcmp(out.data, "WLA1", 4) == 0);
                control_connection_free(connection);
                buf_clear(&reply);
        }
}
END_TEST

SUITE_MAIN("control_service", the_answer_comes_later, the_answer_is_an_error,
           the_answer_comes_at_once, the_peer_hears_at_once_that_a_domain_is_protected,
           a_peer_that_goes_cancels, the_time_is_the_services, large_payloads_are_for_few,
           who_may_ask, failed_allocations)
