/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_broker.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define DAY 86400L

struct identity {
        EVP_PKEY *key;
        X509 *certificate;
};

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value) {
        X509V3_CTX context;

        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        ck_assert_ptr_nonnull(extension);
        ck_assert_int_eq(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
}

static X509 *new_certificate(const char *name, EVP_PKEY *key, const struct identity *issuer,
                             enum broker_certificate kind) {
        static _Atomic long serial = 1;
        X509 *certificate = X509_new();
        X509_NAME *subject = X509_get_subject_name(certificate);
        long from = kind == CERTIFICATE_NOT_YET_VALID ? DAY : -2 * DAY;
        long to = kind == CERTIFICATE_EXPIRED ? -DAY : 2 * DAY;

        X509_set_version(certificate, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
        X509_gmtime_adj(X509_getm_notBefore(certificate), from);
        X509_gmtime_adj(X509_getm_notAfter(certificate), to);
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
                                   0);
        X509_set_issuer_name(certificate,
                             issuer ? X509_get_subject_name(issuer->certificate) : subject);
        X509_set_pubkey(certificate, key);
        return certificate;
}

static struct identity make_root(void) {
        struct identity root = {.key = EVP_EC_gen("P-256")};

        root.certificate = new_certificate("test root", root.key, NULL, CERTIFICATE_GOOD);
        extend(root.certificate, root.certificate, NID_basic_constraints, "critical,CA:TRUE");
        extend(root.certificate, root.certificate, NID_key_usage, "critical,keyCertSign");
        ck_assert_int_gt(X509_sign(root.certificate, root.key, EVP_sha256()), 0);
        return root;
}

static struct identity make_leaf(const struct identity *root, enum broker_certificate kind) {
        struct identity leaf = {
                .key = kind == CERTIFICATE_RSA_1024 ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256"),
        };
        const struct identity *issuer = kind == CERTIFICATE_SELF_SIGNED ? NULL : root;
        const char *usage = kind == CERTIFICATE_FOR_CLIENTS ? "clientAuth" : "serverAuth";
        const char *name = kind == CERTIFICATE_OTHER_NAME ? "DNS:other.example"
                                                          : "IP:127.0.0.1,DNS:localhost";

        leaf.certificate = new_certificate("test broker", leaf.key, issuer, kind);
        extend(leaf.certificate, issuer ? issuer->certificate : leaf.certificate,
               NID_subject_alt_name, name);
        extend(leaf.certificate, leaf.certificate, NID_ext_key_usage, usage);
        ck_assert_int_gt(X509_sign(leaf.certificate, issuer ? issuer->key : leaf.key,
                                   kind == CERTIFICATE_SHA1 ? EVP_sha1() : EVP_sha256()),
                         0);
        return leaf;
}

static void free_identity(struct identity *identity) {
        EVP_PKEY_free(identity->key);
        X509_free(identity->certificate);
}

static void write_root(struct broker *broker, const struct identity *root) {
        BIO *pem = BIO_new(BIO_s_mem());

        ck_assert_int_eq(PEM_write_bio_X509(pem, root->certificate), 1);
        int size = BIO_read(pem, broker->root_pem, sizeof(broker->root_pem) - 1);
        ck_assert_int_gt(size, 0);
        BIO_free(pem);
}

static void make_context(struct broker *broker) {
        struct identity root = make_root();
        struct identity other = make_root();
        enum broker_certificate kind = broker->options.certificate;
        struct identity leaf = make_leaf(kind == CERTIFICATE_OTHER_ROOT ? &other : &root, kind);

        broker->context = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_security_level(broker->context, 0);
        if (broker->options.tls_max)
                SSL_CTX_set_max_proto_version(broker->context, broker->options.tls_max);
        ck_assert_int_eq(SSL_CTX_use_certificate(broker->context, leaf.certificate), 1);
        ck_assert_int_eq(SSL_CTX_use_PrivateKey(broker->context, leaf.key), 1);
        ck_assert_int_eq(X509_digest(leaf.certificate, EVP_sha384(), broker->leaf_sha384, NULL), 1);
        write_root(broker, &root);
        free_identity(&leaf);
        free_identity(&other);
        free_identity(&root);
}

/* One request with its body; false at the end of the connection. */
static bool read_request(SSL *tls, char *request, size_t size) {
        size_t used = 0;

        for (;;) {
                int got = SSL_read(tls, request + used, (int)(size - 1 - used));

                if (got <= 0)
                        return false;
                used += (size_t)got;
                request[used] = '\0';

                const char *end = strstr(request, "\r\n\r\n");
                const char *length = strcasestr(request, "content-length: ");
                if (end && used >= (size_t)(end + 4 - request) +
                                           (length ? strtoul(length + 16, NULL, 10) : 0))
                        return true;
        }
}

static bool answer_raw(struct broker *broker, SSL *tls) {
        const struct broker_options *options = &broker->options;
        size_t size = options->raw_size ? options->raw_size : strlen(options->raw);

        if (size > 0)
                (void)SSL_write(tls, options->raw, (int)size);
        return false;
}

struct connection {
        struct connection *earlier;
        struct broker *broker;
        pthread_t thread;
        unsigned number;
        int fd; /* -1 once closed; locked */
};

static void end_connection(struct connection *connection, SSL *tls) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        struct broker *broker = connection->broker;

        if (broker->options.reset)
                (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        else if (!broker->options.no_close_notify)
                (void)SSL_shutdown(tls);
        SSL_free(tls);
        (void)pthread_mutex_lock(&broker->lock);
        (void)close(connection->fd);
        connection->fd = -1;
        (void)pthread_mutex_unlock(&broker->lock);
}

static broker_answer_fn note_request(struct broker *broker, const char *request) {
        (void)pthread_mutex_lock(&broker->lock);
        memcpy(broker->seen, request, strlen(request) + 1);
        broker_answer_fn answer = broker->answer;
        (void)pthread_mutex_unlock(&broker->lock);
        atomic_fetch_add(&broker->requests, 1);
        return answer;
}

const char *broker_seen(struct broker *broker) {
        static char seen[sizeof(broker->seen)];

        (void)pthread_mutex_lock(&broker->lock);
        memcpy(seen, broker->seen, sizeof(seen));
        (void)pthread_mutex_unlock(&broker->lock);
        return seen;
}

void broker_answer_by(struct broker *broker, broker_answer_fn answer) {
        (void)pthread_mutex_lock(&broker->lock);
        broker->answer = answer;
        (void)pthread_mutex_unlock(&broker->lock);
}

/* The kernel knows when they came, however late this thread looks. */
static uint64_t greeted_usec(int fd) {
        struct pollfd greeting = {.fd = fd, .events = POLLIN};
        struct tcp_info info = {0};
        socklen_t size = sizeof(info);

        (void)poll(&greeting, 1, -1);
        (void)getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
        return clock_now_usec() - info.tcpi_last_data_recv * USEC_PER_MSEC;
}

static void let_wait(const struct connection *connection) {
        struct broker *broker = connection->broker;

        if (broker->options.handshake_usec == 0 || connection->number == 0 ||
            connection->number >= BROKER_CONNECTIONS_NOTED)
                return;
        broker->greeted_usec[connection->number] = greeted_usec(connection->fd);
        (void)usleep(broker->options.handshake_usec);
}

static void *serve(void *argument) {
        struct connection *connection = argument;
        struct broker *broker = connection->broker;
        SSL *tls = SSL_new(broker->context);
        char request[sizeof(broker->seen)];

        let_wait(connection);
        (void)SSL_set_fd(tls, connection->fd);
        if (SSL_accept(tls) == 1) {
                bool more = true;

                while (more && read_request(tls, request, sizeof(request))) {
                        broker_answer_fn answer = note_request(broker, request);

                        more = answer ? answer(broker, tls, request) : answer_raw(broker, tls);
                }
        }
        end_connection(connection, tls);
        return NULL;
}

static void *accept_all(void *argument) {
        struct broker *broker = argument;
        int fd;

        while ((fd = accept4(broker->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                struct connection *connection = malloc(sizeof(*connection));

                *connection = (struct connection){
                        .earlier = broker->last,
                        .broker = broker,
                        .number = atomic_fetch_add(&broker->connections, 1),
                        .fd = fd,
                };
                broker->last = connection;
                ck_assert_int_eq(pthread_create(&connection->thread, NULL, serve, connection), 0);
        }
        return NULL;
}

static struct broker *started;

struct broker *broker_start(const struct broker_options *options) {
        struct broker *broker = calloc(1, sizeof(*broker));
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);

        const struct sigaction ignore = {.sa_handler = SIG_IGN};

        (void)sigaction(SIGPIPE, &ignore, NULL);
        broker->options = *options;
        broker->answer = options->answer;
        broker->next = started;
        started = broker;
        (void)pthread_mutex_init(&broker->lock, NULL);
        make_context(broker);
        broker->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(broker->listener, (struct sockaddr *)&address, size), 0);
        ck_assert_int_eq(listen(broker->listener, 64), 0);
        ck_assert_int_eq(getsockname(broker->listener, (struct sockaddr *)&address, &size), 0);
        broker->port = ntohs(address.sin_port);
        (void)snprintf(broker->url, sizeof(broker->url), "https://127.0.0.1:%u", broker->port);
        ck_assert_int_eq(pthread_create(&broker->acceptor, NULL, accept_all, broker), 0);
        return broker;
}

static void cut(struct connection *connection) {
        (void)pthread_mutex_lock(&connection->broker->lock);
        if (connection->fd >= 0)
                (void)shutdown(connection->fd, SHUT_RDWR);
        (void)pthread_mutex_unlock(&connection->broker->lock);
        (void)pthread_join(connection->thread, NULL);
}

/* Its address may still be asked for; the process of a test ends soon after. */
void broker_stop(struct broker *broker) {
        if (broker->stopped)
                return;

        broker->stopped = true;
        (void)shutdown(broker->listener, SHUT_RDWR);
        (void)pthread_join(broker->acceptor, NULL);
        (void)close(broker->listener);
        while (broker->last) {
                struct connection *connection = broker->last;

                cut(connection);
                broker->last = connection->earlier;
                free(connection);
        }
        SSL_CTX_free(broker->context);
}
