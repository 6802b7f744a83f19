/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Trust reports as section [WLS] of the configuration wants them: signed by the host's signing key on the
 * TPM's lane, posted on the road that keys come by.
 *
 * Ownership: all that is handed over is borrowed, and outlives the reporter.
 * Failure:   as trust_reporter_new(); a signing key that is missing is none, before it is needed.
 */

#include "config/config.h"
#include "loop/lane.h"
#include "source/wls_road.h"
#include "trust_report/trust_reporter.h"

/* *ret is NULL without a road, and with Reports=no. */
int reporting_new(const struct config *config, sd_event *event, const struct wls_road *road,
                  struct lane *tpm_lane, struct trust_reporter **ret,
                  struct wla_error *err) _must_check_;
