/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/properties.h"

TSS2_RC tpm_properties_read(struct tpm *tpm, TPM2_PT first, uint32_t count,
                            TPML_TAGGED_TPM_PROPERTY *ret) {
        _cleanup_esys_ TPMS_CAPABILITY_DATA *data = NULL;
        TPMI_YES_NO more = TPM2_NO;

        TSS2_RC rc = Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                        TPM2_CAP_TPM_PROPERTIES, first, count, &more, &data);
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        if (data->capability != TPM2_CAP_TPM_PROPERTIES ||
            data->data.tpmProperties.count > TPM2_MAX_TPM_PROPERTIES)
                return TSS2_ESYS_RC_MALFORMED_RESPONSE;

        *ret = data->data.tpmProperties;
        return TSS2_RC_SUCCESS;
}

uint32_t tpm_property(const TPML_TAGGED_TPM_PROPERTY *properties, TPM2_PT wanted) {
        for (uint32_t i = 0; i < properties->count; i++)
                if (properties->tpmProperty[i].property == wanted)
                        return properties->tpmProperty[i].value;
        return 0;
}

TSS2_RC tpm_lockout_read(struct tpm *tpm, struct tpm_lockout *ret) {
        TPML_TAGGED_TPM_PROPERTY found;

        TSS2_RC rc = tpm_properties_read(tpm, TPM2_PT_PERMANENT,
                                         TPM2_PT_LOCKOUT_RECOVERY - TPM2_PT_PERMANENT + 1, &found);
        if (rc != TSS2_RC_SUCCESS)
                return rc;

        *ret = (struct tpm_lockout){
                .now = tpm_property(&found, TPM2_PT_PERMANENT) & TPMA_PERMANENT_INLOCKOUT,
                .counter = tpm_property(&found, TPM2_PT_LOCKOUT_COUNTER),
                .interval_sec = tpm_property(&found, TPM2_PT_LOCKOUT_INTERVAL),
        };
        return TSS2_RC_SUCCESS;
}
