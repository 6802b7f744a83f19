/* SPDX-License-Identifier: Apache-2.0 */
#include "h2_client.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const struct h2_limits client_limits = {
        .message_max = 256 * 1024,
        .streams_max = 32,
        .call_timeout_usec = 30 * USEC_PER_SEC,
        .idle_timeout_usec = 60 * USEC_PER_SEC,
};

static struct client_reply *reply_of(struct client *client, int32_t stream_id) {
        size_t index = (size_t)stream_id / 2;

        return index < CLIENT_STREAMS_MAX ? &client->replies[index] : NULL;
}

int32_t client_stream_id(const struct client *client, const struct client_reply *reply) {
        return (int32_t)(reply - client->replies) * 2 + 1;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *userdata) {
        struct client_reply *reply = reply_of(userdata, frame->hd.stream_id);
        char text[1024];

        (void)session;
        (void)flags;
        ck_assert_uint_lt(value_size, sizeof(text));
        memcpy(text, value, value_size);
        text[value_size] = '\0';
        if (name_size == 7 && memcmp(name, ":status", 7) == 0)
                reply->http_status = (int)strtoul(text, NULL, 10);
        else if (name_size == 11 && memcmp(name, "grpc-status", 11) == 0)
                reply->grpc_status = (int)strtoul(text, NULL, 10);
        else if (name_size == 12 && memcmp(name, "grpc-message", 12) == 0)
                memcpy(reply->grpc_message, text, value_size + 1);
        else if (name_size == 12 && memcmp(name, "content-type", 12) == 0)
                memcpy(reply->content_type, text, value_size + 1);
        return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        struct client *client = userdata;
        struct client_reply *reply = reply_of(client, frame->hd.stream_id);

        (void)session;
        switch (frame->hd.type) {
        case NGHTTP2_GOAWAY:
                client->goaway = true;
                client->goaway_code = frame->goaway.error_code;
                break;
        case NGHTTP2_PING:
                client->pings++;
                break;
        case NGHTTP2_WINDOW_UPDATE:
                client->window_updates++;
                break;
        case NGHTTP2_HEADERS:
                reply->header_frames++;
                reply->ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
                break;
        case NGHTTP2_DATA:
                ck_assert_msg(!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM), "no trailers");
                if (frame->hd.length > client->largest_data)
                        client->largest_data = frame->hd.length;
                break;
        default:
                break;
        }
        return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t size, void *userdata) {
        struct client_reply *reply = reply_of(userdata, stream_id);
        struct wla_error err;

        (void)session;
        (void)flags;
        ck_assert_int_eq(buf_append(&reply->body, data, size, &err), 0);
        return 0;
}

static int on_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                    void *userdata) {
        struct client_reply *reply = reply_of(userdata, stream_id);

        (void)session;
        reply->closed = true;
        reply->close_code = error_code;
        return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *userdata) {
        struct client_reply *reply = source->ptr;
        size_t left = reply->request_size - reply->request_hold - reply->request_sent;
        size_t size = left < length ? left : length;

        (void)session;
        (void)stream_id;
        (void)userdata;
        if (size == 0 && reply->request_hold > 0)
                return NGHTTP2_ERR_DEFERRED;
        if (size > 0)
                memcpy(to, reply->request + reply->request_sent, size);
        reply->request_sent += size;
        if (reply->request_sent == reply->request_size)
                *flags |= NGHTTP2_DATA_FLAG_EOF;
        return (ssize_t)size;
}

static void count_wake(void *userdata) {
        struct client *client = userdata;

        client->wakes++;
}

void client_open(struct client *client, const struct grpc_handler *handler,
                 const struct h2_limits *limits, bool no_auto_window) {
        struct h2_connection_options options = {
                .handler = handler,
                .limits = limits ? limits : &client_limits,
                .peer = {.uid = 1000, .gid = 1000, .pid = 4711},
                .wake = count_wake,
                .userdata = client,
        };
        nghttp2_session_callbacks *callbacks;
        nghttp2_option *option;
        struct wla_error err = {0};

        *client = (struct client){.now_usec = clock_now_usec(), .chunk = 65536, .out_limit = 65536};
        for (size_t i = 0; i < CLIENT_STREAMS_MAX; i++) {
                client->replies[i].grpc_status = -1;
                client->replies[i].body.limit = 1 << 20;
        }

        ck_assert_int_eq(nghttp2_session_callbacks_new(&callbacks), 0);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
        ck_assert_int_eq(nghttp2_option_new(&option), 0);
        nghttp2_option_set_no_auto_window_update(option, no_auto_window);
        ck_assert_int_eq(nghttp2_session_client_new2(&client->session, callbacks, client, option),
                         0);
        nghttp2_option_del(option);
        nghttp2_session_callbacks_del(callbacks);
        ck_assert_int_eq(nghttp2_submit_settings(client->session, 0, NULL, 0), 0);
        ck_assert_int_eq(h2_connection_new(&options, client->now_usec, &client->server, &err), 0);
}

void client_close(struct client *client) {
        client->server = h2_connection_free(client->server);
        nghttp2_session_del(client->session);
        for (size_t i = 0; i < CLIENT_STREAMS_MAX; i++)
                buf_clear(&client->replies[i].body);
}

struct client_reply *client_request(struct client *client, const nghttp2_nv *headers, size_t count,
                                    const void *body, size_t size) {
        int32_t stream_id = (int32_t)nghttp2_session_get_next_stream_id(client->session);
        struct client_reply *reply = reply_of(client, stream_id);
        nghttp2_data_provider provider = {.source.ptr = reply, .read_callback = read_body};

        ck_assert_ptr_nonnull(reply);
        reply->request = body;
        reply->request_size = size;
        ck_assert_int_eq(nghttp2_submit_request(client->session, NULL, headers, count,
                                                body ? &provider : NULL, NULL),
                         stream_id);
        return reply;
}

struct client_reply *client_post(struct client *client, const char *path, const void *body,
                                 size_t size) {
        const nghttp2_nv headers[] = {
                HEADER(":method", "POST"),
                HEADER(":scheme", "http"),
                HEADER(":path", path),
                HEADER(":authority", "localhost"),
                HEADER("content-type", "application/grpc"),
                HEADER("user-agent", "grpc-go/1.64.0"),
                HEADER("te", "trailers"),
        };

        return client_request(client, headers, sizeof(headers) / sizeof(headers[0]), body, size);
}

void client_resume(struct client *client, struct client_reply *reply) {
        reply->request_hold = 0;
        ck_assert_int_eq(
                nghttp2_session_resume_data(client->session, client_stream_id(client, reply)), 0);
}

bool client_send(struct client *client) {
        bool moved = false;
        const uint8_t *data;
        ssize_t size;

        while ((size = nghttp2_session_mem_send(client->session, &data)) > 0) {
                moved = true;
                for (ssize_t at = 0; at < size; at += (ssize_t)client->chunk) {
                        size_t left = (size_t)(size - at);

                        if (h2_connection_feed(client->server, data + at,
                                               left < client->chunk ? left : client->chunk,
                                               client->now_usec, &client->feed_error) < 0)
                                client->feed_outcome = -1;
                }
        }
        ck_assert_int_eq((int)size, 0);
        return moved;
}

bool client_receive(struct client *client) {
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(client->out_limit);
        struct wla_error err = {0};
        bool moved = false;

        for (;;) {
                ck_assert_int_eq(h2_connection_drain(client->server, &out, &err), 0);
                if (out.size == 0)
                        return moved;
                moved = true;
                ck_assert_int_eq((int)nghttp2_session_mem_recv(client->session, out.data, out.size),
                                 (int)out.size);
                buf_reset(&out);
        }
}

void client_exchange(struct client *client) {
        bool moved = true;

        while (moved) {
                moved = client_send(client);
                moved |= client_receive(client);
        }
}

void client_pass(struct client *client, uint64_t usec) {
        client->now_usec += usec;
        h2_connection_tick(client->server, client->now_usec);
}
