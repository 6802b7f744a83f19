/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One harness a program.  Always it is linked with replay.c, which runs the files of
 * tests/fuzz/corpus/NAME as part of the unit suite; with clang also with libFuzzer:
 *
 *   CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
 *   ninja -C build-fuzz && mkdir -p build-fuzz/found
 *   build-fuzz/tests/fuzz/fuzz-h2 build-fuzz/found tests/fuzz/corpus/h2
 */

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stops the run as a crash does, in every build. */
#define FUZZ_CHECK(condition)             \
        do {                              \
                if (!(condition))         \
                        __builtin_trap(); \
        } while (0)
