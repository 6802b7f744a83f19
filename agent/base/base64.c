/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <string.h>

/* 1 when low <= value <= high, else 0, without a branch on the value. */
static unsigned in_range(unsigned value, unsigned low, unsigned high) {
        return (((low - 1 - value) & (value - 1 - high)) >> 31) & 1;
}

/* The table of RFC 4648 as arithmetic: a look-up table would show secrets to a cache observer. */
static char encode_sextet(unsigned sextet) {
        unsigned character = 0;

        character |= -in_range(sextet, 0, 25) & (sextet + 'A');
        character |= -in_range(sextet, 26, 51) & (sextet - 26 + 'a');
        character |= -in_range(sextet, 52, 61) & (sextet - 52 + '0');
        character |= -in_range(sextet, 62, 62) & '+';
        character |= -in_range(sextet, 63, 63) & '/';
        return (char)character;
}

/* The sextet, with bit 6 set for a character outside the alphabet. */
static unsigned decode_character(unsigned character) {
        unsigned upper = in_range(character, 'A', 'Z');
        unsigned lower = in_range(character, 'a', 'z');
        unsigned digit = in_range(character, '0', '9');
        unsigned plus = in_range(character, '+', '+');
        unsigned slash = in_range(character, '/', '/');
        unsigned sextet = 0;

        sextet |= -upper & (character - 'A');
        sextet |= -lower & (character - 'a' + 26);
        sextet |= -digit & (character - '0' + 52);
        sextet |= -plus & 62;
        sextet |= -slash & 63;
        return sextet | (1 - (upper | lower | digit | plus | slash)) << 6;
}

void base64_encode(const uint8_t *data, size_t size, char *to) {
        while (size >= 3) {
                unsigned group = (unsigned)data[0] << 16 | (unsigned)data[1] << 8 | data[2];

                *to++ = encode_sextet(group >> 18);
                *to++ = encode_sextet(group >> 12 & 63);
                *to++ = encode_sextet(group >> 6 & 63);
                *to++ = encode_sextet(group & 63);
                data += 3;
                size -= 3;
        }

        if (size == 0)
                return;

        unsigned group = (unsigned)data[0] << 16 | (size == 2 ? (unsigned)data[1] << 8 : 0);
        to[0] = encode_sextet(group >> 18);
        to[1] = encode_sextet(group >> 12 & 63);
        to[2] = size == 2 ? encode_sextet(group >> 6 & 63) : '=';
        to[3] = '=';
}

int base64_append(struct buf *to, const uint8_t *data, size_t size, struct wla_error *err) {
        if (size == 0)
                return 0;

        uint8_t *at = buf_extend(to, base64_encoded_size(size), err);
        if (!at)
                return -1;

        base64_encode(data, size, (char *)at);
        return 0;
}

static int fail_decode(struct wla_error *err) {
        return wla_fail(err, WLA_E_INPUT, "not base64 with padding (RFC 4648 section 4)");
}

int base64_decode(const char *text, size_t size, struct buf *to, struct wla_error *err) {
        if (size % 4 != 0)
                return fail_decode(err);
        if (size == 0)
                return 0;

        size_t padding = (text[size - 1] == '=') + (text[size - 1] == '=' && text[size - 2] == '=');
        uint8_t *at = buf_extend(to, size / 4 * 3, err);
        if (!at)
                return -1;

        unsigned invalid = 0;
        for (size_t i = 0; i < size; i += 4) {
                bool last = i + 4 == size;
                unsigned group = 0;

                for (size_t j = 0; j < 4; j++) {
                        bool pad = last && j >= 4 - padding;
                        unsigned sextet = pad ? 0 : decode_character((uint8_t)text[i + j]);

                        invalid |= sextet >> 6;
                        group = group << 6 | (sextet & 63);
                }
                if (last && padding > 0)
                        invalid |= (group & (padding == 1 ? 0xffu : 0xffffu)) != 0;
                *at++ = (uint8_t)(group >> 16);
                *at++ = (uint8_t)(group >> 8);
                *at++ = (uint8_t)group;
        }

        size_t keep = size / 4 * 3 - padding;
        size_t drop = size / 4 * 3 - (invalid ? 0 : keep);
        explicit_bzero(to->data + to->size - drop, drop);
        to->size -= drop;
        return invalid ? fail_decode(err) : 0;
}
