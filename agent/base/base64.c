/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <string.h>

/* Characters that are decoded at a time; a multiple of four. */
#define DECODE_BLOCK 64u

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

/* All ones when low <= value <= high, else 0; for bytes, in arithmetic that becomes vector code. */
static uint16_t mask_range(uint16_t value, uint16_t low, uint16_t high) {
        return (uint16_t) - ((uint16_t)((low - 1 - value) & (value - 1 - high)) >> 15);
}

/* Turns characters into sextets; returns 0 when all are in the alphabet. */
static unsigned decode_block(uint8_t block[DECODE_BLOCK]) {
        uint16_t invalid = 0;

        for (size_t i = 0; i < DECODE_BLOCK; i++) {
                uint16_t character = block[i];
                uint16_t upper = mask_range(character, 'A', 'Z');
                uint16_t lower = mask_range(character, 'a', 'z');
                uint16_t digit = mask_range(character, '0', '9');
                uint16_t plus = mask_range(character, '+', '+');
                uint16_t slash = mask_range(character, '/', '/');

                invalid |= (uint16_t) ~(upper | lower | digit | plus | slash);
                block[i] = (uint8_t)((upper & (character - 'A')) |
                                     (lower & (character - 'a' + 26)) |
                                     (digit & (character - '0' + 52)) | (plus & 62) | (slash & 63));
        }
        return invalid;
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

/* Decodes at most a block of text, whole groups of four without padding, to to. */
static unsigned decode_groups(const uint8_t *text, size_t size, uint8_t *to) {
        uint8_t block[DECODE_BLOCK];

        memset(block, 'A', sizeof(block));
        memcpy(block, text, size);
        unsigned invalid = decode_block(block);
        for (size_t i = 0; i < size; i += 4) {
                *to++ = (uint8_t)(block[i] << 2 | block[i + 1] >> 4);
                *to++ = (uint8_t)(block[i + 1] << 4 | block[i + 2] >> 2);
                *to++ = (uint8_t)(block[i + 2] << 6 | block[i + 3]);
        }
        explicit_bzero(block, sizeof(block));
        return invalid;
}

/* The last group, whose padding counts as zero bits; what it leaves unused has to be zero. */
static unsigned decode_last(const char *text, size_t padding, uint8_t *to) {
        uint8_t group[4];

        memcpy(group, text, sizeof(group));
        memset(group + sizeof(group) - padding, 'A', padding);
        unsigned invalid = decode_groups(group, sizeof(group), to);
        explicit_bzero(group, sizeof(group));
        for (size_t i = 3 - padding; i < 3; i++)
                invalid |= to[i];
        return invalid;
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

        unsigned invalid = decode_last(text + size - 4, padding, at + (size - 4) / 4 * 3);
        for (size_t i = 0; i < size - 4; i += DECODE_BLOCK) {
                size_t part = size - 4 - i < DECODE_BLOCK ? size - 4 - i : DECODE_BLOCK;

                invalid |= decode_groups((const uint8_t *)text + i, part, at + i / 4 * 3);
        }

        size_t keep = size / 4 * 3 - padding;
        size_t drop = size / 4 * 3 - (invalid ? 0 : keep);
        explicit_bzero(to->data + to->size - drop, drop);
        to->size -= drop;
        return invalid ? fail_decode(err) : 0;
}
