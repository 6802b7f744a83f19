/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Has volumed remove the layer of one disk of a VM, and with it what the VM has written; or a converted image.
 *
 * Threads: any; it waits for the answer.
 * Failure: WLA_E_BUSY while it is mapped, else as client.h says.
 */

#include "volume/client.h"
#include "volume/volume_name.h"

int layer_remove(const char *socket, const struct volume_name *name,
                 const struct deadline *deadline, struct wla_error *err) _must_check_;
