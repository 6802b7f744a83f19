/* SPDX-License-Identifier: Apache-2.0 */

/* An annotation from a registry.  What is accepted can be written and read again. */

#include <string.h>

#include "fuzz.h"
#include "keyprovider/packet.h"
#include "keyprovider/provider_request.h"

typedef int (*write_fn)(const struct packet *packet, struct buf *json, struct wla_error *err);

static void check_again(const struct packet *packet, write_fn write) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4 * PROVIDER_OPTIONS_MAX + KEY_ID_TEXT_MAX);
        _cleanup_packet_ struct packet again = {0};
        struct wla_error err = {0};

        FUZZ_CHECK(write(packet, &json, &err) == 0);
        FUZZ_CHECK(packet_parse((struct wla_bytes){json.data, json.size}, &again, &err) == 0);
        FUZZ_CHECK(again.cipher == packet->cipher);
        FUZZ_CHECK(key_id_equal(&again.key, &packet->key));
        FUZZ_CHECK(again.iv_size == packet->iv_size);
        FUZZ_CHECK(memcmp(again.iv, packet->iv, packet->iv_size) == 0);
        FUZZ_CHECK(again.wrapped.size == packet->wrapped.size);
        FUZZ_CHECK(memcmp(again.wrapped.data, packet->wrapped.data, again.wrapped.size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_packet_ struct packet packet = {0};
        struct wla_error err = {0};

        if (packet_parse((struct wla_bytes){data, size}, &packet, &err) < 0) {
                FUZZ_CHECK(err.code != WLA_OK && err.code != WLA_E_SYSTEM);
                return 0;
        }
        check_again(&packet, packet_write);
        if (packet.cipher == PACKET_AES256_GCM)
                check_again(&packet, packet_write_isecl);
        return 0;
}
