/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What "wlagent doctor" looks at where section [WLS] is set, in parts.
 *
 * None of them talks to a service but the last, which is for --online: a login that is refused counts
 * towards a ban.
 */

#include "cli/doctor.h"

/* The roots that brokers are verified by. */
void doctor_check_wls_trust(struct doctor *doctor);

/* Intel's binding key, its certificate, and whether the Trust Agent can hand that to HVS. */
void doctor_check_wls_key(struct doctor *doctor);

/* WLS answers, and AAS gives a token. */
void doctor_check_wls_online(struct doctor *doctor);
