/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* PCR numbers as people write them, "7,11", and as a bit mask: bit n stands for PCR n.
 *
 * PCRs 0..23 are those of a PC client (TCG PC Client Platform TPM Profile, section 4.6).
 * Pure functions.  Failure: WLA_E_INPUT.
 */

#include <stdint.h>

#include "wlagent/error.h"

#define PCR_COUNT           24u
#define PCR_OPTION_TEXT_MAX 80u

int pcr_option_parse(const char *text, uint32_t *ret, struct wla_error *err) _must_check_;

/* "7,11"; "" for none. */
void pcr_option_format(uint32_t pcrs, char to[static PCR_OPTION_TEXT_MAX]);
