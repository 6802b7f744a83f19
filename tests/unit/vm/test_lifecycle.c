/* SPDX-License-Identifier: Apache-2.0 */

/* The states of a VM, with the double of wlagent-volumed; tests/integration/test_domains.py has the rest. */

#include "suite.h"

#include <string.h>

#include "fail_allocation.h"
#include "vm/lifecycle_state.h"
#include "vm_fixture.h"

struct answer {
        int count;
        enum wla_code code;
};

static void done(void *userdata, const struct wla_error *err) {
        struct answer *answer = userdata;

        answer->count++;
        answer->code = err ? err->code : WLA_OK;
}

static void open_disks(struct vm_fixture *fixture, enum vm_opening why, size_t count,
                       struct answer *answer, struct vm_call **ret) {
        const struct protected_disk disks[] = {
                vm_fixture_line(fixture, "vda", DISK_LAYER),
                vm_fixture_line(fixture, "vdb", DISK_DIRECT),
        };
        const struct vm_order order = {
                .why = why,
                .uuid = fixture->vm,
                .name = "web",
                .disks = disks,
                .disk_count = count,
                .deadline_usec = clock_now_usec() + 20 * USEC_PER_SEC,
                .done = done,
                .userdata = answer,
        };

        *answer = (struct answer){0};
        lifecycle_open(fixture->lifecycle, &order, ret);
}

static void begin(struct vm_fixture *fixture) {
        struct wla_error err = {0};

        vm_fixture_setup(fixture);
        ck_assert_int_eq(vm_fixture_begin(fixture, &err), 0);
}

static const char *status(const struct vm_fixture *fixture) {
        static struct buf json;
        struct wla_error err = {0};

        json.limit = 65536;
        buf_reset(&json);
        ck_assert_int_eq(lifecycle_write_json(fixture->lifecycle, &json, &err), 0);
        return buf_text(&json, &err);
}

START_TEST(from_prepare_to_release) {
        struct vm_fixture fixture;
        struct answer answer;
        struct vm_call *call;

        begin(&fixture);
        open_disks(&fixture, OPEN_FOR_START, 2, &answer, &call);
        ck_assert_ptr_nonnull(call);
        ck_assert_ptr_nonnull(strstr(status(&fixture), "\"state\":\"opening\""));
        vm_fixture_run(&fixture, &answer.count);
        ck_assert_int_eq(answer.code, WLA_OK);
        ck_assert_uint_eq(vm_fixture_leases(&fixture), 3);
        ck_assert_ptr_nonnull(strstr(status(&fixture), "\"state\":\"open\""));
        ck_assert_uint_eq(lifecycle_open_disks(fixture.lifecycle), 2);

        lifecycle_started(fixture.lifecycle, &fixture.vm);
        ck_assert_ptr_nonnull(strstr(status(&fixture), "\"state\":\"running\""));
        vm_fixture_wait_for_leases(&fixture, 0);
        lifecycle_stopped(fixture.lifecycle, &fixture.vm);
        ck_assert_ptr_nonnull(strstr(status(&fixture), "\"state\":\"stopping\""));
        lifecycle_released(fixture.lifecycle, &fixture.vm);
        ck_assert_str_eq(status(&fixture), "[]");
        lifecycle_released(fixture.lifecycle, &fixture.vm);
        vm_fixture_teardown(&fixture);
}
END_TEST

static void expect_no_start(const struct vm_fixture *fixture, const struct domain *domain,
                            enum wla_code code, const char *text) {
        struct wla_error err = {0};

        ck_assert_int_eq(lifecycle_check_start(fixture->lifecycle, domain, &err), -1);
        ck_assert_int_eq(err.code, code);
        ck_assert_msg(strstr(wla_error_text(&err), text) != NULL, "%s", wla_error_text(&err));
}

/* Between "prepare" and "start" the definition may have become another. */
START_TEST(only_what_was_opened_starts) {
        static const char another[] = "is not the one that was opened";
        struct vm_fixture fixture;
        struct wla_error err = {0};
        struct answer answer;
        struct vm_call *call;

        begin(&fixture);
        const struct domain opened = {
                .uuid = fixture.vm,
                .disk_count = 2,
                .disks = {vm_fixture_line(&fixture, "vda", DISK_LAYER),
                          vm_fixture_line(&fixture, "vdb", DISK_DIRECT)},
        };
        expect_no_start(&fixture, &opened, WLA_E_UNAVAILABLE, "disk vda is not open any more");
        open_disks(&fixture, OPEN_FOR_START, 2, &answer, &call);
        vm_fixture_run(&fixture, &answer.count);
        ck_assert_int_eq(answer.code, WLA_OK);
        ck_assert_msg(lifecycle_check_start(fixture.lifecycle, &opened, &err) == 0, "%s",
                      wla_error_text(&err));

        struct domain changed = opened;
        changed.disks[1].mode = DISK_EPHEMERAL;
        expect_no_start(&fixture, &changed, WLA_E_INPUT, another);
        changed = opened;
        changed.disks[1].image[strlen(changed.disks[1].image) - 1] ^= 1;
        expect_no_start(&fixture, &changed, WLA_E_INPUT, another);
        changed = opened;
        changed.disks[1].secret = fixture.vm;
        expect_no_start(&fixture, &changed, WLA_E_INPUT, another);
        changed = opened;
        changed.disks[1].target[2] = 'c';
        expect_no_start(&fixture, &changed, WLA_E_UNAVAILABLE, "disk vdc is not open any more");
        vm_fixture_teardown(&fixture);
}
END_TEST

/* volumed's word comes first at times, then libvirt's: reports are named by the moment of the start. */
START_TEST(a_start_has_one_moment) {
        struct vm_fixture fixture;
        struct answer answer;
        struct vm_call *call;

        begin(&fixture);
        open_disks(&fixture, OPEN_FOR_START, 1, &answer, &call);
        vm_fixture_run(&fixture, &answer.count);
        ck_assert_int_eq(answer.code, WLA_OK);
        struct vm *vm = lifecycle_find(fixture.lifecycle, &fixture.vm);
        vm->since_sec = 1;
        vm_set_state(vm, VM_RUNNING);
        ck_assert_uint_gt(vm->since_sec, 1);
        vm->since_sec = 1;
        lifecycle_started(fixture.lifecycle, &fixture.vm);
        ck_assert_uint_eq(vm->since_sec, 1);
        lifecycle_stopped(fixture.lifecycle, &fixture.vm);
        ck_assert_uint_gt(vm->since_sec, 1);
        vm_fixture_teardown(&fixture);
}
END_TEST

/* libvirt's word, or volumed's, may come while the daemon is ending: the reporter is gone by then. */
START_TEST(no_reports_at_the_end) {
        struct vm_fixture fixture;
        struct answer answer;
        struct vm_call *call;

        begin(&fixture);
        open_disks(&fixture, OPEN_FOR_START, 1, &answer, &call);
        vm_fixture_run(&fixture, &answer.count);
        ck_assert_int_eq(answer.code, WLA_OK);
        struct vm *vm = lifecycle_find(fixture.lifecycle, &fixture.vm);
        vm->disks[0]->flavor.present = true;
        vm->disks[0]->flavor.image = fixture.vm;
        fixture.lifecycle->options.reporter = (struct trust_reporter *)fixture.socket;

        lifecycle_end_reports(fixture.lifecycle);
        lifecycle_end_reports(NULL);
        lifecycle_started(fixture.lifecycle, &fixture.vm);
        ck_assert_ptr_nonnull(strstr(status(&fixture), "\"reported\":false"));
        vm_fixture_teardown(&fixture);
}
END_TEST

/* Wherever the one who asks goes away, nothing stays open, and done is not called. */
START_TEST(cancelled_anywhere) {
        static const char *const faults[] = {"INSPECT_IMAGE hang", "OPEN_IMAGE hang",
                                             "CREATE_LAYER hang", "none"};

        struct vm_fixture fixture;
        struct wla_error err = {0};

        begin(&fixture);
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
                struct answer answer;
                struct vm_call *call;
                int rounds = 0;

                vm_fixture_fault(&fixture, faults[i]);
                open_disks(&fixture, OPEN_FOR_START, 1, &answer, &call);
                for (; rounds < 20 && strcmp(faults[i], "none") != 0; rounds++)
                        ck_assert_int_ge(sd_event_run(fixture.event, 10000), 0);
                vm_call_cancel(call);
                while (lifecycle_count(fixture.lifecycle) > 0)
                        ck_assert_int_ge(sd_event_run(fixture.event, 10000), 0);
                ck_assert_int_eq(answer.count, 0);
                vm_fixture_wait_for_leases(&fixture, 0);
                vm_fixture_fault(&fixture, NULL);
                fixture.lifecycle = lifecycle_free(fixture.lifecycle);
                ck_assert_int_eq(vm_fixture_begin(&fixture, &err), 0);
        }
        vm_fixture_teardown(&fixture);
}
END_TEST

START_TEST(the_newest_start_wins) {
        struct vm_fixture fixture;
        struct answer answers[3];
        struct vm_call *calls[3];

        begin(&fixture);
        for (size_t i = 0; i < 3; i++)
                open_disks(&fixture, OPEN_FOR_START, 1, &answers[i], &calls[i]);
        vm_fixture_run(&fixture, &answers[2].count);
        ck_assert_int_eq(answers[0].code, WLA_E_BUSY);
        ck_assert_int_eq(answers[1].code, WLA_E_BUSY);
        ck_assert_int_eq(answers[2].code, WLA_OK);
        vm_fixture_wait_for_leases(&fixture, 2);
        vm_fixture_teardown(&fixture);
}
END_TEST

START_TEST(a_waiting_start_is_cancelled) {
        struct vm_fixture fixture;
        struct answer answers[2];
        struct vm_call *calls[2];

        begin(&fixture);
        for (size_t i = 0; i < 2; i++)
                open_disks(&fixture, OPEN_FOR_START, 1, &answers[i], &calls[i]);
        ck_assert_int_eq(answers[0].count, 1);
        vm_call_cancel(calls[1]);
        while (lifecycle_count(fixture.lifecycle) > 0)
                ck_assert_int_ge(sd_event_run(fixture.event, 10000), 0);
        ck_assert_int_eq(answers[1].count, 0);
        vm_fixture_wait_for_leases(&fixture, 0);
        vm_fixture_teardown(&fixture);
}
END_TEST

START_TEST(migration_is_taken_over) {
        struct vm_fixture fixture;
        struct answer answer;
        struct vm_call *call;

        begin(&fixture);
        open_disks(&fixture, OPEN_FOR_MIGRATION, 2, &answer, &call);
        vm_fixture_run(&fixture, &answer.count);
        open_disks(&fixture, OPEN_FOR_START, 2, &answer, &call);
        ck_assert_ptr_null(call);
        ck_assert_int_eq(answer.count, 1);
        ck_assert_int_eq(answer.code, WLA_OK);

        /* Once only; and not with other disks. */
        open_disks(&fixture, OPEN_FOR_START, 2, &answer, &call);
        ck_assert_ptr_nonnull(call);
        vm_fixture_run(&fixture, &answer.count);
        ck_assert_int_eq(answer.code, WLA_OK);
        vm_fixture_wait_for_leases(&fixture, 3);
        vm_fixture_teardown(&fixture);
}
END_TEST

START_TEST(another_life) {
        struct vm_fixture fixture;
        struct answer answer;
        struct vm_call *call;
        struct wla_error err = {0};

        begin(&fixture);
        open_disks(&fixture, OPEN_FOR_START, 2, &answer, &call);
        vm_fixture_run(&fixture, &answer.count);
        fixture.lifecycle = lifecycle_free(fixture.lifecycle);
        ck_assert_int_eq(vm_fixture_begin(&fixture, &err), 0);
        ck_assert_uint_eq(lifecycle_count(fixture.lifecycle), 1);
        while (lifecycle_count(fixture.lifecycle) > 0)
                ck_assert_int_ge(sd_event_run(fixture.event, 10000), 0);
        vm_fixture_teardown(&fixture);
}
END_TEST

/* Each way from an order to its answer, with each allocation of the loop's thread failing once. */
static void fail_each(enum vm_opening why) {
        struct vm_fixture fixture;
        bool hit = true;

        begin(&fixture);
        for (size_t n = 1; hit; n++) {
                struct answer answer;
                struct vm_call *call;
                uint64_t give_up_usec = clock_now_usec() + 20 * USEC_PER_SEC;

                (void)fail_allocation_arm(n);
                open_disks(&fixture, why, 1, &answer, &call);
                while (answer.count == 0 && clock_now_usec() < give_up_usec)
                        (void)sd_event_run(fixture.event, 10000);
                lifecycle_started(fixture.lifecycle, &fixture.vm);
                fail_allocation_disarm();
                hit = fail_allocation_hit();
                ck_assert_int_eq(answer.count, 1);
                ck_assert_msg(hit || answer.code == WLA_OK, "%zu: %d", n, (int)answer.code);
                lifecycle_released(fixture.lifecycle, &fixture.vm);
                ck_assert_uint_eq(lifecycle_count(fixture.lifecycle), 0);
                vm_fixture_wait_for_leases(&fixture, 0);
        }
        vm_fixture_teardown(&fixture);
}

START_TEST(allocation_failures) {
        fail_each(OPEN_FOR_START);
}
END_TEST

START_TEST(allocation_failures_by_hand) {
        fail_each(OPEN_BY_HAND);
}
END_TEST

START_TEST(allocation_failures_in_another_life) {
        struct vm_fixture fixture;
        struct answer answer;
        struct vm_call *call;
        bool hit = true;

        begin(&fixture);
        open_disks(&fixture, OPEN_FOR_START, 1, &answer, &call);
        vm_fixture_run(&fixture, &answer.count);
        for (size_t n = 1; hit; n++) {
                struct wla_error err = {0};

                fixture.lifecycle = lifecycle_free(fixture.lifecycle);
                (void)fail_allocation_arm(n);
                int outcome = vm_fixture_begin(&fixture, &err);
                fail_allocation_disarm();
                hit = fail_allocation_hit();
                ck_assert_int_eq(outcome, hit ? -1 : 0);
                if (hit)
                        ck_assert_int_eq(err.code, WLA_E_BUSY);
        }
        ck_assert_uint_eq(lifecycle_count(fixture.lifecycle), 1);
        vm_fixture_teardown(&fixture);
}
END_TEST

SUITE_MAIN("lifecycle", from_prepare_to_release, only_what_was_opened_starts,
           a_start_has_one_moment, no_reports_at_the_end, cancelled_anywhere, the_newest_start_wins,
           a_waiting_start_is_cancelled, migration_is_taken_over, another_life, allocation_failures,
           allocation_failures_by_hand, allocation_failures_in_another_life)
