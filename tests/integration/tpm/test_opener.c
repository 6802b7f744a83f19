/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>

#include "host.h"
#include "tests.h"
#include "tpm/bind_opener.h"

#define WORKERS 8

struct setting {
        struct host host;
        struct envelope envelope;
        struct lane *lane;
        struct key_opener opener;
};

static void begin(struct setting *setting) {
        *setting = (struct setting){0};
        host_begin(&setting->host);
        host_setup(&setting->host, 0, 0);
        host_wrap(&setting->host, KEY, &setting->envelope.bytes);
}

static void open_lane(struct setting *setting) {
        ck_assert_int_eq(lane_new("tpm", setting->host.tpm, 64, &setting->lane, &setting->host.err),
                         0);
        setting->opener = bind_opener(setting->lane);
}

static void end(struct setting *setting) {
        setting->lane = lane_free(setting->lane);
        envelope_clear(&setting->envelope);
        host_end(&setting->host);
}

static int open_within(struct setting *setting, uint64_t usec, struct wla_secret **ret,
                       struct wla_error *err) {
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + usec);
        return setting->opener.ops->open(setting->opener.self, &setting->envelope, &deadline, ret,
                                         err);
}

static void *open_some(void *arg) {
        for (int i = 0; i < 4; i++) {
                _cleanup_secret_ struct wla_secret *opened = NULL;
                struct wla_error err = {0};

                if (open_within(arg, 60 * USEC_PER_SEC, &opened, &err) < 0)
                        return arg;
                struct wla_bytes plain = wla_secret_view(opened);
                if (plain.size != strlen(KEY) || memcmp(plain.data, KEY, plain.size) != 0)
                        return arg;
        }
        return NULL;
}

START_TEST(many_workers_share_the_tpm) {
        struct setting setting;
        pthread_t threads[WORKERS];

        begin(&setting);
        open_lane(&setting);
        for (size_t i = 0; i < WORKERS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, open_some, &setting), 0);
        for (size_t i = 0; i < WORKERS; i++) {
                void *result = NULL;

                ck_assert_int_eq(pthread_join(threads[i], &result), 0);
                ck_assert_ptr_null(result);
        }
        end(&setting);
}
END_TEST

START_TEST(errors_come_back_whole) {
        struct setting setting;
        struct wla_secret *opened = NULL;
        struct wla_error err = {0};

        begin(&setting);
        open_lane(&setting);
        setting.envelope.bytes.data[7] ^= 1;
        ck_assert_int_eq(open_within(&setting, 10 * USEC_PER_SEC, &opened, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "the TPM cannot open it"));
        ck_assert_ptr_nonnull(err.hint);

        memset(setting.envelope.binding_key, 'a', KEY_FINGERPRINT_SIZE - 1);
        ck_assert_int_eq(open_within(&setting, 10 * USEC_PER_SEC, &opened, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "wrapped for the binding key aaaa"));

        setting.envelope.bytes.size = 255;
        ck_assert_int_eq(open_within(&setting, 10 * USEC_PER_SEC, &opened, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        end(&setting);
}
END_TEST

START_TEST(a_caller_does_not_wait_for_a_tpm_that_hangs) {
        struct setting setting;
        struct wla_secret *opened = NULL;
        struct wla_error err = {0};

        begin(&setting);
        host_behind_proxy(&setting.host, (const char *const[]){"0x159:1:hang", NULL});
        setting.host.tpm->answer_limit_msec = 2000;
        open_lane(&setting);

        uint64_t start_usec = clock_now_usec();
        ck_assert_int_eq(open_within(&setting, 100 * USEC_PER_MSEC, &opened, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert_uint_lt(clock_now_usec() - start_usec, 1500 * USEC_PER_MSEC);

        /* The lane gets over it by itself; the abandoned job is wiped. */
        opened = NULL;
        ck_assert_int_eq(open_within(&setting, 20 * USEC_PER_SEC, &opened, &err), 0);
        opened = wla_secret_free(opened);
        end(&setting);
}
END_TEST

void add_opener_tests(TCase *tcase) {
        tcase_add_test(tcase, many_workers_share_the_tpm);
        tcase_add_test(tcase, errors_come_back_whole);
        tcase_add_test(tcase, a_caller_does_not_wait_for_a_tpm_that_hangs);
}
