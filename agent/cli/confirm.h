/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A question before something is gone for good.
 *
 * Failure: WLA_E_INPUT when the answer is no, or when standard input is no terminal to ask on.
 */

#include "wlagent/error.h"

/* kept: what is told when nothing is done, as in "key web is still there". */
int confirm(const char *question, const char *kept, struct wla_error *err) _must_check_;
