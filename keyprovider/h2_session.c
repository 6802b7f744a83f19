/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/h2_session.h"

#include "base/wiping_alloc.h"

/* Streams that a client may reset at once, and a second after that. */
#define RESET_BURST 100u
#define RESET_RATE  10u

/* Acknowledgements that a peer who does not read can make us keep. */
#define OUTBOUND_ACKS_MAX (2u * H2_FLOOD_FRAMES)

struct grpc_call *h2_session_call(nghttp2_session *session, int32_t stream_id) {
        return nghttp2_session_get_stream_user_data(session, stream_id);
}

static nghttp2_session_callbacks *make_callbacks(void) {
        nghttp2_session_callbacks *callbacks;

        if (nghttp2_session_callbacks_new(&callbacks) != 0)
                return NULL;

        h2_receive_set_callbacks(callbacks);
        h2_send_set_callbacks(callbacks);
        return callbacks;
}

static nghttp2_option *make_options(void) {
        nghttp2_option *option;

        if (nghttp2_option_new(&option) != 0)
                return NULL;

        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS_MAX);
        nghttp2_option_set_max_reserved_remote_streams(option, 0);
        nghttp2_option_set_stream_reset_rate_limit(option, RESET_BURST, RESET_RATE);
        return option;
}

static void *take_block(size_t size, void *userdata) {
        (void)userdata;
        return wiping_malloc(size);
}

static void free_block(void *block, void *userdata) {
        (void)userdata;
        wiping_free(block);
}

static void *take_zeroed(size_t count, size_t size, void *userdata) {
        (void)userdata;
        return wiping_calloc(count, size);
}

static void *move_block(void *block, size_t size, void *userdata) {
        (void)userdata;
        return wiping_realloc(block, size);
}

static int submit_settings(struct h2_connection *connection) {
        const nghttp2_settings_entry entries[] = {
                {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, connection->limits.streams_max},
                {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADER_LIST_MAX},
        };

        return nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, entries,
                                       sizeof(entries) / sizeof(entries[0]));
}

int h2_session_new(struct h2_connection *connection, struct wla_error *err) {
        nghttp2_mem memory = {
                .malloc = take_block,
                .free = free_block,
                .calloc = take_zeroed,
                .realloc = move_block,
        };
        nghttp2_session_callbacks *callbacks = make_callbacks();
        nghttp2_option *option = make_options();
        int outcome = NGHTTP2_ERR_NOMEM;

        if (callbacks && option)
                outcome = nghttp2_session_server_new3(&connection->session, callbacks, connection,
                                                      option, &memory);
        nghttp2_option_del(option);
        nghttp2_session_callbacks_del(callbacks);

        if (outcome != 0 || submit_settings(connection) != 0)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        return 0;
}

void h2_session_check(struct h2_connection *connection, int outcome) {
        if (outcome != 0)
                connection->broken = true;
}

void h2_session_terminate(struct h2_connection *connection, uint32_t error_code) {
        h2_session_check(connection,
                         nghttp2_session_terminate_session(connection->session, error_code));
        connection->close_at_usec = connection->now_usec + H2_CLOSE_GRACE_USEC;
}

void h2_session_reset(struct grpc_call *call, uint32_t error_code) {
        struct h2_connection *connection = call->connection;
        int32_t stream_id = call->stream_id;

        /* Frames that nghttp2 has in hand for the stream no longer find a call. */
        (void)nghttp2_session_set_stream_user_data(connection->session, stream_id, NULL);
        grpc_call_free(call);
        h2_session_check(connection,
                         nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE,
                                                   stream_id, error_code));
}
