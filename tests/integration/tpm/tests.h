/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of test_tpm. */

#include <check.h>

/* 32 bytes that occur nowhere else. */
#define KEY "k3y:Zq8mXv1LwRt5Yb7NcGd2HfJ9Pa4Su"

void add_setup_tests(TCase *tcase);
void add_unbind_tests(TCase *tcase);
void add_pcr_tests(TCase *tcase);
void add_fault_tests(TCase *tcase);
void add_fault_sweep_tests(TCase *tcase);
void add_wire_tests(TCase *tcase);
void add_transport_tests(TCase *tcase);
void add_opener_tests(TCase *tcase);
void add_host_key_tests(TCase *tcase);
void add_session_tests(TCase *tcase);
void add_interposer_tests(TCase *tcase);
void add_ahead_tests(TCase *tcase);
void add_ahead_fault_tests(TCase *tcase);
