/* SPDX-License-Identifier: Apache-2.0 */

/* bindingkey.json and signingkey.json.  What is accepted is written and read again as the same key. */

#include <string.h>

#include "fuzz.h"
#include "tpm/host_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct host_key key;
        struct host_key again;
        struct wla_error err = {0};
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);

        if (host_key_parse((const char *)data, size, &key, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT);
                return 0;
        }

        FUZZ_CHECK(host_key_format(&key, &json, &err) == 0);
        FUZZ_CHECK(host_key_parse((const char *)json.data, json.size, &again, &err) == 0);
        FUZZ_CHECK(key.usage == again.usage && key.private_size == again.private_size);
        FUZZ_CHECK(memcmp(key.public, again.public, sizeof(key.public)) == 0);
        FUZZ_CHECK(memcmp(key.private, again.private, key.private_size) == 0);
        FUZZ_CHECK(memcmp(key.attestation, again.attestation, sizeof(key.attestation)) == 0);
        FUZZ_CHECK(memcmp(key.signature, again.signature, sizeof(key.signature)) == 0);
        return 0;
}
