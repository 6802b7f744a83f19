/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls.h"

#include <stdlib.h>

#include "source/wls_answer.h"

#define REQUEST_MAX 2048u

struct wls_source {
        struct wls_service service;
        struct uuid hardware;
        struct key_origins allowed;
};

static int write_body(const struct wls_source *source, const struct key_link *link, struct buf *to,
                      struct wla_error *err) {
        return buf_printf(to, err, "{\"hardware_uuid\":\"%s\",\"key_url\":\"%s\"}",
                          source->hardware.text, link->url);
}

static int read_answer(void *userdata, const struct http_answer *answer, enum wls_next *ret_next,
                       struct wla_error *err) {
        return wls_answer_read(answer, userdata, ret_next, err);
}

static int fetch(void *self, const struct key_request *request, struct envelope *ret,
                 struct wla_error *err) {
        const struct wls_source *source = self;
        _cleanup_buf_ struct buf body = BUF_WITH_LIMIT(REQUEST_MAX);
        uint8_t wrapped[RSA_WRAPPED_SIZE];
        struct key_link link;

        if (key_link_parse(&request->id, &source->allowed, &link, err) < 0 ||
            write_body(source, &link, &body, err) < 0)
                return -1;

        const struct wls_call call = {
                .method = "POST",
                .path = "/keys",
                .body = {.data = body.data, .size = body.size},
                .read = read_answer,
                .userdata = wrapped,
                .attests = true,
        };
        if (wls_call(&source->service, &call, &request->deadline, err) < 0 ||
            buf_append(&ret->bytes, wrapped, sizeof(wrapped), err) < 0)
                return -1;
        ret->kind = ENVELOPE_HOST_BOUND;
        return 0;
}

static bool obstacle(void *self, struct wla_error *err) {
        const struct wls_source *source = self;

        return wls_service_obstacle(&source->service, err);
}

static const struct key_source_ops ops = {
        .name = "wls",
        .fetch = fetch,
        .obstacle = obstacle,
};

int wls_source_new(const struct wls_options *options, struct wls_source **ret,
                   struct wla_error *err) {
        struct wls_source *source = calloc(1, sizeof(*source));

        if (!source)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        source->service = options->service;
        source->hardware = options->hardware;
        source->allowed = options->allowed;
        *ret = source;
        return 0;
}

struct wls_source *wls_source_free(struct wls_source *source) {
        free(source);
        return NULL;
}

struct key_source wls_source_as_source(struct wls_source *source) {
        return (struct key_source){.ops = &ops, .self = source};
}
