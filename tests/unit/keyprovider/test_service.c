/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/base64.h"
#include "fake_access.h"
#include "h2_client.h"
#include "keyprovider/service.h"
#include "provider_texts.h"
#include "vectors.h"

struct fixture {
        struct keyprovider_service *service;
        struct client client;
        struct buf json;
        struct buf message;
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

        *fixture = (struct fixture){.json.limit = 1 << 20, .message.limit = 1 << 20};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
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
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
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

SUITE_MAIN("service", unwraps_packets_of_others, another_key_is_refused_with_its_reason)
