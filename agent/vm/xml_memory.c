/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/xml_memory.h"

#include <libxml/parser.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local bool failed;

static void *allocate(size_t size) {
        void *block = malloc(size);

        if (!block)
                failed = true;
        return block;
}

static void release(void *block) {
        if (block)
                explicit_bzero(block, malloc_usable_size(block));
        free(block);
}

static void *reallocate(void *block, size_t size) {
        void *moved = allocate(size);
        size_t kept = block ? malloc_usable_size(block) : 0;

        if (!moved)
                return NULL;
        if (block)
                memcpy(moved, block, kept < size ? kept : size);
        release(block);
        return moved;
}

static char *duplicate(const char *text) {
        size_t size = strlen(text) + 1;
        char *copy = allocate(size);

        return copy ? memcpy(copy, text, size) : NULL;
}

static void set_up(void) {
        (void)xmlMemSetup(release, allocate, reallocate, duplicate);
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
