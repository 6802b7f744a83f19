/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/request.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "suite.h"

#define UUID       "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"
#define OTHER_UUID "1f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e02"

#define put(field, text) ((void)snprintf((field), sizeof(field), "%s", (text)))

/* A request of that operation with everything that it uses. */
static struct volumed_request request_of(enum volumed_operation operation) {
        struct volumed_request wire = {
                .magic = VOLUMED_MAGIC,
                .operation = (uint16_t)operation,
        };

        switch (operation) {
        case VOLUMED_INSPECT_IMAGE:
                put(wire.path, "/images/a.img");
                break;
        case VOLUMED_OPEN_DIRECT:
                wire.key_size = 64;
                put(wire.vm, UUID);
                put(wire.target, "vda");
                break;
        case VOLUMED_INSPECT_LAYER:
        case VOLUMED_REMOVE_LAYER:
                put(wire.vm, UUID);
                put(wire.target, "vda");
                break;
        case VOLUMED_OPEN_IMAGE:
                wire.key_size = 64;
                break;
        case VOLUMED_OPEN_LAYER:
                wire.key_size = 64;
                wire.layer.backing_content = IMAGE_CONTENT_QCOW2;
                wire.layer.virtual_size = 1 << 20;
                break;
        case VOLUMED_CREATE_LAYER:
                wire.key_size = 64;
                put(wire.layer.image, OTHER_UUID);
                wire.layer.backing_content = IMAGE_CONTENT_QCOW2;
                wire.layer.virtual_size = 1 << 20;
                wire.layer.wrapped.nonce[3] = 1;
                break;
        case VOLUMED_CLOSE:
        case VOLUMED_REMOVE_CONVERSION:
                put(wire.name, "wlagent-image-" UUID);
                break;
        case VOLUMED_REBASE:
                put(wire.name, "wlagent-image-" UUID);
                put(wire.path, "/instances/" UUID "/disk");
                put(wire.nova.image, OTHER_UUID);
                wire.nova.to_mapping = 1;
                wire.nova.content = IMAGE_CONTENT_QCOW2;
                wire.nova.virtual_size = 1 << 20;
                break;
        case VOLUMED_CONVERT_IMAGE:
                wire.key_size = 32;
                put(wire.key_id, "local:///web");
                break;
        case VOLUMED_ADOPT_VOLUME:
                wire.key_size = 32;
                break;
        case VOLUMED_SET_SECRET:
                wire.key_size = 32;
                put(wire.secret, UUID);
                break;
        case VOLUMED_CLEAR_SECRET:
                put(wire.secret, UUID);
                break;
        default:
                break;
        }
        return wire;
}

static void check_refused(const struct volumed_request *wire, const char *text) {
        struct wla_error err = {0};
        struct volume_request request;

        ck_assert_msg(volume_request_read(wire, &request, &err) == -1, "accepted: %s", text);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        if (text)
                ck_assert_str_eq(wla_error_text(&err), text);
}

START_TEST(every_operation_is_read) {
        for (int operation = 1; operation < _VOLUMED_OPERATION_MAX; operation++) {
                struct volumed_request wire = request_of((enum volumed_operation)operation);
                struct wla_error err = {0};
                struct volume_request request;

                ck_assert_msg(volume_request_read(&wire, &request, &err) == 0, "%d: %s", operation,
                              wla_error_text(&err));
                ck_assert_int_eq((int)request.operation, operation);
                ck_assert_uint_eq(request.key_size, wire.key_size);
                ck_assert_str_eq(request.path, wire.path);
                ck_assert_str_eq(request.vm.text, wire.vm);
                ck_assert_str_eq(request.target, wire.target);
        }
}
END_TEST

START_TEST(a_header_may_be_named) {
        struct volumed_request wire = request_of(VOLUMED_INSPECT_IMAGE);
        struct wla_error err = {0};
        struct volume_request request;

        put(wire.header, "/images/a.hdr");
        ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
        ck_assert_str_eq(request.header, "/images/a.hdr");
        put(wire.header, "/../a.hdr");
        check_refused(&wire, NULL);
        wire = request_of(VOLUMED_INSPECT_LAYER);
        put(wire.header, "/images/a.hdr");
        check_refused(&wire, "a field is set that operation 2 does not use");
}
END_TEST

START_TEST(a_layer_is_described) {
        struct volumed_request wire = request_of(VOLUMED_CREATE_LAYER);
        struct wla_error err = {0};
        struct volume_request request;

        ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
        ck_assert_str_eq(request.layer.image.text, OTHER_UUID);
        ck_assert(!request.layer.ephemeral);
        ck_assert_int_eq(request.layer.backing_content, IMAGE_CONTENT_QCOW2);
        ck_assert_uint_eq(request.layer.virtual_size, 1 << 20);
        ck_assert_uint_eq(request.layer.wrapped.nonce[3], 1);

        wire.layer.ephemeral = 1;
        check_refused(&wire, "an ephemeral layer has no wrapped key");
        wire.layer.wrapped.nonce[3] = 0;
        ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
        ck_assert(request.layer.ephemeral);
        wire.layer.ephemeral = 0;
        check_refused(&wire, "the wrapped key is missing");
        wire.layer.ephemeral = 2;
        check_refused(&wire, "the kind of the layer is unknown");

        wire = request_of(VOLUMED_CREATE_LAYER);
        wire.layer.backing_content = _IMAGE_CONTENT_MAX;
        check_refused(&wire, "the kind of the image below is unknown");
        static const uint64_t sizes[] = {0, 1, 513, UINT64_C(1) << 63, UINT64_MAX - 511};
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                wire = request_of(VOLUMED_CREATE_LAYER);
                wire.layer.virtual_size = sizes[i];
                check_refused(&wire, "the size of the disk is out of range");
        }
        wire = request_of(VOLUMED_CREATE_LAYER);
        wire.layer.image[0] = 'F';
        check_refused(&wire, "the image is not in canonical form");
}
END_TEST

START_TEST(what_is_below_a_layer_is_said) {
        struct volumed_request wire = request_of(VOLUMED_OPEN_LAYER);
        struct wla_error err = {0};
        struct volume_request request;

        for (int content = 0; content < _IMAGE_CONTENT_MAX; content++) {
                wire.layer.backing_content = (uint8_t)content;
                ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
                ck_assert_int_eq((int)request.layer.backing_content, content);
        }
        wire.layer.backing_content = _IMAGE_CONTENT_MAX;
        check_refused(&wire, "the kind of the image below is unknown");
        wire.layer.backing_content = IMAGE_CONTENT_QCOW2;
        wire.layer.ephemeral = 1;
        check_refused(&wire, "a field is set that operation 5 does not use");
        wire = request_of(VOLUMED_OPEN_IMAGE);
        wire.layer.backing_content = IMAGE_CONTENT_QCOW2;
        check_refused(&wire, "a field is set that operation 3 does not use");
}
END_TEST

START_TEST(how_a_layer_is_written_to_is_said) {
        static const enum volumed_operation operations[] = {VOLUMED_OPEN_LAYER,
                                                            VOLUMED_CREATE_LAYER};

        for (size_t i = 0; i < 2; i++) {
                struct volumed_request wire = request_of(operations[i]);
                struct wla_error err = {0};
                struct volume_request request;

                ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
                ck_assert(!request.layer.keeps_places);
                ck_assert_uint_eq(request.layer.virtual_size, 1 << 20);
                wire.layer.keeps_places = 1;
                ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
                ck_assert(request.layer.keeps_places);
                wire.layer.keeps_places = 2;
                check_refused(&wire, "how the layer is written to is unknown");
                wire.layer.keeps_places = 0;
                wire.layer.virtual_size = 511;
                check_refused(&wire, "the size of the disk is out of range");
        }
}
END_TEST

START_TEST(a_nova_disk_is_described) {
        struct volumed_request wire = request_of(VOLUMED_REBASE);
        struct wla_error err = {0};
        struct volume_request request;

        ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
        ck_assert_str_eq(request.nova.image.text, OTHER_UUID);
        ck_assert(request.nova.to_mapping);
        ck_assert_int_eq(request.nova.content, IMAGE_CONTENT_QCOW2);

        memset(wire.name, 0, sizeof(wire.name));
        put(wire.name, "wlagent-" UUID "-vda");
        check_refused(&wire, "the name is not that of an image");
        wire = request_of(VOLUMED_REBASE);
        wire.nova.to_mapping = 2;
        check_refused(&wire, "the kind of the backing file is unknown");
        wire = request_of(VOLUMED_REBASE);
        wire.nova.virtual_size = 1;
        check_refused(&wire, "the size of the disk is out of range");

        wire = request_of(VOLUMED_REBASE);
        wire.nova.to_mapping = 0;
        check_refused(&wire, "the base has no size here");
        wire.nova.content = 0;
        wire.nova.virtual_size = 0;
        ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
        ck_assert(!request.nova.to_mapping);
}
END_TEST

START_TEST(a_secret_is_named) {
        struct volumed_request wire = request_of(VOLUMED_SET_SECRET);
        struct wla_error err = {0};
        struct volume_request request;

        ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
        ck_assert_str_eq(request.secret.text, UUID);
        wire.key_size = 0;
        check_refused(&wire, "operation 16 takes no key of 0 bytes");
        wire = request_of(VOLUMED_CLEAR_SECRET);
        wire.key_size = 32;
        check_refused(&wire, "operation 17 takes no key of 32 bytes");
        wire = request_of(VOLUMED_CLEAR_SECRET);
        wire.secret[0] = 'F';
        check_refused(&wire, "the secret is not in canonical form");
        wire.secret[0] = '\0';
        check_refused(&wire, "the secret is not a text");
        wire = request_of(VOLUMED_LIST);
        put(wire.secret, UUID);
        check_refused(&wire, "a field is set that operation 7 does not use");
}
END_TEST

START_TEST(a_key_id_is_canonical) {
        struct volumed_request wire = request_of(VOLUMED_CONVERT_IMAGE);
        struct wla_error err = {0};
        struct volume_request request;

        ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
        ck_assert_str_eq(request.key_id.text, "local:///web");

        memset(wire.key_id, 0, sizeof(wire.key_id));
        check_refused(&wire, "the key id is not a text");
        put(wire.key_id, "file:///etc/shadow");
        check_refused(&wire, NULL);
        put(wire.key_id, "HTTPS://keys.example/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer");
        check_refused(&wire, NULL);
        memset(wire.key_id, 'a', sizeof(wire.key_id));
        check_refused(&wire, "the key id is not a text");
}
END_TEST

START_TEST(what_is_no_request_is_refused) {
        struct volumed_request wire = request_of(VOLUMED_LIST);

        wire.magic++;
        check_refused(&wire, "it is none of this version: restart wlagentd and wlagent-volumed");
        wire = request_of(VOLUMED_LIST);
        wire.operation = 0;
        check_refused(&wire, "there is no operation 0");
        wire.operation = _VOLUMED_OPERATION_MAX;
        check_refused(&wire, NULL);
        wire.operation = UINT16_MAX;
        check_refused(&wire, "there is no operation 65535");
}
END_TEST

START_TEST(paths_are_absolute_and_short) {
        static const char *const bad[] = {
                "",     "a",    "a/b", "/",       "//a",  "/a/",     "/a//b",
                "/./a", "/a/.", "/..", "/a/../b", "../a", "/a/b/..",
        };
        static const char *const good[] = {"/a",   "/.a",           "/..a",
                                           "/...", "/a b/\xc3\xa4", "/a/.../b."};
        struct wla_error err = {0};
        struct volume_request request;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct volumed_request wire = request_of(VOLUMED_INSPECT_IMAGE);

                memset(wire.path, 0, sizeof(wire.path));
                put(wire.path, bad[i]);
                check_refused(&wire, bad[i][0] ? "the path is not absolute and in shortest form"
                                               : "the path is not a text");
        }
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                struct volumed_request wire = request_of(VOLUMED_INSPECT_IMAGE);

                memset(wire.path, 0, sizeof(wire.path));
                put(wire.path, good[i]);
                ck_assert_msg(volume_request_read(&wire, &request, &err) == 0, "%s", good[i]);
        }

        struct volumed_request wire = request_of(VOLUMED_INSPECT_IMAGE);
        memset(wire.path, 'a', sizeof(wire.path));
        wire.path[0] = '/';
        check_refused(&wire, "the path is not a text");
        wire.path[sizeof(wire.path) - 1] = '\0';
        ck_assert_int_eq(volume_request_read(&wire, &request, &err), 0);
}
END_TEST

/* Each byte that an operation does not use has to be zero, and each byte behind a text. */
START_TEST(every_unused_byte_is_zero) {
        static const struct {
                size_t at;
                const char *field;
        } fields[] = {
                {offsetof(struct volumed_request, vm), "vm"},
                {offsetof(struct volumed_request, target), "target"},
                {offsetof(struct volumed_request, name), "name"},
                {offsetof(struct volumed_request, path), "path"},
                {offsetof(struct volumed_request, layer.image), "layer.image"},
                {offsetof(struct volumed_request, layer.ephemeral), "layer.ephemeral"},
                {offsetof(struct volumed_request, layer.backing_content), "layer.backing_content"},
                {offsetof(struct volumed_request, layer.keeps_places), "layer.keeps_places"},
                {offsetof(struct volumed_request, layer.virtual_size), "layer.virtual_size"},
                {offsetof(struct volumed_request, layer.wrapped), "layer.wrapped"},
                {offsetof(struct volumed_request, nova.image), "nova.image"},
                {offsetof(struct volumed_request, nova.to_mapping), "nova.to_mapping"},
                {offsetof(struct volumed_request, nova.content), "nova.content"},
                {offsetof(struct volumed_request, nova.virtual_size), "nova.virtual_size"},
                {offsetof(struct volumed_request, key_id), "key_id"},
                {offsetof(struct volumed_request, key_id) + KEY_ID_TEXT_MAX, "end of key_id"},
                {offsetof(struct volumed_request, vm) + UUID_TEXT_SIZE - 1, "end of vm"},
                {offsetof(struct volumed_request, target) + DISK_TARGET_SIZE - 1, "end of target"},
                {offsetof(struct volumed_request, name) + VOLUME_NAME_SIZE - 1, "end of name"},
                {offsetof(struct volumed_request, path) + VOLUMED_PATH_SIZE - 1, "end of path"},
        };

        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
                for (int operation = 1; operation < _VOLUMED_OPERATION_MAX; operation++) {
                        struct volumed_request wire = request_of((enum volumed_operation)operation);
                        uint8_t *byte = (uint8_t *)&wire + fields[i].at;

                        if (*byte)
                                continue;
                        /* The layer's and the disk's own fields may have this value. */
                        if (operation == VOLUMED_CREATE_LAYER && strstr(fields[i].field, "layer"))
                                continue;
                        if (operation == VOLUMED_REBASE && strstr(fields[i].field, "nova"))
                                continue;
                        if (operation == VOLUMED_OPEN_LAYER &&
                            offsetof(struct volumed_request, layer.keeps_places) == fields[i].at)
                                continue;
                        *byte = 1;
                        check_refused(&wire, NULL);
                }
}
END_TEST

START_TEST(keys_come_where_they_belong) {
        for (int operation = 1; operation < _VOLUMED_OPERATION_MAX; operation++) {
                struct volumed_request wire = request_of((enum volumed_operation)operation);

                if (wire.key_size > 0) {
                        wire.key_size = 0;
                        check_refused(&wire, NULL);
                        wire.key_size = VOLUMED_KEY_MAX + 1;
                        check_refused(&wire, NULL);
                } else {
                        wire.key_size = 1;
                        check_refused(&wire, NULL);
                }
        }
        struct volumed_request wire = request_of(VOLUMED_CREATE_LAYER);
        wire.key_size = 32;
        check_refused(&wire, "operation 6 takes no key of 32 bytes");
}
END_TEST

START_TEST(the_permit_table_is_that_of_the_protocol) {
        static const char *const permitted[_SESSION_STATE_MAX] = {
                [SESSION_NEW] = "110000111110011110",   [SESSION_IMAGE] = "001100000001100001",
                [SESSION_LAYER] = "000010000000000000", [SESSION_NO_LAYER] = "000001000000000000",
                [SESSION_OPEN] = "000000000000000000",
        };

        for (int state = 0; state < _SESSION_STATE_MAX; state++)
                for (int operation = 1; operation < _VOLUMED_OPERATION_MAX; operation++)
                        ck_assert_msg(session_permits((enum session_state)state,
                                                      (enum volumed_operation)operation) ==
                                              (permitted[state][operation - 1] == '1'),
                                      "state %d, operation %d", state, operation);
}
END_TEST

SUITE_MAIN("volume/request", every_operation_is_read, a_header_may_be_named, a_layer_is_described,
           what_is_below_a_layer_is_said, how_a_layer_is_written_to_is_said,
           a_nova_disk_is_described, a_key_id_is_canonical, a_secret_is_named,
           what_is_no_request_is_refused, paths_are_absolute_and_short, every_unused_byte_is_zero,
           keys_come_where_they_belong, the_permit_table_is_that_of_the_protocol)
