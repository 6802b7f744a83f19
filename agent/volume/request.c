/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/request.h"

#include <string.h>

enum field {
        FIELD_VM = 1 << 0, /* with the target */
        FIELD_NAME = 1 << 1,
        FIELD_PATH = 1 << 2,
        FIELD_LAYER = 1 << 3,
        FIELD_KEY = 1 << 4,
        FIELD_NOVA = 1 << 5,
        FIELD_KEY_ID = 1 << 6,
        FIELD_HEADER = 1 << 7, /* may be empty */
        FIELD_SECRET = 1 << 8,
        FIELD_BELOW = 1 << 9, /* of the layer's fields only what is below it, and how QEMU writes */
};

#define IN(state) (1u << (state))

static const struct {
        unsigned fields;
        unsigned states;
} operations[_VOLUMED_OPERATION_MAX] = {
        [VOLUMED_INSPECT_IMAGE] = {FIELD_PATH | FIELD_HEADER, IN(SESSION_NEW)},
        [VOLUMED_INSPECT_LAYER] = {FIELD_VM, IN(SESSION_NEW)},
        [VOLUMED_OPEN_IMAGE] = {FIELD_KEY, IN(SESSION_IMAGE)},
        [VOLUMED_OPEN_DIRECT] = {FIELD_VM | FIELD_KEY, IN(SESSION_IMAGE)},
        [VOLUMED_OPEN_LAYER] = {FIELD_BELOW | FIELD_KEY, IN(SESSION_LAYER)},
        [VOLUMED_CREATE_LAYER] = {FIELD_LAYER | FIELD_KEY, IN(SESSION_NO_LAYER)},
        [VOLUMED_LIST] = {0, IN(SESSION_NEW)},
        [VOLUMED_LIST_LAYERS] = {0, IN(SESSION_NEW)},
        [VOLUMED_CLOSE] = {FIELD_NAME, IN(SESSION_NEW)},
        [VOLUMED_REMOVE_LAYER] = {FIELD_VM, IN(SESSION_NEW)},
        [VOLUMED_REBASE] = {FIELD_NAME | FIELD_PATH | FIELD_NOVA, IN(SESSION_NEW)},
        [VOLUMED_CONVERT_IMAGE] = {FIELD_KEY | FIELD_KEY_ID, IN(SESSION_IMAGE)},
        [VOLUMED_ADOPT_VOLUME] = {FIELD_KEY, IN(SESSION_IMAGE)},
        [VOLUMED_LIST_CONVERSIONS] = {0, IN(SESSION_NEW)},
        [VOLUMED_REMOVE_CONVERSION] = {FIELD_NAME, IN(SESSION_NEW)},
        [VOLUMED_DIGEST_IMAGE] = {0, IN(SESSION_IMAGE)},
        [VOLUMED_SET_SECRET] = {FIELD_SECRET | FIELD_KEY, IN(SESSION_NEW)},
        [VOLUMED_CLEAR_SECRET] = {FIELD_SECRET, IN(SESSION_NEW)},
};

bool session_permits(enum session_state state, enum volumed_operation operation) {
        return (operations[operation].states & IN(state)) != 0;
}

static bool is_zero(const void *data, size_t size) {
        const uint8_t *bytes = data;

        for (size_t i = 0; i < size; i++)
                if (bytes[i] != 0)
                        return false;
        return true;
}

/* A text, a terminating zero and nothing behind. */
static int check_text(const char *text, size_t size, const char *field, struct wla_error *err) {
        size_t length = strnlen(text, size);

        if (length == 0 || length == size || !is_zero(text + length, size - length))
                return wla_fail(err, WLA_E_INPUT, "the %s is not a text", field);
        return 0;
}

static int read_uuid(const char text[UUID_TEXT_SIZE], const char *field, struct uuid *ret,
                     struct wla_error *err) {
        if (check_text(text, UUID_TEXT_SIZE, field, err) < 0)
                return -1;
        if (uuid_parse(text, strlen(text), ret, err) < 0)
                return wla_wrap(err, "%s", field);
        if (strcmp(text, ret->text) != 0)
                return wla_fail(err, WLA_E_INPUT, "the %s is not in canonical form", field);
        return 0;
}

static int read_disk(const struct volumed_request *wire, struct volume_request *request,
                     struct wla_error *err) {
        if (read_uuid(wire->vm, "VM", &request->vm, err) < 0 ||
            check_text(wire->target, sizeof(wire->target), "target", err) < 0)
                return -1;
        if (!disk_target_valid(wire->target, strlen(wire->target)))
                return wla_fail(err, WLA_E_INPUT, "the target is not a name of a disk");

        memcpy(request->target, wire->target, sizeof(request->target));
        return 0;
}

static int read_name(const struct volumed_request *wire, struct volume_request *request,
                     struct wla_error *err) {
        if (check_text(wire->name, sizeof(wire->name), "name", err) < 0)
                return -1;
        return volume_name_parse(wire->name, &request->name, err);
}

static bool path_is_canonical(const char *path) {
        if (path[0] != '/')
                return false;

        while (*path == '/') {
                size_t length = strcspn(++path, "/");

                if (length == 0 || (length <= 2 && strspn(path, ".") >= length))
                        return false;
                path += length;
        }
        return true;
}

static int read_path(const char path[VOLUMED_PATH_SIZE], const char *field,
                     char ret[VOLUMED_PATH_SIZE], struct wla_error *err) {
        if (check_text(path, VOLUMED_PATH_SIZE, field, err) < 0)
                return -1;
        if (!path_is_canonical(path))
                return wla_fail(err, WLA_E_INPUT, "the %s is not absolute and in shortest form",
                                field);

        memcpy(ret, path, VOLUMED_PATH_SIZE);
        return 0;
}

static int read_header(const struct volumed_request *wire, struct volume_request *request,
                       struct wla_error *err) {
        if (is_zero(wire->header, sizeof(wire->header)))
                return 0;
        return read_path(wire->header, "header's path", request->header, err);
}

static int check_disk_size(uint64_t size, struct wla_error *err) {
        if (size == 0 || size % 512 != 0 || size > (uint64_t)INT64_MAX / 2)
                return wla_fail(err, WLA_E_INPUT, "the size of the disk is out of range");
        return 0;
}

static int read_below(const struct volumed_request *wire, struct volume_request *request,
                      struct wla_error *err) {
        if (wire->layer.backing_content >= _IMAGE_CONTENT_MAX)
                return wla_fail(err, WLA_E_INPUT, "the kind of the image below is unknown");
        if (wire->layer.keeps_places > 1)
                return wla_fail(err, WLA_E_INPUT, "how the layer is written to is unknown");
        request->layer.backing_content = (enum image_content)wire->layer.backing_content;
        request->layer.keeps_places = wire->layer.keeps_places == 1;
        request->layer.virtual_size = wire->layer.virtual_size;
        return check_disk_size(wire->layer.virtual_size, err);
}

static int read_layer(const struct volumed_request *wire, struct volume_request *request,
                      struct wla_error *err) {
        struct layer_request *layer = &request->layer;

        if (read_uuid(wire->layer.image, "image", &layer->image, err) < 0)
                return -1;
        if (wire->layer.ephemeral > 1)
                return wla_fail(err, WLA_E_INPUT, "the kind of the layer is unknown");
        if (read_below(wire, request, err) < 0)
                return -1;

        layer->ephemeral = wire->layer.ephemeral == 1;
        layer->wrapped = wire->layer.wrapped;
        if (layer->ephemeral != is_zero(&layer->wrapped, sizeof(layer->wrapped)))
                return wla_fail(err, WLA_E_INPUT,
                                layer->ephemeral ? "an ephemeral layer has no wrapped key"
                                                 : "the wrapped key is missing");
        return 0;
}

static int read_nova(const struct volumed_request *wire, struct volume_request *request,
                     struct wla_error *err) {
        struct nova_request *nova = &request->nova;

        if (read_uuid(wire->nova.image, "image", &nova->image, err) < 0)
                return -1;
        if (wire->nova.to_mapping > 1 || wire->nova.content >= _IMAGE_CONTENT_MAX)
                return wla_fail(err, WLA_E_INPUT, "the kind of the backing file is unknown");
        if (request->name.kind != VOLUME_IMAGE)
                return wla_fail(err, WLA_E_INPUT, "the name is not that of an image");

        nova->to_mapping = wire->nova.to_mapping == 1;
        nova->content = (enum image_content)wire->nova.content;
        nova->virtual_size = wire->nova.virtual_size;
        if (nova->to_mapping)
                return check_disk_size(nova->virtual_size, err);
        if (nova->content != 0 || nova->virtual_size != 0)
                return wla_fail(err, WLA_E_INPUT, "the base has no size here");
        return 0;
}

static int read_key_id(const struct volumed_request *wire, struct volume_request *request,
                       struct wla_error *err) {
        if (check_text(wire->key_id, sizeof(wire->key_id), "key id", err) < 0 ||
            key_id_parse(wire->key_id, strlen(wire->key_id), &request->key_id, err) < 0)
                return -1;
        if (strcmp(wire->key_id, request->key_id.text) != 0)
                return wla_fail(err, WLA_E_INPUT, "the key id is not in canonical form");
        return 0;
}

static bool nova_is_zero(const struct volumed_request *wire) {
        return is_zero(wire->nova.image, sizeof(wire->nova.image)) && wire->nova.to_mapping == 0 &&
               wire->nova.content == 0 && wire->nova.virtual_size == 0;
}

static bool layer_is_zero(const struct volumed_request *wire, unsigned fields) {
        return is_zero(wire->layer.image, sizeof(wire->layer.image)) &&
               wire->layer.ephemeral == 0 &&
               (fields & FIELD_BELOW ||
                (wire->layer.backing_content == 0 && wire->layer.keeps_places == 0 &&
                 wire->layer.virtual_size == 0)) &&
               is_zero(&wire->layer.wrapped, sizeof(wire->layer.wrapped));
}

static int check_unused(const struct volumed_request *wire, unsigned fields,
                        struct wla_error *err) {
        if ((!(fields & FIELD_VM) && (!is_zero(wire->vm, sizeof(wire->vm)) ||
                                      !is_zero(wire->target, sizeof(wire->target)))) ||
            (!(fields & FIELD_NAME) && !is_zero(wire->name, sizeof(wire->name))) ||
            (!(fields & FIELD_PATH) && !is_zero(wire->path, sizeof(wire->path))) ||
            (!(fields & FIELD_HEADER) && !is_zero(wire->header, sizeof(wire->header))) ||
            (!(fields & FIELD_LAYER) && !layer_is_zero(wire, fields)) ||
            (!(fields & FIELD_NOVA) && !nova_is_zero(wire)) ||
            (!(fields & FIELD_KEY_ID) && !is_zero(wire->key_id, sizeof(wire->key_id))) ||
            (!(fields & FIELD_SECRET) && !is_zero(wire->secret, sizeof(wire->secret))))
                return wla_fail(err, WLA_E_INPUT, "a field is set that operation %u does not use",
                                wire->operation);
        return 0;
}

static int check_key_size(const struct volumed_request *wire, unsigned fields,
                          struct wla_error *err) {
        bool fits = fields & FIELD_LAYER ? wire->key_size == VOLUME_KEY_SIZE
                    : fields & FIELD_KEY ? wire->key_size > 0 && wire->key_size <= VOLUMED_KEY_MAX
                                         : wire->key_size == 0;

        if (!fits)
                return wla_fail(err, WLA_E_INPUT, "operation %u takes no key of %u bytes",
                                wire->operation, wire->key_size);
        return 0;
}

int volume_request_read(const struct volumed_request *wire, struct volume_request *ret,
                        struct wla_error *err) {
        struct volume_request request = {0};

        if (wire->magic != VOLUMED_MAGIC)
                return wla_fail(err, WLA_E_INPUT,
                                "it is none of this version: restart wlagentd and wlagent-volumed");
        if (wire->operation == 0 || wire->operation >= _VOLUMED_OPERATION_MAX)
                return wla_fail(err, WLA_E_INPUT, "there is no operation %u", wire->operation);

        unsigned fields = operations[wire->operation].fields;
        request.operation = (enum volumed_operation)wire->operation;
        request.key_size = wire->key_size;
        if (check_unused(wire, fields, err) < 0 || check_key_size(wire, fields, err) < 0 ||
            (fields & FIELD_VM && read_disk(wire, &request, err) < 0) ||
            (fields & FIELD_NAME && read_name(wire, &request, err) < 0) ||
            (fields & FIELD_PATH && read_path(wire->path, "path", request.path, err) < 0) ||
            (fields & FIELD_HEADER && read_header(wire, &request, err) < 0) ||
            (fields & FIELD_LAYER && read_layer(wire, &request, err) < 0) ||
            (fields & FIELD_BELOW && read_below(wire, &request, err) < 0) ||
            (fields & FIELD_NOVA && read_nova(wire, &request, err) < 0) ||
            (fields & FIELD_KEY_ID && read_key_id(wire, &request, err) < 0) ||
            (fields & FIELD_SECRET && read_uuid(wire->secret, "secret", &request.secret, err) < 0))
                return -1;

        *ret = request;
        return 0;
}
