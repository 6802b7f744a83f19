/* SPDX-License-Identifier: Apache-2.0 */
#include "service_fixture.h"

#include <check.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/log.h"
#include "provider_texts.h"
#include "vectors.h"

void service_set_key(const char *base64) {
        _cleanup_buf_ struct buf key = BUF_WITH_LIMIT(sizeof(fake_access.key));
        struct wla_error err = {0};

        ck_assert_int_eq(base64_decode(base64, strlen(base64), &key, &err), 0);
        memcpy(fake_access.key, key.data, key.size);
        fake_access.key_size = key.size;
}

void service_open(struct fixture *fixture, bool allow) {
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
        service_set_key(VECTOR_COUNTED_KEY);
}

void service_close(struct fixture *fixture) {
        client_close(&fixture->client);
        fixture->service = keyprovider_service_free(fixture->service);
        buf_clear(&fixture->json);
        buf_clear(&fixture->message);
        ck_assert_uint_eq(fake_access.waiting, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), fixture->heap_used);
}

struct client_reply *service_call(struct fixture *fixture, const char *path) {
        buf_reset(&fixture->message);
        provider_text_message(&fixture->message, &fixture->json);
        struct client_reply *reply = client_post(&fixture->client, path, fixture->message.data,
                                                 fixture->message.size);
        client_exchange(&fixture->client);
        return reply;
}

struct client_reply *service_unwrap(struct fixture *fixture, const char *packet) {
        buf_reset(&fixture->json);
        provider_text_unwrap(&fixture->json, packet);
        return service_call(fixture, KEYPROVIDER_METHOD_UNWRAP);
}

void expect_plain(const struct client_reply *reply, const char *plain) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(65536);

        ck_assert_msg(reply->grpc_status == 0, "%d %s", reply->grpc_status, reply->grpc_message);
        ck_assert_int_eq(reply->http_status, 200);
        ck_assert(reply->closed);
        provider_text_result(reply->body.data, reply->body.size, true, "keyunwrapresults",
                             "optsdata", &bytes);
        ck_assert_uint_eq(bytes.size, strlen(plain));
        ck_assert_mem_eq(bytes.data, plain, bytes.size);
}

void expect_refusal(const struct client_reply *reply, int status, const char *text) {
        ck_assert_int_eq(reply->http_status, 200);
        ck_assert_msg(reply->grpc_status == status, "%d: %s", reply->grpc_status,
                      reply->grpc_message);
        ck_assert_uint_eq(reply->header_frames, 1);
        ck_assert(strncmp(reply->grpc_message, "wlagent: ", 9) == 0);
        ck_assert_msg(strstr(reply->grpc_message, text), "%s", reply->grpc_message);
}

void note_outcome(void *userdata, struct wla_secret *reply, const struct wla_error *err) {
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

struct keyprovider_call *service_begin_bare(struct fixture *fixture, struct outcome *outcome) {
        static const struct key_peer peer = {.uid = 0, .pid = 1};
        struct keyprovider_call *call = NULL;

        keyprovider_service_begin(fixture->service, &fixture->json, &peer,
                                  clock_now_usec() + USEC_PER_SEC, note_outcome, outcome, &call);
        return call;
}

void service_unwrap_bare(struct fixture *fixture, const char *packet, struct outcome *outcome) {
        provider_text_unwrap(&fixture->json, packet);
        ck_assert_ptr_null(service_begin_bare(fixture, outcome));
}
