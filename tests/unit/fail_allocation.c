/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"

#include <errno.h>
#include <stdint.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

static _Thread_local size_t countdown;
static _Thread_local bool armed;
static _Thread_local bool hit;
static _Thread_local bool paused;

bool fail_allocation_arm(size_t n) {
        bool again = n == 1 || hit;

        armed = again;
        hit = false;
        countdown = n;
        return again;
}

void fail_allocation_disarm(void) {
        armed = false;
}

void fail_allocation_pause(bool pause) {
        paused = pause;
}

bool fail_allocation_hit(void) {
        return hit;
}

static bool fail_this_one(void) {
        if (!armed || paused || --countdown > 0)
                return false;

        armed = false;
        hit = true;
        errno = ENOMEM;
        return true;
}

void *__wrap_malloc(size_t size) {
        return fail_this_one() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
        return fail_this_one() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size) {
        return fail_this_one() ? NULL : __real_realloc(block, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
        return fail_this_one() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text) {
        return fail_this_one() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size) {
        return fail_this_one() ? NULL : __real_strndup(text, size);
}
