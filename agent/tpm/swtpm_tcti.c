/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/swtpm_tcti.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define PREFIX       "swtpm:"
#define MAGIC        UINT64_C(0x776c612d7377746d)
#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "2321"
#define HEADER_SIZE  10u /* TPM 2.0 Library, Part 1, section 18: tag, size, code */
#define RESPONSE_MAX 4096u
#define TARGET_MAX   256u

struct swtpm_tcti {
        TSS2_TCTI_CONTEXT_COMMON_V2 common;
        char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
        char host[TARGET_MAX];
        char port[8];
        int limit_msec;
        int fd;
        int next_fd; /* for the next command, not connected; -1: none */
        int error;
        uint8_t response[RESPONSE_MAX];
        size_t received;   /* of it */
        uint64_t end_usec; /* of the command under way */
};

static struct swtpm_tcti *from_context(TSS2_TCTI_CONTEXT *context) {
        return (struct swtpm_tcti *)(void *)context;
}

static void hang_up(struct swtpm_tcti *tcti) {
        file_closep(&tcti->fd);
        tcti->received = 0;
}

static TSS2_RC fail(struct swtpm_tcti *tcti, int error, TSS2_RC rc) {
        hang_up(tcti);
        tcti->error = error;
        return rc;
}

static int await(struct swtpm_tcti *tcti, short events) {
        struct pollfd poll_fd = {.fd = tcti->fd, .events = events};

        for (;;) {
                uint64_t now_usec = clock_now_usec();
                if (now_usec >= tcti->end_usec)
                        return -ETIMEDOUT;

                uint64_t left_msec = (tcti->end_usec - now_usec) / USEC_PER_MSEC + 1;
                int ready = poll(&poll_fd, 1, (int)left_msec);
                if (ready > 0)
                        return 0;
                if (ready < 0 && errno != EINTR)
                        return -errno;
        }
}

/* A blocking connect to a unix socket waits for room in the backlog, as long as SO_SNDTIMEO says. */
static int make_socket(const struct swtpm_tcti *tcti, sa_family_t family) {
        struct timeval limit = {.tv_sec = tcti->limit_msec / 1000,
                                .tv_usec = (tcti->limit_msec % 1000) * 1000};
        _cleanup_close_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
                return -1;
        return TAKE_FD(fd);
}

static int connect_to(struct swtpm_tcti *tcti, const struct sockaddr *address, socklen_t size) {
        bool made = address->sa_family == AF_UNIX && tcti->next_fd >= 0;

        tcti->fd = made ? TAKE_FD(tcti->next_fd) : make_socket(tcti, address->sa_family);
        if (tcti->fd < 0 || connect(tcti->fd, address, size) < 0) {
                int error = errno == EAGAIN || errno == EINPROGRESS ? ETIMEDOUT : errno;
                hang_up(tcti);
                return -error;
        }
        return 0;
}

static int connect_unix(struct swtpm_tcti *tcti) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        memcpy(address.sun_path, tcti->path, sizeof(address.sun_path));
        return connect_to(tcti, (const struct sockaddr *)&address, sizeof(address));
}

static int connect_tcp(struct swtpm_tcti *tcti) {
        const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
        struct addrinfo *found = NULL;
        int r = -EHOSTUNREACH;

        if (getaddrinfo(tcti->host, tcti->port, &hints, &found) != 0)
                return r;

        for (const struct addrinfo *at = found; at && r < 0; at = at->ai_next)
                r = connect_to(tcti, at->ai_addr, at->ai_addrlen);

        freeaddrinfo(found);
        return r;
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command) {
        struct swtpm_tcti *tcti = from_context(context);

        hang_up(tcti);
        tcti->error = 0;
        tcti->end_usec = clock_now_usec() + (uint64_t)tcti->limit_msec * USEC_PER_MSEC;

        int r = tcti->path[0] != '\0' ? connect_unix(tcti) : connect_tcp(tcti);
        if (r < 0)
                return fail(tcti, -r, TSS2_TCTI_RC_NO_CONNECTION);

        while (size > 0) {
                ssize_t sent = send(tcti->fd, command, size, MSG_NOSIGNAL);
                if (sent < 0 && errno == EINTR)
                        continue;
                if (sent < 0)
                        return fail(tcti, errno, TSS2_TCTI_RC_IO_ERROR);
                command += sent;
                size -= (size_t)sent;
        }
        /* While the TPM works, and not when the next command waits for it. */
        if (tcti->path[0] != '\0')
                tcti->next_fd = make_socket(tcti, AF_UNIX);
        return TSS2_RC_SUCCESS;
}

/* What is there is taken at once; behind a response there is nothing. */
static int receive_until(struct swtpm_tcti *tcti, size_t size) {
        while (tcti->received < size) {
                int r = await(tcti, POLLIN);
                if (r < 0)
                        return r;

                ssize_t got = recv(tcti->fd, tcti->response + tcti->received,
                                   sizeof(tcti->response) - tcti->received, MSG_DONTWAIT);
                if (got == 0)
                        return -ECONNRESET;
                if (got < 0 && errno != EINTR && errno != EAGAIN)
                        return -errno;
                if (got > 0)
                        tcti->received += (size_t)got;
        }
        return 0;
}

static uint32_t read_be32(const uint8_t *from) {
        return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static int receive_header(struct swtpm_tcti *tcti, size_t *ret_size) {
        int r = receive_until(tcti, HEADER_SIZE);
        if (r < 0)
                return r;

        *ret_size = read_be32(tcti->response + 2);
        return *ret_size < HEADER_SIZE || *ret_size > sizeof(tcti->response) ? -EPROTO : 0;
}

/* Without a buffer it tells the size of the response, and is called again. */
static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response,
                       int32_t timeout) {
        struct swtpm_tcti *tcti = from_context(context);
        size_t whole = 0;

        (void)timeout; /* the limit set at birth is in force */
        if (!size)
                return TSS2_TCTI_RC_BAD_REFERENCE;
        if (tcti->fd < 0)
                return TSS2_TCTI_RC_BAD_SEQUENCE;

        int r = receive_header(tcti, &whole);
        if (r < 0)
                return fail(tcti, -r, TSS2_TCTI_RC_IO_ERROR);

        size_t room = *size;
        *size = whole;
        if (!response)
                return TSS2_RC_SUCCESS;
        if (room < whole)
                return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;

        r = receive_until(tcti, whole);
        if (r < 0)
                return fail(tcti, -r, TSS2_TCTI_RC_IO_ERROR);

        memcpy(response, tcti->response, whole);
        hang_up(tcti);
        return TSS2_RC_SUCCESS;
}

static void close_all(struct swtpm_tcti *tcti) {
        hang_up(tcti);
        file_closep(&tcti->next_fd);
}

static void finalize(TSS2_TCTI_CONTEXT *context) {
        close_all(from_context(context));
}

static TSS2_RC cancel(TSS2_TCTI_CONTEXT *context) {
        (void)context;
        return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC get_poll_handles(TSS2_TCTI_CONTEXT *context, TSS2_TCTI_POLL_HANDLE *handles,
                                size_t *count) {
        (void)context;
        (void)handles;
        (void)count;
        return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC set_locality(TSS2_TCTI_CONTEXT *context, uint8_t locality) {
        (void)context;
        return locality == 0 ? TSS2_RC_SUCCESS : TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC make_sticky(TSS2_TCTI_CONTEXT *context, TPM2_HANDLE *handle, uint8_t sticky) {
        (void)context;
        (void)handle;
        (void)sticky;
        return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

bool swtpm_tcti_takes(const char *tcti) {
        return strncmp(tcti, PREFIX, strlen(PREFIX)) == 0;
}

/* "NAME=VALUE" at *at, up to the next comma; moves *at behind it. */
static bool next_option(const char **at, const char *name, char *to, size_t size) {
        size_t name_size = strlen(name);
        const char *value = *at + name_size;

        if (strncmp(*at, name, name_size) != 0)
                return false;

        size_t value_size = strcspn(value, ",");
        if (value_size == 0 || value_size >= size)
                return false;

        memcpy(to, value, value_size);
        to[value_size] = '\0';
        *at = value + value_size + (value[value_size] == ',' ? 1 : 0);
        return true;
}

static bool parse(struct swtpm_tcti *tcti, const char *options) {
        memcpy(tcti->host, DEFAULT_HOST, sizeof(DEFAULT_HOST));
        memcpy(tcti->port, DEFAULT_PORT, sizeof(DEFAULT_PORT));

        while (*options != '\0')
                if (!next_option(&options, "path=", tcti->path, sizeof(tcti->path)) &&
                    !next_option(&options, "host=", tcti->host, sizeof(tcti->host)) &&
                    !next_option(&options, "port=", tcti->port, sizeof(tcti->port)))
                        return false;
        return true;
}

int swtpm_tcti_new(const char *tcti, int limit_msec, TSS2_TCTI_CONTEXT **ret,
                   struct wla_error *err) {
        struct swtpm_tcti *made = calloc(1, sizeof(*made));

        if (!made)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        *made = (struct swtpm_tcti){
                .common = {.v1 = {.magic = MAGIC,
                                  .version = 2,
                                  .transmit = transmit,
                                  .receive = receive,
                                  .finalize = finalize,
                                  .cancel = cancel,
                                  .getPollHandles = get_poll_handles,
                                  .setLocality = set_locality},
                           .makeSticky = make_sticky},
                .limit_msec = limit_msec,
                .fd = -1,
                .next_fd = -1,
        };

        if (!parse(made, tcti + strlen(PREFIX))) {
                free(made);
                return wla_fail_hint(err, WLA_E_SYSTEM,
                                     "write swtpm:path=SOCKET or swtpm:host=HOST,port=PORT",
                                     "the TPM device '%s' cannot be understood", tcti);
        }

        *ret = (TSS2_TCTI_CONTEXT *)(void *)made;
        return 0;
}

TSS2_TCTI_CONTEXT *swtpm_tcti_free(TSS2_TCTI_CONTEXT *context) {
        if (context) {
                close_all(from_context(context));
                free(context);
        }
        return NULL;
}

int swtpm_tcti_errno(const TSS2_TCTI_CONTEXT *context) {
        return ((const struct swtpm_tcti *)(const void *)context)->error;
}
