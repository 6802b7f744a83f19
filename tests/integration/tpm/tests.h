/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of test_tpm. */

#include <check.h>

void add_unbind_tests(TCase *tcase);
