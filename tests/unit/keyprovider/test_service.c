/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/aead.h"
#include "base/base64.h"
#include "base/log.h"
#include "base/metrics.h"
#include "fail_allocation.h"
#include "fake_access.h"
#include "h2_client.h"
#include "h2_raw.h"
#include "keyprovider/packet.h"
#include "keyprovider/service.h"
#include "provider_texts.h"
#include "vectors.h"

struct fixture {
        struct keyprovider_service *service;
        struct client client;
        struct buf json;
        struct buf message;
        size_t heap_used; /* by OpenSSL's random generator */
};

static void set_key(const char *base64) {
        _cleanup_buf_ struct buf key = BUF_WITH_LIMIT(sizeof(fake_access.key));
        struct wla_error err = {0};

        ck_assert_int_eq(base64_decode(base64, strlen(base64), &key, &err), 0);
        memcpy(fake_access.key, key.data, key.size);
        fake_access.key_size = key.size;
}

static void set_up(struct fixture *fixture, bool allow) {
        const struct keyprovider_settings settings = {
                .allow_wrap = allow,
                .allow_unauthenticated_wrap = allow,
        };
        struct wla_error err = {0};
        uint8_t random[1];

        *fixture = (struct fixture){.json.limit = 1 << 20, .message.limit = 1 << 20};
        log_open(LOG_ERR);
        fake_access = (struct fake_access){0};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(RAND_bytes(random, sizeof(random)), 1);
        fixture->heap_used = wla_secret_heap_used();
        ck_assert_int_eq(
                keyprovider_service_new(fake_access_handle(), &settings, &fixture->service, &err),
                0);
        client_open(&fixture->client, keyprovider_service_handler(fixture->service), NULL, false);
        set_key(VECTOR_COUNTED_KEY);
}

static void tear_down(struct fixture *fixture) {
        client_close(&fixture->client);
        fixture->service = keyprovider_service_free(fixture->service);
        buf_clear(&fixture->json);
        buf_clear(&fixture->message);
        ck_assert_uint_eq(fake_access.waiting, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), fixture->heap_used);
}

/* Sends fixture->json. */
static struct client_reply *call(struct fixture *fixture, const char *path) {
        buf_reset(&fixture->message);
        provider_text_message(&fixture->message, &fixture->json);
        struct client_reply *reply = client_post(&fixture->client, path, fixture->message.data,
                                                 fixture->message.size);
        client_exchange(&fixture->client);
        return reply;
}

static struct client_reply *unwrap(struct fixture *fixture, const char *packet) {
        buf_reset(&fixture->json);
        provider_text_unwrap(&fixture->json, packet);
        return call(fixture, KEYPROVIDER_METHOD_UNWRAP);
}

static void expect_plain(const struct client_reply *reply, const char *plain) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(65536);

        ck_assert_msg(reply->grpc_status == 0, "%d %s", reply->grpc_status, reply->grpc_message);
        ck_assert_int_eq(reply->http_status, 200);
        ck_assert(reply->closed);
        provider_text_result(reply->body.data, reply->body.size, true, "keyunwrapresults",
                             "optsdata", &bytes);
        ck_assert_uint_eq(bytes.size, strlen(plain));
        ck_assert_mem_eq(bytes.data, plain, bytes.size);
}

static void expect_refusal(const struct client_reply *reply, int status, const char *text) {
        ck_assert_int_eq(reply->http_status, 200);
        ck_assert_msg(reply->grpc_status == status, "%d: %s", reply->grpc_status,
                      reply->grpc_message);
        ck_assert_uint_eq(reply->header_frames, 1);
        ck_assert(strncmp(reply->grpc_message, "wlagent: ", 9) == 0);
        ck_assert_msg(strstr(reply->grpc_message, text), "%s", reply->grpc_message);
}

/* What keyprovider_service_begin() has called back with. */
struct outcome {
        unsigned calls;
        struct wla_error err;
        struct buf json;
};

static void note_outcome(void *userdata, struct wla_secret *reply, const struct wla_error *err) {
        struct outcome *outcome = userdata;
        struct wla_error ignored;

        outcome->calls++;
        outcome->err = (struct wla_error){0};
        outcome->json.limit = 65536;
        buf_reset(&outcome->json);
        if (!reply) {
                outcome->err = *err;
                return;
        }
        /* Check allocates; an allocation may have to fail. */
        if (buf_append(&outcome->json, wla_secret_view(reply).data, wla_secret_view(reply).size,
                       &ignored) < 0)
                abort();
        (void)wla_secret_free(reply);
}

/* Sends fixture->json by the other transport. */
static struct keyprovider_call *begin_bare(struct fixture *fixture, struct outcome *outcome) {
        static const struct key_peer peer = {.uid = 0, .pid = 1};
        struct keyprovider_call *call = NULL;

        keyprovider_service_begin(fixture->service, &fixture->json, &peer,
                                  clock_now_usec() + USEC_PER_SEC, note_outcome, outcome, &call);
        return call;
}

static void unwrap_bare(struct fixture *fixture, const char *packet, struct outcome *outcome) {
        provider_text_unwrap(&fixture->json, packet);
        ck_assert_ptr_null(begin_bare(fixture, outcome));
}

START_TEST(unwraps_packets_of_others) {
        struct fixture fixture;

        set_up(&fixture, false);
        expect_plain(unwrap(&fixture, VECTOR_COUNTED_PACKET), VECTOR_COUNTED_PLAIN);
        ck_assert_str_eq(fake_access.id.text, "local:///counted");
        ck_assert_uint_eq(fake_access.peer.uid, 1000);
        ck_assert_int_eq(fake_access.peer.pid, 4711);

        set_key(VECTOR_SAMPLE_KEY);
        expect_plain(unwrap(&fixture, VECTOR_SAMPLE_PACKET), VECTOR_SAMPLE_PLAIN);
        ck_assert_str_eq(fake_access.id.text, "kbs:///default/key/1");

        _cleanup_buf_ struct buf packet = BUF_WITH_LIMIT(4096);
        struct wla_error err;
        provider_text_intel(&packet);
        set_key(VECTOR_INTEL_KEY);
        expect_plain(unwrap(&fixture, buf_text(&packet, &err)), VECTOR_INTEL_PLAIN);
        ck_assert_str_eq(fake_access.id.text, VECTOR_INTEL_KEY_URL);
        ck_assert_uint_eq(fake_access.begun, 3);
        tear_down(&fixture);
}
END_TEST

START_TEST(another_key_is_refused_with_its_reason) {
        struct fixture fixture;

        set_up(&fixture, false);
        set_key(VECTOR_SAMPLE_KEY);
        expect_refusal(unwrap(&fixture, VECTOR_COUNTED_PACKET), 7,
                       "does not belong to the key local:///counted");
        tear_down(&fixture);
}
END_TEST

START_TEST(a_key_of_another_size_is_refused) {
        struct fixture fixture;

        set_up(&fixture, true);
        for (size_t size = 1; size <= sizeof(fake_access.key); size++) {
                fake_access.key_size = size;
                if (size != AES256_KEY_SIZE)
                        expect_refusal(unwrap(&fixture, VECTOR_COUNTED_PACKET), 12,
                                       "bytes where 32 are needed");
        }
        tear_down(&fixture);
}
END_TEST

START_TEST(methods_and_operations) {
        struct fixture fixture;

        set_up(&fixture, true);
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        expect_refusal(call(&fixture, KEYPROVIDER_METHOD_WRAP), 3,
                       "op is unwrap, but it was sent to the method for wrap");
        expect_refusal(call(&fixture, "/keyprovider.KeyProviderService/UnwrapKey"), 12,
                       "unknown method /keyprovider.KeyProviderService/UnwrapKey");
        expect_refusal(call(&fixture, "/"), 12, "unknown method /");

        buf_reset(&fixture.json);
        provider_text_wrap(&fixture.json, "\"wlagent\":[\"a2V5PWE=\"]", "options");
        expect_refusal(call(&fixture, KEYPROVIDER_METHOD_UNWRAP), 3,
                       "op is wrap, but it was sent to the method for unwrap");
        ck_assert_uint_eq(fake_access.begun, 0);

        buf_reset(&fixture.json);
        expect_refusal(call(&fixture, KEYPROVIDER_METHOD_UNWRAP), 3, "not proper JSON");
        struct client_reply *reply = client_post(&fixture.client, KEYPROVIDER_METHOD_UNWRAP,
                                                 "\0\0\0\0\0", 5);
        client_exchange(&fixture.client);
        expect_refusal(reply, 3, "not proper JSON");
        reply = client_post(&fixture.client, KEYPROVIDER_METHOD_UNWRAP, "\0\0\0\0\2{}", 7);
        client_exchange(&fixture.client);
        expect_refusal(reply, 3, "not the protobuf message");
        tear_down(&fixture);
}
END_TEST

/* The annotation that WrapKey gave, as text. */
static void wrap(struct fixture *fixture, const char *options, struct buf *packet) {
        buf_reset(&fixture->json);
        provider_text_wrap(&fixture->json, "\"wlagent\":[\"a2V5PWtlay03\"]", options);
        struct client_reply *reply = call(fixture, KEYPROVIDER_METHOD_WRAP);

        ck_assert_msg(reply->grpc_status == 0, "%s", reply->grpc_message);
        provider_text_result(reply->body.data, reply->body.size, true, "keywrapresults",
                             "annotation", packet);
}

START_TEST(what_was_wrapped_is_unwrapped) {
        _cleanup_buf_ struct buf first = BUF_WITH_LIMIT(16384);
        _cleanup_buf_ struct buf second = BUF_WITH_LIMIT(16384);
        struct fixture fixture;
        struct wla_error err;

        set_up(&fixture, true);
        wrap(&fixture, VECTOR_COUNTED_PLAIN, &first);
        ck_assert_str_eq(fake_access.id.text, "local:///kek-7");
        wrap(&fixture, VECTOR_COUNTED_PLAIN, &second);
        ck_assert_uint_eq(first.size, second.size);
        ck_assert_mem_ne(first.data, second.data, first.size);
        static const char start[] = "{\"kid\":\"local:///kek-7\",\"wrapped_data\":\"";
        ck_assert_uint_gt(first.size, sizeof(start));
        ck_assert_mem_eq(first.data, start, sizeof(start) - 1);

        expect_plain(unwrap(&fixture, buf_text(&first, &err)), VECTOR_COUNTED_PLAIN);
        expect_plain(unwrap(&fixture, buf_text(&second, &err)), VECTOR_COUNTED_PLAIN);
        tear_down(&fixture);
}
END_TEST

START_TEST(wrap_is_off_unless_allowed) {
        const struct keyprovider_settings on = {.allow_wrap = true};
        struct fixture fixture;

        set_up(&fixture, false);
        provider_text_wrap(&fixture.json, "\"wlagent\":[\"a2V5PWtlay03\"]", "options");
        expect_refusal(call(&fixture, KEYPROVIDER_METHOD_WRAP), 7, "AllowWrap=yes");
        ck_assert_uint_eq(fake_access.begun, 0);
        keyprovider_service_configure(fixture.service, &on);
        ck_assert_int_eq(call(&fixture, KEYPROVIDER_METHOD_WRAP)->grpc_status, 0);
        tear_down(&fixture);
}
END_TEST

START_TEST(counter_mode_is_off_unless_allowed) {
        static const char packet[] =
                "{\"kid\":\"local:///ctr\",\"wrapped_data\":\"d+5fzmahxLI=\","
                "\"iv\":\"AAECAwQFBgcICQoLDA0ODw==\",\"wrap_type\":\"A256CTR\"}";
        const struct keyprovider_settings on = {.allow_unauthenticated_wrap = true};
        struct fixture fixture;

        set_up(&fixture, false);
        expect_refusal(unwrap(&fixture, packet), 12, "AllowUnauthenticatedWrap=yes");
        ck_assert_uint_eq(fake_access.begun, 0);
        keyprovider_service_configure(fixture.service, &on);
        ck_assert_int_eq(unwrap(&fixture, packet)->grpc_status, 0);
        tear_down(&fixture);
}
END_TEST

START_TEST(errors_of_the_key_come_through) {
        struct fixture fixture;

        set_up(&fixture, true);
        for (unsigned code = WLA_OK + 1; code < _WLA_CODE_MAX; code++) {
                (void)wla_fail_hint(&fake_access.err, (enum wla_code)code, "do this",
                                    "no such key");
                (void)wla_wrap(&fake_access.err, "opening local:///counted");
                expect_refusal(unwrap(&fixture, VECTOR_COUNTED_PACKET),
                               wla_code_grpc_status((enum wla_code)code),
                               code == WLA_E_SYSTEM
                                       ? "internal error"
                                       : "opening local:///counted: no such key (do this)");
        }
        tear_down(&fixture);
}
END_TEST

/* One bit anywhere: refused, or the packet means the same. */
START_TEST(flipped_bits) {
        char packet[] = VECTOR_COUNTED_PACKET;
        struct outcome outcome = {0};
        struct fixture fixture;
        unsigned passed = 0;

        set_up(&fixture, true);
        for (size_t i = 0; i < 8 * (sizeof(packet) - 1); i++) {
                packet[i / 8] = (char)(packet[i / 8] ^ 1 << i % 8);
                unwrap_bare(&fixture, packet, &outcome);
                if (outcome.err.code == WLA_OK) {
                        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(65536);

                        passed++;
                        provider_text_result(outcome.json.data, outcome.json.size, false,
                                             "keyunwrapresults", "optsdata", &bytes);
                        ck_assert_uint_eq(bytes.size, strlen(VECTOR_COUNTED_PLAIN));
                        ck_assert_mem_eq(bytes.data, VECTOR_COUNTED_PLAIN, bytes.size);
                        ck_assert_str_ne(fake_access.id.text, "local:///counted");
                }
                packet[i / 8] = (char)(packet[i / 8] ^ 1 << i % 8);
        }

        /* Only the name of the key is not covered by the tag. */
        ck_assert_uint_lt(passed, 8 * strlen("local:///counted"));
        unwrap_bare(&fixture, packet, &outcome);
        ck_assert_int_eq(outcome.err.code, WLA_OK);
        buf_clear(&outcome.json);
        tear_down(&fixture);
}
END_TEST

START_TEST(many_calls_one_after_the_other) {
        struct outcome outcome = {0};
        struct fixture fixture;

        set_up(&fixture, false);
        for (unsigned i = 0; i < 5000; i++)
                unwrap_bare(&fixture, i % 2 ? VECTOR_COUNTED_PACKET : "{}", &outcome);
        ck_assert_uint_eq(outcome.calls, 5000);
        ck_assert_uint_eq(fake_access.begun, 2500);
        buf_clear(&outcome.json);
        tear_down(&fixture);
}
END_TEST

START_TEST(answers_that_come_later) {
        struct fixture fixture;

        set_up(&fixture, false);
        fake_access.later = true;
        struct client_reply *first = unwrap(&fixture, VECTOR_COUNTED_PACKET);
        struct client_reply *second = unwrap(&fixture, VECTOR_COUNTED_PACKET);
        ck_assert(!first->closed && !second->closed);
        ck_assert_uint_eq(fake_access.waiting, 2);

        /* Sources give up before the caller does, but not much before. */
        uint64_t end_usec = fixture.client.now_usec + client_limits.call_timeout_usec;
        ck_assert_uint_lt(fake_access.deadline_usec, end_usec);
        ck_assert_uint_gt(fake_access.deadline_usec, end_usec - USEC_PER_SEC);

        fake_access_answer();
        fake_access_answer();
        ck_assert_uint_eq(fixture.client.wakes, 2);
        client_exchange(&fixture.client);
        expect_plain(first, VECTOR_COUNTED_PLAIN);
        expect_plain(second, VECTOR_COUNTED_PLAIN);
        tear_down(&fixture);
}
END_TEST

START_TEST(clients_that_go_cancel) {
        struct outcome outcome = {0};
        struct fixture fixture;

        set_up(&fixture, false);
        fake_access.later = true;
        (void)unwrap(&fixture, VECTOR_COUNTED_PACKET);
        (void)unwrap(&fixture, VECTOR_COUNTED_PACKET);
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        ck_assert_int_eq(nghttp2_submit_rst_stream(fixture.client.session, 0, 1, NGHTTP2_CANCEL),
                         0);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fake_access.cancelled, 1);

        buf_reset(&fixture.json);
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        struct keyprovider_call *bare = begin_bare(&fixture, &outcome);
        ck_assert_ptr_nonnull(bare);
        keyprovider_call_cancel(bare);
        ck_assert_uint_eq(outcome.calls, 0);
        ck_assert_uint_eq(fake_access.cancelled, 2);

        fixture.client.server = h2_connection_free(fixture.client.server);
        ck_assert_uint_eq(fake_access.cancelled, 3);
        tear_down(&fixture);
}
END_TEST

START_TEST(calls_that_are_overdue_cancel) {
        static const struct key_peer peer = {0};
        struct keyprovider_call *call = NULL;
        struct outcome outcome = {0};
        struct fixture fixture;

        set_up(&fixture, false);
        fake_access.later = true;
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        keyprovider_service_begin(fixture.service, &fixture.json, &peer, clock_now_usec(),
                                  note_outcome, &outcome, &call);
        ck_assert_ptr_nonnull(call);
        keyprovider_call_cancel(call);
        ck_assert_uint_eq(fake_access.cancelled, 1);
        ck_assert_uint_eq(outcome.calls, 0);
        ck_assert_uint_eq(metrics_total(METRIC_KEYPROVIDER_REQUESTS), 1);
        tear_down(&fixture);
}
END_TEST

START_TEST(time_limit_cancels) {
        struct fixture fixture;

        set_up(&fixture, false);
        fake_access.later = true;
        struct client_reply *reply = unwrap(&fixture, VECTOR_COUNTED_PACKET);
        client_pass(&fixture.client, client_limits.call_timeout_usec);
        client_exchange(&fixture.client);
        expect_refusal(reply, 4, "no answer within 30000 ms");
        ck_assert_uint_eq(fake_access.cancelled, 1);
        tear_down(&fixture);
}
END_TEST

START_TEST(bare_json) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(65536);
        struct outcome outcome = {0};
        struct fixture fixture;

        set_up(&fixture, false);
        unwrap_bare(&fixture, VECTOR_COUNTED_PACKET, &outcome);
        ck_assert_uint_eq(outcome.calls, 1);
        ck_assert_uint_eq(fixture.json.size, 0);
        provider_text_result(outcome.json.data, outcome.json.size, false, "keyunwrapresults",
                             "optsdata", &bytes);
        ck_assert_mem_eq(bytes.data, VECTOR_COUNTED_PLAIN, strlen(VECTOR_COUNTED_PLAIN));

        provider_text_wrap(&fixture.json, "\"wlagent\":[\"a2V5PWE=\"]", "options");
        ck_assert_ptr_null(begin_bare(&fixture, &outcome));
        ck_assert_int_eq(outcome.err.code, WLA_E_DENIED);

        fake_access.later = true;
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        ck_assert_ptr_nonnull(begin_bare(&fixture, &outcome));
        fake_access_answer();
        ck_assert_uint_eq(outcome.calls, 3);
        ck_assert_int_eq(outcome.err.code, WLA_OK);
        buf_clear(&outcome.json);
        tear_down(&fixture);
}
END_TEST

/* One event a call, with who, which key and the result; nothing of the request or the reply. */
START_TEST(events) {
        _cleanup_buf_ struct buf log = BUF_WITH_LIMIT(65536);
        struct outcome outcome = {0};
        struct fixture fixture;
        struct wla_error err = {0};
        FILE *file = tmpfile();

        ck_assert_ptr_nonnull(file);
        set_up(&fixture, false);
        log_open(LOG_INFO);
        ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
        expect_plain(unwrap(&fixture, VECTOR_COUNTED_PACKET), VECTOR_COUNTED_PLAIN);
        set_key(VECTOR_SAMPLE_KEY);
        (void)unwrap(&fixture, VECTOR_COUNTED_PACKET);
        unwrap_bare(&fixture, "{}", &outcome);

        uint8_t *at = buf_extend(&log, 16384, &err);
        ck_assert_ptr_nonnull(at);
        ssize_t size = pread(fileno(file), at, 16384, 0);
        ck_assert_int_gt((int)size, 0);
        log.size = (size_t)size;
        const char *text = buf_text(&log, &err);

        const char *released = strstr(text, "WLA_ERROR_CODE=ok");
        const char *refused = strstr(text, "WLA_ERROR_CODE=denied");
        const char *malformed = strstr(text, "WLA_ERROR_CODE=invalid-input");
        ck_assert_msg(released && refused && malformed, "%s", text);
        ck_assert(released < refused && refused < malformed);
        ck_assert_ptr_nonnull(strstr(text, "WLA_KEY_ID=local:///counted"));
        ck_assert_ptr_nonnull(strstr(text, "WLA_PEER_UID=1000"));
        ck_assert_ptr_nonnull(strstr(text, "WLA_PEER_PID=4711"));
        ck_assert_ptr_nonnull(strstr(text, "WLA_OPERATION=unwrap"));
        ck_assert_ptr_nonnull(strstr(text, "WLA_DURATION_USEC="));
        ck_assert_uint_eq(metrics_total(METRIC_KEYPROVIDER_REQUESTS), 3);
        ck_assert_uint_eq(metrics_total(METRIC_KEYPROVIDER_REQUEST_SECONDS), 3);
        ck_assert_ptr_null(strstr(text, "symkey"));
        ck_assert_ptr_null(strstr(text, "Zm9v"));
        ck_assert_ptr_null(strstr(text, "J3Au3idejpWew"));
        buf_clear(&outcome.json);
        tear_down(&fixture);
}
END_TEST

/* Whatever allocation fails, the call is answered or refused once, and nothing is lost. */
START_TEST(failed_allocations) {
        static const char parameters[] = "\"wlagent\":[\"a2V5PWtlay03\"]";
        struct outcome outcome = {.json.limit = 65536};
        struct fixture fixture;
        struct wla_error err = {0};

        set_up(&fixture, true);
        ck_assert_ptr_nonnull(buf_extend(&outcome.json, 65536, &err));
        for (int wrapping = 0; wrapping < 2; wrapping++) {
                unsigned failures = 0;

                for (size_t n = 1;; n++) {
                        if (wrapping)
                                provider_text_wrap(&fixture.json, parameters, "options");
                        else
                                provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
                        outcome.calls = 0;
                        bool more = fail_allocation_arm(n);
                        (void)begin_bare(&fixture, &outcome);
                        fail_allocation_disarm();
                        ck_assert_uint_eq(outcome.calls, 1);
                        ck_assert_uint_eq(wla_secret_heap_used(), fixture.heap_used);
                        failures += outcome.err.code != WLA_OK;
                        if (!more)
                                break;
                }
                ck_assert_uint_ge(failures, 5);
                ck_assert_int_eq(outcome.err.code, WLA_OK);
        }
        buf_clear(&outcome.json);
        tear_down(&fixture);
}
END_TEST

START_TEST(failed_allocations_over_grpc) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(8192);
        struct h2_connection_options options = {.limits = &client_limits};
        struct fixture fixture;
        struct wla_error err = {0};
        unsigned refused = 0;

        set_up(&fixture, false);
        options.handler = keyprovider_service_handler(fixture.service);
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        provider_text_message(&fixture.message, &fixture.json);
        raw_preface(&bytes);
        raw_headers(&bytes, 1, 0);
        raw_frame(&bytes, (struct raw_frame){NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1,
                                             fixture.message.data, fixture.message.size});

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(65536);
                struct h2_connection *connection = NULL;

                int outcome = h2_connection_new(&options, 1, &connection, &err);
                if (outcome == 0)
                        outcome = h2_connection_feed(connection, bytes.data, bytes.size, 1, &err);
                if (outcome == 0)
                        outcome = h2_connection_drain(connection, &out, &err);
                connection = h2_connection_free(connection);
                fail_allocation_disarm();

                /* The whole reply, a reset or a status alone, or a broken connection. */
                refused += outcome == 0 && out.size < 400;
                if (!fail_allocation_hit())
                        ck_assert(outcome == 0 && out.size > 400);
                ck_assert_uint_eq(wla_secret_heap_used(), fixture.heap_used);
        }
        ck_assert_uint_ge(refused, 8);
        tear_down(&fixture);
}
END_TEST

SUITE_MAIN("service", unwraps_packets_of_others, another_key_is_refused_with_its_reason,
           a_key_of_another_size_is_refused, methods_and_operations, what_was_wrapped_is_unwrapped,
           wrap_is_off_unless_allowed, counter_mode_is_off_unless_allowed,
           errors_of_the_key_come_through, flipped_bits, many_calls_one_after_the_other,
           answers_that_come_later, clients_that_go_cancel, calls_that_are_overdue_cancel,
           time_limit_cancels, bare_json, events, failed_allocations, failed_allocations_over_grpc)
