/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/file.h"

/* ocicrypt clients open a connection a layer, many at a time. */
#define BACKLOG 128

static const char hint_directory[] =
        "systemd makes it (RuntimeDirectory=); without systemd, make it with mkdir";
static const char hint_served[] = "stop it first, or give this one another socket path";

static int set_address(struct sockaddr_un *address, const char *path, struct wla_error *err) {
        size_t length = strlen(path);

        if (length == 0 || length >= sizeof(address->sun_path))
                return wla_fail(err, WLA_E_INPUT, "the path has %zu characters, 1 to %zu fit",
                                length, sizeof(address->sun_path) - 1);

        *address = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(address->sun_path, path, length);
        return 0;
}

/* Keeps two daemons that start at once from removing each other's fresh socket.  Not the directory is
 * locked: anybody who may look into it could keep it locked. */
static int lock_path(const char *path, int *ret_fd, struct wla_error *err) {
        char lock[sizeof(((struct sockaddr_un *)NULL)->sun_path) + sizeof(".lock")];
        _cleanup_close_ int fd = -1;

        (void)snprintf(lock, sizeof(lock), "%s.lock", path);
        fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, S_IRUSR | S_IWUSR);
        if (fd < 0) {
                (void)wla_fail_errno(err, errno, "opening its lock file");
                err->hint = hint_directory;
                return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return wla_fail(err, WLA_E_BUSY, "another wlagentd is starting there");

        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Whether somebody answers at the address; errno tells why not. */
static bool is_served(const struct sockaddr_un *address, int type) {
        _cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return false;

        /* EAGAIN: somebody listens, and has not accepted for a while.  EPROTOTYPE: it is a socket of
         * another type. */
        return connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
               errno == EAGAIN || errno == EPROTOTYPE;
}

static int remove_stale(const struct sockaddr_un *address, int type, struct wla_error *err) {
        struct stat status;

        if (lstat(address->sun_path, &status) < 0) {
                if (errno == ENOENT)
                        return 0;
                return wla_fail_errno(err, errno, "looking at it");
        }
        if (!S_ISSOCK(status.st_mode))
                return wla_fail(err, WLA_E_INPUT, "something else than a socket is in its place");

        if (is_served(address, type))
                return wla_fail_hint(err, WLA_E_BUSY, hint_served, "another wlagentd serves it");
        if (errno != ECONNREFUSED)
                return wla_fail_errno(err, errno, "finding out whether anybody serves it");
        if (unlink(address->sun_path) < 0)
                return wla_fail_errno(err, errno, "removing what a dead process left");
        return 0;
}

static int bind_and_listen(const struct sockaddr_un *address, mode_t mode, struct unix_socket *ret,
                           struct wla_error *err) {
        struct stat status;

        /* Linux takes the mode of the socket's inode, less the umask, for the file that bind() makes:
         * at no time it is more open than asked for. */
        if (fchmod(ret->fd, mode) < 0)
                return wla_fail_errno(err, errno, "setting its mode");
        if (bind(ret->fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
                return wla_fail_errno(err, errno, "binding it");
        if (lstat(address->sun_path, &status) < 0)
                return wla_fail_errno(err, errno, "looking at it");
        ret->device = status.st_dev;
        ret->inode = status.st_ino;

        /* The umask may have taken bits off. */
        if (fchmodat(AT_FDCWD, address->sun_path, mode, 0) < 0)
                return wla_fail_errno(err, errno, "setting its mode");
        if (listen(ret->fd, BACKLOG) < 0)
                return wla_fail_errno(err, errno, "listening on it");
        return 0;
}

static int make(const char *path, int type, mode_t mode, struct unix_socket *ret,
                struct wla_error *err) {
        _cleanup_unix_socket_ struct unix_socket made = UNIX_SOCKET_NONE;
        _cleanup_close_ int lock_fd = -1;
        struct sockaddr_un address;

        if (set_address(&address, path, err) < 0 || lock_path(path, &lock_fd, err) < 0 ||
            remove_stale(&address, type, err) < 0)
                return -1;

        made.path = strdup(path);
        if (!made.path)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        made.fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (made.fd < 0)
                return wla_fail_errno(err, errno, "making it");
        if (bind_and_listen(&address, mode, &made, err) < 0)
                return -1;

        *ret = made;
        made = UNIX_SOCKET_NONE;
        return 0;
}

int unix_socket_listen(const char *path, int type, mode_t mode, struct unix_socket *ret,
                       struct wla_error *err) {
        if (make(path, type, mode, ret, err) < 0)
                return wla_wrap(err, "socket %s", path);
        return 0;
}

static int accept_inherited(int fd, int type, const char *name, struct wla_error *err) {
        if (sd_is_socket_unix(fd, type, /* listening= */ 1, NULL, 0) <= 0)
                return wla_fail(err, WLA_E_INPUT,
                                "what systemd hands over as %s is no listening unix %s socket",
                                name, type == SOCK_STREAM ? "stream" : "seqpacket");

        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return wla_fail_errno(err, errno, "preparing the %s socket from systemd", name);
        return 0;
}

static void free_names(char ***names) {
        for (char **name = *names; name && *name; name++)
                free(*name);
        free(*names);
}

int unix_socket_inherit(const char *name, int type, struct unix_socket *ret,
                        struct wla_error *err) {
        __attribute__((cleanup(free_names))) char **names = NULL;
        int found = -1;

        int count = sd_listen_fds_with_names(/* unset_environment= */ 0, &names);
        if (count < 0)
                return wla_fail_errno(err, -count, "taking over sockets from systemd");

        for (int i = 0; i < count; i++) {
                if (strcmp(names[i], name) != 0)
                        continue;
                if (found >= 0)
                        return wla_fail(err, WLA_E_INPUT,
                                        "systemd hands over several sockets named %s", name);
                found = SD_LISTEN_FDS_START + i;
        }

        if (found >= 0 && accept_inherited(found, type, name, err) < 0)
                return -1;

        *ret = UNIX_SOCKET_NONE;
        ret->fd = found;
        return 0;
}

static void remove_own(const struct unix_socket *socket) {
        struct stat status;

        if (socket->inode == 0 || lstat(socket->path, &status) < 0)
                return;
        if (status.st_dev == socket->device && status.st_ino == socket->inode)
                (void)unlink(socket->path);
}

void unix_socket_close(struct unix_socket *socket) {
        if (socket->path)
                remove_own(socket);
        file_closep(&socket->fd);
        file_freep(&socket->path);
        *socket = UNIX_SOCKET_NONE;
}
