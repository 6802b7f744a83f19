/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/crypto.h>
#include <poll.h>
#include <string.h>

#include "base/aead.h"
#include "base/base64.h"
#include "control/control_connection.h"
#include "fail_allocation.h"
#include "keyprovider/packet.h"
#include "loop/pool.h"

#define START_USEC 1000u
#define TIMEOUT    (30 * USEC_PER_SEC)

static int wakes;
static int forgotten;

static void wake(void *userdata) {
        (void)userdata;
        wakes++;
}

static int write_status(void *self, struct buf *reply, struct wla_error *err) {
        return buf_append_text(reply, self, err);
}

static int write_metrics(void *self, struct buf *reply, struct wla_error *err) {
        (void)self;
        if (buf_append_text(reply, "half a reply", err) < 0)
                return -1;
        return wla_fail_hint(err, WLA_E_BUSY, "wait", "no metrics");
}

static void forget(void *self) {
        (void)self;
        forgotten++;
}

static char status_text[] = "{\"ok\":true}";

struct fixture {
        struct control_handlers handlers;
        struct key_routes routes;
        struct pool *pool;
        struct key_access *access;
        struct control_connection *connection;
};

static void setup_at(struct fixture *fixture, bool may_administer, uint64_t now_usec) {
        const struct key_access_settings access_settings = {.flights_max = 1, .cached_keys_max = 1};
        const struct keyprovider_settings keyprovider_settings = {0};
        const struct control_connection_options options = {
                .handlers = &fixture->handlers,
                .peer = {.uid = 1000},
                .may_administer = may_administer,
                .timeout_usec = TIMEOUT,
                .wake = wake,
        };
        struct wla_error err = {0};

        *fixture = (struct fixture){.handlers = {
                                            .status = write_status,
                                            .metrics = write_metrics,
                                            .forget = forget,
                                            .self = status_text,
                                    }};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(pool_new(1, 4, &fixture->pool, &err), 0);
        ck_assert_int_eq(key_access_new(&fixture->routes, fixture->pool, &access_settings,
                                        &fixture->access, &err),
                         0);
        ck_assert_int_eq(keyprovider_service_new(fixture->access, &keyprovider_settings,
                                                 &fixture->handlers.keyprovider, &err),
                         0);
        ck_assert_int_eq(control_connection_new(&options, now_usec, &fixture->connection, &err), 0);
}

static void setup(struct fixture *fixture, bool may_administer) {
        setup_at(fixture, may_administer, START_USEC);
}

static void teardown(struct fixture *fixture) {
        control_connection_free(fixture->connection);
        pool_free(fixture->pool);
        keyprovider_service_free(fixture->handlers.keyprovider);
        key_access_free(fixture->access);
}

/* Feeds byte by byte, so that every split is seen. */
static int send_request(struct fixture *fixture, uint16_t command, const char *payload) {
        struct control_header header = {
                .magic = CONTROL_MAGIC, .command = command, .size = (uint32_t)strlen(payload)};
        struct wla_error err = {0};
        uint8_t bytes[1024];
        size_t size = sizeof(header) + header.size;

        memcpy(bytes, &header, sizeof(header));
        memcpy(bytes + sizeof(header), payload, header.size);
        for (size_t i = 0; i < size; i++)
                if (control_connection_feed(fixture->connection, bytes + i, 1, &err) < 0)
                        return -1;
        return 0;
}

struct reply {
        struct control_header header;
        char text[1024];
};

static void read_reply(struct fixture *fixture, struct reply *ret) {
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(2048);
        struct wla_error err = {0};

        /* A small window first: the rest has to follow. */
        _cleanup_buf_ struct buf window = BUF_WITH_LIMIT(20);
        while (!control_connection_finished(fixture->connection)) {
                ck_assert_int_eq(control_connection_drain(fixture->connection, &window, &err), 0);
                ck_assert_uint_gt(window.size, 0);
                ck_assert_int_eq(buf_append(&out, window.data, window.size, &err), 0);
                buf_reset(&window);
        }
        ck_assert_uint_ge(out.size, sizeof(ret->header));
        memcpy(&ret->header, out.data, sizeof(ret->header));
        ck_assert_uint_eq(ret->header.magic, CONTROL_MAGIC);
        ck_assert_uint_eq(ret->header.size, out.size - sizeof(ret->header));
        memcpy(ret->text, out.data + sizeof(ret->header), ret->header.size);
        ret->text[ret->header.size] = '\0';
}

START_TEST(status_is_answered) {
        struct fixture fixture;
        struct reply reply;

        setup(&fixture, true);
        ck_assert_int_eq(send_request(&fixture, CONTROL_STATUS, ""), 0);
        ck_assert_int_gt(wakes, 0);
        read_reply(&fixture, &reply);
        ck_assert_uint_eq(reply.header.code, WLA_OK);
        ck_assert_uint_eq(reply.header.command, CONTROL_STATUS);
        ck_assert_str_eq(reply.text, status_text);
        ck_assert_uint_eq(control_connection_next_usec(fixture.connection), UINT64_MAX);
        teardown(&fixture);
}
END_TEST

START_TEST(a_failing_handler_leaves_no_half_reply) {
        struct fixture fixture;
        struct reply reply;

        setup(&fixture, true);
        ck_assert_int_eq(send_request(&fixture, CONTROL_METRICS, ""), 0);
        read_reply(&fixture, &reply);
        ck_assert_uint_eq(reply.header.code, WLA_E_BUSY);
        ck_assert_str_eq(reply.text, "no metrics (wait)");
        teardown(&fixture);
}
END_TEST

START_TEST(users_may_only_ask_for_keys) {
        static const uint16_t commands[] = {CONTROL_STATUS, CONTROL_METRICS, CONTROL_FORGET, 77};

        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
                struct fixture fixture;
                struct reply reply;

                setup(&fixture, false);
                ck_assert_int_eq(send_request(&fixture, commands[i], ""), 0);
                read_reply(&fixture, &reply);
                ck_assert_uint_eq(reply.header.code, WLA_E_DENIED);
                ck_assert_str_eq(reply.text, "user 1000 may not ask wlagentd for this (run the "
                                             "command as root)");
                ck_assert_int_eq(forgotten, 0);
                teardown(&fixture);
                if (i + 1 < sizeof(commands) / sizeof(commands[0]))
                        ck_assert_int_eq(CRYPTO_secure_malloc_done(), 1);
        }
}
END_TEST

START_TEST(keyprovider_errors_come_back) {
        struct fixture fixture;
        struct reply reply;

        setup(&fixture, false);
        ck_assert_int_eq(send_request(&fixture, CONTROL_KEYPROVIDER, "{not json"), 0);
        read_reply(&fixture, &reply);
        ck_assert_uint_eq(reply.header.code, WLA_E_INPUT);
        ck_assert_ptr_nonnull(strstr(reply.text, "JSON"));
        teardown(&fixture);
}
END_TEST

START_TEST(forget_and_unknown) {
        struct fixture fixture;
        struct reply reply;

        setup(&fixture, true);
        ck_assert_int_eq(send_request(&fixture, CONTROL_FORGET, ""), 0);
        read_reply(&fixture, &reply);
        ck_assert_int_eq(forgotten, 1);
        ck_assert_uint_eq(reply.header.size, 0);
        teardown(&fixture);
        ck_assert_int_eq(CRYPTO_secure_malloc_done(), 1);

        setup(&fixture, true);
        ck_assert_int_eq(send_request(&fixture, 77, ""), 0);
        read_reply(&fixture, &reply);
        ck_assert_uint_eq(reply.header.code, WLA_E_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(reply.text, "does not know the control command 77"));
        teardown(&fixture);
}
END_TEST

START_TEST(what_is_no_request_closes) {
        struct control_header wrong[] = {
                {.magic = 1, .command = CONTROL_STATUS},
                {.magic = CONTROL_MAGIC, .command = CONTROL_STATUS, .code = 1},
                {.magic = CONTROL_MAGIC, .command = CONTROL_STATUS, .reserved = 1},
                {.magic = CONTROL_MAGIC,
                 .command = CONTROL_STATUS,
                 .size = CONTROL_PAYLOAD_MAX + 1},
        };
        struct fixture fixture;
        struct wla_error err = {0};
        uint8_t more[sizeof(wrong[0]) + 1] = {0};

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                setup(&fixture, true);
                ck_assert_int_eq(control_connection_feed(fixture.connection, (uint8_t *)&wrong[i],
                                                         sizeof(wrong[i]), &err),
                                 -1);
                teardown(&fixture);
                ck_assert_int_eq(CRYPTO_secure_malloc_done(), 1);
        }

        setup(&fixture, true);
        wrong[0].magic = CONTROL_MAGIC;
        memcpy(more, &wrong[0], sizeof(wrong[0]));
        ck_assert_int_eq(control_connection_feed(fixture.connection, more, sizeof(more), &err), -1);
        teardown(&fixture);
        ck_assert_int_eq(CRYPTO_secure_malloc_done(), 1);

        setup(&fixture, true);
        ck_assert_int_eq(send_request(&fixture, CONTROL_STATUS, ""), 0);
        ck_assert_int_eq(control_connection_feed(fixture.connection, more, 1, &err), -1);
        teardown(&fixture);
}
END_TEST

START_TEST(time_is_bounded) {
        struct fixture fixture;
        struct reply reply;

        setup(&fixture, true);
        ck_assert_uint_eq(control_connection_next_usec(fixture.connection), START_USEC + TIMEOUT);
        control_connection_tick(fixture.connection, START_USEC + TIMEOUT - 1);
        ck_assert(!control_connection_finished(fixture.connection));
        control_connection_tick(fixture.connection, START_USEC + TIMEOUT);
        read_reply(&fixture, &reply);
        ck_assert_uint_eq(reply.header.code, WLA_E_TIMEOUT);
        teardown(&fixture);
        ck_assert_int_eq(CRYPTO_secure_malloc_done(), 1);

        setup(&fixture, true);
        control_connection_shutdown(fixture.connection);
        ck_assert(control_connection_finished(fixture.connection));
        teardown(&fixture);
}
END_TEST

START_TEST(failed_allocations_end_the_connection_cleanly) {
        for (size_t n = 1; n < 6; n++) {
                struct fixture fixture;

                setup(&fixture, true);
                (void)fail_allocation_arm(n);
                (void)send_request(&fixture, CONTROL_STATUS, "");
                fail_allocation_disarm();
                teardown(&fixture);
                ck_assert_int_eq(CRYPTO_secure_malloc_done(), 1);
        }
}
END_TEST

static int fetch(void *self, const struct key_request *request, struct envelope *ret,
                 struct wla_error *err) {
        (void)self;
        ret->kind = ENVELOPE_TPM_BOUND;
        return buf_append_text(&ret->bytes, request->id.local_name, err);
}

static int open_envelope(void *self, const struct envelope *envelope,
                         const struct deadline *deadline, struct wla_secret **ret,
                         struct wla_error *err) {
        (void)self;
        (void)envelope;
        (void)deadline;
        return wla_secret_new(AES256_KEY_SIZE, ret, err);
}

static const struct key_source_ops source_ops = {.name = "fake", .fetch = fetch};
static const struct key_opener_ops opener_ops = {.name = "fake", .open = open_envelope};

/* For a key of zeros. */
static void write_unwrap_request(struct buf *json) {
        static const uint8_t options[] = "{}";
        _cleanup_packet_ struct packet packet = {.iv_size = AES256_GCM_NONCE, .wrapped.limit = 64};
        _cleanup_buf_ struct buf annotation = BUF_WITH_LIMIT(512);
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct wla_error err = {0};

        ck_assert_int_eq(key_id_local("kek", &packet.key, &err), 0);
        ck_assert_int_eq(wla_secret_new(AES256_KEY_SIZE, &key, &err), 0);
        ck_assert_int_eq(aes256_gcm_seal(key, (struct wla_bytes){packet.iv, packet.iv_size},
                                         (struct wla_bytes){options, 2}, &packet.wrapped, &err),
                         0);
        ck_assert_int_eq(packet_write(&packet, &annotation, &err), 0);
        ck_assert_int_eq(buf_append_text(json,
                                         "{\"op\":\"keyunwrap\",\"keyunwrapparams\":"
                                         "{\"annotation\":\"",
                                         &err),
                         0);
        ck_assert_int_eq(base64_append(json, annotation.data, annotation.size, &err), 0);
        ck_assert_int_eq(buf_append_text(json, "\"}}", &err), 0);
        ck_assert_ptr_nonnull(buf_text(json, &err));
}

static void begin_unwrap(struct fixture *fixture) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(1000);
        struct pollfd ready = {.events = POLLIN};

        setup_at(fixture, false, clock_now_usec());
        fixture->routes.sources[KEY_SCHEME_LOCAL].ops = &source_ops;
        fixture->routes.openers[ENVELOPE_TPM_BOUND].ops = &opener_ops;
        write_unwrap_request(&json);
        ck_assert_int_eq(send_request(fixture, CONTROL_KEYPROVIDER, (const char *)json.data), 0);
        ck_assert(!control_connection_finished(fixture->connection));
        ready.fd = pool_fd(fixture->pool);
        ck_assert_int_eq(poll(&ready, 1, 10000), 1);
        wakes = 0;
}

START_TEST(keys_come_back) {
        struct fixture fixture;
        struct reply reply;

        begin_unwrap(&fixture);
        pool_dispatch(fixture.pool);
        ck_assert_int_eq(wakes, 1);
        read_reply(&fixture, &reply);
        ck_assert_uint_eq(reply.header.code, WLA_OK);
        ck_assert_str_eq(reply.text, "{\"keyunwrapresults\":{\"optsdata\":[123,125]}}");
        teardown(&fixture);
}
END_TEST

/* Without memory for a header no key goes out without one, and the connection is woken to close. */
START_TEST(a_key_without_memory_for_its_header) {
        bool hit = true;

        for (size_t n = 1; hit; n++) {
                _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(2048);
                struct fixture fixture;
                struct wla_error err = {0};

                begin_unwrap(&fixture);
                (void)fail_allocation_arm(n);
                pool_dispatch(fixture.pool);
                fail_allocation_disarm();
                hit = fail_allocation_hit();
                ck_assert_int_eq(wakes, 1);
                ck_assert_int_eq(control_connection_drain(fixture.connection, &out, &err), 0);
                ck_assert(control_connection_finished(fixture.connection));
                ck_assert(out.size == 0 || memcmp(out.data, "WLA1", 4) == 0);
                teardown(&fixture);
                ck_assert_uint_eq(wla_secret_heap_used(), 0);
                ck_assert_int_eq(CRYPTO_secure_malloc_done(), 1);
        }
}
END_TEST

static struct {
        struct wla_secret *payload;
        size_t others;
        unsigned begun;
} images;

static uint64_t images_timeout(void *self, uint16_t command, const struct buf *payload) {
        (void)self;
        (void)command;
        (void)payload;
        return TIMEOUT;
}

static void images_begin(void *self, const struct control_request *request, control_done_fn done,
                         void *userdata, void **ret) {
        struct wla_error err = {0};

        (void)self;
        images.begun++;
        images.payload = request->secret_payload;
        images.others = request->payload->size;
        (void)wla_fail(&err, WLA_E_BUSY, "not now");
        done(userdata, &(struct control_result){.err = &err});
        *ret = NULL;
}

static const struct control_service images_service = {
        .timeout_usec = images_timeout, .begin = images_begin, .for_everybody = true};

START_TEST(volume_keys_are_received_in_locked_memory) {
        const uint16_t commands[] = {CONTROL_IMAGE_WRAP, CONTROL_IMAGE_UNWRAP};

        for (size_t i = 0; i < 2; i++) {
                struct fixture fixture;
                struct reply reply;

                memset(&images, 0, sizeof(images));
                setup(&fixture, false);
                fixture.handlers.images = &images_service;
                ck_assert_int_eq(send_request(&fixture, commands[i], "a volume key"), 0);
                ck_assert_uint_eq(images.begun, 1);
                ck_assert_uint_eq(images.others, 0);
                ck_assert_ptr_nonnull(images.payload);
                ck_assert(CRYPTO_secure_allocated(wla_secret_view(images.payload).data));
                ck_assert_uint_eq(wla_secret_view(images.payload).size, 12);
                ck_assert_mem_eq(wla_secret_view(images.payload).data, "a volume key", 12);
                wla_secret_free(images.payload);
                read_reply(&fixture, &reply);
                ck_assert_uint_eq(reply.header.code, WLA_E_BUSY);
                teardown(&fixture);
                ck_assert_uint_eq(wla_secret_heap_used(), 0);
                ck_assert_int_eq(CRYPTO_secure_malloc_done(), 1);
        }
}
END_TEST

START_TEST(volume_keys_that_are_cut_off_are_given_up) {
        struct control_header header = {
                .magic = CONTROL_MAGIC, .command = CONTROL_IMAGE_WRAP, .size = 64};
        struct fixture fixture;
        struct wla_error err = {0};

        setup(&fixture, true);
        fixture.handlers.images = &images_service;
        memset(&images, 0, sizeof(images));
        ck_assert_int_eq(control_connection_feed(fixture.connection, (const uint8_t *)&header,
                                                 sizeof(header), &err),
                         0);
        ck_assert_int_eq(
                control_connection_feed(fixture.connection, (const uint8_t *)"half", 4, &err), 0);
        ck_assert_uint_gt(wla_secret_heap_used(), 0);
        control_connection_free(fixture.connection);
        fixture.connection = NULL;
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        ck_assert_uint_eq(images.begun, 0);

        const struct control_connection_options options = {.handlers = &fixture.handlers};
        ck_assert_int_eq(control_connection_new(&options, START_USEC, &fixture.connection, &err),
                         0);
        header.size = sizeof(struct control_image_key) + 1;
        ck_assert_int_eq(control_connection_feed(fixture.connection, (const uint8_t *)&header,
                                                 sizeof(header), &err),
                         -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        teardown(&fixture);
}
END_TEST

SUITE_MAIN("control_connection", status_is_answered, a_failing_handler_leaves_no_half_reply,
           users_may_only_ask_for_keys, keyprovider_errors_come_back, forget_and_unknown,
           what_is_no_request_closes, time_is_bounded,
           failed_allocations_end_the_connection_cleanly, keys_come_back,
           a_key_without_memory_for_its_header, volume_keys_are_received_in_locked_memory,
           volume_keys_that_are_cut_off_are_given_up)
