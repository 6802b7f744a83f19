/* SPDX-License-Identifier: Apache-2.0 */
#include "source/local.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "source/key_store.h"

struct local_source {
        char *state_directory;
};

static int fetch(void *self, const struct key_request *request, struct envelope *ret,
                 struct wla_error *err) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        const struct local_source *source = self;
        struct key_file file;

        assert(request->id.scheme == KEY_SCHEME_LOCAL);

        if (key_store_open(source->state_directory, &store, err) < 0 ||
            key_store_read(&store, request->id.local_name, &file, err) < 0)
                return -1;

        if (buf_append(&ret->bytes, file.wrapped, sizeof(file.wrapped), err) < 0)
                return -1;

        ret->kind = ENVELOPE_TPM_BOUND;
        memcpy(ret->binding_key, file.binding_key, sizeof(ret->binding_key));
        return 0;
}

static const struct key_source_ops ops = {
        .name = "local",
        .fetch = fetch,
};

int local_source_new(const char *state_directory, struct local_source **ret,
                     struct wla_error *err) {
        struct local_source *source = calloc(1, sizeof(*source));
        if (source)
                source->state_directory = strdup(state_directory);

        if (!source || !source->state_directory) {
                (void)local_source_free(source);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        *ret = source;
        return 0;
}

struct local_source *local_source_free(struct local_source *source) {
        if (source)
                free(source->state_directory);
        free(source);
        return NULL;
}

struct key_source local_source_as_source(struct local_source *source) {
        return (struct key_source){.ops = &ops, .self = source};
}
