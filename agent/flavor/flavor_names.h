/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The names of the members of a flavor's description: what reading and writing share. */

#include "flavor/flavor.h"

extern const char *const flavor_description_names[_FLAVOR_DESCRIPTION_MAX];
