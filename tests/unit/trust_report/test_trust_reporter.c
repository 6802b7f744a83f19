/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/trust_reporter.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>

#include "planned_wls.h"
#include "sample_signer.h"
#include "source/broker_gate.h"
#include "suite.h"
#include "tls_broker.h"
#include "trust_report/backoff.h"

struct host {
        struct sample_signer sample;
        struct scratch trust;
        char state[64];
        char url[96];
        struct broker *broker;
        struct http_client *http;
        struct broker_gate *gate;
        struct broker_token *token;
        sd_event *event;
        struct trust_reporter *reporter;
        unsigned kept;
        uint64_t begun_sec; /* the same throughout a test, which names reports by it */
};

static void open_road(struct host *host) {
        const struct http_settings settings = {.trust_directory = host->trust.path};
        struct wla_secret *password = NULL;
        struct wla_error err = {0};
        char url[96];
        FILE *file = fopen(scratch_file(&host->trust, "root.pem"), "we");

        ck_assert_int_ge(fputs(host->broker->root_pem, file), 0);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(http_client_new(&settings, &host->http, &err), 0);
        ck_assert_int_eq(wla_secret_new(1, &password, &err), 0);
        (void)snprintf(url, sizeof(url), "%s/aas/v1", host->broker->url);
        ck_assert_int_eq(broker_token_new(host->http, url, "wla", password, &host->token, &err), 0);
        ck_assert_int_eq(broker_gate_new(host->http, "WLS", host->url, &host->gate, &err), 0);
        wla_secret_free(password);
}

static void start(struct host *host) {
        struct trust_reporter_options options = {
                .event = host->event,
                .state_directory = host->state,
                .wls = {.url = host->url, .gate = host->gate, .token = host->token},
                .signer = host->sample.signer,
        };
        struct wla_error err = {0};

        memcpy(options.host.text, SAMPLE_HOST, sizeof(SAMPLE_HOST));
        ck_assert_int_eq(trust_reporter_new(&options, &host->reporter, &err), 0);
}

static void host_open(struct host *host) {
        const struct broker_options options = {.answer = answer};
        struct wla_error err = {0};

        *host = (struct host){
                .broker = broker_start(&options),
                .begun_sec = (uint64_t)time(NULL),
        };
        plan.last = 201;
        plan.body = "";
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        sample_signer_open(&host->sample);
        scratch_make(&host->trust);
        (void)snprintf(host->state, sizeof(host->state), "/tmp/wlagent-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(host->state));
        (void)snprintf(host->url, sizeof(host->url), "%s/wls/v1", host->broker->url);
        open_road(host);
        ck_assert_int_ge(sd_event_new(&host->event), 0);
        start(host);
}

static const char *path_of(const struct host *host, const char *name) {
        static char path[256];

        (void)snprintf(path, sizeof(path), "%s/%s", host->state, name);
        return path;
}

static void host_close(struct host *host) {
        struct scratch reports;

        plan.last = 201; /* what hangs goes on */
        trust_reporter_free(host->reporter);
        broker_gate_free(host->gate);
        broker_token_free(host->token);
        http_client_free(host->http);
        broker_stop(host->broker);
        sd_event_unref(host->event);
        (void)snprintf(reports.path, sizeof(reports.path), "%.50s/reports", host->state);
        scratch_remove(&reports);
        ck_assert_int_eq(rmdir(host->state), 0);
        scratch_remove(&host->trust);
        sample_signer_close(&host->sample);
}

static void restart(struct host *host) {
        host->reporter = trust_reporter_free(host->reporter);
        start(host);
}

static void count_kept(void *userdata, const struct report_name *name) {
        struct host *host = userdata;

        ck_assert_str_eq(name->image.text, SAMPLE_IMAGE);
        host->kept++;
}

/* number: of its start, of which the report says nothing. */
static void report_start(struct host *host, unsigned number) {
        const struct report_listener listener = {.kept = count_kept, .userdata = host};
        struct trust_facts facts = sample_facts();

        facts.started_sec = host->begun_sec - number;
        trust_reporter_add(host->reporter, &facts, &listener);
}

static char *status_of(const struct host *host) {
        static char text[2048];
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(sizeof(text) - 1);
        struct wla_error err = {0};

        ck_assert_int_eq(trust_reporter_write_json(host->reporter, &json, &err), 0);
        (void)snprintf(text, sizeof(text), "%.*s", (int)json.size, (const char *)json.data);
        return text;
}

#define COUNTS(unsigned_count, waiting, posted, refused, given_up)                      \
        "\"unsigned\":" #unsigned_count ",\"waiting\":" #waiting ",\"posted\":" #posted \
        ",\"refused\":" #refused ",\"given_up\":" #given_up ","

/* Until the status says so. */
static void wait_for(const struct host *host, const char *part) {
        uint64_t end_usec = clock_now_usec() + 60 * USEC_PER_SEC;

        while (!strstr(status_of(host), part)) {
                ck_assert_msg(clock_now_usec() < end_usec, "%s", status_of(host));
                ck_assert_int_ge(sd_event_run(host->event, 10 * USEC_PER_MSEC), 0);
        }
}

static unsigned files(const struct host *host) {
        DIR *directory = opendir(path_of(host, "reports"));
        unsigned count = 0;

        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                count += entry->d_name[0] != '.';
        (void)closedir(directory);
        return count;
}

START_TEST(a_report_is_posted_once) {
        _cleanup_buf_ struct buf expected = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        struct host host;
        struct wla_error err = {0};

        host_open(&host);
        wait_for(&host, COUNTS(0, 0, 0, 0, 0) "\"problem\":null}");
        report_start(&host, 0);
        wait_for(&host, "\"state\":\"on\"," COUNTS(0, 0, 1, 0, 0) "\"problem\":null}");
        ck_assert_uint_eq(host.kept, 1);
        ck_assert_uint_eq(plan.posts, 1);
        ck_assert_uint_eq(files(&host), 0);
        sample_report(&host.sample, &expected);
        ck_assert_str_eq(plan.bodies[0], buf_text(&expected, &err));
        ck_assert_ptr_nonnull(strstr(broker_seen(host.broker),
                                     "\r\nAuthorization: Bearer " TOKEN "1\r\n"
                                     "Accept: application/json\r\n"
                                     "Content-Type: application/json\r\n"));
        restart(&host);
        wait_for(&host, COUNTS(0, 0, 0, 0, 0));
        host_close(&host);
        ck_assert_uint_eq(plan.posts, 1);
}
END_TEST

START_TEST(it_waits_for_wls) {
        struct host host;

        host_open(&host);
        plan.statuses[0] = 503;
        plan.statuses[1] = 500;
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 1, 0, 0, 0) "\"problem\":\"WLS ");
        ck_assert_uint_eq(host.kept, 1);
        ck_assert_uint_eq(files(&host), 1);
        wait_for(&host, COUNTS(0, 0, 1, 0, 0) "\"problem\":null}");
        ck_assert_uint_eq(plan.posts, 3);
        ck_assert_str_eq(plan.bodies[2], plan.bodies[0]);
        host_close(&host);
}
END_TEST

/* WLS has it then, and may get it again; none is lost. */
START_TEST(an_answer_that_is_lost) {
        struct host host;

        host_open(&host);
        plan.last = 0;
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 1, 0, 0, 0) "\"problem\":\"WLS https://");
        ck_assert_uint_ge(plan.posts, 1);
        plan.last = 201;
        wait_for(&host, COUNTS(0, 0, 1, 0, 0));
        ck_assert_uint_ge(plan.posts, 2);
        ck_assert_str_eq(plan.bodies[1], plan.bodies[0]);
        host_close(&host);
}
END_TEST

START_TEST(a_refused_one_is_dropped) {
        struct host host;

        host_open(&host);
        plan.statuses[0] = 400;
        report_start(&host, 0);
        report_start(&host, 1);
        wait_for(&host, COUNTS(0, 0, 1, 1, 0));
        ck_assert_uint_eq(host.kept, 2);
        ck_assert_uint_eq(plan.posts, 2);
        ck_assert_uint_eq(files(&host), 0);
        host_close(&host);
}
END_TEST

START_TEST(a_token_that_has_ended) {
        struct host host;

        host_open(&host);
        plan.statuses[0] = 401;
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 0, 1, 0, 0));
        ck_assert_uint_eq(plan.logins, 2);
        ck_assert_uint_eq(plan.posts, 2);
        host_close(&host);
}
END_TEST

/* What people have to mend is not tried in a loop, but after a reload. */
START_TEST(a_user_without_rights) {
        static const char *const bodies[] = {"",
                                             "Insufficient privileges to access /wls/v1/reports\n"};
        static const char *const problems[] = {
                "\"problem\":\"WLS does not accept the agent's token (status 401)",
                "\"problem\":\"the agent's user may not post reports (status 401)"};
        struct host host;

        host_open(&host);
        plan.last = 401;
        plan.body = bodies[_i];
        report_start(&host, 0);
        wait_for(&host, problems[_i]);
        unsigned posts = plan.posts;
        ck_assert_uint_eq(posts, _i == 0 ? 2 : 1);
        ck_assert_uint_eq(plan.logins, posts);
        report_start(&host, 1);
        wait_for(&host, COUNTS(0, 2, 0, 0, 0));
        for (int i = 0; i < 20; i++)
                ck_assert_int_ge(sd_event_run(host.event, 10 * USEC_PER_MSEC), 0);
        ck_assert_uint_eq(plan.posts, posts);

        plan.last = 201;
        trust_reporter_resume(host.reporter);
        wait_for(&host, COUNTS(0, 0, 2, 0, 0));
        host_close(&host);
}
END_TEST

START_TEST(a_wls_without_the_route) {
        struct host host;

        host_open(&host);
        plan.last = _i == 0 ? 404 : 405;
        report_start(&host, 0);
        wait_for(&host, "\"state\":\"no-route\"," COUNTS(
                                0, 1, 0, 0, 0) "\"problem\":\"WLS has no route for reports");
        report_start(&host, 1);
        wait_for(&host, COUNTS(0, 2, 0, 0, 0));
        ck_assert_uint_eq(plan.posts, 1);
        plan.last = 201;
        trust_reporter_resume(host.reporter);
        wait_for(&host, "\"state\":\"on\"," COUNTS(0, 0, 2, 0, 0) "\"problem\":null}");
        host_close(&host);
}
END_TEST

START_TEST(what_waits_survives_a_restart) {
        enum { REPORTS = 5 };
        struct host host;

        host_open(&host);
        plan.last = 503;
        for (unsigned i = 0; i < REPORTS; i++)
                report_start(&host, i);
        wait_for(&host, COUNTS(0, 5, 0, 0, 0));
        ck_assert_uint_eq(host.kept, REPORTS);
        ck_assert_uint_eq(host.sample.calls, REPORTS);
        restart(&host);
        wait_for(&host, COUNTS(0, 5, 0, 0, 0));
        ck_assert_uint_eq(files(&host), REPORTS);
        plan.last = 201;
        wait_for(&host, COUNTS(0, 0, 5, 0, 0));
        ck_assert_uint_eq(host.sample.calls, REPORTS);
        ck_assert_uint_eq(plan.most_at_once, 1);
        ck_assert_uint_eq(files(&host), 0);
        host_close(&host);
}
END_TEST

/* The record of a VM may be older than the report. */
START_TEST(what_waits_is_not_made_again) {
        struct host host;

        host_open(&host);
        plan.last = 503;
        report_start(&host, 7);
        report_start(&host, 7);
        wait_for(&host, COUNTS(0, 1, 0, 0, 0));
        restart(&host);
        report_start(&host, 7);
        wait_for(&host, COUNTS(0, 1, 0, 0, 0));
        ck_assert_uint_eq(host.sample.calls, 1);
        ck_assert_uint_eq(host.kept, 2);
        host_close(&host);
}
END_TEST

START_TEST(a_wls_that_hangs_holds_up_no_end) {
        struct host host;

        host_open(&host);
        plan.last = 1;
        report_start(&host, 0);
        report_start(&host, 1);
        wait_for(&host, COUNTS(0, 2, 0, 0, 0));
        while (plan.posts == 0)
                (void)usleep(1000);
        uint64_t begun_usec = clock_now_usec();
        restart(&host);
        ck_assert_uint_lt(clock_now_usec() - begun_usec, 10 * USEC_PER_SEC);
        plan.last = 201;
        wait_for(&host, COUNTS(0, 0, 2, 0, 0));
        host_close(&host);
}
END_TEST

START_TEST(without_a_signing_key) {
        struct host host;

        host_open(&host);
        ck_assert_int_eq(unlink(host.sample.certificate), 0);
        report_start(&host, 0);
        report_start(&host, 1);
        wait_for(&host,
                 COUNTS(0, 0, 0, 0, 0) "\"problem\":\"this host has no certified signing key: /");
        ck_assert_uint_eq(host.kept, 0);
        sample_certify(host.sample.certificate, host.sample.key);
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 0, 1, 0, 0) "\"problem\":null}");
        ck_assert_uint_eq(host.kept, 1);
        host_close(&host);
}
END_TEST

START_TEST(a_tpm_that_does_not_answer) {
        struct host host;

        host_open(&host);
        host.sample.fails = true;
        report_start(&host, 0);
        wait_for(&host, COUNTS(1, 0, 0, 0, 0) "\"problem\":\"the TPM sleeps\"}");
        host.sample.fails = false;
        wait_for(&host, COUNTS(0, 0, 1, 0, 0));
        host_close(&host);
}
END_TEST

/* It is in memory then, and goes to the disk when there is room. */
START_TEST(a_disk_that_takes_nothing) {
        struct host host;

        host_open(&host);
        ck_assert_int_eq(rmdir(path_of(&host, "reports")), 0);
        FILE *file = fopen(path_of(&host, "reports"), "we");
        ck_assert_int_eq(fclose(file), 0);
        plan.last = 503;
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 1, 0, 0, 0) "\"problem\":\"WLS ");
        ck_assert_uint_eq(host.kept, 0);
        ck_assert_int_eq(unlink(path_of(&host, "reports")), 0);
        while (host.kept == 0)
                ck_assert_int_ge(sd_event_run(host.event, 10 * USEC_PER_MSEC), 0);
        ck_assert_uint_eq(files(&host), 1);
        plan.last = 201;
        wait_for(&host, COUNTS(0, 0, 1, 0, 0));
        ck_assert_uint_eq(host.kept, 1);
        host_close(&host);
}
END_TEST

START_TEST(what_is_too_old_is_tried_once_more) {
        struct host host;

        host_open(&host);
        plan.statuses[0] = 503;
        report_start(&host, REPORT_AGE_MAX_SEC + 60);
        wait_for(&host, COUNTS(0, 0, 0, 0, 1));
        ck_assert_uint_eq(plan.posts, 1);
        ck_assert_uint_eq(files(&host), 0);
        report_start(&host, REPORT_AGE_MAX_SEC + 61);
        wait_for(&host, COUNTS(0, 0, 1, 0, 1));
        host_close(&host);
}
END_TEST

/* It was the only one, and the pause after it ends before the next comes. */
START_TEST(what_is_given_up_stops_no_other) {
        struct host host;

        host_open(&host);
        plan.statuses[0] = 503;
        report_start(&host, REPORT_AGE_MAX_SEC + 60);
        wait_for(&host, COUNTS(0, 0, 0, 0, 1));
        uint64_t end_usec = clock_now_usec() + BACKOFF_FIRST + USEC_PER_SEC / 2;
        while (clock_now_usec() < end_usec)
                ck_assert_int_ge(sd_event_run(host.event, 10 * USEC_PER_MSEC), 0);
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 0, 1, 0, 1));
        host_close(&host);
}
END_TEST

/* One that has to leave is the oldest. */
START_TEST(more_than_there_is_room_for) {
        struct host host;

        host_open(&host);
        plan.last = 503;
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 1, 0, 0, 0));
        host.reporter = trust_reporter_free(host.reporter);
        for (unsigned i = 0; i < REPORTS_MAX; i++) {
                char name[160];

                (void)snprintf(name, sizeof(name),
                               "reports/%016x-" SAMPLE_VM "-" SAMPLE_IMAGE ".json", 1700000000 + i);
                FILE *file = fopen(path_of(&host, name), "we");
                ck_assert_ptr_nonnull(file);
                ck_assert_int_eq(fclose(file), 0);
        }
        start(&host);
        ck_assert_ptr_nonnull(strstr(status_of(&host), COUNTS(0, 1024, 0, 0, 1)));
        ck_assert_uint_eq(files(&host), REPORTS_MAX);
        ck_assert_int_ne(access(path_of(&host, "reports/000000006553f100-" SAMPLE_VM
                                               "-" SAMPLE_IMAGE ".json"),
                                F_OK),
                         0);
        host_close(&host);
}
END_TEST

START_TEST(what_is_none_is_passed_over) {
        struct host host;

        host_open(&host);
        plan.last = 503;
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 1, 0, 0, 0));
        host.reporter = trust_reporter_free(host.reporter);
        FILE *file = fopen(
                path_of(&host, "reports/000000006553f100-" SAMPLE_VM "-" SAMPLE_IMAGE ".json"),
                "we");
        ck_assert_int_eq(fclose(file), 0);
        plan.last = 201;
        start(&host);
        wait_for(&host, COUNTS(0, 0, 1, 0, 1) "\"problem\":null}");
        ck_assert_uint_eq(files(&host), 0);
        host_close(&host);
}
END_TEST

/* It is all that the disk has. */
START_TEST(what_is_none_stops_no_other) {
        struct host host;
        char name[160];

        host_open(&host);
        plan.last = 503;
        report_start(&host, 0);
        wait_for(&host, COUNTS(0, 1, 0, 0, 0));
        host.reporter = trust_reporter_free(host.reporter);
        (void)snprintf(name, sizeof(name),
                       "reports/%016" PRIx64 "-" SAMPLE_VM "-" SAMPLE_IMAGE ".json",
                       host.begun_sec);
        ck_assert_int_eq(truncate(path_of(&host, name), 0), 0);
        plan.last = 201;
        start(&host);
        wait_for(&host, COUNTS(0, 0, 0, 0, 1));
        report_start(&host, 1);
        wait_for(&host, COUNTS(0, 0, 1, 0, 1) "\"problem\":null}");
        host_close(&host);
}
END_TEST

START_TEST(without_a_reporter) {
        struct host host = {0};

        ck_assert_str_eq(status_of(&host),
                         "{\"state\":\"off\"," COUNTS(0, 0, 0, 0, 0) "\"problem\":null}");
        ck_assert_uint_eq(trust_reporter_waiting(NULL), 0);
        trust_reporter_resume(NULL);
        ck_assert_ptr_null(trust_reporter_free(NULL));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("trust_reporter");
        TCase *tcase = tcase_create("trust_reporter");

        tcase_set_timeout(tcase, 240);
        tcase_add_test(tcase, a_report_is_posted_once);
        tcase_add_test(tcase, it_waits_for_wls);
        tcase_add_test(tcase, an_answer_that_is_lost);
        tcase_add_test(tcase, a_refused_one_is_dropped);
        tcase_add_test(tcase, a_token_that_has_ended);
        tcase_add_loop_test(tcase, a_user_without_rights, 0, 2);
        tcase_add_loop_test(tcase, a_wls_without_the_route, 0, 2);
        tcase_add_test(tcase, what_waits_survives_a_restart);
        tcase_add_test(tcase, what_waits_is_not_made_again);
        tcase_add_test(tcase, a_wls_that_hangs_holds_up_no_end);
        tcase_add_test(tcase, without_a_signing_key);
        tcase_add_test(tcase, a_tpm_that_does_not_answer);
        tcase_add_test(tcase, a_disk_that_takes_nothing);
        tcase_add_test(tcase, what_is_too_old_is_tried_once_more);
        tcase_add_test(tcase, what_is_given_up_stops_no_other);
        tcase_add_test(tcase, more_than_there_is_room_for);
        tcase_add_test(tcase, what_is_none_is_passed_over);
        tcase_add_test(tcase, what_is_none_stops_no_other);
        tcase_add_test(tcase, without_a_reporter);
        suite_add_tcase(suite, tcase);
        (void)sample_key();
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
