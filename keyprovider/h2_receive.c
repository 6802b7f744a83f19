/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/h2_session.h"

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
                return 0;

        struct grpc_call *call = grpc_call_new(userdata, frame->hd.stream_id);
        if (!call)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;

        return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *userdata) {
        struct grpc_call *call = h2_session_call(session, frame->hd.stream_id);

        (void)flags;
        (void)userdata;
        if (call)
                grpc_call_header(call, (struct wla_bytes){name, name_size},
                                 (struct wla_bytes){value, value_size});
        return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        (void)userdata;
        if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
                return 0;

        struct grpc_call *call = h2_session_call(session, frame->hd.stream_id);
        if (!call)
                return 0;

        if (!call->headers_done)
                grpc_call_headers_end(call);
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
                grpc_call_request_end(call);
        return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t size, void *userdata) {
        struct grpc_call *call = h2_session_call(session, stream_id);

        (void)flags;
        (void)userdata;
        if (call)
                grpc_call_data(call, data, size);
        return 0;
}

/* Frames that make us reset a stream cost their sender nothing and us a stream (CVE-2025-8671).  No
 * honest client sends one, so the first ends the connection.  A stream above the limit may be honest:
 * the client has not seen our SETTINGS.  And a GOAWAY that names a stream of its own, as grpc-go's does,
 * is a wrong way to say goodbye, but a goodbye: nghttp2 closes without our help. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *userdata) {
        (void)session;
        if (error == NGHTTP2_ERR_REFUSED_STREAM || frame->hd.type == NGHTTP2_GOAWAY)
                return 0;

        struct h2_connection *connection = userdata;
        connection->fault = nghttp2_strerror(error);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *userdata) {
        struct grpc_call *call = h2_session_call(session, stream_id);

        (void)error_code;
        (void)userdata;
        if (call)
                grpc_call_free(call);
        return 0;
}

void h2_receive_set_callbacks(nghttp2_session_callbacks *callbacks) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
