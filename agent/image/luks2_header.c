/* SPDX-License-Identifier: Apache-2.0 */
#include "image/luks2_header.h"

#include <endian.h>
#include <openssl/evp.h>
#include <string.h>

#include "image/luks2_json.h"

#define METADATA_SIZE_MIN 16384u
#define METADATA_SIZE_MAX (4u * 1024u * 1024u)
#define CHECKSUM_SIZE     32u
#define VERSION           2u

/* One copy's binary header as it lies on the disk, big endian. */
struct binary_header {
        char magic[6];
        uint16_t version;
        uint64_t metadata_size;
        uint64_t sequence;
        char label[48];
        char checksum_algorithm[32];
        uint8_t salt[64];
        char uuid[40];
        char subsystem[48];
        uint64_t offset;
        uint8_t padding[184];
        uint8_t checksum[64];
        uint8_t padding_4096[7 * 512];
};

_Static_assert(sizeof(struct binary_header) == 4096, "the binary header is part of the format");

/* The two copies differ in this. */
struct copy {
        const char *name;
        char magic[7];
};

static const struct copy first_copy = {"the first copy", "LUKS\xba\xbe"};
static const struct copy second_copy = {"the second copy", "SKUL\xba\xbe"};

static bool all_zero(const void *data, size_t size) {
        const uint8_t *bytes = data;

        for (size_t i = 0; i < size; i++)
                if (bytes[i] != 0)
                        return false;
        return true;
}

/* A text in a field of fixed size: printable, and zeros behind it. */
static bool text_valid(const char *text, size_t size) {
        size_t length = strnlen(text, size);

        for (size_t i = 0; i < length; i++)
                if (text[i] < ' ' || text[i] > '~')
                        return false;
        return length < size && all_zero(text + length, size - length);
}

static int compute_checksum(const struct binary_header *header, const uint8_t *json,
                            size_t json_size, uint8_t ret[EVP_MAX_MD_SIZE], struct wla_error *err) {
        struct binary_header blank = *header;
        EVP_MD_CTX *context = EVP_MD_CTX_new();

        memset(blank.checksum, 0, sizeof(blank.checksum));
        bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                    EVP_DigestUpdate(context, &blank, sizeof(blank)) == 1 &&
                    EVP_DigestUpdate(context, json, json_size) == 1 &&
                    EVP_DigestFinal_ex(context, ret, NULL) == 1;
        EVP_MD_CTX_free(context);

        if (!done)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run SHA-256");
        return 0;
}

/* bytes: the copy, metadata_size of them. */
static int check_copy(const uint8_t *bytes, uint64_t metadata_size, uint64_t offset,
                      const struct copy *copy, struct binary_header *ret, struct wla_error *err) {
        uint8_t checksum[EVP_MAX_MD_SIZE];
        struct binary_header header;

        memcpy(&header, bytes, sizeof(header));
        if (memcmp(header.magic, copy->magic, sizeof(header.magic)) != 0 ||
            be16toh(header.version) != VERSION || be64toh(header.metadata_size) != metadata_size ||
            be64toh(header.offset) != offset)
                return wla_fail(err, WLA_E_INPUT, "%s is no LUKS2 header of that size", copy->name);
        if (!text_valid(header.checksum_algorithm, sizeof(header.checksum_algorithm)) ||
            strcmp(header.checksum_algorithm, "sha256") != 0)
                return wla_fail(err, WLA_E_UNSUPPORTED, "%s has a checksum other than sha256",
                                copy->name);
        if (!text_valid(header.label, sizeof(header.label)) ||
            !text_valid(header.subsystem, sizeof(header.subsystem)) ||
            !text_valid(header.uuid, sizeof(header.uuid)) ||
            !all_zero(header.padding, sizeof(header.padding)) ||
            !all_zero(header.padding_4096, sizeof(header.padding_4096)) ||
            !all_zero(header.checksum + CHECKSUM_SIZE, sizeof(header.checksum) - CHECKSUM_SIZE))
                return wla_fail(err, WLA_E_INPUT, "%s holds bytes that have no meaning",
                                copy->name);

        if (compute_checksum(&header, bytes + sizeof(header), metadata_size - sizeof(header),
                             checksum, err) < 0)
                return -1;
        if (memcmp(checksum, header.checksum, CHECKSUM_SIZE) != 0)
                return wla_fail(err, WLA_E_INPUT, "the checksum of %s does not match", copy->name);

        *ret = header;
        return 0;
}

static bool copies_agree(const struct binary_header *a, const struct binary_header *b) {
        return a->sequence == b->sequence && memcmp(a->label, b->label, sizeof(a->label)) == 0 &&
               memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0 &&
               memcmp(a->subsystem, b->subsystem, sizeof(a->subsystem)) == 0;
}

static int read_metadata_size(const uint8_t *bytes, size_t size, uint64_t *ret,
                              struct wla_error *err) {
        struct binary_header header;

        if (size < sizeof(header))
                return wla_fail(err, WLA_E_INPUT, "%zu bytes are no LUKS2 header", size);

        memcpy(&header, bytes, sizeof(header));
        if (memcmp(header.magic, first_copy.magic, sizeof(header.magic)) != 0)
                return wla_fail(err, WLA_E_INPUT, "this is no LUKS header");
        if (be16toh(header.version) != VERSION)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, "convert it with 'cryptsetup convert'",
                                     "LUKS version %u, not %u", be16toh(header.version), VERSION);

        uint64_t metadata_size = be64toh(header.metadata_size);
        if (metadata_size < METADATA_SIZE_MIN || metadata_size > METADATA_SIZE_MAX ||
            (metadata_size & (metadata_size - 1)) != 0)
                return wla_fail(err, WLA_E_INPUT, "the size of the metadata is none of LUKS2's");
        if (size < 2 * metadata_size)
                return wla_fail(err, WLA_E_INPUT, "%zu bytes do not hold both copies", size);

        *ret = metadata_size;
        return 0;
}

static int check_binary(const uint8_t *bytes, uint64_t metadata_size, struct uuid *ret_uuid,
                        struct wla_error *err) {
        const uint8_t *second_bytes = bytes + metadata_size;
        struct binary_header first;
        struct binary_header second;

        if (check_copy(bytes, metadata_size, 0, &first_copy, &first, err) < 0 ||
            check_copy(second_bytes, metadata_size, metadata_size, &second_copy, &second, err) < 0)
                return -1;
        if (!copies_agree(&first, &second) ||
            memcmp(bytes + sizeof(first), second_bytes + sizeof(second),
                   metadata_size - sizeof(first)) != 0)
                return wla_fail_hint(err, WLA_E_INPUT, "run 'cryptsetup repair' on it",
                                     "the two copies differ");
        return uuid_parse(first.uuid, strlen(first.uuid), ret_uuid, err);
}

static int check(const uint8_t *bytes, size_t size, struct luks2_header *header,
                 struct wla_error *err) {
        struct luks2_areas areas = {.bytes_size = size};

        if (read_metadata_size(bytes, size, &areas.metadata_size, err) < 0 ||
            check_binary(bytes, areas.metadata_size, &header->uuid, err) < 0)
                return -1;

        const char *json = (const char *)bytes + sizeof(struct binary_header);
        size_t area = areas.metadata_size - sizeof(struct binary_header);
        size_t length = strnlen(json, area);
        if (length == area || !all_zero(json + length, area - length))
                return wla_fail(err, WLA_E_INPUT, "there are bytes behind the JSON");
        return luks2_json_check(json, length, &areas, header, err);
}

int luks2_header_check(const uint8_t *bytes, size_t size, struct luks2_header *ret,
                       struct wla_error *err) {
        struct luks2_header header = {0};

        if (check(bytes, size, &header, err) < 0)
                return wla_wrap(err, "LUKS2 header");

        *ret = header;
        return 0;
}
