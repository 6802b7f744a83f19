/* SPDX-License-Identifier: Apache-2.0 */

/* A LUKS2 header: bytes as they are, then with right checksums, which a fuzzer would never find.  What is
 * accepted is of the shape that wlagent opens, and a token is written again as the same token. */

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "image/luks2_header.h"
#include "tests/unit/image/header_bytes.h"

static void check_image_token(const struct image_token *token) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        struct image_token again;
        struct json_value value;
        struct wla_error err = {0};

        FUZZ_CHECK(token->size % IMAGE_SECTOR_SIZE == 0 && token->size > 0);
        FUZZ_CHECK(image_token_write(token, &json, &err) == 0);
        FUZZ_CHECK(json_check((const char *)json.data, json.size, &value, &err) == 0);
        FUZZ_CHECK(image_token_read(&value, &again, &err) == 0);
        FUZZ_CHECK(key_id_equal(&token->key_id, &again.key_id));
        FUZZ_CHECK(memcmp(&token->wrapped, &again.wrapped, sizeof(again.wrapped)) == 0);
        FUZZ_CHECK(token->size == again.size && token->virtual_size == again.virtual_size);
}

static void check_header(const uint8_t *bytes, size_t size) {
        struct luks2_header header;
        struct wla_error err = {0};

        if (luks2_header_check(bytes, size, &header, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED);
                return;
        }

        FUZZ_CHECK(header.header_size <= size && header.header_size <= LUKS2_HEADER_MAX);
        FUZZ_CHECK(header.data_offset == 0 || header.data_offset >= header.header_size);
        FUZZ_CHECK(header.volume_key_size == 32 || header.volume_key_size == 64);
        FUZZ_CHECK(header.kind == LUKS2_ORDINARY ||
                   (header.data_offset == 0 && header.sector_size == IMAGE_SECTOR_SIZE));
        if (header.kind == LUKS2_IMAGE)
                check_image_token(&header.image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint8_t *bytes = calloc(1, size ? size : 1);

        if (!bytes)
                return 0;
        if (size > 0)
                memcpy(bytes, data, size);
        check_header(bytes, size);
        if (header_repair(bytes, size))
                check_header(bytes, size);

        /* The same JSON in both copies, so that a change of one byte gets through to the parser. */
        if (size > BINARY_SIZE && header_repair(bytes, size)) {
                uint64_t metadata_size = header_metadata_size(bytes);

                memcpy(bytes + metadata_size + BINARY_SIZE, bytes + BINARY_SIZE,
                       metadata_size - BINARY_SIZE);
                (void)header_repair(bytes, size);
                check_header(bytes, size);
        }
        free(bytes);
        return 0;
}
