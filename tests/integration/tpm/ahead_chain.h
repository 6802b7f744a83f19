/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys that are opened one behind the other, each prepared while the TPM is at the one before it (tpm/rsa_decrypt.h). */

#include "host.h"
#include "intel_host.h"
#include "tests.h"
#include "tpm/rsa_decrypt.h"

#define CHAIN 6u

/* TPM2_RSA_Decrypt, as a fault names it. */
#define CHAIN_DECRYPT "0x159"

struct chain {
        struct host host;
        bool of_intel;
        struct host_key key;
        struct buf wrapped[CHAIN];
        char texts[CHAIN][40];
        size_t prepared; /* the number of the next that chain_prepare_next() prepares */
        size_t last;     /* the first that it does not */
        const char *fingerprint;
        bool short_of_memory;
        int limit_msec; /* 0: the usual */
};

/* What fails, from the step of the exchange with that number on, counted from 1; 0: nothing. */
extern struct chain_fails {
        unsigned send;
        unsigned open;
} chain_fails;

extern const char *const chain_no_faults[];

void chain_begin(struct chain *chain, bool of_intel, uint32_t pcrs);
void chain_end(struct chain *chain);

/* From here, with a new connection behind the proxy, in which the first is opened with nothing prepared. */
void chain_restart(struct chain *chain, const char *const faults[]);

/* For tpm_while_at_work(); the second prepares another kind of key than the one that the TPM is at. */
void chain_prepare_next(void *chain);
void chain_prepare_of_intel(void *chain);

int chain_open(struct chain *chain, size_t i);

/* The same, which has to succeed. */
void chain_opens(struct chain *chain, size_t i);

bool chain_is_under_way(const struct chain *chain, size_t i);
