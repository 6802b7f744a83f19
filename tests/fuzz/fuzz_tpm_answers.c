/* SPDX-License-Identifier: Apache-2.0 */

/* A TPM that answers anything.  The input is one answer after another, each with a TPM header; in front
 * of them a byte that says what is asked of the TPM. */

#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tcti.h>

#include "fuzz.h"
#include "tpm/context.h"
#include "tpm/load.h"
#include "tpm/pcr.h"

#define HEADER_SIZE 10u
#define MAGIC       UINT64_C(0x66757a7a)

struct player {
        TSS2_TCTI_CONTEXT_COMMON_V1 common;
        const uint8_t *data;
        size_t left;
};

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command) {
        (void)context;
        (void)size;
        (void)command;
        return TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response,
                       int32_t timeout) {
        struct player *player = (struct player *)(void *)context;
        size_t room = *size;

        (void)timeout;
        if (player->left < HEADER_SIZE)
                return TSS2_TCTI_RC_IO_ERROR;

        *size = (size_t)player->data[4] << 8 | player->data[5];
        if (*size < HEADER_SIZE || *size > player->left)
                return TSS2_TCTI_RC_IO_ERROR;
        if (!response)
                return TSS2_RC_SUCCESS;
        if (room < *size)
                return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;

        memcpy(response, player->data, *size);
        player->data += *size;
        player->left -= *size;
        return TSS2_RC_SUCCESS;
}

static int read_pcrs(struct tpm *tpm, void *arg, struct wla_error *err) {
        uint8_t values[PCR_COUNT][PCR_SHA256_SIZE];

        (void)arg;
        return pcr_read(tpm, PCR_MASK, values, err);
}

static int find_storage(struct tpm *tpm, void *arg, struct wla_error *err) {
        bool found = false;

        (void)arg;
        return storage_key_find(tpm, &found, err);
}

static int make_storage(struct tpm *tpm, void *arg, struct wla_error *err) {
        (void)arg;
        return storage_key_make(tpm, err);
}

static int read_facts(struct tpm *tpm, struct wla_error *err) {
        struct tpm_facts facts;

        if (tpm_facts(tpm, &facts, err) < 0)
                return -1;
        FUZZ_CHECK(memchr(facts.vendor, '\0', sizeof(facts.vendor)));
        FUZZ_CHECK(memchr(facts.manufacturer, '\0', sizeof(facts.manufacturer)));
        return 0;
}

static int ask(struct tpm *tpm, uint8_t what, struct wla_error *err) {
        struct deadline deadline;

        /* Too short for any pause. */
        deadline_init(&deadline, clock_now_usec() + 10 * USEC_PER_MSEC);
        switch (what % 4) {
        case 0:
                return read_facts(tpm, err);
        case 1:
                return tpm_run(tpm, &deadline, read_pcrs, NULL, err);
        case 2:
                return tpm_run(tpm, &deadline, find_storage, NULL, err);
        default:
                return tpm_run(tpm, &deadline, make_storage, NULL, err);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct player player = {
                .common = {.magic = MAGIC, .version = 1, .transmit = transmit, .receive = receive}};
        struct wla_error err = {0};
        struct tpm *tpm = NULL;

        if (size == 0 || tpm_new("none:", "/nowhere", &tpm, &err) < 0)
                return 0;

        player.data = data + 1;
        player.left = size - 1;
        if (Esys_Initialize(&tpm->esys, (TSS2_TCTI_CONTEXT *)(void *)&player, NULL) ==
            TSS2_RC_SUCCESS) {
                int r = ask(tpm, data[0], &err);
                FUZZ_CHECK((r < 0) == (err.code != WLA_OK));
                FUZZ_CHECK(r == 0 || wla_error_text(&err)[0] != '\0');
        }
        (void)tpm_free(tpm);
        return 0;
}
