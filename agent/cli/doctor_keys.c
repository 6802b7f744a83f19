/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/doctor.h"
#include "tpm/tpm.h"

static const char remedy_foreign[] =
        "have its owner wrap it for this host again, or remove it with "
        "'wlagent key remove'";

static bool has_local_keys(const struct doctor *doctor) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        _cleanup_key_names_ struct key_names names = {0};
        struct wla_error ignored = {0};

        return invocation_key_store(doctor->invocation, &store, &ignored) == 0 &&
               key_store_list(&store, &names, &ignored) == 0 && names.count > 0;
}

bool doctor_needs_store(const struct doctor *doctor) {
        const struct config *config = doctor->config;
        struct binding_key_info ignored;
        struct wla_error why = {0};

        return strcmp(config->wls.server_url, "none") == 0 ||
               binding_key_info_read(config->agent.state_directory, &ignored, &why) == 0 ||
               why.code != WLA_E_NOT_FOUND || has_local_keys(doctor);
}

/* Good keys are counted; each bad one is a finding. */
void doctor_check_keys(struct doctor *doctor) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        _cleanup_key_names_ struct key_names names = {0};
        char host[KEY_FINGERPRINT_SIZE];
        struct wla_error err = {0};
        size_t good = 0;

        if (!doctor_needs_store(doctor))
                return;
        if (invocation_host_fingerprint(doctor->invocation, host, &err) < 0 ||
            invocation_key_store(doctor->invocation, &store, &err) < 0 ||
            key_store_list(&store, &names, &err) < 0) {
                doctor_report_error(doctor, FINDING_FAILURE, "keys", &err);
                return;
        }

        for (size_t i = 0; i < names.count; i++) {
                struct key_file file;

                if (key_store_read(&store, names.names[i], &file, &err) < 0)
                        doctor_report_error(doctor, FINDING_FAILURE, "keys", &err);
                else if (strcmp(file.binding_key, host) != 0)
                        doctor_report(doctor, FINDING_WARNING, "keys", remedy_foreign,
                                      "key %s is wrapped for another binding key (%.16s...)",
                                      file.name, file.binding_key);
                else
                        good++;
        }

        doctor_report(doctor, FINDING_OK, "keys", NULL, "%zu of %zu keys in %s are for this host",
                      good, names.count, store.directory);
}
