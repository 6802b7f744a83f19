/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What TPM2_GetCapability tells about the TPM itself: Part 2, section 6.13. */

#include "tpm/context.h"

TSS2_RC tpm_properties_read(struct tpm *tpm, TPM2_PT first, uint32_t count,
                            TPML_TAGGED_TPM_PROPERTY *ret) _must_check_;

/* 0 for one that the TPM does not have. */
uint32_t tpm_property(const TPML_TAGGED_TPM_PROPERTY *properties, TPM2_PT wanted);

struct tpm_lockout {
        bool now;
        uint32_t counter;
        uint32_t interval_sec; /* until the counter goes down by one */
};

TSS2_RC tpm_lockout_read(struct tpm *tpm, struct tpm_lockout *ret) _must_check_;
