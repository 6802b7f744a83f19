/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The options of wlagent.conf that 'wlagent setup update-service-config' is told by Intel SecL's names: which they
 * are, whether they are in force, and the drop-in that has them.
 *
 *   WLS_API_URL           ServerURL=          KBS_BASE_URL    AllowedKeyOrigins=, its origin
 *   AAS_API_URL           TokenURL=           LOG_LEVEL       LogLevel=
 *   WLA_SERVICE_USERNAME  ServiceUser=        SKIP_FLAVOR_SIGNATURE_VERIFICATION  VerifyFlavors=, the opposite
 *
 * and HardwareUUID=, which nobody tells, from the firmware.
 *
 * Threads: one.
 * Failure: WLA_E_NOT_FOUND an answer is missing, _INPUT one is none; the text names the answer.
 */

#include "cli/setup_task.h"
#include "config/option.h"

#define SERVICE_VALUE_SIZE  512u
#define SERVICE_OPTIONS_MAX 7u

struct service_option {
        const struct config_option *option;
        char value[SERVICE_VALUE_SIZE];
};

struct service_options {
        struct service_option options[SERVICE_OPTIONS_MAX];
        size_t count;
};

/* What the answers do not tell is taken from the configuration in force. */
int service_options_choose(struct setup_task_context *context, struct service_options *ret,
                           struct wla_error *err) _must_check_;

/* The first that has another value in the configuration; *ret is NULL when all are in force. */
int service_options_find_missing(const struct service_options *options, const struct config *config,
                                 const struct service_option **ret,
                                 struct wla_error *err) _must_check_;

/* The drop-in's text. */
int service_options_format(const struct service_options *options, struct buf *text,
                           struct wla_error *err) _must_check_;
