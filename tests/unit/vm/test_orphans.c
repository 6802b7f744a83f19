/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/orphans.h"

#include <string.h>

#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

#define UUID  "11111111-2222-4333-8444-555555555555"
#define NAME  "wlagent-" UUID "-vda"
#define DAY   (UINT64_C(86400) * USEC_PER_SEC)
#define BEGIN (5 * DAY) /* by the clock that nobody sets */

static bool nobody(void *userdata, const struct uuid *owner) {
        (void)userdata;
        (void)owner;
        return false;
}

static bool everybody(void *userdata, const struct uuid *owner) {
        (void)userdata;
        (void)owner;
        return true;
}

struct told {
        bool (*known)(void *userdata, const struct uuid *owner);
        uint64_t now_sec;
        uint64_t now_usec;
        uint64_t listed_usec; /* 0: just now */
};

static size_t review(struct orphans *orphans, const struct told *told) {
        struct volume_list layers = {0};
        struct volume_list chosen = {0};
        struct volume_entry entry = {.text = NAME};
        struct wla_error err = {0};

        ck_assert_int_eq(volume_name_parse(NAME, &entry.name, &err), 0);
        ck_assert_int_eq(volume_list_add(&layers, &entry, &err), 0);
        const struct orphans_review by = {
                .layers = &layers,
                .known = told->known,
                .now_sec = told->now_sec,
                .listed_usec = told->listed_usec ? told->listed_usec : told->now_usec,
                .now_usec = told->now_usec,
                .age_usec = DAY,
        };
        ck_assert_msg(orphans_judge(orphans, &by, &chosen, &err) == 0, "%s", wla_error_text(&err));
        size_t count = chosen.count;

        volume_list_clear(&layers);
        volume_list_clear(&chosen);
        return count;
}

/* How many layers are to be removed, by a list without any domain at that time. */
static size_t judge(struct orphans *orphans, uint64_t now_usec) {
        const struct told told = {nobody, 1000 + now_usec / USEC_PER_SEC, now_usec, 0};

        return review(orphans, &told);
}

static struct scratch scratch;
static struct orphans *orphans;
static struct uuid vm;

static void start_again(void) {
        struct wla_error err = {0};

        orphans_free(orphans);
        ck_assert_msg(orphans_new(scratch.path, &orphans, &err) == 0, "%s", wla_error_text(&err));
}

static void set_up(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(uuid_parse(UUID, strlen(UUID), &vm, &err), 0);
        scratch_make(&scratch);
        orphans = NULL;
        start_again();
}

static void tear_down(void) {
        orphans = orphans_free(orphans);
        scratch_remove(&scratch);
}

static enum wla_code remove_begin(uint64_t review_usec, uint64_t now_usec) {
        struct wla_error err = {0};

        return orphans_remove_begin(orphans, NAME, review_usec, now_usec, &err) == 0 ? WLA_OK
                                                                                     : err.code;
}

static void remove_end(uint64_t now_usec, enum wla_code code) {
        struct wla_error err = {0};

        if (code != WLA_OK)
                (void)wla_fail(&err, code, "not removed");
        orphans_remove_end(orphans, NAME, now_usec, code != WLA_OK ? &err : NULL);
}

static enum wla_code claim(void) {
        struct wla_error err = {0};

        return orphans_claim(orphans, &vm, &err) == 0 ? WLA_OK : err.code;
}

static void choose(void) {
        set_up();
        ck_assert_uint_eq(judge(orphans, BEGIN), 0);
        ck_assert_uint_eq(judge(orphans, BEGIN + DAY), 1);
}

START_TEST(a_clock_put_forward_is_no_time_passed) {
        const struct told far_ahead = {nobody, UINT64_C(86400) * 1000, BEGIN + USEC_PER_SEC, 0};

        set_up();
        ck_assert_uint_eq(judge(orphans, BEGIN), 0);
        ck_assert_uint_eq(review(orphans, &far_ahead), 0);
        start_again();
        ck_assert_uint_eq(review(orphans, &far_ahead), 0);
        tear_down();

        /* It is put forward while nobody looks. */
        set_up();
        ck_assert_uint_eq(judge(orphans, BEGIN), 0);
        start_again();
        ck_assert_uint_eq(review(orphans, &far_ahead), 0);
        tear_down();
}
END_TEST

START_TEST(a_clock_put_back_shows_no_time_to_come) {
        const struct told back = {nobody, 7, BEGIN + USEC_PER_SEC, 0};

        set_up();
        ck_assert_uint_eq(judge(orphans, BEGIN), 0);
        ck_assert_uint_eq(review(orphans, &back), 0);
        ck_assert_uint_eq(orphans_since(orphans, NAME), 7);
        tear_down();
}
END_TEST

START_TEST(old_since_a_former_life) {
        set_up();
        ck_assert_uint_eq(judge(orphans, BEGIN), 0);
        ck_assert_uint_eq(judge(orphans, BEGIN + DAY / 2), 0);
        start_again();
        ck_assert_uint_eq(judge(orphans, BEGIN + DAY - 1), 0);
        start_again();
        ck_assert_uint_eq(judge(orphans, BEGIN + DAY), 1);
        tear_down();
}
END_TEST

/* How long the host was off nobody knows. */
START_TEST(after_a_reboot_the_time_since_counts) {
        set_up();
        ck_assert_uint_eq(judge(orphans, BEGIN), 0);
        start_again();
        ck_assert_uint_eq(judge(orphans, DAY - 1), 0);
        start_again();
        ck_assert_uint_eq(judge(orphans, 1), 1);
        tear_down();
}
END_TEST

START_TEST(only_what_the_last_review_has_chosen_is_removed) {
        choose();
        ck_assert_int_eq(remove_begin(BEGIN, BEGIN + DAY + 1), WLA_E_BUSY);
        ck_assert_uint_eq(judge(orphans, BEGIN + DAY + 2), 1);
        ck_assert_int_eq(remove_begin(BEGIN + DAY, BEGIN + DAY + 3), WLA_E_BUSY);
        ck_assert_int_eq(remove_begin(BEGIN + DAY + 2, BEGIN + DAY + 3), WLA_OK);
        ck_assert_int_eq(remove_begin(BEGIN + DAY + 2, BEGIN + DAY + 4), WLA_E_BUSY);
        remove_end(BEGIN + DAY + 5, WLA_OK);
        ck_assert_uint_eq(orphans_since(orphans, NAME), 0);
        tear_down();
}
END_TEST

START_TEST(known_after_all) {
        const struct told told = {everybody, 2000, BEGIN + DAY + 1, 0};

        choose();
        ck_assert_uint_eq(review(orphans, &told), 0);
        ck_assert_int_eq(remove_begin(BEGIN + DAY + 1, BEGIN + DAY + 2), WLA_E_BUSY);
        tear_down();
}
END_TEST

START_TEST(a_choice_does_not_last) {
        uint64_t chosen_usec = BEGIN + DAY;

        choose();
        ck_assert(orphans_leaving(orphans, NAME, chosen_usec + 1));
        ck_assert(!orphans_leaving(orphans, NAME, chosen_usec + ORPHAN_CHOICE_USEC));
        ck_assert_int_eq(remove_begin(chosen_usec, chosen_usec + ORPHAN_CHOICE_USEC), WLA_E_BUSY);
        ck_assert_int_eq(remove_begin(chosen_usec, chosen_usec + ORPHAN_CHOICE_USEC - 1), WLA_OK);
        tear_down();

        choose();
        start_again();
        ck_assert(!orphans_leaving(orphans, NAME, chosen_usec + 1));
        ck_assert_int_eq(remove_begin(chosen_usec, chosen_usec + 1), WLA_E_BUSY);
        tear_down();
}
END_TEST

START_TEST(a_start_comes_first) {
        choose();
        ck_assert(orphans_left(orphans, &vm));
        ck_assert_int_eq(claim(), WLA_OK);
        ck_assert(!orphans_left(orphans, &vm));
        ck_assert(!orphans_leaving(orphans, NAME, BEGIN + DAY + 1));
        ck_assert_int_eq(remove_begin(BEGIN + DAY, BEGIN + DAY + 1), WLA_E_BUSY);

        /* And it was no orphan while it ran, also if no review has seen that. */
        start_again();
        ck_assert_uint_eq(judge(orphans, BEGIN + 2 * DAY), 0);
        ck_assert_uint_eq(judge(orphans, BEGIN + 3 * DAY), 1);
        tear_down();
}
END_TEST

START_TEST(a_removal_comes_first) {
        choose();
        ck_assert_int_eq(remove_begin(BEGIN + DAY, BEGIN + DAY + 1), WLA_OK);
        ck_assert_int_eq(claim(), WLA_E_BUSY);
        ck_assert_uint_eq(judge(orphans, BEGIN + 2 * DAY), 0);
        ck_assert(orphans_leaving(orphans, NAME, BEGIN + 2 * DAY));
        const struct told told = {everybody, 2000, BEGIN + 2 * DAY + 1, 0};
        ck_assert_uint_eq(review(orphans, &told), 0);
        ck_assert_int_eq(claim(), WLA_E_BUSY);

        remove_end(BEGIN + 2 * DAY + 1, WLA_E_DENIED);
        ck_assert(!orphans_leaving(orphans, NAME, BEGIN + 2 * DAY + 1));
        ck_assert_int_eq(claim(), WLA_OK);
        remove_end(BEGIN + DAY + 5, WLA_OK);
        tear_down();
}
END_TEST

/* It may still be removed: no start may believe that its layer stays. */
START_TEST(a_removal_without_an_answer) {
        static const enum wla_code codes[] = {WLA_E_TIMEOUT, WLA_E_UNAVAILABLE};
        uint64_t lost_usec = BEGIN + DAY + 2;

        for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
                const struct told before = {nobody, 2000, lost_usec + 1, lost_usec - 1};
                const struct told after = {nobody, 2000, lost_usec + 3, lost_usec + 2};

                choose();
                ck_assert_int_eq(remove_begin(BEGIN + DAY, BEGIN + DAY + 1), WLA_OK);
                remove_end(lost_usec, codes[i]);
                ck_assert_int_eq(claim(), WLA_E_BUSY);
                ck_assert(orphans_leaving(orphans, NAME, lost_usec));
                ck_assert_uint_eq(review(orphans, &before), 0);
                ck_assert_int_eq(claim(), WLA_E_BUSY);
                ck_assert_uint_eq(review(orphans, &after), 1);
                ck_assert_int_eq(claim(), WLA_OK);
                tear_down();
        }
}
END_TEST

START_TEST(a_removal_that_never_began) {
        choose();
        ck_assert_int_eq(remove_begin(BEGIN + DAY, BEGIN + DAY + 1), WLA_OK);
        orphans_remove_cancel(orphans, NAME);
        ck_assert_int_eq(claim(), WLA_OK);
        orphans_remove_cancel(orphans, NAME);
        tear_down();
}
END_TEST

/* What is in the file must not be older than what is known. */
START_TEST(a_claim_that_cannot_be_kept_in_the_file) {
        choose();
        (void)fail_allocation_arm(1);
        enum wla_code code = claim();
        fail_allocation_disarm();
        ck_assert(fail_allocation_hit());
        ck_assert_int_eq(code, WLA_OK);
        start_again();
        ck_assert_uint_eq(judge(orphans, BEGIN + 2 * DAY), 0);
        tear_down();
}
END_TEST

SUITE_MAIN("orphans", a_clock_put_forward_is_no_time_passed, a_clock_put_back_shows_no_time_to_come,
           old_since_a_former_life, after_a_reboot_the_time_since_counts,
           only_what_the_last_review_has_chosen_is_removed, known_after_all, a_choice_does_not_last,
           a_start_comes_first, a_removal_comes_first, a_removal_without_an_answer,
           a_removal_that_never_began, a_claim_that_cannot_be_kept_in_the_file)
