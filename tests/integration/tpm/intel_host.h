/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A host whose Trust Agent and workload agent were Intel's, see tests/integration/intel-host/make: files and
 * credentials are in host.state, from where tests may change them. */

#include "host.h"
#include "tpm/host_key.h"

#define BINDING_SECRET "00112233445566778899aabbccddeeff01234567"
#define SIGNING_SECRET "89abcdef0123456789abcdef0123456789abcd00"

/* Places both keys. */
void intel_host_begin(struct host *host);

void intel_host_write_credential(struct host *host, const char *name, const char *text);
void intel_host_place(struct host *host, enum host_key_usage usage, const char *file,
                      const char *credential);
void intel_host_place_both(struct host *host);
void intel_host_read_key(struct host *host, enum host_key_usage usage, struct host_key *ret);

/* What a key broker does with the certified key. */
void intel_host_wrap(struct host *host, const struct host_key *key, struct buf *wrapped);

/* Opens it and compares; the second has to succeed. */
int intel_host_unbind(struct host *host, const struct buf *wrapped);
void intel_host_opens(struct host *host, const struct buf *wrapped);

/* That it has failed, with this code, this in its text, and a hint. */
void host_is_refused(const struct host *host, int r, enum wla_code code, const char *text);

/* Has the signing key sign something, and verifies it. */
void intel_host_signs(struct host *host);

/* As the TPM counts them. */
unsigned host_wrong_authorisations(struct host *host);
