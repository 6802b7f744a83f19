/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* openssl_memory_init() for programs that are linked with libvirt: libssh, which libvirt needs, has OpenSSL allocate
 * as soon as it is loaded, before main().  So it is called before the libraries are initialised, from
 * .preinit_array (System V ABI, "Initialization and Termination Functions"); this tells what came of it.
 *
 * Threads: before the first one.  Failure: as openssl_memory_init().
 */

#include "wlagent/error.h"

int openssl_first(struct wla_error *err) _must_check_;
