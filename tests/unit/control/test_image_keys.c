/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

#include "control/image_keys.h"
#include "fail_allocation.h"
#include "fake_access.h"
#include "image/volume_key.h"

#define OTHER_UID 4321u

static const char identity[] = IMAGE_IDENTITY_PREFIX
        "3d0f1c3e-1111-4222-8333-444455556666\nlocal:///web\nraw\n4096\n4096\nsealed\n";

static struct {
        unsigned calls;
        enum wla_code code;
        char text[512];
        struct control_image_key reply;
        size_t reply_size;
} seen;

static void done(void *userdata, const struct control_result *result) {
        (void)userdata;
        seen.calls++;
        seen.code = result->err ? result->err->code : WLA_OK;
        seen.reply_size = 0;
        if (result->err)
                (void)snprintf(seen.text, sizeof(seen.text), "%s", wla_error_text(result->err));
        if (result->secret) {
                struct wla_bytes bytes = wla_secret_view(result->secret);

                seen.reply_size = bytes.size;
                if (bytes.size == sizeof(seen.reply))
                        memcpy(&seen.reply, bytes.data, bytes.size);
                wla_secret_free(result->secret);
        }
}

static struct image_keys *keys_new(bool allow_wrap) {
        const struct image_keys_settings settings = {.allow_wrap = allow_wrap,
                                                     .timeout_usec = 30 * USEC_PER_SEC};
        struct image_keys *keys;
        struct wla_error err = {0};

        if (!CRYPTO_secure_malloc_initialized())
                ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        memset(&fake_access, 0, sizeof(fake_access));
        memset(&seen, 0, sizeof(seen));
        fake_access.key_size = 32;
        memset(fake_access.key, 7, sizeof(fake_access.key));
        ck_assert_int_eq(image_keys_new(fake_access_handle(), &settings, &keys, &err), 0);
        return keys;
}

static struct control_image_key sample_request(void) {
        struct control_image_key request = {.identity_size = sizeof(identity) - 1};

        (void)snprintf(request.key_id, sizeof(request.key_id), "local:///web");
        memcpy(request.identity, identity, sizeof(identity) - 1);
        for (size_t i = 0; i < VOLUME_KEY_SIZE; i++)
                request.key[i] = (uint8_t)i;
        return request;
}

static void *send_request(struct image_keys *keys, uint16_t command, uid_t uid, const void *bytes,
                          size_t size) {
        struct wla_secret *payload = NULL;
        struct wla_error err = {0};

        /* No assertion: it would allocate. */
        if (size > 0 && wla_secret_new(size, &payload, &err) < 0)
                abort();
        if (payload)
                memcpy(wla_secret_fill(payload), bytes, size);
        const struct control_request request = {
                .command = command,
                .secret_payload = payload,
                .peer = {.uid = uid, .pid = 1},
                .deadline_usec = 5,
        };
        const struct control_service *service = image_keys_service(keys);
        void *call;

        service->begin(service->self, &request, done, NULL, &call);
        return call;
}

static void *ask(struct image_keys *keys, uint16_t command, uid_t uid,
                 const struct control_image_key *request) {
        return send_request(keys, command, uid, request, sizeof(*request));
}

START_TEST(what_is_wrapped_unwraps) {
        struct image_keys *keys = keys_new(true);
        struct control_image_key request = sample_request();

        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_WRAP, OTHER_UID, &request));
        ck_assert_uint_eq(seen.calls, 1);
        ck_assert_msg(seen.code == WLA_OK, "%s", seen.text);
        ck_assert_uint_eq(seen.reply_size, sizeof(request));
        ck_assert_mem_ne(seen.reply.key, request.key, 16);
        ck_assert_mem_eq(seen.reply.identity, request.identity, sizeof(request.identity));
        ck_assert_str_eq(fake_access.id.text, "local:///web");
        ck_assert_uint_eq(fake_access.peer.uid, OTHER_UID);
        ck_assert_uint_eq(fake_access.deadline_usec, 5);

        const struct control_image_key wrapped = seen.reply;
        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_UNWRAP, 0, &wrapped));
        ck_assert_msg(seen.code == WLA_OK, "%s", seen.text);
        ck_assert_mem_eq(seen.reply.key, request.key, sizeof(request.key));

        struct control_image_key changed = wrapped;
        changed.identity[60] ^= 1;
        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_UNWRAP, 0, &changed));
        ck_assert_int_eq(seen.code, WLA_E_DENIED);
        image_keys_free(keys);
}
END_TEST

START_TEST(policy_says_no) {
        struct image_keys *keys = keys_new(false);
        struct control_image_key request = sample_request();

        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_WRAP, 0, &request));
        ck_assert_int_eq(seen.code, WLA_E_DENIED);
        ck_assert_str_eq(seen.text, "this agent does not wrap keys");
        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_UNWRAP, OTHER_UID, &request));
        ck_assert_int_eq(seen.code, WLA_E_DENIED);
        ck_assert_str_eq(seen.text, "user 4321 may not have the keys of images");
        ck_assert_uint_eq(fake_access.begun, 0);

        const struct image_keys_settings settings = {.allow_wrap = true};
        image_keys_configure(keys, &settings);
        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_WRAP, OTHER_UID, &request));
        ck_assert_int_eq(seen.code, WLA_OK);
        image_keys_free(keys);
}
END_TEST

/* Without the prefix it would be something else that the key has sealed. */
START_TEST(what_is_no_request_is_refused) {
        struct image_keys *keys = keys_new(true);
        const struct control_image_key good = sample_request();

        for (size_t size = 0; size < sizeof(good); size += 211) {
                ck_assert_ptr_null(send_request(keys, CONTROL_IMAGE_WRAP, 0, &good, size));
                ck_assert_int_eq(seen.code, WLA_E_INPUT);
        }
        for (int i = 0; i < 6; i++) {
                struct control_image_key bad = good;

                if (i == 0)
                        memset(bad.key_id, 'x', sizeof(bad.key_id));
                else if (i == 1)
                        bad.reserved = 1;
                else if (i == 2)
                        bad.identity_size = sizeof(bad.identity) + 1;
                else if (i == 3)
                        bad.identity_size = 0;
                else if (i == 4)
                        bad.identity[3] ^= 1;
                else
                        bad.key_id[0] = 'X';
                ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_UNWRAP, 0, &bad));
                ck_assert_int_eq(seen.code, WLA_E_INPUT);
        }
        ck_assert_uint_eq(fake_access.begun, 0);

        struct control_image_key equal_halves = good;
        memset(equal_halves.key, 1, sizeof(equal_halves.key));
        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_WRAP, 0, &equal_halves));
        ck_assert_int_eq(seen.code, WLA_E_INPUT);
        image_keys_free(keys);
}
END_TEST

START_TEST(a_key_that_does_not_come_is_an_error) {
        struct image_keys *keys = keys_new(true);
        struct control_image_key request = sample_request();

        (void)wla_fail(&fake_access.err, WLA_E_NOT_FOUND, "there is no key");
        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_WRAP, 0, &request));
        ck_assert_int_eq(seen.code, WLA_E_NOT_FOUND);
        fake_access.err = (struct wla_error){0};
        fake_access.key_size = 16;
        ck_assert_ptr_null(ask(keys, CONTROL_IMAGE_WRAP, 0, &request));
        ck_assert_int_eq(seen.code, WLA_E_INPUT);
        image_keys_free(keys);
}
END_TEST

START_TEST(calls_can_wait_and_be_cancelled) {
        struct image_keys *keys = keys_new(true);
        const struct control_service *service = image_keys_service(keys);
        struct control_image_key request = sample_request();

        fake_access.later = true;
        ck_assert_uint_eq(service->timeout_usec(service->self, CONTROL_IMAGE_WRAP, NULL),
                          30 * USEC_PER_SEC);
        ck_assert_ptr_nonnull(ask(keys, CONTROL_IMAGE_WRAP, 0, &request));
        ck_assert_uint_eq(seen.calls, 0);
        fake_access_answer();
        ck_assert_uint_eq(seen.calls, 1);
        ck_assert_int_eq(seen.code, WLA_OK);

        void *call = ask(keys, CONTROL_IMAGE_WRAP, 0, &request);
        ck_assert_ptr_nonnull(call);
        service->cancel(service->self, call);
        ck_assert_uint_eq(fake_access.cancelled, 1);
        ck_assert_uint_eq(seen.calls, 1);
        image_keys_free(keys);
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        struct image_keys *keys = keys_new(true);
        struct control_image_key request = sample_request();
        const size_t used = wla_secret_heap_used();

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                (void)ask(keys, CONTROL_IMAGE_WRAP, 0, &request);
                fail_allocation_disarm();
                ck_assert_uint_eq(seen.calls, n);
                ck_assert_int_eq(seen.code, fail_allocation_hit() ? WLA_E_BUSY : WLA_OK);
        }
        /* OpenSSL has things of its own there. */
        ck_assert_uint_ge(used + 1024, wla_secret_heap_used());
        image_keys_free(keys);
}
END_TEST

SUITE_MAIN("image_keys", what_is_wrapped_unwraps, policy_says_no, what_is_no_request_is_refused,
           a_key_that_does_not_come_is_an_error, calls_can_wait_and_be_cancelled,
           failed_allocations_are_errors)
