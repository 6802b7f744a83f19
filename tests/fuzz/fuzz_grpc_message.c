/* SPDX-License-Identifier: Apache-2.0 */

/* gRPC's texts and framing, and the protobuf message inside. */

#include <string.h>

#include "fuzz.h"
#include "keyprovider/grpc_message.h"
#include "keyprovider/provider_message.h"

static void check_encoding(const uint8_t *data, size_t size) {
        char text[256];
        char encoded[300];

        size = size < sizeof(text) ? size : sizeof(text) - 1;
        memcpy(text, data, size);
        text[size] = '\0';
        size_t length = grpc_percent_encode(text, encoded, sizeof(encoded));
        FUZZ_CHECK(length < sizeof(encoded) && strlen(encoded) == length);
        for (size_t i = 0; i < length; i++)
                FUZZ_CHECK(encoded[i] >= 0x20 && encoded[i] <= 0x7e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_buf_ struct buf json = {0};
        struct wla_error err = {0};
        uint64_t usec;

        (void)grpc_content_type_valid((const char *)data, size);
        (void)grpc_timeout_parse((const char *)data, size, &usec);
        check_encoding(data, size);
        if (size < GRPC_PREFIX_SIZE)
                return 0;

        uint8_t prefix[GRPC_PREFIX_SIZE];
        grpc_prefix_write(grpc_prefix_read(data).size, prefix);
        FUZZ_CHECK(memcmp(prefix + 1, data + 1, GRPC_PREFIX_SIZE - 1) == 0);
        if (provider_message_read(
                    (struct wla_bytes){data + GRPC_PREFIX_SIZE, size - GRPC_PREFIX_SIZE}, &json,
                    &err) == 0)
                FUZZ_CHECK(json.size <= size);
        return 0;
}
