/* SPDX-License-Identifier: Apache-2.0 */

/* binding-key.json.  What is accepted is written and read again as the same key. */

#include <string.h>

#include "fuzz.h"
#include "tpm/binding_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct binding_key key;
        struct binding_key again;
        struct wla_error err = {0};
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(BINDING_KEY_FILE_MAX);

        if (binding_key_parse((const char *)data, size, &key, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT);
                return 0;
        }

        FUZZ_CHECK(binding_key_format(&key, &json, &err) == 0);
        FUZZ_CHECK(binding_key_parse((const char *)json.data, json.size, &again, &err) == 0);
        FUZZ_CHECK(tpm_name_equal(&key.name, &again.name));
        FUZZ_CHECK(tpm_name_equal(&key.storage_name, &again.storage_name));
        FUZZ_CHECK(key.handle == again.handle && key.pcrs == again.pcrs);
        FUZZ_CHECK(strcmp(key.fingerprint, again.fingerprint) == 0);
        return 0;
}
