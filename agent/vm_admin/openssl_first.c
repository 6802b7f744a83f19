/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/openssl_first.h"

#include "base/openssl_memory.h"

static struct wla_error failure;
static int outcome = -1;

static void before_the_libraries(void) {
        outcome = openssl_memory_init(&failure);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const first)(void) = before_the_libraries;

int openssl_first(struct wla_error *err) {
        if (outcome < 0)
                *err = failure;
        return outcome;
}
