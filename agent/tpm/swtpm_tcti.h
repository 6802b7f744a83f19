/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A connection to a software TPM that never waits for ever: "swtpm:path=SOCKET" and
 * "swtpm:host=HOST,port=PORT".
 *
 * The module of tpm2-tss has no time limit, no unix sockets in the version of Debian 12, and keeps the
 * one connection that swtpm accepts.  This one connects for each command, so that others can use the
 * same swtpm meanwhile.
 *
 * Ownership: swtpm_tcti_new() gives a context to free with swtpm_tcti_free().
 * Threads:   one at a time.
 * Source:    TSS 2.0 TPM Command Transmission Interface API, version 1.0 revision 18.
 */

#include <tss2/tss2_tcti.h>

#include "wlagent/error.h"

/* Whether the TCTI string is one for this module. */
bool swtpm_tcti_takes(const char *tcti);

/* Does not connect.  limit_msec bounds each command, connecting included. */
int swtpm_tcti_new(const char *tcti, int limit_msec, TSS2_TCTI_CONTEXT **ret,
                   struct wla_error *err) _must_check_;

/* Accepts and returns NULL. */
TSS2_TCTI_CONTEXT *swtpm_tcti_free(TSS2_TCTI_CONTEXT *context);

/* errno of the last failure; 0 when there was none. */
int swtpm_tcti_errno(const TSS2_TCTI_CONTEXT *context);
