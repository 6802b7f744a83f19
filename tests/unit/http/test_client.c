/* SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/secret.h"
#include "scratch.h"
#include "suite.h"
#include "tls_broker.h"

#define HEAD "HTTP/1.1 "
#define TEXT "\r\nContent-Type: text/plain\r\n"

static const char *const no_headers[] = {NULL};

static void write_file(const struct scratch *scratch, const char *name, const char *text) {
        FILE *file = fopen(scratch_file(scratch, name), "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
}

/* A client that trusts the broker's root. */
static struct http_client *client_for(const struct broker *broker, const struct scratch *trust,
                                      bool tls12) {
        const struct http_settings settings = {.trust_directory = trust->path, .tls12 = tls12};
        struct http_client *client = NULL;
        struct wla_error err = {0};

        write_file(trust, "root.pem", broker->root_pem);
        ck_assert_msg(http_client_new(&settings, &client, &err) == 0, "%s", wla_error_text(&err));
        return client;
}

struct asked {
        int outcome;
        struct http_answer answer;
        struct wla_error err;
};

/* With what the request has of its own. */
static struct asked ask_for(struct http_client *client, const struct broker *broker,
                            uint64_t timeout_usec, struct http_request request) {
        struct asked asked = {0};
        struct deadline deadline;

        request.method = "GET";
        request.url = broker->url;
        request.headers = no_headers;
        request.answer_max = 1000;
        request.deadline = &deadline;
        deadline_init(&deadline, clock_now_usec() + timeout_usec);
        asked.outcome = http_perform(client, &request, &asked.answer, &asked.err);
        return asked;
}

static struct asked ask(struct http_client *client, const struct broker *broker,
                        uint64_t timeout_usec, const uint8_t *pin) {
        return ask_for(client, broker, timeout_usec, (struct http_request){.pin = pin});
}

static struct asked ask_once(const struct broker_options *options, bool tls12) {
        struct scratch trust;
        struct broker *broker = broker_start(options);

        scratch_make(&trust);
        struct http_client *client = client_for(broker, &trust, tls12);
        struct asked asked = ask(client, broker, 30 * USEC_PER_SEC, NULL);
        http_client_free(client);
        broker_stop(broker);
        scratch_remove(&trust);
        return asked;
}

static bool keep_alive(struct broker *broker, SSL *tls, const char *request) {
        static const char answer[] = HEAD "200 OK\r\nContent-Length: 2\r\n\r\nok";

        (void)broker;
        (void)request;
        return SSL_write(tls, answer, sizeof(answer) - 1) > 0;
}

START_TEST(request_and_answer) {
        const struct broker_options options = {
                .raw = HEAD "201 Created" TEXT "Content-Length: 5\r\n\r\nhello",
        };
        const char *const headers[] = {"Accept: application/json", "Content-Type: application/json",
                                       "Authorization: Bearer abc", NULL};
        static const char body[] = "{\"a\":1}";
        struct broker *broker = broker_start(&options);
        struct scratch trust;
        struct deadline deadline;

        scratch_make(&trust);
        struct http_client *client = client_for(broker, &trust, false);
        char url[128];
        (void)snprintf(url, sizeof(url), "%s/wls/v1//keys/../x", broker->url);
        const struct http_request request = {
                .method = "POST",
                .url = url,
                .headers = headers,
                .body = {(const uint8_t *)body, sizeof(body) - 1},
                .answer_max = 5,
                .deadline = &deadline,
        };
        _cleanup_answer_ struct http_answer answer = {0};
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        deadline_init(&deadline, clock_now_usec() + 30 * USEC_PER_SEC);
        ck_assert_msg(http_perform(client, &request, &answer, &err) == 0, "%s",
                      wla_error_text(&err));
        ck_assert_uint_eq(answer.status, 201);
        ck_assert_str_eq(answer.content_type, "text/plain");
        ck_assert_uint_eq(answer.body.size, 5);
        ck_assert_mem_eq(answer.body.data, "hello", 5);

        char expected[512];
        (void)snprintf(expected, sizeof(expected),
                       "POST /wls/v1//keys/../x HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                       "Accept: application/json\r\nContent-Type: application/json\r\n"
                       "Authorization: Bearer abc\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
                       broker->port);
        ck_assert_str_eq(broker_seen(broker), expected);
        http_client_free(client);
        broker_stop(broker);
        scratch_remove(&trust);
}
END_TEST

START_TEST(certificates_that_are_not_to_be_trusted) {
        for (int kind = CERTIFICATE_EXPIRED; kind < _CERTIFICATE_MAX; kind++) {
                const struct broker_options options = {
                        .certificate = (enum broker_certificate)kind,
                        .answer = keep_alive,
                };
                struct asked asked = ask_once(&options, true);

                ck_assert_msg(asked.outcome == -1, "certificate %d was trusted", kind);
                ck_assert_msg(asked.err.code == WLA_E_DENIED, "certificate %d: %s", kind,
                              wla_error_text(&asked.err));
                ck_assert(!asked.answer.sent);
        }
}
END_TEST

START_TEST(versions_of_tls) {
        struct broker_options options = {.answer = keep_alive, .tls_max = TLS1_2_VERSION};

        struct asked asked = ask_once(&options, false);
        ck_assert_int_eq(asked.outcome, -1);
        ck_assert_int_eq(asked.err.code, WLA_E_UNAVAILABLE);
        ck_assert(!asked.answer.sent);
        asked = ask_once(&options, true);
        ck_assert_int_eq(asked.outcome, 0);
        http_answer_clear(&asked.answer);
        options.tls_max = TLS1_1_VERSION;
        asked = ask_once(&options, true);
        ck_assert_int_eq(asked.outcome, -1);
}
END_TEST

/* The broker asks for a second handshake, and answers when that is done. */
static bool renegotiate(struct broker *broker, SSL *tls, const char *request) {
        const struct timeval limit = {.tv_sec = 2};
        char byte;

        (void)setsockopt(SSL_get_fd(tls), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        ck_assert_int_eq(SSL_renegotiate(tls), 1);
        ck_assert_int_eq(SSL_do_handshake(tls), 1);
        /* Behind the handshake the client has nothing more to say. */
        return SSL_get_error(tls, SSL_read(tls, &byte, 1)) == SSL_ERROR_WANT_READ &&
               keep_alive(broker, tls, request);
}

/* Whoever answers after it may have another certificate. */
START_TEST(a_second_handshake_is_refused) {
        const struct broker_options options = {.answer = renegotiate, .tls_max = TLS1_2_VERSION};

        struct asked asked = ask_once(&options, true);
        ck_assert_int_eq(asked.outcome, -1);
        ck_assert_int_eq(asked.err.code, WLA_E_UNAVAILABLE);
}
END_TEST

START_TEST(a_pin_instead_of_a_chain) {
        const struct broker_options options = {.certificate = CERTIFICATE_SELF_SIGNED,
                                               .answer = keep_alive};
        struct broker *broker = broker_start(&options);
        struct scratch trust;

        scratch_make(&trust);
        struct http_client *client = client_for(broker, &trust, false);
        struct asked asked = ask(client, broker, 30 * USEC_PER_SEC, broker->leaf_sha384);
        ck_assert_msg(asked.outcome == 0, "%s", wla_error_text(&asked.err));
        http_answer_clear(&asked.answer);

        /* What the pin vouched for is not used without it. */
        asked = ask(client, broker, 30 * USEC_PER_SEC, NULL);
        ck_assert_int_eq(asked.err.code, WLA_E_DENIED);

        char expected[256];
        size_t size = (size_t)snprintf(expected, sizeof(expected),
                                       "the SHA-384 digest of its certificate is ");
        for (size_t i = 0; i < HTTP_PIN_SIZE; i++)
                size += (size_t)snprintf(expected + size, 3, "%02x", broker->leaf_sha384[i]);
        (void)snprintf(expected + size, sizeof(expected) - size, ", not ");
        broker->leaf_sha384[47] ^= 1;
        asked = ask(client, broker, 30 * USEC_PER_SEC, broker->leaf_sha384);
        ck_assert_int_eq(asked.outcome, -1);
        ck_assert_int_eq(asked.err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&asked.err), expected));
        ck_assert(!asked.answer.sent);
        ck_assert_uint_eq(broker->requests, 1);
        http_client_free(client);
        broker_stop(broker);
        scratch_remove(&trust);
}
END_TEST

static bool end_unanswered(struct broker *broker, SSL *tls, const char *request) {
        (void)broker;
        (void)tls;
        (void)request;
        return false;
}

/* When it ends, its request is not made on another, as libcurl would. */
START_TEST(a_connection_is_kept) {
        const struct broker_options options = {.answer = keep_alive};
        struct broker *broker = broker_start(&options);
        struct scratch trust;

        scratch_make(&trust);
        struct http_client *client = client_for(broker, &trust, false);
        for (int i = 0; i < 20; i++) {
                struct asked asked = ask(client, broker, 30 * USEC_PER_SEC, NULL);

                ck_assert_int_eq(asked.outcome, 0);
                http_answer_clear(&asked.answer);
        }
        ck_assert_uint_eq(broker->requests, 20);
        ck_assert_uint_eq(broker->connections, 1);

        broker_answer_by(broker, end_unanswered);
        struct asked unanswered = ask(client, broker, 30 * USEC_PER_SEC, NULL);
        ck_assert_int_eq(unanswered.err.code, WLA_E_UNAVAILABLE);
        ck_assert_str_eq(wla_error_text(&unanswered.err), "the connection ended before the answer");
        ck_assert(unanswered.answer.sent);
        ck_assert_uint_eq(broker->requests, 21);
        http_client_free(client);
        broker_stop(broker);
        scratch_remove(&trust);
}
END_TEST

/* What it is, the bytes, and how it ends: none of them may look like an answer. */
static const struct {
        const char *name;
        const char *raw;
        bool reset;
        enum wla_code code;
} broken[] = {
        {"nothing", "", false, WLA_E_UNAVAILABLE},
        {"nothing, and reset", "", true, WLA_E_UNAVAILABLE},
        {"half a head", HEAD "200 O", false, WLA_E_UNAVAILABLE},
        {"a body cut short", HEAD "200 OK\r\nContent-Length: 9\r\n\r\nhello", false,
         WLA_E_UNAVAILABLE},
        {"a body cut short by a reset", HEAD "200 OK\r\nContent-Length: 9\r\n\r\nhello", true,
         WLA_E_UNAVAILABLE},
        {"a chunk cut short", HEAD "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", false,
         WLA_E_UNAVAILABLE},
        {"no last chunk", HEAD "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false,
         WLA_E_UNAVAILABLE},
        {"a chunk without a size", HEAD "200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello",
         false, WLA_E_UNAVAILABLE},
        {"a length that is none", HEAD "200 OK\r\nContent-Length: -5\r\n\r\nhello", false,
         WLA_E_INPUT},
        {"a head cut short", HEAD "200 OK\r\nContent-Le", false, WLA_E_UNAVAILABLE},
        {"HTTP 0.9", "hello", false, WLA_E_INPUT},
        {"another protocol", "220 mail ESMTP\r\n", false, WLA_E_INPUT},
};

START_TEST(answers_that_are_broken) {
        const struct broker_options options = {
                .raw = broken[_i].raw,
                .reset = broken[_i].reset,
        };
        struct asked asked = ask_once(&options, false);

        ck_assert_msg(asked.outcome == -1, "%s: taken for an answer", broken[_i].name);
        ck_assert_msg(asked.err.code == broken[_i].code, "%s: %s: %s", broken[_i].name,
                      wla_code_token(asked.err.code), wla_error_text(&asked.err));
        ck_assert(asked.answer.sent);
}
END_TEST

/* Without close_notify the length says where the end is. */
START_TEST(an_end_without_close_notify) {
        struct broker_options options = {
                .raw = HEAD "200 OK\r\nContent-Length: 5\r\n\r\nhello",
                .no_close_notify = true,
        };
        struct asked asked = ask_once(&options, false);
        ck_assert_int_eq(asked.outcome, 0);
        http_answer_clear(&asked.answer);

        options.raw = HEAD "200 OK\r\nConnection: close\r\n\r\nhello";
        asked = ask_once(&options, false);
        ck_assert_int_eq(asked.outcome, -1);
        ck_assert_int_eq(asked.err.code, WLA_E_UNAVAILABLE);
}
END_TEST

START_TEST(too_long_an_answer) {
        static char raw[8192];
        const struct broker_options options = {.raw = raw};
        int head = snprintf(raw, sizeof(raw), HEAD "200 OK\r\nContent-Length: 5000\r\n\r\n");

        memset(raw + head, 'x', 5000);
        struct asked asked = ask_once(&options, false);
        ck_assert_int_eq(asked.outcome, -1);
        ck_assert_int_eq(asked.err.code, WLA_E_INPUT);
        ck_assert_str_eq(wla_error_text(&asked.err), "its answer is too long");
}
END_TEST

START_TEST(a_redirect_is_an_answer) {
        const struct broker_options options = {
                .raw = HEAD "302 Found\r\nLocation: https://127.0.0.1:1/\r\n"
                            "Content-Length: 0\r\n\r\n",
        };
        struct asked asked = ask_once(&options, false);

        ck_assert_int_eq(asked.outcome, 0);
        ck_assert_uint_eq(asked.answer.status, 302);
}
END_TEST

static bool never(struct broker *broker, SSL *tls, const char *request) {
        (void)broker;
        (void)request;
        for (int i = 0; i < 20 * 30; i++) {
                (void)usleep(50 * 1000);
                if (SSL_write(tls, i == 0 ? HEAD "200 OK\r\nX: " : "x", i == 0 ? 20 : 1) <= 0)
                        break;
        }
        return false;
}

/* A broker that sends a byte now and then costs the deadline, not more; the next call is served. */
START_TEST(a_broker_that_trickles) {
        const struct broker_options options = {.answer = never};
        struct broker *broker = broker_start(&options);
        struct scratch trust;

        scratch_make(&trust);
        struct http_client *client = client_for(broker, &trust, false);
        uint64_t begun_usec = clock_now_usec();
        struct asked asked = ask(client, broker, USEC_PER_SEC / 2, NULL);
        uint64_t took_usec = clock_now_usec() - begun_usec;

        ck_assert_int_eq(asked.outcome, -1);
        ck_assert_int_eq(asked.err.code, WLA_E_TIMEOUT);
        ck_assert_uint_ge(took_usec, USEC_PER_SEC / 2);
        ck_assert_uint_lt(took_usec, 20 * USEC_PER_SEC);

        broker_answer_by(broker, keep_alive);
        asked = ask(client, broker, 20 * USEC_PER_SEC, NULL);
        ck_assert_int_eq(asked.outcome, 0);
        http_answer_clear(&asked.answer);
        http_client_free(client);
        broker_stop(broker);
        scratch_remove(&trust);
}
END_TEST

static _Atomic bool slow;

static bool answer_when_ready(struct broker *broker, SSL *tls, const char *request) {
        while (slow)
                (void)usleep(10 * 1000);
        return keep_alive(broker, tls, request);
}

struct patient {
        struct http_client *client;
        const struct broker *broker;
        bool yields;
        struct asked asked;
};

static void *ask_patiently(void *argument) {
        struct patient *patient = argument;

        patient->asked = ask_for(patient->client, patient->broker, 100 * USEC_PER_SEC,
                                 (struct http_request){.yields = patient->yields});
        return NULL;
}

/* As many as there are, from the second on: how long after the first of them the last came. */
static uint64_t opened_within_usec(struct broker *broker) {
        uint64_t first_usec = UINT64_MAX;
        uint64_t last_usec = 0;

        for (unsigned i = 1; i < broker->connections; i++) {
                while (broker->greeted_usec[i] == 0)
                        (void)usleep(5 * 1000);
                if (broker->greeted_usec[i] < first_usec)
                        first_usec = broker->greeted_usec[i];
                if (broker->greeted_usec[i] > last_usec)
                        last_usec = broker->greeted_usec[i];
        }
        return last_usec - first_usec;
}

/* Also to a broker that is so far away that each takes long. */
START_TEST(connections_are_not_opened_all_at_once) {
        const struct broker_options options = {.answer = answer_when_ready,
                                               .handshake_usec = 300 * 1000};
        struct broker *broker = broker_start(&options);
        struct scratch trust;
        struct patient patients[8];
        pthread_t threads[8];

        slow = false;
        scratch_make(&trust);
        struct http_client *client = client_for(broker, &trust, false);
        struct asked asked = ask(client, broker, 30 * USEC_PER_SEC, NULL);
        ck_assert_int_eq(asked.outcome, 0);
        http_answer_clear(&asked.answer);

        slow = true;
        for (size_t i = 0; i < 8; i++) {
                patients[i] = (struct patient){.client = client, .broker = broker};
                ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_patiently, &patients[i]), 0);
        }
        while (broker->connections < 8)
                (void)usleep(5 * 1000);
        /* 25 ms, by clocks that may tick every 4. */
        ck_assert_uint_ge(opened_within_usec(broker), 16 * USEC_PER_MSEC);
        slow = false;
        for (size_t i = 0; i < 8; i++) {
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
                ck_assert_msg(patients[i].asked.outcome == 0, "%s",
                              wla_error_text(&patients[i].asked.err));
                http_answer_clear(&patients[i].asked.answer);
        }
        ck_assert_uint_eq(broker->connections, 8);
        http_client_free(client);
        broker_stop(broker);
        scratch_remove(&trust);
}
END_TEST

/* One that has little time does not take their connections from those that began before it. */
START_TEST(a_timeout_is_one_requests_own) {
        const struct broker_options options = {.answer = answer_when_ready};
        struct broker *broker = broker_start(&options);
        struct scratch trust;
        pthread_t thread;

        slow = true;
        scratch_make(&trust);
        struct patient patient = {.client = client_for(broker, &trust, false), .broker = broker};
        ck_assert_int_eq(pthread_create(&thread, NULL, ask_patiently, &patient), 0);
        while (broker->requests < 1)
                (void)usleep(5 * 1000);
        struct asked asked = ask(patient.client, broker, 5 * USEC_PER_SEC / 2, NULL);
        ck_assert_int_eq(asked.err.code, WLA_E_TIMEOUT);
        (void)usleep(200 * 1000);
        slow = false;
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_msg(patient.asked.outcome == 0, "%s", wla_error_text(&patient.asked.err));
        http_answer_clear(&patient.asked.answer);
        http_client_free(patient.client);
        broker_stop(broker);
        scratch_remove(&trust);
}
END_TEST

/* But for those that say so. */
START_TEST(who_yields_keeps_no_silent_connection) {
        const struct broker_options options = {.answer = answer_when_ready};
        struct broker *broker = broker_start(&options);
        struct scratch trust;
        pthread_t thread;

        slow = true;
        scratch_make(&trust);
        struct patient patient = {
                .client = client_for(broker, &trust, false),
                .broker = broker,
                .yields = true,
        };
        uint64_t begun_usec = clock_now_usec();
        ck_assert_int_eq(pthread_create(&thread, NULL, ask_patiently, &patient), 0);
        while (broker->requests < 1)
                (void)usleep(5 * 1000);
        struct asked asked = ask(patient.client, broker, 5 * USEC_PER_SEC / 2, NULL);
        ck_assert_int_eq(asked.err.code, WLA_E_TIMEOUT);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(patient.asked.outcome, -1);
        ck_assert_uint_lt(clock_now_usec() - begun_usec, 60 * USEC_PER_SEC);
        slow = false;
        http_client_free(patient.client);
        broker_stop(broker);
        scratch_remove(&trust);
}
END_TEST

START_TEST(nobody_there) {
        const struct broker_options options = {.answer = keep_alive};
        struct broker *broker = broker_start(&options);
        struct scratch trust;

        scratch_make(&trust);
        struct http_client *client = client_for(broker, &trust, false);
        broker_stop(broker);
        struct asked asked = ask(client, broker, 30 * USEC_PER_SEC, NULL);
        ck_assert_int_eq(asked.outcome, -1);
        ck_assert_int_eq(asked.err.code, WLA_E_UNAVAILABLE);
        ck_assert(!asked.answer.sent);

        (void)snprintf(broker->url, sizeof(broker->url), "http://127.0.0.1:%u", broker->port);
        asked = ask(client, broker, 30 * USEC_PER_SEC, NULL);
        ck_assert_int_eq(asked.err.code, WLA_E_INPUT);
        (void)snprintf(broker->url, sizeof(broker->url), "file:///etc/passwd");
        asked = ask(client, broker, 30 * USEC_PER_SEC, NULL);
        ck_assert_int_eq(asked.err.code, WLA_E_INPUT);
        http_client_free(client);
        scratch_remove(&trust);
}
END_TEST

static void expect_no_client(const struct scratch *trust, const char *text) {
        const struct http_settings settings = {.trust_directory = trust->path};
        struct http_client *client = NULL;
        struct wla_error err = {0};

        ck_assert_int_eq(http_client_new(&settings, &client, &err), -1);
        ck_assert_ptr_null(client);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), text));
}

START_TEST(trust_directories) {
        const struct broker_options options = {.answer = keep_alive};
        struct broker *broker = broker_start(&options);
        struct scratch trust;

        scratch_make(&trust);
        expect_no_client(&trust, "it is empty");
        write_file(&trust, "notes", "nothing\n");
        expect_no_client(&trust, "notes: there is no certificate in it");
        write_file(&trust, "notes",
                   "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        expect_no_client(&trust, "notes: a certificate in it is damaged");
        ck_assert_int_eq(unlink(scratch_file(&trust, "notes")), 0);
        http_client_free(client_for(broker, &trust, false));
        scratch_remove(&trust);
        expect_no_client(&trust, "No such file or directory");
        broker_stop(broker);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("http_client");
        TCase *tcase = tcase_create("http_client");

        tcase_set_timeout(tcase, 120);
        tcase_add_test(tcase, request_and_answer);
        tcase_add_test(tcase, certificates_that_are_not_to_be_trusted);
        tcase_add_test(tcase, versions_of_tls);
        tcase_add_test(tcase, a_second_handshake_is_refused);
        tcase_add_test(tcase, a_pin_instead_of_a_chain);
        tcase_add_test(tcase, a_connection_is_kept);
        tcase_add_loop_test(tcase, answers_that_are_broken, 0, sizeof(broken) / sizeof(broken[0]));
        tcase_add_test(tcase, an_end_without_close_notify);
        tcase_add_test(tcase, too_long_an_answer);
        tcase_add_test(tcase, a_redirect_is_an_answer);
        tcase_add_test(tcase, a_broker_that_trickles);
        tcase_add_test(tcase, connections_are_not_opened_all_at_once);
        tcase_add_test(tcase, a_timeout_is_one_requests_own);
        tcase_add_test(tcase, who_yields_keeps_no_silent_connection);
        tcase_add_test(tcase, nobody_there);
        tcase_add_test(tcase, trust_directories);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
