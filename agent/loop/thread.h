/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Threads as the pool and the lane want them: named, small, and deaf to signals.
 *
 * Ownership: the caller joins the thread.
 * Failure:   WLA_E_SYSTEM.
 */

#include <pthread.h>

#include "wlagent/error.h"

/* Besides the terminating zero; the kernel's TASK_COMM_LEN. */
#define THREAD_NAME_MAX 15u

int thread_start(const char *name, void *(*run)(void *), void *argument, pthread_t *ret,
                 struct wla_error *err) _must_check_;
