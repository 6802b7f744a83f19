/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/h2_session.h"

#include <string.h>

#define STATIC_HEADER(header, text)                                                            \
        {                                                                                      \
                .name = (uint8_t *)(uintptr_t)(header), .value = (uint8_t *)(uintptr_t)(text), \
                .namelen = strlen(header), .valuelen = strlen(text),                           \
                .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE,         \
        }

/* nghttp2 copies the value while it is submitted. */
#define COPIED_HEADER(header, text)                                                            \
        {                                                                                      \
                .name = (uint8_t *)(uintptr_t)(header), .value = (uint8_t *)(uintptr_t)(text), \
                .namelen = strlen(header), .valuelen = strlen(text),                           \
                .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME,                                         \
        }

/* An answer before the end of the request: the client need not send the rest (RFC 9113 section 8.1). */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        (void)userdata;
        if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
            nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) != 0)
                return 0;

        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                         NGHTTP2_NO_ERROR);
}

static ssize_t read_reply(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t length,
                          uint32_t *flags, nghttp2_data_source *source, void *userdata) {
        static const nghttp2_nv trailers[] = {STATIC_HEADER("grpc-status", "0")};
        struct h2_connection *connection = userdata;
        struct grpc_call *call = h2_session_call(session, stream_id);

        (void)to;
        (void)source;
        if (!call)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;

        size_t left = grpc_call_reply_left(call);
        size_t room = connection->out->limit - H2_FRAME_HEADER_SIZE;
        size_t size = left < length ? left : length;
        if (size > room)
                size = room;

        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        if (size == left) {
                *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
                if (nghttp2_submit_trailer(session, stream_id, trailers, 1) != 0)
                        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
        return (ssize_t)size;
}

static int send_reply(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header,
                      size_t length, nghttp2_data_source *source, void *userdata) {
        struct h2_connection *connection = userdata;
        struct grpc_call *call = h2_session_call(session, frame->hd.stream_id);
        struct buf *out = connection->out;
        struct wla_error err = {0};

        (void)source;
        if (!call)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        if (out->limit - out->size < H2_FRAME_HEADER_SIZE + length)
                return NGHTTP2_ERR_WOULDBLOCK;

        if (buf_append(out, header, H2_FRAME_HEADER_SIZE, &err) < 0 ||
            grpc_call_reply_take(call, length, out, &err) < 0)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        return 0;
}

void h2_send_set_callbacks(nghttp2_session_callbacks *callbacks) {
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
        nghttp2_session_callbacks_set_send_data_callback(callbacks, send_reply);
}

void h2_send_reply(struct grpc_call *call) {
        static const nghttp2_nv headers[] = {
                STATIC_HEADER(":status", "200"),
                STATIC_HEADER("content-type", "application/grpc"),
        };
        const nghttp2_data_provider provider = {.read_callback = read_reply};

        h2_session_check(call->connection,
                         nghttp2_submit_response(call->connection->session, call->stream_id,
                                                 headers, 2, &provider));
}

void h2_send_status(struct grpc_call *call, const char *grpc_status, const char *grpc_message) {
        const nghttp2_nv headers[] = {
                STATIC_HEADER(":status", "200"),
                STATIC_HEADER("content-type", "application/grpc"),
                COPIED_HEADER("grpc-status", grpc_status),
                COPIED_HEADER("grpc-message", grpc_message),
        };

        h2_session_check(call->connection,
                         nghttp2_submit_response(call->connection->session, call->stream_id,
                                                 headers, 4, NULL));
}

void h2_send_http_error(struct grpc_call *call, const char *http_status) {
        const nghttp2_nv headers[] = {COPIED_HEADER(":status", http_status)};

        h2_session_check(call->connection,
                         nghttp2_submit_response(call->connection->session, call->stream_id,
                                                 headers, 1, NULL));
}
