/* SPDX-License-Identifier: Apache-2.0 */
#include "source/token_expiry.h"

#include <string.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/json.h"

#define CLAIMS_MAX   8192u
#define LIFE_MAX_SEC (30u * 86400u)

/* From base64url without padding (RFC 4648 section 5) to the alphabet that base64.h reads. */
static int decode(const char *text, size_t size, struct buf *to, struct wla_error *err) {
        _cleanup_buf_ struct buf standard = BUF_WITH_LIMIT(CLAIMS_MAX);

        if (buf_append(&standard, text, size, err) < 0)
                return -1;
        for (size_t i = 0; i < size; i++)
                if (standard.data[i] == '-' || standard.data[i] == '_')
                        standard.data[i] = standard.data[i] == '-' ? '+' : '/';
        while (standard.size % 4 != 0)
                if (buf_append(&standard, "=", 1, err) < 0)
                        return -1;
        return base64_decode((const char *)standard.data, standard.size, to, err);
}

uint64_t token_life_usec(const char *token, size_t size) {
        const char *claims = memchr(token, '.', size);
        const char *end = claims ? memchr(claims + 1, '.', size - (size_t)(claims + 1 - token))
                                 : NULL;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(CLAIMS_MAX);
        struct wla_error ignored = {0};
        struct json_value object;
        uint64_t expiry;
        uint64_t issue;

        if (!end || decode(claims + 1, (size_t)(end - claims - 1), &text, &ignored) < 0 ||
            json_check((const char *)text.data, text.size, &object, &ignored) < 0)
                return 0;

        const struct json_value exp = json_member(&object, "exp");
        const struct json_value iat = json_member(&object, "iat");
        if (json_unsigned(&exp, INT64_MAX, &expiry, &ignored) < 0 ||
            json_unsigned(&iat, INT64_MAX, &issue, &ignored) < 0 || expiry <= issue ||
            expiry - issue > LIFE_MAX_SEC)
                return 0;
        return (expiry - issue) * USEC_PER_SEC;
}
