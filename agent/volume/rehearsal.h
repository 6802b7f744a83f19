/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Opens a volume that does not exist, as far as that goes without a device.
 *
 * The first use of OpenSSL and of libcryptsetup in a process costs several times what they are used for: each
 * builds tables of all its algorithms, and libcryptsetup loads a module of OpenSSL's for ciphers that nobody
 * asks for here.  The main process does that before the first session, and each session has it from the
 * fork on.
 *
 * What sessions inherit besides are descriptors of /dev/random and /dev/urandom, which libcryptsetup reads for
 * as long as the process lives: whoever closes descriptors after the fork leaves them (volume/child.h).
 * OpenSSL's generators notice a fork by themselves (EVP_RAND(7)).  No key is inherited: the one that is used
 * here is random, opens nothing, and is wiped.  Nor is a descriptor of device-mapper's: libcryptsetup asks it
 * for its version, and that is forgotten again, for a session may find modules that are loaded later.
 *
 * Threads: before the first one.
 * Failure: whatever a session would fail with; sessions work without it, but begin slowly.
 */

#include "wlagent/error.h"

/* wla_secret_pages_init() has been called. */
int rehearse_opening(struct wla_error *err) _must_check_;
