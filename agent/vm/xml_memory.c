/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/xml_memory.h"

#include <libxml/parser.h>
#include <pthread.h>
#include <string.h>

#include "base/wiping_alloc.h"

static _Thread_local bool failed;

static void *allocated(void *block) {
        if (!block)
                failed = true;
        return block;
}

static void *allocate(size_t size) {
        return allocated(wiping_malloc(size));
}

static void *reallocate(void *block, size_t size) {
        return allocated(wiping_realloc(block, size));
}

static char *duplicate(const char *text) {
        size_t size = strlen(text) + 1;
        char *copy = allocate(size);

        return copy ? memcpy(copy, text, size) : NULL;
}

static void set_up(void) {
        (void)xmlMemSetup(wiping_free, allocate, reallocate, duplicate);
        xmlInitParser();
}

void xml_memory_init(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        (void)pthread_once(&once, set_up);
}

void xml_memory_begin(void) {
        failed = false;
        xml_memory_init();
}

bool xml_memory_failed(void) {
        return failed;
}
