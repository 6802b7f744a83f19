/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A listening unix socket, SOCK_STREAM or SOCK_SEQPACKET: made by us, or handed over by systemd (sd_listen_fds(3)).
 *
 * Ownership: unix_socket_close() releases it, and removes the path if we made it and it is still ours.
 * Threads:   one at a time.
 * Failure:   WLA_E_BUSY another process serves the path, WLA_E_INPUT the path cannot be used,
 *            WLA_E_SYSTEM otherwise.
 */

#include <sys/types.h>

#include "wlagent/error.h"

struct unix_socket {
        int fd;
        char *path; /* NULL when it was handed over: then it is systemd's to remove */
        dev_t device;
        ino_t inode;
};

#define UNIX_SOCKET_NONE ((struct unix_socket){.fd = -1})

/* The directory must exist; PATH.lock, which only we may open, stays in it.  The socket has the given
 * mode from birth.  What a dead process left at path is removed, a socket that somebody serves is not. */
int unix_socket_listen(const char *path, int type, mode_t mode, struct unix_socket *ret,
                       struct wla_error *err) _must_check_;

/* The socket that systemd has handed over under that FileDescriptorName=; ret->fd is -1 when there is
 * none. */
int unix_socket_inherit(const char *name, int type, struct unix_socket *ret,
                        struct wla_error *err) _must_check_;

/* Safe on UNIX_SOCKET_NONE. */
void unix_socket_close(struct unix_socket *socket);

#define _cleanup_unix_socket_ __attribute__((cleanup(unix_socket_close)))
