/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/key_create.h"

TSS2_RC key_create(struct tpm *tpm, TPM2_HANDLE parent, const struct session_use *use,
                   const TPM2B_SENSITIVE_CREATE *sensitive, const TPM2B_PUBLIC *template,
                   TPM2B_PRIVATE *ret_private, TPM2B_PUBLIC *ret_public) {
        static const TPM2B_DATA no_data;
        static const TPML_PCR_SELECTION no_pcrs;
        const struct session_command command = {.use = *use, .encrypt = true};
        TPM2B_CREATION_DATA data = {0};
        TPM2B_DIGEST hash = {0};
        TPMT_TK_CREATION ticket = {0};
        TSS2_SYS_CONTEXT *sys = session_sys(tpm);

        TSS2_RC rc = Tss2_Sys_Create_Prepare(sys, parent, sensitive, template, &no_data, &no_pcrs);
        if (rc == TSS2_RC_SUCCESS)
                rc = session_execute(tpm, &command, NULL);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_Create_Complete(sys, ret_private, ret_public, &data, &hash, &ticket);
        return rc;
}
