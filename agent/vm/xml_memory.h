/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The memory of libxml2: wiped when it is given back, because definitions of domains can hold the
 * passwords of their consoles, and with a record of failures, which libxml2 does not tell of everywhere.
 *
 * Threads: any.  Failure: none.
 */

#include <stdbool.h>

/* Before the first use of libxml2 by this process; later calls do nothing.  What libxml2 has allocated
 * before is not safe to free any more. */
void xml_memory_init(void);

/* The same, and forgets failures of this thread. */
void xml_memory_begin(void);

/* Whether an allocation of libxml2 on this thread has failed since. */
bool xml_memory_failed(void);
