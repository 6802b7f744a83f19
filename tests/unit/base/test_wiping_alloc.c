/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <malloc.h>
#include <stdint.h>
#include <string.h>

#include "base/wiping_alloc.h"
#include "fail_allocation.h"

void __wrap_free(void *block);
void __real_free(void *block);

static const char mark[] = "MARKED-REQUEST-BODY";
/* volatile: the compiler believes that free() touches no variable of ours. */
static volatile bool watching;
static volatile bool mark_seen;

/* Looks at all of what is given back to malloc. */
void __wrap_free(void *block) {
        if (watching && block && memmem(block, malloc_usable_size(block), mark, sizeof(mark)))
                mark_seen = true;
        __real_free(block);
}

START_TEST(freed_and_moved_blocks_are_wiped) {
        char *block = wiping_malloc(100);

        memcpy(block, mark, sizeof(mark));
        watching = true;
        block = wiping_realloc(block, 5000);
        bool moved = strcmp(block, mark) == 0;
        char *copy = wiping_strdup(block);
        bool copied = copy && strcmp(copy, mark) == 0;
        wiping_free(copy);
        wiping_free(block);
        wiping_free(NULL);
        watching = false;
        ck_assert(moved && copied);
        ck_assert(!mark_seen);
}
END_TEST

/* malloc(3) gives more than was asked for, and who asks for it may use it. */
START_TEST(all_that_malloc_gave_is_wiped) {
        char *block = wiping_malloc(100);
        size_t size = malloc_usable_size(block);

        memcpy(block + size - sizeof(mark), mark, sizeof(mark));
        watching = true;
        wiping_free(block);
        watching = false;
        ck_assert(!mark_seen);
}
END_TEST

START_TEST(a_size_of_0_frees) {
        char *block = wiping_malloc(100);

        memcpy(block, mark, sizeof(mark));
        watching = true;
        block = wiping_realloc(block, 0);
        watching = false;
        ck_assert_ptr_null(block);
        ck_assert(!mark_seen);
        ck_assert_ptr_null(wiping_realloc(NULL, 0));
}
END_TEST

START_TEST(blocks_are_those_of_malloc) {
        char *block = malloc(100);

        memcpy(block, mark, sizeof(mark));
        __asm__ volatile("" : : "r"(block) : "memory");
        watching = true;
        wiping_free(block);
        watching = false;
        ck_assert(!mark_seen);
        free(wiping_malloc(100));
}
END_TEST

START_TEST(the_watch_sees_a_leak) {
        char *block = malloc(100);

        memcpy(block, mark, sizeof(mark));
        /* Without this the compiler drops a store that nobody reads. */
        __asm__ volatile("" : : "r"(block) : "memory");
        watching = true;
        free(block);
        watching = false;
        ck_assert(mark_seen);
}
END_TEST

START_TEST(overflow_and_failure) {
        const size_t too_large = (size_t)PTRDIFF_MAX + 1;

        ck_assert_ptr_null(wiping_malloc(SIZE_MAX));
        ck_assert_ptr_null(wiping_malloc(too_large));
        ck_assert_ptr_null(wiping_calloc(SIZE_MAX / 2, 3));
        ck_assert_ptr_null(wiping_calloc(too_large / 4, 4));

        char *block = wiping_calloc(4, 25);
        ck_assert_int_eq(block[99], 0);
        block[0] = 'k';

        (void)fail_allocation_arm(1);
        void *moved = wiping_realloc(block, 1000);
        fail_allocation_disarm();
        ck_assert_ptr_null(moved);
        ck_assert_ptr_null(wiping_realloc(block, too_large));
        ck_assert_int_eq(block[0], 'k');
        wiping_free(block);

        char *fresh = wiping_realloc(NULL, 10);
        ck_assert_ptr_nonnull(fresh);
        wiping_free(fresh);
}
END_TEST

SUITE_MAIN("wiping_alloc", freed_and_moved_blocks_are_wiped, all_that_malloc_gave_is_wiped,
           a_size_of_0_frees, blocks_are_those_of_malloc, the_watch_sees_a_leak,
           overflow_and_failure)
