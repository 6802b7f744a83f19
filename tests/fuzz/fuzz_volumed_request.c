/* SPDX-License-Identifier: Apache-2.0 */

/* A packet that wlagent-volumed receives.  What is accepted says one thing only: written down again from
 * the typed values it is the same packet. */

#include <string.h>

#include "fuzz.h"
#include "volume/request.h"

static void put(char *to, size_t size, const char *text) {
        size_t length = strlen(text);

        FUZZ_CHECK(length < size);
        memcpy(to, text, length);
}

static void write_again(const struct volume_request *request, struct volumed_request *wire) {
        char name[VOLUME_NAME_SIZE];

        wire->magic = VOLUMED_MAGIC;
        wire->operation = (uint16_t)request->operation;
        wire->key_size = (uint16_t)request->key_size;
        put(wire->vm, sizeof(wire->vm), request->vm.text);
        put(wire->target, sizeof(wire->target), request->target);
        if (request->name.uuid.text[0]) {
                volume_name_write(&request->name, name);
                put(wire->name, sizeof(wire->name), name);
        }
        put(wire->path, sizeof(wire->path), request->path);
        put(wire->header, sizeof(wire->header), request->header);
        put(wire->layer.image, sizeof(wire->layer.image), request->layer.image.text);
        wire->layer.ephemeral = request->layer.ephemeral;
        wire->layer.backing_content = (uint8_t)request->layer.backing_content;
        wire->layer.virtual_size = request->layer.virtual_size;
        wire->layer.wrapped = request->layer.wrapped;
        put(wire->nova.image, sizeof(wire->nova.image), request->nova.image.text);
        wire->nova.to_mapping = request->nova.to_mapping;
        wire->nova.content = (uint8_t)request->nova.content;
        wire->nova.virtual_size = request->nova.virtual_size;
        put(wire->key_id, sizeof(wire->key_id), request->key_id.text);
}

/* Field by field: padding has no meaning. */
static void check_same(const struct volumed_request *a, const struct volumed_request *b) {
        FUZZ_CHECK(a->magic == b->magic && a->operation == b->operation &&
                   a->key_size == b->key_size);
        FUZZ_CHECK(memcmp(a->vm, b->vm, sizeof(a->vm)) == 0);
        FUZZ_CHECK(memcmp(a->target, b->target, sizeof(a->target)) == 0);
        FUZZ_CHECK(memcmp(a->name, b->name, sizeof(a->name)) == 0);
        FUZZ_CHECK(memcmp(a->path, b->path, sizeof(a->path)) == 0);
        FUZZ_CHECK(memcmp(a->header, b->header, sizeof(a->header)) == 0);
        FUZZ_CHECK(memcmp(a->layer.image, b->layer.image, sizeof(a->layer.image)) == 0);
        FUZZ_CHECK(a->layer.ephemeral == b->layer.ephemeral);
        FUZZ_CHECK(a->layer.backing_content == b->layer.backing_content);
        FUZZ_CHECK(a->layer.virtual_size == b->layer.virtual_size);
        FUZZ_CHECK(memcmp(&a->layer.wrapped, &b->layer.wrapped, sizeof(a->layer.wrapped)) == 0);
        FUZZ_CHECK(memcmp(a->nova.image, b->nova.image, sizeof(a->nova.image)) == 0);
        FUZZ_CHECK(a->nova.to_mapping == b->nova.to_mapping);
        FUZZ_CHECK(a->nova.content == b->nova.content);
        FUZZ_CHECK(a->nova.virtual_size == b->nova.virtual_size);
        FUZZ_CHECK(memcmp(a->key_id, b->key_id, sizeof(a->key_id)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct volumed_request wire = {0};
        struct volumed_request again = {0};
        struct volume_request request;
        struct wla_error err = {0};

        memcpy(&wire, data, size < sizeof(wire) ? size : sizeof(wire));
        if (volume_request_read(&wire, &request, &err) < 0) {
                FUZZ_CHECK(err.code != WLA_OK && err.code != WLA_E_SYSTEM);
                return 0;
        }
        write_again(&request, &again);
        check_same(&wire, &again);
        return 0;
}
