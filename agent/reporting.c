/* SPDX-License-Identifier: Apache-2.0 */
#include "reporting.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "tpm/signer.h"

_Static_assert(TPM_DIGEST_SIZE == REPORT_DIGEST_SIZE, "the TPM signs what a report is reduced to");
_Static_assert(TPM_SIGNATURE_SIZE == REPORT_SIGNATURE_SIZE, "a report has room for a signature");

static int sign(void *self, const uint8_t digest[REPORT_DIGEST_SIZE],
                const struct deadline *deadline, uint8_t ret[REPORT_SIGNATURE_SIZE],
                struct wla_error *err) {
        return signer_sign(self, digest, deadline, ret, err);
}

/* signingkey.pem beside signingkey.json, as Intel's agent and wlagent setup have it. */
static void name_certificate(const char *key, char to[PATH_MAX]) {
        static const char json[] = ".json";
        size_t size = strlen(key);
        size_t suffix = strlen(json);

        if (size > suffix && strcmp(key + size - suffix, json) == 0)
                size -= suffix;
        (void)snprintf(to, PATH_MAX, "%.*s.pem", (int)size, key);
}

int reporting_new(const struct config *config, sd_event *event, const struct wls_road *road,
                  struct lane *tpm_lane, struct trust_reporter **ret, struct wla_error *err) {
        char certificate[PATH_MAX];

        *ret = NULL;
        if (!road || !config->wls.reports)
                return 0;
        name_certificate(config->wls.signing_key, certificate);
        const struct trust_reporter_options options = {
                .event = event,
                .state_directory = config->agent.state_directory,
                .host = *wls_road_hardware(road),
                .wls = *wls_road_service(road),
                .signer = {.certificate = certificate, .sign = sign, .self = tpm_lane},
        };

        return trust_reporter_new(&options, ret, err);
}
