/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/xml_memory.h"

#include <libxml/parser.h>
#include <pthread.h>

#include "base/wiping_alloc.h"

static _Thread_local bool failed;

static void *allocate(size_t size) {
        void *block = wiping_malloc(size);

        failed = failed || !block;
        return block;
}

static void *reallocate(void *block, size_t size) {
        void *moved = wiping_realloc(block, size);

        failed = failed || (!moved && size > 0);
        return moved;
}

static char *duplicate(const char *text) {
        char *copy = wiping_strdup(text);

        failed = failed || !copy;
        return copy;
}

static void set_up(void) {
        (void)xmlMemSetup(wiping_free, allocate, reallocate, duplicate);
        xmlInitParser();
}

void xml_memory_begin(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        failed = false;
        (void)pthread_once(&once, set_up);
}

bool xml_memory_failed(void) {
        return failed;
}
