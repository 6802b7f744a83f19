/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The memory of libxml2: wiped when libxml2 gives it back, because definitions of domains can hold the
 * passwords of their consoles, and with a record of failures, which libxml2 does not tell of everywhere.
 *
 * Its blocks are malloc(3)'s (wiping_alloc.h): libvirt gives some that libxml2 has made back with free(3).
 *
 * Threads: any.  Failure: none.
 */

#include <stdbool.h>

/* Sets it up when this is the first call, and forgets failures of this thread. */
void xml_memory_begin(void);

/* Whether an allocation of libxml2 on this thread has failed since. */
bool xml_memory_failed(void);
