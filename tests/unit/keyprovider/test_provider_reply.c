/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "keyprovider/provider_reply.h"
#include "provider_texts.h"

static void heap(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
}

static struct wla_secret *make(enum provider_operation operation, enum provider_framing framing,
                               const void *data, size_t size) {
        struct wla_secret *reply;
        struct wla_error err = {0};

        ck_assert_int_eq(provider_reply_new(operation, framing, (struct wla_bytes){data, size},
                                            &reply, &err),
                         0);
        return reply;
}

START_TEST(exact_texts) {
        heap();
        _cleanup_secret_ struct wla_secret *unwrap = make(PROVIDER_UNWRAP, PROVIDER_BARE,
                                                          "\0\11\12\143\144\377", 6);
        static const char expected[] = "{\"keyunwrapresults\":{\"optsdata\":[0,9,10,99,100,255]}}";
        ck_assert_uint_eq(wla_secret_view(unwrap).size, sizeof(expected) - 1);
        ck_assert_mem_eq(wla_secret_view(unwrap).data, expected, sizeof(expected) - 1);

        _cleanup_secret_ struct wla_secret *wrap = make(PROVIDER_WRAP, PROVIDER_PROTOBUF, "a", 1);
        static const char framed[] = "\x0a\x26{\"keywrapresults\":{\"annotation\":[97]}}";
        ck_assert_uint_eq(wla_secret_view(wrap).size, sizeof(framed) - 1);
        ck_assert_mem_eq(wla_secret_view(wrap).data, framed, sizeof(framed) - 1);
}
END_TEST

START_TEST(every_size) {
        uint8_t data[PROVIDER_OPTIONS_MAX];
        struct wla_error err = {0};
        char head[5] = {0};

        heap();
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t)(i * 31 + i / 256);
        for (size_t size = 1; size <= sizeof(data); size += size < 600 ? 1 : 997) {
                _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(PROVIDER_OPTIONS_MAX);
                _cleanup_buf_ struct buf message = BUF_WITH_LIMIT(65536 + 5);
                _cleanup_secret_ struct wla_secret *reply = make(PROVIDER_UNWRAP, PROVIDER_PROTOBUF,
                                                                 data, size);
                struct wla_bytes view = wla_secret_view(reply);

                head[3] = (char)(view.size >> 8);
                head[4] = (char)view.size;
                ck_assert_int_eq(buf_append(&message, head, sizeof(head), &err), 0);
                ck_assert_int_eq(buf_append(&message, view.data, view.size, &err), 0);
                provider_text_result(message.data, message.size, true, "keyunwrapresults",
                                     "optsdata", &bytes);
                ck_assert_uint_eq(bytes.size, size);
                ck_assert_mem_eq(bytes.data, data, size);
        }
}
END_TEST

START_TEST(too_large_for_a_secret) {
        static const uint8_t data[20000];
        struct wla_secret *reply = NULL;
        struct wla_error err = {0};

        heap();
        ck_assert_int_eq(provider_reply_new(PROVIDER_WRAP, PROVIDER_BARE,
                                            (struct wla_bytes){data, sizeof(data)}, &reply, &err),
                         0);
        reply = wla_secret_free(reply);

        uint8_t large[20000];
        memset(large, 200, sizeof(large));
        ck_assert_int_eq(provider_reply_new(PROVIDER_WRAP, PROVIDER_BARE,
                                            (struct wla_bytes){large, sizeof(large)}, &reply, &err),
                         -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_ptr_null(reply);
}
END_TEST

SUITE_MAIN("provider_reply", exact_texts, every_size, too_large_for_a_secret)
