/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tpm/properties.h"

/* Four characters, big endian; what is not printable becomes a space. */
static void append_text(char *to, size_t at, uint32_t value) {
        for (unsigned i = 0; i < 4; i++) {
                char c = (char)(value >> (24 - 8 * i) & 0xff);

                to[at + i] = c == '\0' || (c > ' ' && c <= '~') ? c : ' ';
        }
}

static int read_fixed(struct tpm *tpm, struct tpm_facts *facts, struct wla_error *err) {
        TPML_TAGGED_TPM_PROPERTY found;
        char *vendor = facts->vendor;

        TSS2_RC rc = tpm_properties_read(tpm, TPM2_PT_MANUFACTURER,
                                         TPM2_PT_FIRMWARE_VERSION_2 - TPM2_PT_MANUFACTURER + 1,
                                         &found);
        if (tpm_check(tpm, rc, "asking the TPM for its properties", err) < 0)
                return -1;

        append_text(facts->manufacturer, 0, tpm_property(&found, TPM2_PT_MANUFACTURER));
        for (unsigned i = 0; i < 4; i++)
                append_text(vendor, strlen(vendor),
                            tpm_property(&found, TPM2_PT_VENDOR_STRING_1 + i));
        facts->firmware[0] = tpm_property(&found, TPM2_PT_FIRMWARE_VERSION_1);
        facts->firmware[1] = tpm_property(&found, TPM2_PT_FIRMWARE_VERSION_2);
        return 0;
}

static int read_lockout(struct tpm *tpm, struct tpm_facts *facts, struct wla_error *err) {
        struct tpm_lockout lockout;

        if (tpm_check(tpm, tpm_lockout_read(tpm, &lockout), "asking the TPM for its lockout", err) <
            0)
                return -1;

        facts->in_lockout = lockout.now;
        facts->lockout_counter = lockout.counter;
        facts->lockout_recovery_sec = lockout.interval_sec;
        return 0;
}

static int read_banks(struct tpm *tpm, struct tpm_facts *facts, struct wla_error *err) {
        _cleanup_esys_ TPMS_CAPABILITY_DATA *data = NULL;
        TPMI_YES_NO more = TPM2_NO;

        TSS2_RC rc = Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                        TPM2_CAP_PCRS, 0, TPM2_MAX_CAP_HANDLES, &more, &data);
        if (tpm_check(tpm, rc, "asking the TPM for its PCR banks", err) < 0)
                return -1;

        const TPML_PCR_SELECTION *banks = &data->data.assignedPCR;
        for (uint32_t i = 0; i < banks->count && i < TPM2_NUM_PCR_BANKS; i++) {
                const TPMS_PCR_SELECTION *bank = &banks->pcrSelections[i];

                if (bank->hash == TPM2_ALG_SHA256 && bank->sizeofSelect >= 1 &&
                    bank->pcrSelect[0] != 0)
                        facts->sha256_bank = true;
        }
        return 0;
}

static int facts_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        struct tpm_facts facts = {0};

        if (read_fixed(tpm, &facts, err) < 0 || read_lockout(tpm, &facts, err) < 0 ||
            read_banks(tpm, &facts, err) < 0)
                return -1;

        *(struct tpm_facts *)arg = facts;
        return 0;
}

int tpm_facts(struct tpm *tpm, struct tpm_facts *ret, struct wla_error *err) {
        return tpm_run(tpm, NULL, facts_step, ret, err);
}
