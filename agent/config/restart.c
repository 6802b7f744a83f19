/* SPDX-License-Identifier: Apache-2.0 */
#include "config/restart.h"

#include <string.h>

#include "base/log.h"

struct change {
        const char *name;
        bool made;
};

static bool differ(const char *a, const char *b) {
        return strcmp(a, b) != 0;
}

/* whose: the program that has to be started again */
static void tell(const struct change *changes, size_t count, const char *whose) {
        for (size_t i = 0; i < count; i++)
                if (changes[i].made)
                        log_line(LOG_WARNING, "%s has changed and takes effect after a restart%s",
                                 changes[i].name, whose);
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void tell_wls(const struct config *first, const struct config *next) {
        const struct change changes[] = {
                {"ServerURL=", differ(first->wls.server_url, next->wls.server_url)},
                {"TokenURL=", differ(first->wls.token_url, next->wls.token_url)},
                {"ServiceUser=", differ(first->wls.service_user, next->wls.service_user)},
                {"AllowedKeyOrigins=",
                 differ(first->wls.allowed_key_origins, next->wls.allowed_key_origins)},
                {"TrustDirectory=", differ(first->wls.trust_directory, next->wls.trust_directory)},
                {"HardwareUUID=", differ(first->wls.hardware_uuid, next->wls.hardware_uuid)},
                {"BindingKey=", differ(first->wls.binding_key, next->wls.binding_key)},
                {"SigningKey=", differ(first->wls.signing_key, next->wls.signing_key)},
                {"MaxRequests=", first->wls.max_requests != next->wls.max_requests},
                {"AllowTLS12=", first->wls.allow_tls12 != next->wls.allow_tls12},
                {"VerifyFlavors=", first->wls.verify_flavors != next->wls.verify_flavors},
                {"FlavorTrustDirectory=",
                 differ(first->wls.flavor_trust_directory, next->wls.flavor_trust_directory)},
                {"Reports=", first->wls.reports != next->wls.reports},
        };

        tell(changes, COUNT(changes), "");
}

static void tell_volumes(const struct config *first, const struct config *next) {
        const struct change changes[] = {
                {"AgentUser=", differ(first->volumes.agent_user, next->volumes.agent_user)},
                {"ImageRoots=",
                 differ(first->volumes.image_roots.text, next->volumes.image_roots.text)},
                {"LayerDirectory=",
                 differ(first->volumes.layer_directory, next->volumes.layer_directory)},
                {"DigestDirectory=",
                 differ(first->volumes.digest_directory, next->volumes.digest_directory)},
                {"Discard=", first->volumes.discard != next->volumes.discard},
        };

        tell(changes, COUNT(changes), " of wlagent-volumed");
}

void config_tell_restart(const struct config *first, const struct config *next) {
        const struct change changes[] = {
                {"StateDirectory=",
                 differ(first->agent.state_directory, next->agent.state_directory)},
                {"RuntimeDirectory=",
                 differ(first->agent.runtime_directory, next->agent.runtime_directory)},
                {"ControlSocket=", differ(first->agent.control_socket, next->agent.control_socket)},
                {"AllowUnlockedMemory=",
                 first->agent.allow_unlocked_memory != next->agent.allow_unlocked_memory},
                {"WorkerThreads=", first->agent.worker_threads != next->agent.worker_threads},
                {"Socket=", differ(first->keyprovider.socket, next->keyprovider.socket)},
                {"Device=", differ(first->tpm.device, next->tpm.device)},
                {"VolumeSocket=", differ(first->volumes.socket, next->volumes.socket)},
        };

        tell(changes, COUNT(changes), "");
        tell_wls(first, next);
        tell_volumes(first, next);
}
