/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/invocation.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/secret.h"
#include "cli/control_client.h"
#include "key/key_id.h"
#include "tpm/tpm.h"

static const char hint_key_name[] = "a key name has up to 64 letters, digits, '.', '_' or '-' and "
                                    "begins with a letter or digit";

void invocation_done(struct invocation *invocation) {
        invocation->config = config_free(invocation->config);
        buf_clear(&invocation->faults);
}

int invocation_config(struct invocation *invocation, const struct config **ret,
                      struct wla_error *err) {
        if (!invocation->config) {
                const char *path = invocation->config_path;

                if (config_read(path ? path : CONFIG_DEFAULT_PATH, &invocation->config,
                                &invocation->faults, err) < 0)
                        return -1;
        }

        *ret = invocation->config;
        return 0;
}

int invocation_forbid_dumps(struct wla_error *err) {
        if (setrlimit(RLIMIT_CORE, &(struct rlimit){0}) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
                return wla_fail_errno(err, errno, "switching core dumps off");
        return 0;
}

int invocation_guard_secrets(struct invocation *invocation, struct wla_error *err) {
        const struct config *config;

        if (invocation_config(invocation, &config, err) < 0 || invocation_forbid_dumps(err) < 0)
                return -1;

        return wla_secret_heap_init(config->agent.allow_unlocked_memory, err);
}

int invocation_key_store(struct invocation *invocation, struct key_store *ret,
                         struct wla_error *err) {
        const struct config *config;

        if (invocation_config(invocation, &config, err) < 0)
                return -1;

        return key_store_open(config->agent.state_directory, ret, err);
}

int invocation_host_fingerprint(struct invocation *invocation, char ret[KEY_FINGERPRINT_SIZE],
                                struct wla_error *err) {
        const struct config *config;
        struct binding_key_info info = {0};

        if (invocation_config(invocation, &config, err) < 0)
                return -1;

        if (binding_key_info_read(config->agent.state_directory, &info, err) < 0) {
                if (err->code != WLA_E_NOT_FOUND)
                        return -1;
                *err = (struct wla_error){0};
                info.fingerprint[0] = '\0';
        }

        memcpy(ret, info.fingerprint, KEY_FINGERPRINT_SIZE);
        return 0;
}

void invocation_forget_cached_keys(struct invocation *invocation) {
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        const struct config *config;
        struct wla_error err = {0};

        if (invocation_config(invocation, &config, &err) < 0)
                return;

        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = CONTROL_FORGET,
                .timeout_usec = CONTROL_CALL_USEC,
        };
        if (control_call(&call, &reply, &err) == 0 || err.code == WLA_E_UNAVAILABLE)
                return;

        (void)fprintf(stderr,
                      "wlagent: wlagentd may use the former key from its cache for a while: %s\n",
                      wla_error_text(&err));
}

int invocation_check_key_name(const char *name, struct wla_error *err) {
        if (key_name_valid(name, strlen(name)))
                return 0;

        return wla_fail_hint(err, WLA_E_INPUT, hint_key_name, "'%.80s' is not a key name", name);
}
