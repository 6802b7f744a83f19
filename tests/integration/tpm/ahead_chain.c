/* SPDX-License-Identifier: Apache-2.0 */
#include "ahead_chain.h"

#include <stdio.h>

#include "fail_allocation.h"

struct chain_fails chain_fails;
const char *const chain_no_faults[] = {NULL};

TSS2_RC __real_session_exchange_send(struct session_exchange *exchange);
TSS2_RC __wrap_session_exchange_send(struct session_exchange *exchange);
TSS2_RC __real_session_exchange_open(const struct session_exchange *exchange,
                                     struct wla_secret *into);
TSS2_RC __wrap_session_exchange_open(const struct session_exchange *exchange,
                                     struct wla_secret *into);

TSS2_RC __wrap_session_exchange_send(struct session_exchange *exchange) {
        if (chain_fails.send > 0 && --chain_fails.send == 0)
                return TSS2_TCTI_RC_IO_ERROR;
        return __real_session_exchange_send(exchange);
}

TSS2_RC __wrap_session_exchange_open(const struct session_exchange *exchange,
                                     struct wla_secret *into) {
        if (chain_fails.open > 0 && --chain_fails.open == 0)
                return TSS2_ESYS_RC_MEMORY;
        return __real_session_exchange_open(exchange, into);
}

void chain_prepare_next(void *arg) {
        struct chain *chain = arg;

        if (chain->prepared >= chain->last)
                return;
        const struct buf *wrapped = &chain->wrapped[chain->prepared++];
        if (chain->short_of_memory)
                (void)fail_allocation_arm(1);
        if (chain->of_intel)
                tpm_host_unbind_prepare(chain->host.tpm, bytes_of(wrapped));
        else
                tpm_unbind_prepare(chain->host.tpm, bytes_of(wrapped), chain->fingerprint);
        fail_allocation_disarm();
}

void chain_prepare_of_intel(void *arg) {
        struct chain *chain = arg;

        if (chain->prepared++ == 1)
                tpm_host_unbind_prepare(chain->host.tpm, bytes_of(&chain->wrapped[1]));
}

int chain_open(struct chain *chain, size_t i) {
        if (chain->of_intel)
                return intel_host_unbind(&chain->host, &chain->wrapped[i]);
        return host_try(&chain->host, &chain->wrapped[i], chain->texts[i]);
}

void chain_opens(struct chain *chain, size_t i) {
        ck_assert_msg(chain_open(chain, i) == 0, "key %zu: %s", i,
                      wla_error_text(&chain->host.err));
}

bool chain_is_under_way(const struct chain *chain, size_t i) {
        return rsa_decrypt_under_way(chain->host.tpm, bytes_of(&chain->wrapped[i]));
}

void chain_restart(struct chain *chain, const char *const faults[]) {
        host_behind_proxy(&chain->host, faults);
        if (chain->limit_msec > 0)
                chain->host.tpm->answer_limit_msec = chain->limit_msec;
        if (chain->of_intel)
                intel_host_place_both(&chain->host);
        chain->prepared = chain->last = 0;
        chain_opens(chain, 0);
        chain->prepared = 1;
        chain->last = CHAIN;
        tpm_while_at_work(chain->host.tpm, chain_prepare_next, chain);
}

void chain_begin(struct chain *chain, bool of_intel, uint32_t pcrs) {
        *chain = (struct chain){.of_intel = of_intel};
        if (of_intel) {
                intel_host_begin(&chain->host);
                intel_host_read_key(&chain->host, HOST_KEY_BINDING, &chain->key);
        } else {
                host_begin(&chain->host);
                host_setup(&chain->host, 0, pcrs);
        }
        for (size_t i = 0; i < CHAIN; i++) {
                (void)snprintf(chain->texts[i], sizeof(chain->texts[i]), "%s%zu", KEY, i);
                if (of_intel)
                        intel_host_wrap(&chain->host, &chain->key, &chain->wrapped[i]);
                else
                        host_wrap(&chain->host, chain->texts[i], &chain->wrapped[i]);
        }
}

void chain_end(struct chain *chain) {
        for (size_t i = 0; i < CHAIN; i++)
                buf_clear(&chain->wrapped[i]);
        host_end(&chain->host);
}
