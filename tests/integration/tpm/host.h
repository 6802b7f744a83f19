/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What most tests begin with: a TPM, a state directory and struct tpm on both, and what an owner does. */

#include "base/buf.h"
#include "base/secret.h"
#include "swtpm.h"
#include "tpm/context.h"

#define CAPTURE_MAX (1024u * 1024u)

struct host {
        struct swtpm swtpm;
        char state[64];
        struct tpm *tpm;
        struct wla_error err;
        size_t heap_used; /* before the test */
        pid_t proxy;
        char proxy_socket[96];
};

void host_begin(struct host *host);

/* The same with another TCTI string for struct tpm. */
void host_begin_through(struct host *host, const char *tcti);

/* Ends struct tpm and its TPM. */
void host_end(struct host *host);

/* Runs setup, which has to succeed. */
void host_setup(struct host *host, uint32_t handle, uint32_t pcrs);

/* What an owner does with binding-key.pem. */
void host_wrap(struct host *host, const char *key, struct buf *wrapped);

/* Opens it and compares. */
void host_expect(struct host *host, const struct buf *wrapped, const char *key);

/* tpm_unbind() that has to fail with this code, and with this in its text. */
void host_expect_failure(struct host *host, const struct buf *wrapped, enum wla_code code,
                         const char *text);

/* tpm_unbind() that opens the right key, or fails cleanly. */
int host_try(struct host *host, const struct buf *wrapped, const char *key);

/* Makes a new struct tpm that reaches the TPM through tpm_fault_proxy with these faults, NULL at the
 * end.  What crosses is captured in the TPM's directory. */
void host_behind_proxy(struct host *host, const char *const faults[]);

/* Whether this was captured; and whether any eight bytes in a row of it were, which is too much of a secret. */
bool host_capture_holds(struct host *host, const void *what, size_t size);
bool host_capture_holds_part_of(struct host *host, const void *what, size_t size);

struct wla_bytes bytes_of(const struct buf *buf);
