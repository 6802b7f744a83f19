/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* wlagent-secret: a process that gives libvirt a key as the value of a secret, and takes it away again.
 *
 * Domains whose disks libvirt itself encrypts (<encryption>) name a secret, whose value libvirt fetches
 * while it starts them.  The program is linked with libvirt, which wlagent-volumed is not.  Its standard
 * input is one end of a SOCK_SEQPACKET pair; on it come
 *
 *   struct secret_order    which secret; whether its value is to be set or cleared
 *   struct secret_key      with set only: the value
 *
 * and goes one struct secret_answer.  After a value was set the program stays until the other end is
 * closed, whoever has died by then, or it is told to terminate, and clears the value.  It clears one
 * that it could not set as well: libvirt may have been late.  When it was itself killed, whoever closes the
 * other end has the value cleared by another one.
 *
 * Descriptor 3 holds a lock on the secret as long as the program is at it.
 *
 * Ownership: struct secret_keeper is the connection; closing it ends the lease.
 * Threads:   one at a time.
 * Failure:   what the program answers; WLA_E_UNSUPPORTED when it is not installed, WLA_E_TIMEOUT.
 */

#include "base/secret.h"
#include "base/uuid.h"
#include "volume/message.h"

#define SECRET_ORDER_MAGIC UINT32_C(0x31534c57) /* "WLS1" on little-endian machines */

/* How long libvirt may take for one of the two, seconds.  A launch has more. */
#define SECRET_LIBVIRT_SEC 8u

struct secret_order {
        uint32_t magic;
        uint8_t set;
        char secret[UUID_TEXT_SIZE];
};

struct secret_key {
        uint16_t size;
        uint8_t bytes[VOLUMED_KEY_MAX];
};

struct secret_answer {
        uint32_t code; /* enum wla_code */
        char text[VOLUMED_TEXT_SIZE];
};

struct secret_keeper {
        int fd;
        int lock_fd; /* lent */
        struct uuid secret;
};

#define SECRET_KEEPER_NONE ((struct secret_keeper){.fd = -1, .lock_fd = -1})

/* lock_fd: the child's descriptor 3; open until the keeper is closed. */
int secret_keeper_set(const struct uuid *secret, const struct wla_secret *key, int lock_fd,
                      struct secret_keeper *ret, struct wla_error *err) _must_check_;

/* Returns when it is cleared. */
int secret_keeper_clear(const struct uuid *secret, int lock_fd, struct wla_error *err) _must_check_;

/* Waits only when the program was killed. */
void secret_keeper_close(struct secret_keeper *keeper);
