/* SPDX-License-Identifier: Apache-2.0 */
#include "http/connections.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* A peer that takes nothing, or says nothing to a question of the kernel's, for so long is gone: a third of
 * the time that a request has by default, so that it can be tried again. */
#define GONE_MSEC       10000
#define KEEPALIVE_SEC   5
#define KEEPALIVE_TRIES 2

struct open_socket {
        LIST_ENTRY(open_socket) entry;
        int fd;
        uint64_t heard_usec;
        char origin[CONNECTION_ORIGIN_SIZE];
};

struct connections {
        LIST_HEAD(, open_socket) sockets;
};

struct connections *connections_new(void) {
        return calloc(1, sizeof(struct connections));
}

struct connections *connections_free(struct connections *connections) {
        struct open_socket *open;

        while (connections && (open = LIST_FIRST(&connections->sockets))) {
                LIST_REMOVE(open, entry);
                free(open);
        }
        free(connections);
        return NULL;
}

void connection_purpose_set(struct connection_purpose *purpose, struct connections *connections,
                            const char *url) {
        const char *authority = strstr(url, "://");
        size_t size = authority ? (size_t)(authority - url) + 3 : 0;

        size += strcspn(url + size, "/?#");
        purpose->connections = connections;
        (void)snprintf(purpose->origin, sizeof(purpose->origin), "%.*s", (int)size, url);
}

/* What the kernel does not know how to set it does without. */
static void set_option(int fd, int level, int option, int value) {
        (void)setsockopt(fd, level, option, &value, sizeof(value));
}

curl_socket_t connections_open(void *purpose, curlsocktype type, struct curl_sockaddr *address) {
        const struct connection_purpose *wanted = purpose;
        struct open_socket *open = calloc(1, sizeof(*open));

        (void)type;
        if (!open)
                return CURL_SOCKET_BAD;
        open->fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
        if (open->fd < 0) {
                free(open);
                return CURL_SOCKET_BAD;
        }
        if (address->socktype == SOCK_STREAM) {
                set_option(open->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, GONE_MSEC);
                set_option(open->fd, SOL_SOCKET, SO_KEEPALIVE, 1);
                set_option(open->fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_SEC);
                set_option(open->fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_SEC);
                set_option(open->fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRIES);
        }
        open->heard_usec = clock_now_usec();
        memcpy(open->origin, wanted->origin, sizeof(open->origin));
        LIST_INSERT_HEAD(&wanted->connections->sockets, open, entry);
        return open->fd;
}

int connections_close(void *connections, curl_socket_t fd) {
        struct connections *known = connections;
        struct open_socket *open;

        LIST_FOREACH(open, &known->sockets, entry)
        if (open->fd == fd) {
                LIST_REMOVE(open, entry);
                free(open);
                break;
        }
        return close(fd);
}

size_t connections_count(const struct connections *connections, const char *origin) {
        const struct open_socket *open;
        size_t count = 0;

        LIST_FOREACH(open, &connections->sockets, entry)
        if (strcmp(open->origin, origin) == 0)
                count++;
        return count;
}

void connections_heard(struct connections *connections, const char *origin, uint64_t now_usec) {
        struct open_socket *open;

        LIST_FOREACH(open, &connections->sockets, entry)
        if (strcmp(open->origin, origin) == 0)
                open->heard_usec = now_usec;
}

void connections_cut(struct connections *connections, const char *origin, uint64_t since_usec) {
        struct open_socket *open;

        LIST_FOREACH(open, &connections->sockets, entry)
        if (strcmp(open->origin, origin) == 0 && open->heard_usec <= since_usec)
                (void)shutdown(open->fd, SHUT_RDWR);
}
