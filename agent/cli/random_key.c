/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/random_key.h"

#include <openssl/rand.h>

#include "base/file.h"

int random_key_new(struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = NULL;

        if (wla_secret_new(AES_256_KEY_SIZE, &key, err) < 0)
                return -1;

        if (RAND_priv_bytes(wla_secret_fill(key), AES_256_KEY_SIZE) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL gives no random bytes for a key");

        *ret = TAKE_PTR(key);
        return 0;
}
