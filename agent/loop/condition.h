/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A condition that callers with a deadline wait for.
 *
 * Threads: any, as pthread_cond_wait(3) wants it.
 */

#include <pthread.h>

#include "base/clock.h"

/* Its waits end by CLOCK_MONOTONIC. */
void condition_init(pthread_cond_t *condition);

/* Waits with the lock held, perhaps shorter than until the deadline: another thread can move that, which
 * wakes nobody here.  The caller looks at both again. */
void condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock,
                    const struct deadline *deadline);
