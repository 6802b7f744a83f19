/* SPDX-License-Identifier: Apache-2.0 */

/* unwrap_client SOCKET MODE COUNT STREAMS < keyprovider-json-input
 *
 * Calls UnWrapKey COUNT times, as cheaply as a client can, and prints one JSON object of latencies in
 * microseconds. Everything it sends is made beforehand.
 *
 *   MODE "new"   a connection for each call, as ocicrypt does it: connect, wait for the server's
 *                SETTINGS, call, close
 *   MODE "once"  the same without the wait: a client that knows its server sends all in one write
 *   MODE "warm"  one connection with STREAMS calls under way at any time
 *
 * Standards: RFC 9113, RFC 7541, gRPC over HTTP/2 (PROTOCOL-HTTP2.md). */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX      65536u
#define STREAMS_MAX   1024u
#define WINDOW_START  65535
#define FRAME_HEADER  9u
#define RECEIVE_MAX   (256u * 1024u)
#define HEADERS_SPACE 256u

enum frame_type {
        FRAME_DATA = 0,
        FRAME_HEADERS = 1,
        FRAME_RST_STREAM = 3,
        FRAME_SETTINGS = 4,
        FRAME_PING = 6,
        FRAME_GOAWAY = 7,
        FRAME_WINDOW_UPDATE = 8,
};

#define FLAG_ACK         0x1u
#define FLAG_END_STREAM  0x1u
#define FLAG_END_HEADERS 0x4u

struct bytes {
        size_t size;
        uint8_t data[BODY_MAX + 1024];
};

/* What is sent, made once. */
static struct {
        struct bytes preface;       /* preface, SETTINGS, WINDOW_UPDATE of the connection */
        struct bytes first_headers; /* the header block of a connection's first call */
        struct bytes later_headers; /* refers to what the first one has put into the table */
        struct bytes plain_headers; /* for a server that has no table */
        struct bytes message;       /* gRPC prefix and protobuf */
} made;

struct frame {
        uint32_t size;
        uint8_t type;
        uint8_t flags;
        uint32_t stream;
        const uint8_t *payload;
};

struct connection {
        int fd;
        size_t start, end; /* of what is received and not yet read, in input */
        uint8_t input[RECEIVE_MAX];
        int64_t window;
        uint32_t server_streams;
        bool table;
        bool called;    /* the first call of this connection has been sent */
        bool settled;   /* the server's SETTINGS have come */
        size_t replies; /* DATA frames; a refused call has none */
};

static _Noreturn void die(const char *what) {
        fprintf(stderr, "unwrap_client: %s\n", what);
        exit(1);
}

static uint64_t now_nsec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void put(struct bytes *to, const void *data, size_t size) {
        if (size > sizeof(to->data) - to->size)
                die("the request is too large");
        memcpy(to->data + to->size, data, size);
        to->size += size;
}

static void put_frame(struct bytes *to, uint8_t type, uint8_t flags, uint32_t stream,
                      const void *payload, size_t size) {
        const uint8_t header[FRAME_HEADER] = {
                (uint8_t)(size >> 16),
                (uint8_t)(size >> 8),
                (uint8_t)size,
                type,
                flags,
                (uint8_t)(stream >> 24),
                (uint8_t)(stream >> 16),
                (uint8_t)(stream >> 8),
                (uint8_t)stream,
        };

        put(to, header, sizeof(header));
        put(to, payload, size);
}

/* RFC 7541, 6.2: a literal whose name is name, or entry index of the static table when name is NULL. */
static void put_literal(struct bytes *to, bool index_it, uint8_t index, const char *name,
                        const char *value) {
        uint8_t first = index_it ? 0x40 : 0x00;
        uint8_t limit = index_it ? 63 : 15;

        if (name || index < limit) {
                put(to, &(uint8_t){(uint8_t)(first | (name ? 0 : index))}, 1);
        } else {
                put(to, &(uint8_t){(uint8_t)(first | limit)}, 1);
                put(to, &(uint8_t){(uint8_t)(index - limit)}, 1);
        }
        if (name) {
                put(to, &(uint8_t){(uint8_t)strlen(name)}, 1);
                put(to, name, strlen(name));
        }
        put(to, &(uint8_t){(uint8_t)strlen(value)}, 1);
        put(to, value, strlen(value));
}

static void make_headers(struct bytes *to, bool index_them) {
        static const uint8_t post_http[] = {0x83, 0x86};

        put(to, post_http, sizeof(post_http));
        put_literal(to, index_them, 4, NULL, "/keyprovider.KeyProviderService/UnWrapKey");
        put_literal(to, index_them, 1, NULL, "localhost");
        put_literal(to, index_them, 31, NULL, "application/grpc");
        put_literal(to, index_them, 58, NULL, "unwrap-client");
        put_literal(to, index_them, 0, "te", "trailers");
}

static void make_requests(const uint8_t *json, size_t size) {
        static const uint8_t settings[] = {0, 4, 0x7f, 0xff, 0xff, 0xff}; /* INITIAL_WINDOW_SIZE */
        static const uint8_t window[] = {0x7f, 0xff, 0, 0};
        /* :method POST, :scheme http, then the five entries that make_headers() has inserted; the
         * last inserted one is 62. */
        static const uint8_t later[] = {0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe};

        put(&made.preface, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        put_frame(&made.preface, FRAME_SETTINGS, 0, 0, settings, sizeof(settings));
        put_frame(&made.preface, FRAME_WINDOW_UPDATE, 0, 0, window, sizeof(window));

        make_headers(&made.first_headers, true);
        put(&made.later_headers, later, sizeof(later));
        make_headers(&made.plain_headers, false);

        uint8_t field[12] = {0x0a};
        size_t field_size = 1;
        for (size_t rest = size; rest > 0 || field_size == 1; rest >>= 7)
                field[field_size++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));

        size_t length = field_size + size;
        const uint8_t prefix[5] = {0, (uint8_t)(length >> 24), (uint8_t)(length >> 16),
                                   (uint8_t)(length >> 8), (uint8_t)length};
        put(&made.message, prefix, sizeof(prefix));
        put(&made.message, field, field_size);
        put(&made.message, json, size);
        if (made.message.size > 16384)
                die("the request does not fit into one DATA frame");
}

static void write_all(int fd, const uint8_t *data, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, data, size);
                if (n < 0 && errno != EINTR)
                        die("the server does not take the request");
                if (n > 0) {
                        data += n;
                        size -= (size_t)n;
                }
        }
}

static void connection_open(struct connection *c, const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        if (strlen(path) >= sizeof(address.sun_path))
                die("the socket's path is too long");
        memcpy(address.sun_path, path, strlen(path));
        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        c->start = c->end = 0;
        c->window = WINDOW_START;
        c->server_streams = STREAMS_MAX;
        c->table = true;
        c->called = c->settled = false;
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                die("cannot connect");
}

static void receive(struct connection *c) {
        if (c->start > 0) {
                memmove(c->input, c->input + c->start, c->end - c->start);
                c->end -= c->start;
                c->start = 0;
        }
        ssize_t n = read(c->fd, c->input + c->end, sizeof(c->input) - c->end);
        if (n == 0)
                die("the server has closed the connection");
        if (n < 0 && errno != EINTR)
                die("cannot read from the server");
        if (n > 0)
                c->end += (size_t)n;
}

static uint32_t get32(const uint8_t *at) {
        return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* False when no whole frame has been received. */
static bool next_frame(struct connection *c, struct frame *ret) {
        const uint8_t *at = c->input + c->start;
        size_t have = c->end - c->start;

        if (have < FRAME_HEADER)
                return false;
        uint32_t size = get32(at) >> 8;
        if (have - FRAME_HEADER < size)
                return false;
        *ret = (struct frame){size, at[3], at[4], get32(at + 5) & 0x7fffffff, at + FRAME_HEADER};
        c->start += FRAME_HEADER + size;
        return true;
}

static void take_settings(struct connection *c, const struct frame *frame, struct bytes *out) {
        if (frame->flags & FLAG_ACK)
                return;
        for (size_t at = 0; at + 6 <= frame->size; at += 6) {
                unsigned id = (unsigned)frame->payload[at] << 8 | frame->payload[at + 1];
                uint32_t value = get32(frame->payload + at + 2);

                if (id == 1 && value < 4096) /* HEADER_TABLE_SIZE */
                        c->table = false;
                if (id == 3) /* MAX_CONCURRENT_STREAMS */
                        c->server_streams = value;
        }
        put_frame(out, FRAME_SETTINGS, FLAG_ACK, 0, "", 0);
        c->settled = true;
}

/* Returns true when a call has ended well; other frames are taken note of and answered into out. */
static bool take_frame(struct connection *c, const struct frame *frame, struct bytes *out) {
        switch (frame->type) {
        case FRAME_SETTINGS:
                take_settings(c, frame, out);
                return false;
        case FRAME_PING:
                if (!(frame->flags & FLAG_ACK))
                        put_frame(out, FRAME_PING, FLAG_ACK, 0, frame->payload, frame->size);
                return false;
        case FRAME_WINDOW_UPDATE:
                if (frame->stream == 0 && frame->size == 4)
                        c->window += get32(frame->payload);
                return false;
        case FRAME_DATA:
                c->replies += frame->size > 0;
                return false;
        case FRAME_HEADERS:
                return frame->flags & FLAG_END_STREAM;
        case FRAME_RST_STREAM:
                die("the server has reset a call");
        case FRAME_GOAWAY:
                die("the server has sent GOAWAY");
        default:
                return false;
        }
}

static void put_call(struct connection *c, struct bytes *out, uint32_t stream) {
        const struct bytes *headers = &made.plain_headers;

        if (c->table)
                headers = c->called ? &made.later_headers : &made.first_headers;
        if (!c->table && !c->called) {
                /* RFC 7541, 4.2: a smaller table is acknowledged at the start of the next block. */
                uint8_t block[HEADERS_SPACE] = {0x20};

                memcpy(block + 1, headers->data, headers->size);
                put_frame(out, FRAME_HEADERS, FLAG_END_HEADERS, stream, block, headers->size + 1);
        } else {
                put_frame(out, FRAME_HEADERS, FLAG_END_HEADERS, stream, headers->data,
                          headers->size);
        }
        put_frame(out, FRAME_DATA, FLAG_END_STREAM, stream, made.message.data, made.message.size);
        c->called = true;
        c->window -= (int64_t)made.message.size;
}

static void flush(struct connection *c, struct bytes *out) {
        if (out->size > 0)
                write_all(c->fd, out->data, out->size);
        out->size = 0;
}

/* wait: for the server's SETTINGS before the call. */
static void call_on_new_connection(struct connection *c, const char *path, bool wait) {
        static struct bytes out;
        struct frame frame;
        bool called = !wait;

        connection_open(c, path);
        put(&out, made.preface.data, made.preface.size);
        if (!wait)
                put_call(c, &out, 1);
        for (bool done = false; !done;) {
                while (!done && next_frame(c, &frame))
                        done = take_frame(c, &frame, &out);
                if (c->settled && !called) {
                        put_call(c, &out, 1);
                        called = true;
                }
                flush(c, &out);
                if (!done)
                        receive(c);
        }
        close(c->fd);
}

static void run_new(struct connection *c, const char *path, bool wait, size_t count,
                    uint64_t *nsec) {
        for (size_t i = 0; i < count; i++) {
                uint64_t start = now_nsec();

                call_on_new_connection(c, path, wait);
                nsec[i] = now_nsec() - start;
        }
}

static void run_warm(struct connection *c, const char *path, size_t count, size_t streams,
                     uint64_t *nsec) {
        static struct bytes out;
        struct frame frame;
        size_t sent = 0;

        connection_open(c, path);
        put(&out, made.preface.data, made.preface.size);
        for (size_t done = 0; done < count;) {
                while (c->settled && sent < count && sent - done < streams &&
                       sent - done < c->server_streams && c->window >= (int64_t)made.message.size &&
                       out.size + made.message.size + HEADERS_SPACE < BODY_MAX) {
                        nsec[sent] = now_nsec();
                        put_call(c, &out, (uint32_t)sent * 2 + 1);
                        sent++;
                }
                flush(c, &out);
                receive(c);
                while (next_frame(c, &frame))
                        if (take_frame(c, &frame, &out)) {
                                size_t call = frame.stream / 2;

                                if (call >= sent)
                                        die("the server has answered a call that was not made");
                                nsec[call] = now_nsec() - nsec[call];
                                done++;
                        }
        }
        close(c->fd);
}

static int compare(const void *a, const void *b) {
        const uint64_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

static double usec_at(const uint64_t *sorted, size_t count, double share) {
        size_t at = (size_t)(share * (double)count);

        return (double)sorted[at < count ? at : count - 1] / 1000.0;
}

static size_t number(const char *text, size_t max) {
        char *end;
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);

        if (errno || *end || end == text || value == 0 || value > max)
                die("COUNT and STREAMS are positive numbers");
        return (size_t)value;
}

int main(int argc, char **argv) {
        static struct connection connection;
        static uint8_t json[BODY_MAX];

        if (argc != 5)
                die("usage: unwrap_client SOCKET new|once|warm COUNT STREAMS < REQUEST");
        size_t count = number(argv[3], 100000000);
        size_t streams = number(argv[4], STREAMS_MAX);

        make_requests(json, fread(json, 1, sizeof(json), stdin));
        uint64_t *nsec = calloc(count, sizeof(*nsec));
        if (!nsec)
                die("out of memory");

        uint64_t start = now_nsec();
        if (strcmp(argv[2], "warm") != 0)
                run_new(&connection, argv[1], strcmp(argv[2], "new") == 0, count, nsec);
        else
                run_warm(&connection, argv[1], count, streams, nsec);
        double seconds = (double)(now_nsec() - start) / 1e9;
        if (connection.replies < count)
                die("the server has refused calls");

        qsort(nsec, count, sizeof(*nsec), compare);
        printf("{\"calls\": %zu, \"seconds\": %.6f, \"p50\": %.2f, \"p99\": %.2f, \"p999\": "
               "%.2f}\n",
               count, seconds, usec_at(nsec, count, 0.5), usec_at(nsec, count, 0.99),
               usec_at(nsec, count, 0.999));
        free(nsec);
        return 0;
}
