/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/pcr.h"

#include <openssl/evp.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "tpm/templates.h"

static const char hint_pcrs[] =
        "boot the state that was set up; after a wanted firmware or kernel update run "
        "'wlagent setup --replace' and have owners wrap their keys again";
static const char hint_bank[] = "switch the SHA-256 bank on in the firmware setup";

/* The TPM answers with as many as fit, lowest first; returns those it gave. */
static int read_some(struct tpm *tpm, uint32_t wanted, uint32_t *ret_given,
                     uint8_t values[PCR_COUNT][PCR_SHA256_SIZE], struct wla_error *err) {
        const TPML_PCR_SELECTION selection = pcr_selection(wanted);
        _cleanup_esys_ TPML_PCR_SELECTION *given = NULL;
        _cleanup_esys_ TPML_DIGEST *digests = NULL;
        uint32_t mask = 0;
        unsigned next = 0;

        TSS2_RC rc = Esys_PCR_Read(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &selection,
                                   NULL, &given, &digests);
        if (tpm_check(tpm, rc, "reading PCRs", err) < 0)
                return -1;

        if (given->count == 1 && given->pcrSelections[0].hash == TPM2_ALG_SHA256) {
                const uint8_t *select = given->pcrSelections[0].pcrSelect;
                mask = wanted & (uint32_t)(select[0] | select[1] << 8 | select[2] << 16);
        }

        for (unsigned i = 0; i < PCR_COUNT; i++) {
                if (!(mask >> i & 1))
                        continue;
                if (next >= digests->count || next >= 8 ||
                    digests->digests[next].size != PCR_SHA256_SIZE)
                        return wla_fail(err, WLA_E_TPM, "the TPM answered without PCR %u", i);
                memcpy(values[i], digests->digests[next++].buffer, PCR_SHA256_SIZE);
        }

        *ret_given = mask;
        return 0;
}

int pcr_read(struct tpm *tpm, uint32_t pcrs, uint8_t values[PCR_COUNT][PCR_SHA256_SIZE],
             struct wla_error *err) {
        while (pcrs != 0) {
                uint32_t given = 0;

                if (read_some(tpm, pcrs, &given, values, err) < 0)
                        return -1;
                if (given == 0)
                        return wla_fail_hint(err, WLA_E_TPM, hint_bank,
                                             "this TPM keeps no PCRs in the SHA-256 bank");
                pcrs &= ~given;
        }
        return 0;
}

int pcr_policy_compute(uint32_t pcrs, uint8_t values[PCR_COUNT][PCR_SHA256_SIZE], TPM2B_DIGEST *ret,
                       struct wla_error *err) {
        const TPML_PCR_SELECTION selection = pcr_selection(pcrs);
        uint8_t pcr_bytes[PCR_COUNT * PCR_SHA256_SIZE];
        size_t pcr_size = 0;
        uint8_t step[TPM2_SHA256_DIGEST_SIZE + 4 + sizeof(selection) + TPM2_SHA256_DIGEST_SIZE] = {
                0};
        size_t at = TPM2_SHA256_DIGEST_SIZE; /* behind the digest so far, which is zero */
        unsigned size = 0;

        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (pcrs >> i & 1) {
                        memcpy(pcr_bytes + pcr_size, values[i], PCR_SHA256_SIZE);
                        pcr_size += PCR_SHA256_SIZE;
                }

        if (Tss2_MU_UINT32_Marshal(TPM2_CC_PolicyPCR, step, sizeof(step), &at) != TSS2_RC_SUCCESS ||
            Tss2_MU_TPML_PCR_SELECTION_Marshal(&selection, step, sizeof(step), &at) !=
                    TSS2_RC_SUCCESS ||
            EVP_Digest(pcr_bytes, pcr_size, step + at, &size, EVP_sha256(), NULL) != 1 ||
            EVP_Digest(step, at + size, ret->buffer, &size, EVP_sha256(), NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "cannot compute the PCR policy");

        ret->size = (uint16_t)size;
        return 0;
}

static int fail_changed(struct tpm *tpm, struct wla_error *err) {
        const struct binding_key *key = &tpm->key;
        uint8_t now[PCR_COUNT][PCR_SHA256_SIZE];
        uint32_t changed = 0;
        char list[96];

        if (pcr_read(tpm, key->pcrs, now, err) < 0)
                return -1;

        for (unsigned i = 0; i < PCR_COUNT; i++)
                if ((key->pcrs >> i & 1) &&
                    memcmp(now[i], key->pcr_values[i], PCR_SHA256_SIZE) != 0)
                        changed |= UINT32_C(1) << i;

        pcr_list_format(changed != 0 ? changed : key->pcrs, list, sizeof(list));
        return wla_fail_hint(
                err, WLA_E_DENIED, hint_pcrs,
                "this host is not in the state that the binding key was bound to: PCR %s "
                "changed since setup",
                list);
}

int pcr_policy_satisfy(struct tpm *tpm, struct wla_error *err) {
        const TPML_PCR_SELECTION selection = pcr_selection(tpm->key.pcrs);
        static const TPM2B_DIGEST no_digest;
        const TPMI_SH_POLICY session = tpm->session.handle;
        TSS2_SYS_CONTEXT *sys = session_sys(tpm);
        TPM2B_DIGEST digest = {0};

        TSS2_RC rc = Tss2_Sys_PolicyRestart(sys, session, NULL, NULL);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_PolicyPCR(sys, session, NULL, &no_digest, &selection, NULL);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_PolicyGetDigest(sys, session, NULL, &digest, NULL);
        if (tpm_check(tpm, rc, "satisfying the PCR policy", err) < 0)
                return -1;

        if (digest.size == tpm->key.pcr_policy.size &&
            memcmp(digest.buffer, tpm->key.pcr_policy.buffer, digest.size) == 0)
                return 0;
        return fail_changed(tpm, err);
}
