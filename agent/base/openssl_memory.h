/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Has OpenSSL, and whatever uses it in this process, wipe all memory that it frees.
 *
 * OpenSSL itself cleanses what its authors took for secret.  Some is not: the padded block of RSA-OAEP, from which
 * the key can be computed (crypto/rsa/rsa_oaep.c, ossl_rsa_padding_add_PKCS1_OAEP_mgf1_ex() cleanses dbmask and seedmask
 * alone), records of TLS, session tickets, buffers of BIOs.  Ordinary memory as before, neither locked nor left out of
 * dumps: not the place for a plaintext key.
 *
 * By wiping_alloc.h, so blocks stay those of malloc(3): a library that gives one of OpenSSL's to free(3), or the other
 * way round, works as it did.
 *
 * Threads: before the first one.  Failure: WLA_E_SYSTEM when OpenSSL has allocated before
 *          (CRYPTO_set_mem_functions(3)); a program that handles keys does not go on then.
 */

#include "wlagent/error.h"

int openssl_memory_init(struct wla_error *err) _must_check_;
