/* SPDX-License-Identifier: Apache-2.0 */
#include "image/qcow2_backing.h"

#include <string.h>

#include "image/qcow2_format.h"

#define INCOMPATIBLE_KEPT                                                                         \
        (QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT | QCOW2_INCOMPATIBLE_COMPRESSION | \
         QCOW2_INCOMPATIBLE_EXTENDED_L2)

#define VIRTUAL_SIZE_MAX INT64_MAX

#define FORMAT_ROOM 8u /* "raw" and "qcow2" fit into what either is padded to */

/* Where things are in the bytes, all of it checked to lie within them. */
struct layout {
        uint32_t end;            /* of the first cluster, or of the bytes */
        uint32_t extensions_end; /* the first byte behind the end marker */
        uint32_t format_at;      /* of the extension with the format; 0: none */
        enum image_content format;
        struct qcow2_range name; /* of size 0: none */
        uint64_t virtual_size;
        uint32_t version;
};

static uint32_t align8(uint32_t value) {
        return (value + 7u) & ~7u;
}

static int check_features(const uint8_t *bytes, struct wla_error *err) {
        uint64_t incompatible = qcow2_load64(bytes, QCOW2_AT_INCOMPATIBLE);

        if (incompatible & QCOW2_INCOMPATIBLE_EXTERNAL_DATA)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 image has an external data file");
        if (incompatible & ~INCOMPATIBLE_KEPT)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 image has features that are not known");
        if (qcow2_load64(bytes, QCOW2_AT_AUTOCLEAR) & ~QCOW2_AUTOCLEAR_BITMAPS)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 image has autoclear features that are not known");
        return 0;
}

static int read_header(const uint8_t *bytes, size_t size, struct layout *layout,
                       uint32_t *ret_header_size, struct wla_error *err) {
        if (size < QCOW2_HEAD_SIZE || qcow2_load32(bytes, QCOW2_AT_MAGIC) != QCOW2_MAGIC)
                return wla_fail(err, WLA_E_INPUT, "it is no qcow2 image");

        uint32_t version = qcow2_load32(bytes, QCOW2_AT_VERSION);
        layout->version = version;
        if (version != 2 && version != 3)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the qcow2 image has version %u", version);

        uint32_t cluster_bits = qcow2_load32(bytes, QCOW2_AT_CLUSTER_BITS);
        if (cluster_bits < QCOW2_CLUSTER_BITS_MIN || cluster_bits > QCOW2_CLUSTER_BITS_MAX)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 image has an impossible cluster size");

        layout->end = UINT32_C(1) << cluster_bits;
        if (layout->end > size)
                layout->end = (uint32_t)size;

        layout->virtual_size = qcow2_load64(bytes, QCOW2_AT_VIRTUAL_SIZE);
        if (layout->virtual_size == 0 || layout->virtual_size > VIRTUAL_SIZE_MAX)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 image has an impossible size");
        if (qcow2_load32(bytes, QCOW2_AT_CRYPT_METHOD) != 0)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the qcow2 image is encrypted by QEMU");

        *ret_header_size = version == 2 ? QCOW2_V2_HEADER_SIZE
                                        : qcow2_load32(bytes, QCOW2_AT_HEADER_SIZE);
        if (version == 2)
                return 0;
        if (*ret_header_size < QCOW2_V3_HEADER_SIZE || *ret_header_size % 8 != 0 ||
            *ret_header_size > QCOW2_HEAD_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 image has an impossible header size");
        return check_features(bytes, err);
}

static int read_format(const uint8_t *bytes, uint32_t at, uint32_t size, struct layout *layout,
                       struct wla_error *err) {
        if (layout->format_at != 0)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 image names two backing formats");
        /* It changes together with offset and length of the name: in one sector. */
        if (at + QCOW2_EXTENSION_HEAD + FORMAT_ROOM > QCOW2_HEAD_SIZE)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 image names its backing format in an unusual place");

        for (enum image_content format = 0; format < _IMAGE_CONTENT_MAX; format++) {
                const char *name = image_content_name(format);

                if (strlen(name) != size ||
                    memcmp(bytes + at + QCOW2_EXTENSION_HEAD, name, size) != 0)
                        continue;
                layout->format_at = at;
                layout->format = format;
                return 0;
        }
        return wla_fail(err, WLA_E_UNSUPPORTED,
                        "the qcow2 image names a backing format that is neither raw nor qcow2");
}

static int read_extensions(const uint8_t *bytes, uint32_t at, struct layout *layout,
                           struct wla_error *err) {
        while (at <= layout->end - QCOW2_EXTENSION_HEAD) {
                uint32_t magic = qcow2_load32(bytes, at);
                uint32_t size = qcow2_load32(bytes, at + 4);

                if (magic == QCOW2_EXTENSION_END) {
                        layout->extensions_end = at + QCOW2_EXTENSION_HEAD;
                        return 0;
                }
                if (magic == QCOW2_EXTENSION_DATA_FILE || magic == QCOW2_EXTENSION_ENCRYPTION)
                        return wla_fail(err, WLA_E_UNSUPPORTED,
                                        "the qcow2 image has an extension that is never opened");
                if (size > layout->end - at - QCOW2_EXTENSION_HEAD)
                        break;
                if (magic == QCOW2_EXTENSION_BACKING_FORMAT &&
                    read_format(bytes, at, size, layout, err) < 0)
                        return -1;
                at += QCOW2_EXTENSION_HEAD + align8(size);
        }
        return wla_fail(err, WLA_E_INPUT, "the header of the qcow2 image does not end");
}

static int read_name_range(const uint8_t *bytes, struct layout *layout, struct wla_error *err) {
        uint64_t offset = qcow2_load64(bytes, QCOW2_AT_BACKING_OFFSET);
        uint32_t size = qcow2_load32(bytes, QCOW2_AT_BACKING_SIZE);

        if (offset == 0)
                return 0;
        if (offset < layout->extensions_end || offset > layout->end)
                return wla_fail(err, WLA_E_INPUT,
                                "the qcow2 image has the name of its backing file out of place");
        if (size == 0 || size >= QCOW2_BACKING_NAME_SIZE || size > layout->end - offset)
                return wla_fail(err, WLA_E_INPUT,
                                "the name of the backing file has an impossible length");
        for (uint64_t i = offset; i < offset + size; i++)
                if (bytes[i] < 0x20 || bytes[i] > 0x7e)
                        return wla_fail(err, WLA_E_INPUT,
                                        "the name of the backing file is not printable");
        if (layout->format_at == 0)
                return wla_fail_hint(
                        err, WLA_E_UNSUPPORTED, "qemu-img rebase -u -F raw -b NAME adds it",
                        "the qcow2 image does not say what format its backing file has");

        layout->name = (struct qcow2_range){.offset = (uint32_t)offset, .size = size};
        return 0;
}

static int read_layout(const uint8_t *bytes, size_t size, struct layout *layout,
                       struct wla_error *err) {
        uint32_t header_size = 0;

        if (size > QCOW2_BACKING_SPAN)
                size = QCOW2_BACKING_SPAN;
        if (read_header(bytes, size, layout, &header_size, err) < 0 ||
            read_extensions(bytes, header_size, layout, err) < 0)
                return -1;
        return read_name_range(bytes, layout, err);
}

int qcow2_backing_read(const uint8_t *bytes, size_t size, struct qcow2_backing *ret,
                       struct wla_error *err) {
        struct layout layout = {0};

        if (read_layout(bytes, size, &layout, err) < 0)
                return -1;

        *ret = (struct qcow2_backing){
                .format = layout.format,
                .virtual_size = layout.virtual_size,
                .version = layout.version,
        };
        memcpy(ret->name, bytes + layout.name.offset, layout.name.size);
        return 0;
}

/* Right behind the extensions, where QEMU writes it, or else behind the old name. */
static int find_room(const struct layout *layout, uint32_t size, struct qcow2_range *ret,
                     struct wla_error *err) {
        uint32_t old_end = layout->name.offset + layout->name.size;

        *ret = (struct qcow2_range){.offset = layout->extensions_end, .size = size};
        if (size > layout->name.offset - ret->offset)
                ret->offset = align8(old_end);
        if (ret->offset > layout->end || size > layout->end - ret->offset)
                return wla_fail(
                        err, WLA_E_UNSUPPORTED,
                        "the name of the backing file does not fit into the first cluster of "
                        "the qcow2 image");
        return 0;
}

int qcow2_backing_change(uint8_t *bytes, size_t size, const char *name, enum image_content format,
                         struct qcow2_backing_change *ret, struct wla_error *err) {
        struct layout layout = {0};
        struct qcow2_backing_change change;
        size_t length = strnlen(name, QCOW2_BACKING_NAME_SIZE);

        if (length == 0 || length >= QCOW2_BACKING_NAME_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the new name of the backing file is too long");
        if (read_layout(bytes, size, &layout, err) < 0)
                return -1;
        if (layout.name.size == 0)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 image has no backing file");

        change.old = layout.name;
        if (find_room(&layout, (uint32_t)length, &change.name, err) < 0)
                return -1;

        const char *format_name = image_content_name(format);
        memcpy(bytes + change.name.offset, name, length);
        memset(bytes + change.old.offset, 0, change.old.size);
        qcow2_store64(bytes, QCOW2_AT_BACKING_OFFSET, change.name.offset);
        qcow2_store32(bytes, QCOW2_AT_BACKING_SIZE, change.name.size);
        qcow2_store32(bytes, layout.format_at + 4, (uint32_t)strlen(format_name));
        memset(bytes + layout.format_at + QCOW2_EXTENSION_HEAD, 0, FORMAT_ROOM);
        memcpy(bytes + layout.format_at + QCOW2_EXTENSION_HEAD, format_name, strlen(format_name));
        *ret = change;
        return 0;
}
