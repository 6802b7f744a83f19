/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One harness a program.  With clang, -Dfuzz=true links it with libFuzzer; always it is also linked
 * with replay.c, which runs the files of tests/fuzz/corpus/NAME as part of the unit suite. */

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stops the run as a crash does, in every build. */
#define FUZZ_CHECK(condition)             \
        do {                              \
                if (!(condition))         \
                        __builtin_trap(); \
        } while (0)
