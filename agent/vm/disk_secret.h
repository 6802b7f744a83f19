/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The secret of a disk that libvirt encrypts, as volumed sets and clears it.
 *
 * Threads: a worker's.
 * Failure: as client.h; WLA_E_BUSY while another start uses the secret.
 */

#include "vm/launch_disk.h"

/* The value stays until *ret is freed. */
int disk_secret_set(const struct uuid *secret, const struct wla_secret *key,
                    const struct launch_place *place, struct volume_session **ret,
                    struct wla_error *err) _must_check_;

/* For a value whose session has ended in a way that nobody knows. */
int disk_secret_clear(const struct uuid *secret, const char *socket,
                      const struct deadline *deadline, struct wla_error *err) _must_check_;
