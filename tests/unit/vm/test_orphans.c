/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/orphans.h"

#include <string.h>

#include "suite.h"
#include "scratch.h"

#define NAME    "wlagent-11111111-2222-4333-8444-555555555555-vda"
#define DAY_SEC UINT64_C(86400)

static bool nobody(void *userdata, const struct uuid *vm) {
        (void)userdata;
        (void)vm;
        return false;
}

/* How many layers are to be removed, by a list that is told at that time. */
static size_t judge(struct orphans *orphans, uint64_t now_sec) {
        struct volume_list layers = {0};
        struct volume_list old = {0};
        struct volume_entry entry = {.text = NAME};
        struct wla_error err = {0};

        ck_assert_int_eq(volume_name_parse(NAME, &entry.name, &err), 0);
        ck_assert_int_eq(volume_list_add(&layers, &entry, &err), 0);
        const struct orphans_review review = {
                .layers = &layers,
                .known = nobody,
                .now_sec = now_sec,
                .age_sec = DAY_SEC,
        };
        ck_assert_msg(orphans_judge(orphans, &review, &old, &err) == 0, "%s", wla_error_text(&err));
        size_t count = old.count;

        volume_list_clear(&layers);
        volume_list_clear(&old);
        return count;
}

static struct orphans *open_orphans(const struct scratch *scratch) {
        struct orphans *orphans;
        struct wla_error err = {0};

        ck_assert_msg(orphans_new(scratch->path, &orphans, &err) == 0, "%s", wla_error_text(&err));
        return orphans;
}

START_TEST(a_clock_put_forward_is_no_time_passed) {
        struct scratch scratch;

        scratch_make(&scratch);
        struct orphans *orphans = open_orphans(&scratch);
        ck_assert_uint_eq(judge(orphans, 1000), 0);
        ck_assert_uint_eq(judge(orphans, 1000 + 1000 * DAY_SEC), 0);
        ck_assert_uint_eq(judge(orphans, 1000 + 1000 * DAY_SEC), 0);
        ck_assert_uint_gt(orphans_since(orphans, NAME), 1000 + 999 * DAY_SEC);
        orphans_free(orphans);

        /* It is kept like that. */
        orphans = open_orphans(&scratch);
        ck_assert_uint_eq(judge(orphans, 1000 + 1000 * DAY_SEC), 0);
        orphans_free(orphans);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(old_since_a_former_life) {
        struct scratch scratch;

        scratch_make(&scratch);
        struct orphans *orphans = open_orphans(&scratch);
        ck_assert_uint_eq(judge(orphans, 1000), 0);
        orphans_free(orphans);

        orphans = open_orphans(&scratch);
        ck_assert_uint_eq(judge(orphans, 1000 + DAY_SEC), 1);
        orphans_free(orphans);
        scratch_remove(&scratch);
}
END_TEST

SUITE_MAIN("orphans", a_clock_put_forward_is_no_time_passed, old_since_a_former_life)
