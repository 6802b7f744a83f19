/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/aead.h"
#include "provider_texts.h"
#include "service_fixture.h"
#include "vectors.h"

START_TEST(unwraps_packets_of_others) {
        struct fixture fixture;

        service_open(&fixture, false);
        expect_plain(service_unwrap(&fixture, VECTOR_COUNTED_PACKET), VECTOR_COUNTED_PLAIN);
        ck_assert_str_eq(fake_access.id.text, "local:///counted");
        ck_assert_uint_eq(fake_access.peer.uid, 1000);
        ck_assert_int_eq(fake_access.peer.pid, 4711);

        service_set_key(VECTOR_SAMPLE_KEY);
        expect_plain(service_unwrap(&fixture, VECTOR_SAMPLE_PACKET), VECTOR_SAMPLE_PLAIN);
        ck_assert_str_eq(fake_access.id.text, "kbs:///default/key/1");

        _cleanup_buf_ struct buf packet = BUF_WITH_LIMIT(4096);
        struct wla_error err;
        provider_text_intel(&packet);
        service_set_key(VECTOR_INTEL_KEY);
        expect_plain(service_unwrap(&fixture, buf_text(&packet, &err)), VECTOR_INTEL_PLAIN);
        ck_assert_str_eq(fake_access.id.text, VECTOR_INTEL_KEY_URL);
        ck_assert_uint_eq(fake_access.begun, 3);
        service_close(&fixture);
}
END_TEST

START_TEST(another_key_is_refused_with_its_reason) {
        struct fixture fixture;

        service_open(&fixture, false);
        service_set_key(VECTOR_SAMPLE_KEY);
        expect_refusal(service_unwrap(&fixture, VECTOR_COUNTED_PACKET), 7,
                       "does not belong to the key local:///counted");
        service_close(&fixture);
}
END_TEST

START_TEST(a_key_of_another_size_is_refused) {
        struct fixture fixture;

        service_open(&fixture, true);
        for (size_t size = 1; size <= sizeof(fake_access.key); size++) {
                fake_access.key_size = size;
                if (size != AES256_KEY_SIZE)
                        expect_refusal(service_unwrap(&fixture, VECTOR_COUNTED_PACKET), 12,
                                       "bytes where 32 are needed");
        }
        service_close(&fixture);
}
END_TEST

START_TEST(methods_and_operations) {
        struct fixture fixture;

        service_open(&fixture, true);
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        expect_refusal(service_call(&fixture, KEYPROVIDER_METHOD_WRAP), 3,
                       "op is unwrap, but it was sent to the method for wrap");
        expect_refusal(service_call(&fixture, "/keyprovider.KeyProviderService/UnwrapKey"), 12,
                       "unknown method /keyprovider.KeyProviderService/UnwrapKey");
        expect_refusal(service_call(&fixture, "/"), 12, "unknown method /");

        buf_reset(&fixture.json);
        provider_text_wrap(&fixture.json, "\"wlagent\":[\"a2V5PWE=\"]", "options");
        expect_refusal(service_call(&fixture, KEYPROVIDER_METHOD_UNWRAP), 3,
                       "op is wrap, but it was sent to the method for unwrap");
        ck_assert_uint_eq(fake_access.begun, 0);

        buf_reset(&fixture.json);
        expect_refusal(service_call(&fixture, KEYPROVIDER_METHOD_UNWRAP), 3, "not proper JSON");
        struct client_reply *reply = client_post(&fixture.client, KEYPROVIDER_METHOD_UNWRAP,
                                                 "\0\0\0\0\0", 5);
        client_exchange(&fixture.client);
        expect_refusal(reply, 3, "not proper JSON");
        reply = client_post(&fixture.client, KEYPROVIDER_METHOD_UNWRAP, "\0\0\0\0\2{}", 7);
        client_exchange(&fixture.client);
        expect_refusal(reply, 3, "not the protobuf message");
        service_close(&fixture);
}
END_TEST

/* The annotation that WrapKey gave, as text. */
static void wrap(struct fixture *fixture, const char *options, struct buf *packet) {
        buf_reset(&fixture->json);
        provider_text_wrap(&fixture->json, "\"wlagent\":[\"a2V5PWtlay03\"]", options);
        struct client_reply *reply = service_call(fixture, KEYPROVIDER_METHOD_WRAP);

        ck_assert_msg(reply->grpc_status == 0, "%s", reply->grpc_message);
        provider_text_result(reply->body.data, reply->body.size, true, "keywrapresults",
                             "annotation", packet);
}

START_TEST(what_was_wrapped_is_unwrapped) {
        _cleanup_buf_ struct buf first = BUF_WITH_LIMIT(16384);
        _cleanup_buf_ struct buf second = BUF_WITH_LIMIT(16384);
        struct fixture fixture;
        struct wla_error err;

        service_open(&fixture, true);
        wrap(&fixture, VECTOR_COUNTED_PLAIN, &first);
        ck_assert_str_eq(fake_access.id.text, "local:///kek-7");
        wrap(&fixture, VECTOR_COUNTED_PLAIN, &second);
        ck_assert_uint_eq(first.size, second.size);
        ck_assert_mem_ne(first.data, second.data, first.size);
        static const char start[] = "{\"kid\":\"local:///kek-7\",\"wrapped_data\":\"";
        ck_assert_uint_gt(first.size, sizeof(start));
        ck_assert_mem_eq(first.data, start, sizeof(start) - 1);

        expect_plain(service_unwrap(&fixture, buf_text(&first, &err)), VECTOR_COUNTED_PLAIN);
        expect_plain(service_unwrap(&fixture, buf_text(&second, &err)), VECTOR_COUNTED_PLAIN);
        service_close(&fixture);
}
END_TEST

START_TEST(wrap_is_off_unless_allowed) {
        const struct keyprovider_settings on = {.allow_wrap = true};
        struct fixture fixture;

        service_open(&fixture, false);
        provider_text_wrap(&fixture.json, "\"wlagent\":[\"a2V5PWtlay03\"]", "options");
        expect_refusal(service_call(&fixture, KEYPROVIDER_METHOD_WRAP), 7, "AllowWrap=yes");
        ck_assert_uint_eq(fake_access.begun, 0);
        keyprovider_service_configure(fixture.service, &on);
        ck_assert_int_eq(service_call(&fixture, KEYPROVIDER_METHOD_WRAP)->grpc_status, 0);
        service_close(&fixture);
}
END_TEST

START_TEST(counter_mode_is_off_unless_allowed) {
        static const char packet[] =
                "{\"kid\":\"local:///ctr\",\"wrapped_data\":\"d+5fzmahxLI=\","
                "\"iv\":\"AAECAwQFBgcICQoLDA0ODw==\",\"wrap_type\":\"A256CTR\"}";
        const struct keyprovider_settings on = {.allow_unauthenticated_wrap = true};
        struct fixture fixture;

        service_open(&fixture, false);
        expect_refusal(service_unwrap(&fixture, packet), 12, "AllowUnauthenticatedWrap=yes");
        ck_assert_uint_eq(fake_access.begun, 0);
        keyprovider_service_configure(fixture.service, &on);
        ck_assert_int_eq(service_unwrap(&fixture, packet)->grpc_status, 0);
        service_close(&fixture);
}
END_TEST

START_TEST(errors_of_the_key_come_through) {
        struct fixture fixture;

        service_open(&fixture, true);
        for (unsigned code = WLA_OK + 1; code < _WLA_CODE_MAX; code++) {
                (void)wla_fail_hint(&fake_access.err, (enum wla_code)code, "do this",
                                    "no such key");
                (void)wla_wrap(&fake_access.err, "opening local:///counted");
                expect_refusal(service_unwrap(&fixture, VECTOR_COUNTED_PACKET),
                               wla_code_grpc_status((enum wla_code)code),
                               code == WLA_E_SYSTEM
                                       ? "internal error"
                                       : "opening local:///counted: no such key (do this)");
        }
        service_close(&fixture);
}
END_TEST

START_TEST(answers_that_come_later) {
        struct fixture fixture;

        service_open(&fixture, false);
        fake_access.later = true;
        struct client_reply *first = service_unwrap(&fixture, VECTOR_COUNTED_PACKET);
        struct client_reply *second = service_unwrap(&fixture, VECTOR_COUNTED_PACKET);
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
        service_close(&fixture);
}
END_TEST

START_TEST(time_limit_cancels) {
        struct fixture fixture;

        service_open(&fixture, false);
        fake_access.later = true;
        struct client_reply *reply = service_unwrap(&fixture, VECTOR_COUNTED_PACKET);
        client_pass(&fixture.client, client_limits.call_timeout_usec);
        client_exchange(&fixture.client);
        expect_refusal(reply, 4, "no answer within 30000 ms");
        ck_assert_uint_eq(fake_access.cancelled, 1);
        service_close(&fixture);
}
END_TEST

SUITE_MAIN("service", unwraps_packets_of_others, another_key_is_refused_with_its_reason,
           a_key_of_another_size_is_refused, methods_and_operations, what_was_wrapped_is_unwrapped,
           wrap_is_off_unless_allowed, counter_mode_is_off_unless_allowed,
           errors_of_the_key_come_through, answers_that_come_later, time_limit_cancels)
