/* SPDX-License-Identifier: Apache-2.0 */
#include "config/restart.h"

#include <string.h>

#include "base/log.h"

void config_tell_restart(const struct config *first, const struct config *next) {
        const struct {
                const char *name;
                bool differs;
        } options[] = {
                {"StateDirectory=",
                 strcmp(first->agent.state_directory, next->agent.state_directory) != 0},
                {"RuntimeDirectory=",
                 strcmp(first->agent.runtime_directory, next->agent.runtime_directory) != 0},
                {"ControlSocket=",
                 strcmp(first->agent.control_socket, next->agent.control_socket) != 0},
                {"AllowUnlockedMemory=",
                 first->agent.allow_unlocked_memory != next->agent.allow_unlocked_memory},
                {"WorkerThreads=", first->agent.worker_threads != next->agent.worker_threads},
                {"Socket=", strcmp(first->keyprovider.socket, next->keyprovider.socket) != 0},
                {"Device=", strcmp(first->tpm.device, next->tpm.device) != 0},
                {"VolumeSocket=", strcmp(first->volumes.socket, next->volumes.socket) != 0},
        };

        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
                if (options[i].differs)
                        log_line(LOG_WARNING, "%s has changed and takes effect after a restart",
                                 options[i].name);
}
