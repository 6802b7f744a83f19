/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/auth_value.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/file.h"
#include "tpm/context.h"
#include "tpm/host_key.h"

#define HEX_PREFIX  "hex:"
#define SECRET_SIZE (HOST_KEY_SECRET_TEXT_SIZE / 2)

/* Without a branch or a table that depends on the digit; 0xff for none. */
static unsigned hex_value(uint8_t c) {
        unsigned lower = c | 0x20u;
        unsigned is_digit = 0u - ((unsigned)(c - '0') < 10u);
        unsigned is_letter = 0u - ((unsigned)(lower - 'a') < 6u);

        return (is_digit & (unsigned)(c - '0')) | (is_letter & (lower - 'a' + 10u)) |
               (~(is_digit | is_letter) & 0xffu);
}

static bool is_hex(const uint8_t *text, size_t size) {
        unsigned bad = 0;

        for (size_t i = 0; i < size; i++)
                bad |= hex_value(text[i]) & 0x80u;
        return bad == 0;
}

static void decode_hex(const uint8_t *text, size_t size, uint8_t *to) {
        for (size_t i = 0; i < size; i++)
                to[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
}

static int decode(struct wla_bytes text, struct wla_secret *to, size_t *ret_size,
                  struct wla_error *err) {
        size_t prefix = strlen(HEX_PREFIX);
        bool has_prefix = text.size >= prefix && CRYPTO_memcmp(text.data, HEX_PREFIX, prefix) == 0;
        bool is_usual = text.size == HOST_KEY_SECRET_TEXT_SIZE && is_hex(text.data, text.size);
        const uint8_t *digits = text.data + (has_prefix && !is_usual ? prefix : 0);
        size_t count = text.size - (size_t)(digits - text.data);

        if (!has_prefix && !is_usual) {
                if (text.size > AUTH_VALUE_MAX)
                        return wla_fail(err, WLA_E_INPUT, "a secret has %u bytes at most",
                                        AUTH_VALUE_MAX);
                memcpy(wla_secret_fill(to), text.data, text.size);
                *ret_size = text.size;
                return 0;
        }
        if (count % 2 != 0 || count / 2 > AUTH_VALUE_MAX || !is_hex(digits, count))
                return wla_fail(err, WLA_E_INPUT,
                                "behind \"hex:\" a secret has up to %u hex digits, two for each "
                                "byte",
                                2 * AUTH_VALUE_MAX);
        decode_hex(digits, count / 2, wla_secret_fill(to));
        *ret_size = count / 2;
        return 0;
}

int auth_value_decode(const struct wla_secret *text, struct wla_secret **ret,
                      struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *value = NULL;
        size_t size = 0;

        *ret = NULL;
        if (!text)
                return 0;
        if (wla_secret_new(AUTH_VALUE_MAX, &value, err) < 0 ||
            decode(wla_secret_view(text), value, &size, err) < 0)
                return -1;

        while (size > 0 && wla_secret_view(value).data[size - 1] == 0)
                size--;
        if (size == 0)
                return 0;
        wla_secret_truncate(value, size);
        *ret = TAKE_PTR(value);
        return 0;
}

void auth_value_copy(const struct wla_secret *value, TPM2B_AUTH *ret) {
        *ret = (TPM2B_AUTH){0};
        if (!value)
                return;

        struct wla_bytes bytes = wla_secret_view(value);
        ret->size = (uint16_t)bytes.size;
        memcpy(ret->buffer, bytes.data, bytes.size);
}

int host_key_secret_new(struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;

        if (wla_secret_new(HOST_KEY_SECRET_TEXT_SIZE, &secret, err) < 0)
                return -1;

        uint8_t *text = wla_secret_fill(secret);
        if (RAND_priv_bytes(text, SECRET_SIZE) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "no random numbers");

        /* From the back, over the bytes that it is made of; without a table, as above. */
        for (size_t i = SECRET_SIZE; i-- > 0;) {
                unsigned nibbles[] = {text[i] & 0xfu, (unsigned)text[i] >> 4};

                for (size_t j = 0; j < 2; j++)
                        text[2 * i + 1 - j] = (uint8_t)(nibbles[j] + '0' +
                                                        ((9u - nibbles[j]) >> 8 &
                                                         ('a' - '0' - 10u)));
                OPENSSL_cleanse(nibbles, sizeof(nibbles));
        }
        *ret = TAKE_PTR(secret);
        return 0;
}
