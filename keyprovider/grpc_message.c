/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/grpc_message.h"

#include <string.h>

#define TIMEOUT_DIGITS_MAX 8u

struct grpc_prefix grpc_prefix_read(const uint8_t bytes[GRPC_PREFIX_SIZE]) {
        return (struct grpc_prefix){
                .compressed = bytes[0] != 0,
                .size = (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 |
                        (uint32_t)bytes[3] << 8 | bytes[4],
        };
}

void grpc_prefix_write(uint32_t size, uint8_t ret[GRPC_PREFIX_SIZE]) {
        ret[0] = 0;
        ret[1] = (uint8_t)(size >> 24);
        ret[2] = (uint8_t)(size >> 16);
        ret[3] = (uint8_t)(size >> 8);
        ret[4] = (uint8_t)size;
}

bool grpc_content_type_valid(const char *value, size_t size) {
        static const char type[] = "application/grpc";
        const size_t type_size = sizeof(type) - 1;

        if (size < type_size || memcmp(value, type, type_size) != 0)
                return false;

        return size == type_size || value[type_size] == '+' || value[type_size] == ';';
}

/* Nanoseconds a unit; 0 for what is no unit. */
static uint64_t unit_nsec(char unit) {
        switch (unit) {
        case 'H':
                return UINT64_C(3600000000000);
        case 'M':
                return UINT64_C(60000000000);
        case 'S':
                return UINT64_C(1000000000);
        case 'm':
                return UINT64_C(1000000);
        case 'u':
                return UINT64_C(1000);
        case 'n':
                return 1;
        default:
                return 0;
        }
}

bool grpc_timeout_parse(const char *value, size_t size, uint64_t *ret_usec) {
        uint64_t number = 0;

        if (size < 2 || size > TIMEOUT_DIGITS_MAX + 1)
                return false;

        for (size_t i = 0; i < size - 1; i++) {
                if (value[i] < '0' || value[i] > '9')
                        return false;
                number = number * 10 + (uint64_t)(value[i] - '0');
        }

        uint64_t unit = unit_nsec(value[size - 1]);
        if (unit == 0)
                return false;
        *ret_usec = unit >= 1000 ? number * (unit / 1000) : number / 1000;
        return true;
}

size_t grpc_percent_encode(const char *text, char *to, size_t size) {
        static const char digits[] = "0123456789ABCDEF";
        size_t at = 0;

        for (const char *next = text; *next != '\0'; next++) {
                uint8_t byte = (uint8_t)*next;
                bool plain = byte >= 0x20 && byte <= 0x7e && byte != '%';

                if (at + (plain ? 1 : 3) >= size)
                        break;
                if (plain) {
                        to[at++] = (char)byte;
                        continue;
                }
                to[at++] = '%';
                to[at++] = digits[byte >> 4];
                to[at++] = digits[byte & 0xf];
        }

        to[at] = '\0';
        return at;
}
