/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

static void check_line(const char *expected) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(64 * 1024);
        struct wla_error err = {0};
        char line[256];

        ck_assert_int_eq(metrics_write(&text, &err), 0);
        (void)snprintf(line, sizeof(line), "\n%s\n", expected);
        ck_assert_msg(strstr(buf_text(&text, &err), line) != NULL, "no line: %s", expected);
}

START_TEST(counters_count_by_label) {
        metrics_count(METRIC_KEYPROVIDER_REQUESTS, METRIC_UNWRAP, WLA_OK);
        metrics_count(METRIC_KEYPROVIDER_REQUESTS, METRIC_UNWRAP, WLA_OK);
        metrics_count(METRIC_KEYPROVIDER_REQUESTS, METRIC_WRAP, WLA_E_UNAVAILABLE);
        metrics_count(METRIC_KEY_CACHE_HITS, 0, 0);
        metrics_count(METRIC_CONNECTIONS_REFUSED, METRIC_REFUSED_SYSTEM, 0);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_UNBIND, WLA_E_TPM);
        metrics_count(METRIC_SOURCE_FETCHES, METRIC_LOCAL, WLA_E_NOT_FOUND);

        check_line("wlagent_keyprovider_requests_total{operation=\"unwrap\",code=\"ok\"} 2");
        check_line("wlagent_keyprovider_requests_total{operation=\"wrap\",code=\"ok\"} 0");
        check_line("wlagent_keyprovider_requests_total{operation=\"wrap\",code=\"unavailable\"} 1");
        check_line("wlagent_key_cache_hits_total 1");
        check_line("wlagent_key_cache_misses_total 0");
        check_line("wlagent_connections_refused_total{reason=\"system\"} 1");
        check_line("wlagent_tpm_operations_total{operation=\"unbind\",result=\"tpm-refused\"} 1");
        check_line("wlagent_source_fetches_total{source=\"local\",code=\"not-found\"} 1");
        ck_assert_uint_eq(metrics_total(METRIC_KEYPROVIDER_REQUESTS), 3);
}
END_TEST

START_TEST(gauges_hold_the_last_value) {
        metrics_start();
        metrics_set(METRIC_CACHED_KEYS, 7);
        metrics_set(METRIC_CACHED_KEYS, 3);
        check_line("wlagent_cached_keys 3");
        check_line("wlagent_build_info{version=\"" WLAGENT_VERSION "\"} 1");
        ck_assert_uint_gt(metrics_total(METRIC_START_TIME_SECONDS), 1600000000);
}
END_TEST

START_TEST(histograms_are_cumulative) {
        static const uint64_t observations[] = {0, 50, 51, 1000, 29999999, 30000000, 30000001};

        for (size_t i = 0; i < sizeof(observations) / sizeof(observations[0]); i++)
                metrics_observe_usec(METRIC_TPM_OPERATION_SECONDS, observations[i]);
        check_line("wlagent_tpm_operation_seconds_bucket{le=\"0.000050\"} 2");
        check_line("wlagent_tpm_operation_seconds_bucket{le=\"0.000100\"} 3");
        check_line("wlagent_tpm_operation_seconds_bucket{le=\"0.001000\"} 4");
        check_line("wlagent_tpm_operation_seconds_bucket{le=\"10.000000\"} 4");
        check_line("wlagent_tpm_operation_seconds_bucket{le=\"30.000000\"} 6");
        check_line("wlagent_tpm_operation_seconds_bucket{le=\"+Inf\"} 7");
        check_line("wlagent_tpm_operation_seconds_sum 90.001101");
        check_line("wlagent_tpm_operation_seconds_count 7");
        ck_assert_uint_eq(metrics_total(METRIC_TPM_OPERATION_SECONDS), 7);
}
END_TEST

/* Prometheus text format 0.0.4: comments in pairs, then samples of that metric. */
START_TEST(every_line_has_the_format) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(64 * 1024);
        struct wla_error err = {0};
        char name[64] = "";
        char *rest = NULL;
        size_t types = 0;

        ck_assert_int_eq(metrics_write(&text, &err), 0);
        ck_assert_ptr_nonnull(buf_text(&text, &err));
        ck_assert_int_eq(text.data[text.size - 1], '\n');
        for (char *line = strtok_r((char *)text.data, "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest)) {
                char help[64];
                char kind[16];

                if (sscanf(line, "# HELP %63s", name) == 1)
                        continue;
                if (sscanf(line, "# TYPE %63s %15s", help, kind) == 2) {
                        ck_assert_str_eq(help, name);
                        types++;
                        continue;
                }
                ck_assert_msg(strncmp(line, name, strlen(name)) == 0, "%s", line);
                ck_assert_uint_eq(strspn(strrchr(line, ' ') + 1, "0123456789."),
                                  strlen(strrchr(line, ' ') + 1));
        }
        ck_assert_uint_eq(types, _METRIC_MAX);
}
END_TEST

static void *count_much(void *argument) {
        for (size_t i = 0; i < 20000; i++) {
                metrics_count(METRIC_KEY_CACHE_HITS, 0, 0);
                metrics_observe_usec(METRIC_KEYPROVIDER_REQUEST_SECONDS, i);
        }
        return argument;
}

START_TEST(threads_lose_no_count) {
        enum { THREADS = 4 };
        pthread_t threads[THREADS];

        for (size_t i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, count_much, NULL), 0);
        for (size_t i = 0; i < THREADS; i++)
                (void)pthread_join(threads[i], NULL);
        ck_assert_uint_eq(metrics_total(METRIC_KEY_CACHE_HITS), THREADS * 20000);
        ck_assert_uint_eq(metrics_total(METRIC_KEYPROVIDER_REQUEST_SECONDS), THREADS * 20000);
}
END_TEST

START_TEST(the_file_is_readable_and_replaced) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct stat status;

        scratch_make(&scratch);
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(metrics_write_file(scratch.path, &err), 0);
                ck_assert_int_eq(stat(scratch_file(&scratch, "metrics.prom"), &status), 0);
                ck_assert_int_eq(status.st_mode & 0777, 0644);
                ck_assert_int_gt(status.st_size, 1000);
        }
        scratch_remove(&scratch);
        ck_assert_int_eq(metrics_write_file(scratch.path, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "writing metrics: "));
}
END_TEST

START_TEST(every_allocation_may_fail) {
        struct wla_error err = {0};

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(64 * 1024);
                int r = metrics_write(&text, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(r, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

SUITE_MAIN("base/metrics", counters_count_by_label, gauges_hold_the_last_value,
           histograms_are_cumulative, every_line_has_the_format, threads_lose_no_count,
           the_file_is_readable_and_replaced, every_allocation_may_fail)
