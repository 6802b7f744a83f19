/* SPDX-License-Identifier: Apache-2.0 */
#include "control/control_connection.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/secret.h"

struct control_connection {
        struct control_connection_options options;
        uint64_t accepted_usec;
        uint64_t deadline_usec;
        struct buf request;                /* header and payload */
        struct wla_secret *secret_request; /* the payload instead */
        size_t secret_received;
        struct buf reply;
        struct wla_secret *secret_reply; /* follows reply; from a service */
        size_t secret_sent;
        struct keyprovider_call *keyprovider_call;
        const struct control_service *service; /* of service_call */
        void *service_call;
        uint16_t command; /* repeated in the reply */
        bool protected;   /* the peer has to hear it yet */
        bool answered;
};

int control_connection_new(const struct control_connection_options *options, uint64_t now_usec,
                           struct control_connection **ret, struct wla_error *err) {
        struct control_connection *connection = calloc(1, sizeof(*connection));

        if (!connection)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        connection->options = *options;
        connection->accepted_usec = now_usec;
        connection->deadline_usec = now_usec + options->timeout_usec;
        connection->request = BUF_WITH_LIMIT(sizeof(struct control_header));
        connection->reply = BUF_WITH_LIMIT(sizeof(struct control_header) + CONTROL_REPLY_MAX);
        *ret = connection;
        return 0;
}

static bool waits(const struct control_connection *connection) {
        return connection->keyprovider_call || connection->service_call;
}

static void cancel_call(struct control_connection *connection) {
        if (connection->keyprovider_call)
                keyprovider_call_cancel(connection->keyprovider_call);
        if (connection->service_call)
                connection->service->cancel(connection->service->self, connection->service_call);
        connection->keyprovider_call = NULL;
        connection->service_call = NULL;
}

struct control_connection *control_connection_free(struct control_connection *connection) {
        if (!connection)
                return NULL;

        cancel_call(connection);
        wla_secret_free(connection->secret_reply);
        wla_secret_free(connection->secret_request);
        buf_clear(&connection->request);
        buf_clear(&connection->reply);
        free(connection);
        return NULL;
}

/* Whatever the reply holds by now is all that goes out. */
static void finish(struct control_connection *connection) {
        connection->answered = true;
        connection->options.wake(connection->options.userdata);
}

/* Fills in the header in front of what has been appended behind its place. */
static void finish_reply(struct control_connection *connection, enum wla_code code) {
        size_t size = connection->reply.size - sizeof(struct control_header);
        const struct control_header header = {
                .magic = CONTROL_MAGIC,
                .command = connection->command,
                .code = (uint16_t)code,
                .size = (uint32_t)(size + (connection->secret_reply
                                                   ? wla_secret_view(connection->secret_reply).size
                                                   : 0)),
        };

        memcpy(connection->reply.data, &header, sizeof(header));
        finish(connection);
}

static int reserve_header(struct control_connection *connection, struct wla_error *err) {
        buf_reset(&connection->reply);
        uint8_t *header = buf_extend(&connection->reply, sizeof(struct control_header), err);
        if (!header)
                return -1;

        memset(header, 0, sizeof(struct control_header));
        return 0;
}

/* Without memory for the text the code alone goes out; without any, the connection just closes. */
static void reply_error(struct control_connection *connection, const struct wla_error *cause) {
        struct wla_error err = {0};
        char text[768];

        if (reserve_header(connection, &err) < 0) {
                finish(connection);
                return;
        }
        wla_error_format(cause, text, sizeof(text));
        if (buf_append_text(&connection->reply, text, &err) < 0)
                connection->reply.size = sizeof(struct control_header);
        finish_reply(connection, cause->code);
}

static void reply_result(struct control_connection *connection,
                         const struct control_result *result) {
        struct wla_error err = {0};

        if (result->err) {
                reply_error(connection, result->err);
                return;
        }

        if (reserve_header(connection, &err) < 0 ||
            (result->text &&
             buf_append(&connection->reply, result->text->data, result->text->size, &err) < 0)) {
                wla_secret_free(result->secret);
                reply_error(connection, &err);
                return;
        }
        connection->secret_reply = result->secret;
        finish_reply(connection, WLA_OK);
}

static void keyprovider_done(void *userdata, struct wla_secret *reply,
                             const struct wla_error *err) {
        struct control_connection *connection = userdata;
        const struct control_result result = {.secret = reply, .err = err};

        connection->keyprovider_call = NULL;
        reply_result(connection, &result);
}

static void begin_keyprovider(struct control_connection *connection) {
        struct keyprovider_call *call = NULL;

        keyprovider_service_begin(connection->options.handlers->keyprovider, &connection->request,
                                  &connection->options.peer, connection->deadline_usec,
                                  keyprovider_done, connection, &call);
        connection->keyprovider_call = call;
}

static void service_done(void *userdata, const struct control_result *result) {
        struct control_connection *connection = userdata;

        connection->service_call = NULL;
        reply_result(connection, result);
        if (result->text)
                buf_clear(result->text);
}

static const struct control_service *find_service(const struct control_connection *connection) {
        const struct control_handlers *handlers = connection->options.handlers;

        switch (connection->command) {
        case CONTROL_DOMAIN:
        case CONTROL_VOLUME_OPEN:
        case CONTROL_VOLUME_CLOSE:
        case CONTROL_VOLUMES:
        case CONTROL_DOMAINS:
        case CONTROL_LAYER_REMOVE:
                return handlers->vms;
        case CONTROL_IMAGE_WRAP:
        case CONTROL_IMAGE_UNWRAP:
                return handlers->images;
        case CONTROL_VOLUME_PREPARE:
        case CONTROL_VOLUME_ADOPT:
                return handlers->work;
        default:
                return NULL;
        }
}

static void begin_service(struct control_connection *connection,
                          const struct control_service *service) {
        uint64_t timeout_usec = service->timeout_usec(service->self, connection->command,
                                                      &connection->request);
        struct wla_secret *secret_payload = TAKE_PTR(connection->secret_request);
        void *call = NULL;

        connection->options.timeout_usec = timeout_usec;
        connection->deadline_usec = connection->accepted_usec + timeout_usec;
        const struct control_request request = {
                .command = connection->command,
                .payload = &connection->request,
                .secret_payload = secret_payload,
                .peer = connection->options.peer,
                .deadline_usec = connection->deadline_usec,
                .ret_protected = &connection->protected,
        };
        connection->service = service;
        service->begin(service->self, &request, service_done, connection, &call);
        connection->service_call = call;
        buf_clear(&connection->request);
}

static int fail_denied(const struct control_connection *connection, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_DENIED, "run the command as root",
                             "user %ju may not ask wlagentd for this",
                             (uintmax_t)connection->options.peer.uid);
}

static int run_command(struct control_connection *connection, struct wla_error *err) {
        const struct control_handlers *handlers = connection->options.handlers;

        if (!connection->options.may_administer)
                return fail_denied(connection, err);

        switch (connection->command) {
        case CONTROL_STATUS:
                return handlers->status(handlers->self, &connection->reply, err);
        case CONTROL_METRICS:
                return handlers->metrics(handlers->self, &connection->reply, err);
        case CONTROL_FORGET:
                handlers->forget(handlers->self);
                return 0;
        default:
                return wla_fail_hint(
                        err, WLA_E_UNSUPPORTED, "wlagent and wlagentd may be of different versions",
                        "wlagentd does not know the control command %u", connection->command);
        }
}

static void handle_request(struct control_connection *connection) {
        const struct control_service *service = find_service(connection);
        struct wla_error err = {0};

        buf_consume(&connection->request, sizeof(struct control_header));
        if (connection->command == CONTROL_KEYPROVIDER) {
                begin_keyprovider(connection);
                return;
        }
        if (service && (connection->options.may_administer || service->for_everybody)) {
                begin_service(connection, service);
                return;
        }

        if (reserve_header(connection, &err) < 0 || run_command(connection, &err) < 0)
                reply_error(connection, &err);
        else
                finish_reply(connection, WLA_OK);
}

static bool carries_key(uint16_t command) {
        return command == CONTROL_IMAGE_WRAP || command == CONTROL_IMAGE_UNWRAP;
}

/* What a peer may make us keep depends on who it is, and what it asks for. */
static uint32_t payload_max(const struct control_connection *connection, uint16_t command) {
        if (carries_key(command))
                return sizeof(struct control_image_key);

        bool large = command == CONTROL_DOMAIN || command == CONTROL_DOMAINS;

        return large && connection->options.may_administer ? CONTROL_DOMAIN_PAYLOAD_MAX
                                                           : CONTROL_PAYLOAD_MAX;
}

static int judge_header(struct control_connection *connection, struct control_header *ret,
                        struct wla_error *err) {
        memcpy(ret, connection->request.data, sizeof(*ret));
        if (ret->magic != CONTROL_MAGIC || ret->code != 0 || ret->reserved != 0 ||
            ret->size > payload_max(connection, ret->command))
                return wla_fail(err, WLA_E_INPUT, "this is no control request");
        connection->request.limit = sizeof(*ret) + ret->size;
        return 0;
}

static size_t smaller(size_t a, size_t b) {
        return a < b ? a : b;
}

static int take_payload(struct control_connection *connection, const struct control_header *header,
                        const uint8_t *data, size_t size, struct wla_error *err) {
        if (!carries_key(header->command))
                return buf_append(&connection->request, data, size, err);
        if (size == 0)
                return 0;
        if (!connection->secret_request &&
            wla_secret_new(header->size, &connection->secret_request, err) < 0)
                return -1;
        memcpy(wla_secret_fill(connection->secret_request) + connection->secret_received, data,
               size);
        connection->secret_received += size;
        return 0;
}

int control_connection_feed(struct control_connection *connection, const uint8_t *data, size_t size,
                            struct wla_error *err) {
        struct control_header header;

        if (connection->answered || waits(connection))
                return wla_fail(err, WLA_E_INPUT, "bytes behind the control request");

        /* The header alone, until it says what may follow. */
        if (connection->request.size < sizeof(header)) {
                size_t part = smaller(size, sizeof(header) - connection->request.size);

                if (buf_append(&connection->request, data, part, err) < 0)
                        return wla_wrap(err, "reading a control request");
                data += part;
                size -= part;
        }
        if (connection->request.size < sizeof(header))
                return 0;
        if (judge_header(connection, &header, err) < 0)
                return -1;

        size_t received = connection->request.size + connection->secret_received;
        size_t missing = sizeof(header) + header.size - received;
        if (size > missing)
                return wla_fail(err, WLA_E_INPUT, "bytes behind the control request");
        if (take_payload(connection, &header, data, size, err) < 0)
                return wla_wrap(err, "reading a control request");
        if (size < missing)
                return 0;

        connection->command = header.command;
        handle_request(connection);
        return 0;
}

static int drain_protected(struct control_connection *connection, struct buf *out,
                           struct wla_error *err) {
        const struct control_header header = {
                .magic = CONTROL_MAGIC,
                .command = connection->command,
                .code = CONTROL_PROTECTED,
        };

        if (buf_append(out, &header, sizeof(header), err) < 0)
                return -1;
        connection->protected = false;
        return 0;
}

int control_connection_drain(struct control_connection *connection, struct buf *out,
                             struct wla_error *err) {
        if (connection->protected && drain_protected(connection, out, err) < 0)
                return -1;
        if (!connection->answered)
                return 0;

        size_t size = smaller(out->limit - out->size, connection->reply.size);
        if (buf_append(out, connection->reply.data, size, err) < 0)
                return -1;
        buf_consume(&connection->reply, size);
        if (!connection->secret_reply || connection->reply.size > 0)
                return 0;

        struct wla_bytes secret = wla_secret_view(connection->secret_reply);
        size = smaller(out->limit - out->size, secret.size - connection->secret_sent);
        if (buf_append(out, secret.data + connection->secret_sent, size, err) < 0)
                return -1;
        connection->secret_sent += size;
        if (connection->secret_sent == secret.size)
                connection->secret_reply = wla_secret_free(connection->secret_reply);
        return 0;
}

void control_connection_shutdown(struct control_connection *connection) {
        if (!waits(connection))
                connection->answered = true;
}

void control_connection_tick(struct control_connection *connection, uint64_t now_usec) {
        struct wla_error err = {0};

        if (connection->answered || now_usec < connection->deadline_usec)
                return;

        cancel_call(connection);
        (void)wla_fail_hint(&err, WLA_E_TIMEOUT, "see 'wlagent status' and the journal of wlagentd",
                            "wlagentd did not finish this within %ju seconds",
                            (uintmax_t)(connection->options.timeout_usec / USEC_PER_SEC));
        reply_error(connection, &err);
}

uint64_t control_connection_next_usec(const struct control_connection *connection) {
        return connection->answered ? UINT64_MAX : connection->deadline_usec;
}

bool control_connection_finished(const struct control_connection *connection) {
        return connection->answered && connection->reply.size == 0 && !connection->secret_reply;
}
