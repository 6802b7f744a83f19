/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "scratch.h"
#include "suite.h"
#include "tls_broker.h"

#define KEY      "https://kbs.example:9443/kbs/v1//keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer"
#define HARDWARE "59eed8f0-28c5-4070-91fc-f5e2e5443f6b"
/* {"exp":7200,"iat":0} and {"exp":2,"iat":1} */
#define TOKEN_LONG  "e30.eyJleHAiOjcyMDAsImlhdCI6MH0."
#define TOKEN_SHORT "e30.eyJleHAiOjIsImlhdCI6MX0."

/* What the broker does next; counted under the broker's own threads. */
static struct {
        _Atomic unsigned login_status;
        const char *_Atomic token; /* the number of the login follows */
        _Atomic bool token_is_the_same;
        _Atomic unsigned key_status[4]; /* of the first requests; 0: a key */
        const char *_Atomic key_body;
        _Atomic unsigned logins;
        _Atomic unsigned keys;
        char key_request[4096];
        char login_request[4096];
} plan;

static const uint8_t wrapped[RSA_WRAPPED_SIZE] = {1, 2, 3};

/* Time that has passed for the agent alone. */
static _Atomic uint64_t ahead_usec;

uint64_t __real_clock_now_usec(void);
uint64_t __wrap_clock_now_usec(void);

uint64_t __wrap_clock_now_usec(void) {
        return __real_clock_now_usec() + ahead_usec;
}

/* What the pause before the second try of a call was drawn from; shorter pauses are those of a gate. */
#define PAUSE_LEAST_USEC (200 * USEC_PER_MSEC)
#define PAUSE_MOST_USEC  (600 * USEC_PER_MSEC)

static struct {
        uint64_t usec; /* to be drawn */
        unsigned count;
} pauses;

uint64_t __real_jitter_usec(uint64_t least_usec, uint64_t most_usec);
uint64_t __wrap_jitter_usec(uint64_t least_usec, uint64_t most_usec);

uint64_t __wrap_jitter_usec(uint64_t least_usec, uint64_t most_usec) {
        if (least_usec != PAUSE_LEAST_USEC || most_usec != PAUSE_MOST_USEC || pauses.usec == 0)
                return __real_jitter_usec(least_usec, most_usec);
        pauses.count++;
        return pauses.usec;
}

static bool send_answer(SSL *tls, unsigned status, const char *body) {
        char answer[2048];
        int size = snprintf(answer, sizeof(answer),
                            "HTTP/1.1 %u x\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body),
                            body);

        return SSL_write(tls, answer, size) > 0;
}

static bool answer_login(SSL *tls, const char *request) {
        unsigned number = ++plan.logins;
        char token[256];

        (void)snprintf(plan.login_request, sizeof(plan.login_request), "%s", request);
        (void)snprintf(token, sizeof(token), "%s%u", plan.token,
                       plan.token_is_the_same ? 0 : number);
        return send_answer(tls, plan.login_status, plan.login_status == 200 ? token : "");
}

static bool answer_key(SSL *tls, const char *request) {
        unsigned number = plan.keys++;
        char body[600] = "{\"key\":\"";
        unsigned status = number < 4 ? plan.key_status[number] : 0;

        (void)snprintf(plan.key_request, sizeof(plan.key_request), "%s", request);
        if (status != 0)
                return send_answer(tls, status, plan.key_body);
        base64_encode(wrapped, sizeof(wrapped), body + strlen(body));
        memcpy(body + 8 + base64_encoded_size(sizeof(wrapped)), "\"}", 3);
        return send_answer(tls, 200, body);
}

static bool answer_locked(SSL *tls, const char *request) {
        if (strncmp(request, "POST /aas/v1/token ", 19) == 0)
                return answer_login(tls, request);
        if (strncmp(request, "POST /wls/v1/keys ", 18) == 0)
                return answer_key(tls, request);
        return send_answer(tls, 404, "404 page not found\n");
}

static bool answer(struct broker *broker, SSL *tls, const char *request) {
        (void)pthread_mutex_lock(&broker->lock);
        bool more = answer_locked(tls, request);
        (void)pthread_mutex_unlock(&broker->lock);
        return more;
}

struct road {
        struct scratch trust;
        struct broker *broker;
        struct http_client *http;
        struct broker_token *token;
        struct broker_gate *gate;
        struct broker_record *record;
        struct wls_source *wls;
};

static struct http_client *trusting_client(struct road *road) {
        const struct http_settings settings = {.trust_directory = road->trust.path};
        struct http_client *client = NULL;
        struct wla_error err = {0};
        FILE *file = fopen(scratch_file(&road->trust, "root.pem"), "we");

        ck_assert_int_ge(fputs(road->broker->root_pem, file), 0);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(http_client_new(&settings, &client, &err), 0);
        return client;
}

static char service_url[128];

static struct road open_road(void) {
        const struct broker_options options = {.answer = answer};
        struct road road = {.broker = broker_start(&options)};
        struct wls_options wls = {0};
        struct wla_secret *password = NULL;
        struct wla_error err = {0};
        char url[128];

        plan.login_status = 200;
        plan.token = TOKEN_LONG;
        plan.key_body = "";
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        scratch_make(&road.trust);
        road.http = trusting_client(&road);

        ck_assert_int_eq(wla_secret_new(5, &password, &err), 0);
        memcpy(wla_secret_fill(password), "p\"w\\\n", 5);
        (void)snprintf(url, sizeof(url), "%s/aas/v1", road.broker->url);
        ck_assert_int_eq(broker_token_new(road.http, url, "wla", password, &road.token, &err), 0);
        wla_secret_free(password);

        (void)snprintf(service_url, sizeof(service_url), "%s/wls/v1", road.broker->url);
        ck_assert_int_eq(broker_gate_new(road.http, "WLS", service_url, &road.gate, &err), 0);
        ck_assert_int_eq(broker_record_new(&road.record, &err), 0);
        wls.service = (struct wls_service){
                .url = service_url,
                .gate = road.gate,
                .token = road.token,
                .record = road.record,
        };
        ck_assert_int_eq(uuid_parse(HARDWARE, strlen(HARDWARE), &wls.hardware, &err), 0);
        ck_assert_int_eq(key_origins_parse("https://kbs.example:9443", &wls.allowed, &err), 0);
        ck_assert_int_eq(wls_source_new(&wls, &road.wls, &err), 0);
        return road;
}

static void close_road(struct road *road) {
        wls_source_free(road->wls);
        broker_token_free(road->token);
        broker_gate_free(road->gate);
        broker_record_free(road->record);
        http_client_free(road->http);
        broker_stop(road->broker);
        scratch_remove(&road->trust);
}

static int fetch_for(const struct road *road, const char *id, uint64_t timeout_usec,
                     struct wla_error *err) {
        const struct key_source source = wls_source_as_source(road->wls);
        _cleanup_envelope_ struct envelope envelope = {.bytes.limit = ENVELOPE_SIZE_MAX};
        struct key_request request = {0};

        *err = (struct wla_error){0};
        ck_assert_int_eq(key_id_parse(id, strlen(id), &request.id, err), 0);
        deadline_init(&request.deadline, clock_now_usec() + timeout_usec);
        if (source.ops->fetch(source.self, &request, &envelope, err) < 0)
                return -1;
        ck_assert_int_eq(envelope.kind, ENVELOPE_HOST_BOUND);
        ck_assert_uint_eq(envelope.bytes.size, sizeof(wrapped));
        ck_assert_mem_eq(envelope.bytes.data, wrapped, sizeof(wrapped));
        ck_assert_str_eq(envelope.binding_key, "");
        return 0;
}

static int fetch(const struct road *road, struct wla_error *err) {
        return fetch_for(road, KEY, 30 * USEC_PER_SEC, err);
}

/* What the broker has seen; valid until the next call. */
static const char *seen(const struct road *road, const char *request) {
        static char copy[sizeof(plan.key_request)];

        (void)pthread_mutex_lock(&road->broker->lock);
        memcpy(copy, request, sizeof(copy));
        (void)pthread_mutex_unlock(&road->broker->lock);
        return copy;
}

static const char *body_of(const char *request) {
        const char *end = strstr(request, "\r\n\r\n");

        ck_assert_ptr_nonnull(end);
        return end + 4;
}

START_TEST(a_key_is_asked_for) {
        struct road road = open_road();
        struct wla_error err;

        for (int i = 0; i < 20; i++)
                ck_assert_msg(fetch(&road, &err) == 0, "%s", wla_error_text(&err));
        ck_assert_uint_eq(plan.logins, 1);
        ck_assert_uint_eq(plan.keys, 20);
        ck_assert_uint_eq(road.broker->connections, 1);
        ck_assert_str_eq(body_of(seen(&road, plan.login_request)),
                         "{\"username\":\"wla\",\"password\":\"p\\\"w\\\\\\u000a\"}");
        ck_assert_ptr_nonnull(strstr(seen(&road, plan.login_request),
                                     "\r\nAccept: application/jwt\r\n"
                                     "Content-Type: application/json\r\n"));
        ck_assert_str_eq(body_of(seen(&road, plan.key_request)),
                         "{\"hardware_uuid\":\"" HARDWARE
                         "\",\"key_url\":\"https://kbs.example:9443"
                         "/kbs/v1/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer\"}");
        ck_assert_ptr_nonnull(strstr(seen(&road, plan.key_request),
                                     "\r\nAuthorization: Bearer " TOKEN_LONG "1\r\n"
                                     "Accept: application/json\r\n"
                                     "Content-Type: application/json\r\n"));
        close_road(&road);
}
END_TEST

START_TEST(an_origin_that_is_not_listed_is_not_asked) {
        struct road road = open_road();
        struct wla_error err;

        ck_assert_int_eq(fetch_for(&road,
                                   "https://evil.example/keys/"
                                   "eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer",
                                   USEC_PER_SEC, &err),
                         -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_uint_eq(road.broker->connections, 0);
        close_road(&road);
}
END_TEST

START_TEST(one_new_token_after_401) {
        struct road road = open_road();
        struct wla_error err;

        plan.key_status[0] = 401;
        ck_assert_msg(fetch(&road, &err) == 0, "%s", wla_error_text(&err));
        ck_assert_uint_eq(plan.logins, 2);
        ck_assert_uint_eq(plan.keys, 2);
        ck_assert_ptr_nonnull(strstr(seen(&road, plan.key_request), "Bearer " TOKEN_LONG "2\r\n"));

        plan.keys = 0;
        plan.key_status[1] = 401;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_uint_eq(plan.logins, 3);
        ck_assert_uint_eq(plan.keys, 2);
        close_road(&road);
}
END_TEST

START_TEST(missing_rights_are_no_reason_for_a_new_token) {
        struct road road = open_road();
        struct wla_error err;

        plan.key_status[0] = 401;
        plan.key_body = "Insufficient privileges to access /wls/v1/keys\n";
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_uint_eq(plan.logins, 1);
        ck_assert_uint_eq(plan.keys, 1);
        close_road(&road);
}
END_TEST

START_TEST(a_refused_login_is_not_repeated) {
        static const unsigned statuses[] = {401, 429};
        struct road road = open_road();
        struct wla_error err;

        plan.login_status = statuses[_i];
        for (int i = 0; i < 10; i++) {
                ck_assert_int_eq(fetch(&road, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                ck_assert_str_eq(wla_error_text(&err),
                                 _i == 0 ? "AAS does not accept the agent's user or password"
                                         : "AAS has banned the agent's user");
        }
        ck_assert_uint_eq(plan.logins, 1);
        ck_assert_uint_eq(plan.keys, 0);
        close_road(&road);
}
END_TEST

/* AAS bans for 15 minutes, and a user who has had five wrong passwords in five. */
START_TEST(a_refused_login_is_tried_again_when_it_may_be) {
        static const struct {
                unsigned status;
                uint64_t stop_sec;
        } rows[] = {{401, 600}, {429, 900}};
        struct road road = open_road();
        struct wla_error err;

        plan.login_status = rows[_i].status;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ahead_usec = (rows[_i].stop_sec - 60) * USEC_PER_SEC;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_uint_eq(plan.logins, 1);
        plan.login_status = 200;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_uint_eq(plan.logins, 1);
        ahead_usec = (rows[_i].stop_sec + 1) * USEC_PER_SEC;
        ck_assert_msg(fetch(&road, &err) == 0, "%s", wla_error_text(&err));
        ck_assert_uint_eq(plan.logins, 2);
        close_road(&road);
}
END_TEST

START_TEST(a_login_that_failed_otherwise_is) {
        struct road road = open_road();
        struct wla_error err;

        plan.login_status = 500;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        plan.login_status = 404;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        plan.login_status = 200;
        plan.token = "no token ";
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_uint_eq(plan.keys, 0);
        plan.token = TOKEN_LONG;
        ck_assert_int_eq(fetch(&road, &err), 0);
        ck_assert_uint_eq(plan.logins, 4);
        close_road(&road);
}
END_TEST

START_TEST(a_token_is_renewed_ahead_of_its_end) {
        struct road road = open_road();
        struct wla_error err;

        plan.token = TOKEN_SHORT;
        ck_assert_int_eq(fetch(&road, &err), 0);
        ck_assert_int_eq(usleep(600 * 1000), 0);
        ck_assert_int_eq(fetch(&road, &err), 0);
        ck_assert_uint_eq(plan.logins, 2);
        close_road(&road);
}
END_TEST

/* Of two hours, as AAS makes them: neither long before, nor only when it is refused. */
START_TEST(a_token_of_two_hours_is_used_for_nearly_as_long) {
        struct road road = open_road();
        struct wla_error err;

        ck_assert_int_eq(fetch(&road, &err), 0);
        ahead_usec = (7200 - 180) * USEC_PER_SEC;
        ck_assert_int_eq(fetch(&road, &err), 0);
        ck_assert_uint_eq(plan.logins, 1);
        ahead_usec = (7200 - 55) * USEC_PER_SEC;
        ck_assert_int_eq(fetch(&road, &err), 0);
        ck_assert_uint_eq(plan.logins, 2);
        close_road(&road);
}
END_TEST

/* While AAS gives no other one, and no longer. */
START_TEST(a_token_is_used_until_its_end) {
        struct road road = open_road();
        struct wla_error err;

        ck_assert_int_eq(fetch(&road, &err), 0);
        plan.login_status = 500;
        ahead_usec = (7200 - 55) * USEC_PER_SEC;
        for (unsigned i = 2; i < 4; i++) {
                ck_assert_msg(fetch(&road, &err) == 0, "%s", wla_error_text(&err));
                ck_assert_uint_eq(plan.logins, i);
        }
        plan.login_status = 503; /* nobody is behind the proxy: it is not asked again so soon */
        for (unsigned i = 0; i < 2; i++)
                ck_assert_msg(fetch(&road, &err) == 0, "%s", wla_error_text(&err));
        ck_assert_uint_eq(plan.logins, 4);
        ck_assert_uint_eq(plan.keys, 5);
        plan.login_status = 500;
        ahead_usec = 7201 * USEC_PER_SEC;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        ck_assert_uint_eq(plan.keys, 5);
        close_road(&road);
}
END_TEST

/* An AAS that hands the refused token out again is asked for one, not for many. */
START_TEST(the_same_token_again) {
        struct road road = open_road();
        struct wla_error err;

        plan.token_is_the_same = true;
        plan.key_status[0] = 401;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_uint_eq(plan.logins, 2);
        ck_assert_uint_eq(plan.keys, 1);
        close_road(&road);
}
END_TEST

START_TEST(what_was_down_is_tried_once_more) {
        struct road road = open_road();
        struct wla_error err;

        plan.key_status[0] = 503;
        ck_assert_int_eq(fetch(&road, &err), 0);
        ck_assert_uint_eq(plan.keys, 2);

        plan.keys = 0;
        plan.key_status[1] = 503;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        ck_assert_uint_eq(plan.keys, 2);
        close_road(&road);
}
END_TEST

/* Hosts that failed together do not come back together. */
START_TEST(the_pause_before_that_is_a_random_one) {
        struct road road = open_road();
        struct wla_error err;

        pauses.usec = 700 * USEC_PER_MSEC;
        for (unsigned i = 1; i <= 2; i++) {
                uint64_t begun_usec = clock_now_usec();

                plan.keys = 0;
                plan.key_status[0] = 500;
                ck_assert_int_eq(fetch(&road, &err), 0);
                ck_assert_uint_eq(plan.keys, 2);
                ck_assert_uint_eq(pauses.count, i);
                ck_assert_uint_ge(clock_now_usec() - begun_usec, pauses.usec);
        }
        /* None before a new token, and none where there is no other try. */
        plan.keys = 0;
        plan.key_status[0] = 401;
        ck_assert_int_eq(fetch(&road, &err), 0);
        plan.keys = 0;
        plan.key_status[0] = 404;
        ck_assert_int_eq(fetch(&road, &err), -1);
        ck_assert_uint_eq(pauses.count, 2);
        close_road(&road);
}
END_TEST

START_TEST(what_was_not_answered_is_no_answer) {
        struct road road = open_road();
        struct broker_view view;
        struct wla_error err;

        plan.login_status = 500;
        ck_assert_int_eq(fetch(&road, &err), -1);
        view = broker_record_view(road.record);
        ck_assert_uint_eq(view.requests[WLA_E_UNAVAILABLE], 1);
        ck_assert_int_eq(view.last, WLA_E_UNAVAILABLE);
        ck_assert_uint_eq(view.answered_sec, 0);

        plan.login_status = 200;
        plan.key_status[0] = 404;
        ck_assert_int_eq(fetch(&road, &err), -1);
        view = broker_record_view(road.record);
        ck_assert_int_eq(view.last, err.code);
        ck_assert_uint_gt(view.answered_sec, 0);
        close_road(&road);
}
END_TEST

static void *fetch_in_thread(void *argument) {
        struct wla_error err;

        ck_assert_msg(fetch(argument, &err) == 0, "%s", wla_error_text(&err));
        return NULL;
}

START_TEST(many_at_once_log_in_once) {
        struct road road = open_road();
        pthread_t threads[16];

        for (size_t i = 0; i < 16; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, fetch_in_thread, &road), 0);
        for (size_t i = 0; i < 16; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_uint_eq(plan.logins, 1);
        ck_assert_uint_eq(plan.keys, 16);
        ck_assert_uint_le(road.broker->connections, 16);
        close_road(&road);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("wls");
        TCase *tcase = tcase_create("wls");

        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, a_key_is_asked_for);
        tcase_add_test(tcase, an_origin_that_is_not_listed_is_not_asked);
        tcase_add_test(tcase, one_new_token_after_401);
        tcase_add_test(tcase, missing_rights_are_no_reason_for_a_new_token);
        tcase_add_loop_test(tcase, a_refused_login_is_not_repeated, 0, 2);
        tcase_add_loop_test(tcase, a_refused_login_is_tried_again_when_it_may_be, 0, 2);
        tcase_add_test(tcase, a_login_that_failed_otherwise_is);
        tcase_add_test(tcase, a_token_is_renewed_ahead_of_its_end);
        tcase_add_test(tcase, a_token_of_two_hours_is_used_for_nearly_as_long);
        tcase_add_test(tcase, a_token_is_used_until_its_end);
        tcase_add_test(tcase, the_same_token_again);
        tcase_add_test(tcase, what_was_down_is_tried_once_more);
        tcase_add_test(tcase, the_pause_before_that_is_a_random_one);
        tcase_add_test(tcase, what_was_not_answered_is_no_answer);
        tcase_add_test(tcase, many_at_once_log_in_once);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
