/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pcr_option.h"

#include <stdio.h>
#include <string.h>

static int fail(const char *text, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_INPUT, "write numbers of 0..23, like 7,11",
                             "'%.80s' is not a list of PCRs", text);
}

int pcr_option_parse(const char *text, uint32_t *ret, struct wla_error *err) {
        const char *at = text;
        uint32_t pcrs = 0;

        for (;;) {
                size_t digits = strspn(at, "0123456789");
                unsigned number = 0;

                if (digits == 0 || digits > 2)
                        return fail(text, err);
                for (size_t i = 0; i < digits; i++)
                        number = number * 10 + (unsigned)(at[i] - '0');
                if (number >= PCR_COUNT || pcrs & UINT32_C(1) << number)
                        return fail(text, err);

                pcrs |= UINT32_C(1) << number;
                at += digits;
                if (*at == '\0')
                        break;
                if (*at != ',')
                        return fail(text, err);
                at++;
        }

        *ret = pcrs;
        return 0;
}

void pcr_option_format(uint32_t pcrs, char to[static PCR_OPTION_TEXT_MAX]) {
        size_t length = 0;

        to[0] = '\0';
        for (unsigned number = 0; number < PCR_COUNT; number++)
                if (pcrs & UINT32_C(1) << number)
                        length += (size_t)snprintf(to + length, PCR_OPTION_TEXT_MAX - length,
                                                   "%s%u", length > 0 ? "," : "", number);
}
