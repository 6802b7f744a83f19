/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "h2_fixture.h"

START_TEST(what_is_no_grpc_gets_an_http_status) {
        const nghttp2_nv grpc = HEADER("content-type", "application/grpc");
        const nghttp2_nv text = HEADER("content-type", "text/plain");
        const nghttp2_nv extra = HEADER("x-extra", "1");
        struct fixture fixture;

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 10);
        ck_assert_int_eq(fixture_request(&fixture, "POST", text, extra)->http_status, 415);
        ck_assert_int_eq(fixture_request(&fixture, "POST", extra, extra)->http_status, 415);
        ck_assert_int_eq(fixture_request(&fixture, "PUT", grpc, extra)->http_status, 405);
        ck_assert_uint_eq(fixture.echo.started, 0);

        /* Any authority, no te, and the connection goes on. */
        expect_ok(fixture_request(&fixture, "POST", grpc, extra), 10);
        fixture_close(&fixture);
}
END_TEST

START_TEST(compression_is_not_implemented) {
        const nghttp2_nv grpc = HEADER("content-type", "application/grpc+proto");
        const nghttp2_nv gzip = HEADER("grpc-encoding", "gzip");
        const nghttp2_nv identity = HEADER("grpc-encoding", "identity");
        struct fixture fixture;

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 10);
        expect_status(fixture_request(&fixture, "POST", grpc, gzip), 12, "compressed");
        expect_ok(fixture_request(&fixture, "POST", grpc, identity), 10);
        fixture.body.data[0] = 1;
        expect_status(fixture_request(&fixture, "POST", grpc, identity), 12, "compressed");
        ck_assert_uint_eq(fixture.echo.started, 1);
        fixture_close(&fixture);
}
END_TEST

START_TEST(message_framing) {
        static const struct {
                const char *bytes;
                size_t size;
                int status;
                const char *text;
        } rows[] = {
                {"", 0, 3, "ends inside"},
                {"\0\0\0", 3, 3, "ends inside"},
                {"\0\0\0\0\2a", 6, 3, "ends inside"},
                {"\0\0\0\0\1ab", 7, 3, "more than one message"},
                {"\0\0\0\0\0\0\0\0\0\0", 10, 3, "more than one message"},
                {"\0\0\4\0\1", 5, 8, "262145 bytes is above the limit of 262144"},
                {"\0\xff\xff\xff\xff", 5, 8, "above the limit"},
                {"\1\0\0\0\0", 5, 12, "compressed"},
        };
        struct fixture fixture;

        fixture_open(&fixture);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct client_reply *reply = client_post(&fixture.client, FIXTURE_PATH,
                                                         rows[i].bytes, rows[i].size);

                client_exchange(&fixture.client);
                expect_status(reply, rows[i].status, rows[i].text);
        }

        struct client_reply *none = client_post(&fixture.client, FIXTURE_PATH, NULL, 0);
        client_exchange(&fixture.client);
        expect_status(none, 3, "ends inside");
        ck_assert_uint_eq(fixture.echo.started, 0);

        struct client_reply *empty = client_post(&fixture.client, FIXTURE_PATH, "\0\0\0\0\0", 5);
        client_exchange(&fixture.client);
        expect_ok(empty, 1);
        ck_assert_uint_eq(fixture.echo.message_size, 0);
        fixture_close(&fixture);
}
END_TEST

/* An answer before the end of the request: the client is told to stop. */
START_TEST(early_answer_ends_the_upload) {
        struct fixture fixture;

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 200000);
        fixture.body.data[0] = 1;
        struct client_reply *reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_int_eq(reply->grpc_status, 12);
        ck_assert(reply->closed);
        ck_assert_uint_lt(reply->request_sent, 80000);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 0);

        (void)fixture_fill(&fixture, 100);
        reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        expect_ok(reply, 100);
        fixture_close(&fixture);
}
END_TEST

START_TEST(header_list_is_bounded) {
        char value[8000];
        struct fixture fixture;

        memset(value, 'x', sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        const nghttp2_nv grpc = HEADER("content-type", "application/grpc");
        const nghttp2_nv large = HEADER("x-large", value);
        const nghttp2_nv small = HEADER("x-small", "1");

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 10);
        expect_status(fixture_request(&fixture, "POST", grpc, large), 8, "8192 bytes of headers");
        expect_ok(fixture_request(&fixture, "POST", grpc, small), 10);
        ck_assert_uint_eq(fixture.echo.started, 1);
        fixture_close(&fixture);
}
END_TEST

START_TEST(texts_for_the_user) {
        static const char hint[] = "do this";
        struct fixture fixture;
        struct wla_error err = {0};
        struct client_reply *reply;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);

        reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        (void)wla_fail_hint(&err, WLA_E_DENIED, hint, "policy of 100%%\nsays \xc3\xa4");
        (void)wla_wrap(&err, "opening local:///a");
        echo_fail(&fixture.echo, &err);
        client_exchange(&fixture.client);
        expect_status(reply, 7,
                      "wlagent: opening local:///a: policy of 100%25%0Asays %C3%A4 (do this)");

        reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        (void)wla_fail_errno(&err, 13, "/secret/path");
        echo_fail(&fixture.echo, &err);
        client_exchange(&fixture.client);
        expect_status(reply, 13, "internal error (see the journal of wlagentd)");
        ck_assert_ptr_null(strstr(reply->grpc_message, "path"));

        /* Words that CRI-O takes for failures of the registry. */
        reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        (void)wla_fail(&err, WLA_E_UNAVAILABLE,
                       "connection refused, connection timed out, "
                       "404 (Not Found)");
        echo_fail(&fixture.echo, &err);
        client_exchange(&fixture.client);
        expect_status(reply, 14, "connection-refused, connection-timed out, 404-(Not Found)");
        fixture_close(&fixture);
}
END_TEST

START_TEST(every_code_has_its_status) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);
        for (unsigned code = WLA_OK + 1; code < _WLA_CODE_MAX; code++) {
                struct wla_error err = {0};
                struct client_reply *reply = fixture_post(&fixture);

                client_exchange(&fixture.client);
                (void)wla_fail(&err, (enum wla_code)code, "some text");
                echo_fail(&fixture.echo, &err);
                client_exchange(&fixture.client);
                expect_status(reply, wla_code_grpc_status((enum wla_code)code), "");
        }
        fixture_close(&fixture);
}
END_TEST

START_TEST(unfinished_bodies_are_bounded) {
        struct h2_limits limits = client_limits;
        struct fixture fixture;
        struct client_reply *replies[5];
        size_t refused = 0;

        limits.message_max = 10000;
        fixture_open_with(&fixture, &limits, false);
        (void)fixture_fill(&fixture, 9000);
        for (size_t i = 0; i < 5; i++) {
                replies[i] = fixture_post(&fixture);
                replies[i]->request_hold = 100;
        }
        client_exchange(&fixture.client);
        for (size_t i = 0; i < 5; i++)
                refused += replies[i]->grpc_status == 8;
        ck_assert_uint_eq(refused, 3);
        for (size_t i = 0; i < 5; i++)
                if (replies[i]->grpc_status == -1)
                        client_resume(&fixture.client, replies[i]);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.echo.started, 2);

        /* What was counted has been given back. */
        for (size_t i = 0; i < 5; i++) {
                struct client_reply *reply = fixture_post(&fixture);

                client_exchange(&fixture.client);
                expect_ok(reply, 9000);
        }
        fixture_close(&fixture);
}
END_TEST

START_TEST(long_paths_are_unknown_methods) {
        struct fixture fixture;
        char path[300] = "/";

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 5);
        for (size_t size = 120; size < sizeof(path) - 1; size++) {
                memset(path + 1, 'm', size - 1);
                struct client_reply *reply = client_post(&fixture.client, path, fixture.body.data,
                                                         fixture.body.size);
                client_exchange(&fixture.client);
                if (size < 128)
                        expect_ok(reply, 5);
                else
                        expect_status(reply, 12, "unknown method");
        }
        fixture_close(&fixture);
}
END_TEST

SUITE_MAIN("grpc_call", what_is_no_grpc_gets_an_http_status, compression_is_not_implemented,
           message_framing, early_answer_ends_the_upload, header_list_is_bounded,
           texts_for_the_user, every_code_has_its_status, unfinished_bodies_are_bounded,
           long_paths_are_unknown_methods)
