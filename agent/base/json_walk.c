/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_walk.h"

#include <stddef.h>
#include <string.h>

int json_fail_at(struct wla_error *err, size_t at, const char *what) {
        return wla_fail(err, WLA_E_INPUT, "JSON: %s at byte %zu", what, at);
}

void json_skip_space(struct json_walk *walk) {
        while (walk->at < walk->size &&
               (walk->text[walk->at] == ' ' || walk->text[walk->at] == '\t' ||
                walk->text[walk->at] == '\n' || walk->text[walk->at] == '\r'))
                walk->at++;
}

int json_peek(const struct json_walk *walk) {
        return walk->at < walk->size ? (unsigned char)walk->text[walk->at] : -1;
}

static int hex_value(int character) {
        if (character >= '0' && character <= '9')
                return character - '0';
        if (character >= 'a' && character <= 'f')
                return character - 'a' + 10;
        if (character >= 'A' && character <= 'F')
                return character - 'A' + 10;
        return -1;
}

/* The four digits at walk->at, or -1. */
static int read_hex4(struct json_walk *walk) {
        int value = 0;

        for (int i = 0; i < 4; i++) {
                int digit = hex_value(json_peek(walk));

                if (digit < 0)
                        return -1;
                value = value << 4 | digit;
                walk->at++;
        }
        return value;
}

/* The code point after a backslash, or -1.  Lone surrogates are refused: they have no UTF-8 form. */
static long read_escape(struct json_walk *walk) {
        static const char names[] = "\"\\/bfnrt";
        static const char values[] = "\"\\/\b\f\n\r\t";
        int character = json_peek(walk);

        walk->at++;
        if (character != 'u') {
                const char *name = character > 0 ? strchr(names, character) : NULL;

                return name && *name ? values[name - names] : -1;
        }

        int high = read_hex4(walk);
        if (high < 0xd800 || high > 0xdfff)
                return high;
        if (high > 0xdbff || json_peek(walk) != '\\')
                return -1;
        walk->at++;
        if (json_peek(walk) != 'u')
                return -1;
        walk->at++;

        int low = read_hex4(walk);
        if (low < 0xdc00 || low > 0xdfff)
                return -1;
        return 0x10000 + ((long)(high - 0xd800) << 10) + (low - 0xdc00);
}

/* Length of the UTF-8 sequence at data (RFC 3629: shortest form, no surrogates), or 0. */
size_t json_utf8_sequence(const unsigned char *data, size_t size) {
        static const struct {
                unsigned char first_low;
                unsigned char first_high;
                unsigned char second_low;
                unsigned char second_high;
                unsigned char length;
        } forms[] = {
                {0x00, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
                {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
                {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
                {0xf4, 0xf4, 0x80, 0x8f, 4},
        };

        for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
                if (data[0] < forms[i].first_low || data[0] > forms[i].first_high)
                        continue;
                if (size < forms[i].length)
                        return 0;
                if (forms[i].length > 1 &&
                    (data[1] < forms[i].second_low || data[1] > forms[i].second_high))
                        return 0;
                for (size_t j = 2; j < forms[i].length; j++)
                        if ((data[j] & 0xc0) != 0x80)
                                return 0;
                return forms[i].length;
        }
        return 0;
}

#define EVERY_BYTE(value) (UINT64_C(0x0101010101010101) * (value))

/* Nonzero when a byte of word is zero. */
static uint64_t zero_bytes(uint64_t word) {
        return (word - EVERY_BYTE(0x01)) & ~word & EVERY_BYTE(0x80);
}

/* Moves over characters that need no look: eight at a time, since most strings are long base64. */
static void skip_plain(struct json_walk *walk) {
        while (walk->size - walk->at >= sizeof(uint64_t)) {
                uint64_t word;

                memcpy(&word, walk->text + walk->at, sizeof(word));
                uint64_t not_ascii = word & EVERY_BYTE(0x80);
                uint64_t control = (word - EVERY_BYTE(0x20)) & ~word & EVERY_BYTE(0x80);
                if (not_ascii | control | zero_bytes(word ^ EVERY_BYTE('"')) |
                    zero_bytes(word ^ EVERY_BYTE('\\')))
                        return;
                walk->at += sizeof(word);
        }
}

int json_skip_string(struct json_walk *walk, struct wla_error *err) {
        size_t start = walk->at++;

        for (;;) {
                skip_plain(walk);

                int character = json_peek(walk);

                if (character == '"') {
                        walk->at++;
                        return 0;
                }
                if (character < ' ')
                        return json_fail_at(err, start,
                                            character < 0 ? "a string does not end"
                                                          : "a control character in a string");
                if (character == '\\') {
                        walk->at++;
                        if (read_escape(walk) < 0)
                                return json_fail_at(err, start, "an invalid escape in a string");
                        continue;
                }

                size_t length = character < 0x80
                                        ? 1
                                        : json_utf8_sequence((const unsigned char *)walk->text +
                                                                     walk->at,
                                                             walk->size - walk->at);
                if (length == 0)
                        return json_fail_at(err, start, "a string is not UTF-8");
                walk->at += length;
        }
}

static bool skip_digits(struct json_walk *walk) {
        size_t start = walk->at;

        while (json_peek(walk) >= '0' && json_peek(walk) <= '9')
                walk->at++;
        return walk->at > start;
}

static int skip_number(struct json_walk *walk, struct wla_error *err) {
        size_t start = walk->at;

        if (json_peek(walk) == '-')
                walk->at++;
        if (json_peek(walk) == '0')
                walk->at++;
        else if (!skip_digits(walk))
                return json_fail_at(err, start, "an unexpected character");

        if (json_peek(walk) == '.') {
                walk->at++;
                if (!skip_digits(walk))
                        return json_fail_at(err, start, "an invalid number");
        }
        if (json_peek(walk) == 'e' || json_peek(walk) == 'E') {
                walk->at++;
                if (json_peek(walk) == '+' || json_peek(walk) == '-')
                        walk->at++;
                if (!skip_digits(walk))
                        return json_fail_at(err, start, "an invalid number");
        }
        return 0;
}

static int skip_word(struct json_walk *walk, const char *word, struct wla_error *err) {
        size_t length = strlen(word);

        if (walk->size - walk->at < length || memcmp(walk->text + walk->at, word, length) != 0)
                return json_fail_at(err, walk->at, "an unexpected word");
        walk->at += length;
        return 0;
}

enum json_type json_type_of(int character) {
        switch (character) {
        case '{':
                return JSON_OBJECT;
        case '[':
                return JSON_ARRAY;
        case '"':
                return JSON_STRING;
        case 't':
                return JSON_TRUE;
        case 'f':
                return JSON_FALSE;
        case 'n':
                return JSON_NULL;
        default:
                return JSON_NUMBER;
        }
}

static int skip_scalar(struct json_walk *walk, struct wla_error *err) {
        switch (json_type_of(json_peek(walk))) {
        case JSON_STRING:
                return json_skip_string(walk, err);
        case JSON_TRUE:
                return skip_word(walk, "true", err);
        case JSON_FALSE:
                return skip_word(walk, "false", err);
        case JSON_NULL:
                return skip_word(walk, "null", err);
        default:
                return skip_number(walk, err);
        }
}

/* Moves past a member's name and its colon. */
static int skip_name(struct json_walk *walk, struct wla_error *err) {
        json_skip_space(walk);
        if (json_peek(walk) != '"')
                return json_fail_at(err, walk->at, "a member's name is missing");
        if (json_skip_string(walk, err) < 0)
                return -1;
        json_skip_space(walk);
        if (json_peek(walk) != ':')
                return json_fail_at(err, walk->at, "a colon is missing");
        walk->at++;
        return 0;
}

/* Closes containers as far as the text does.  Returns 1 when another value follows, 0 when the outermost
 * has been closed. */
static int after_value(struct json_walk *walk, const bool *in_object, size_t *depth,
                       struct wla_error *err) {
        while (*depth > 0) {
                bool object = in_object[*depth - 1];

                json_skip_space(walk);
                if (json_peek(walk) == ',') {
                        walk->at++;
                        if (object && skip_name(walk, err) < 0)
                                return -1;
                        return 1;
                }
                if (json_peek(walk) != (object ? '}' : ']'))
                        return json_fail_at(err, walk->at,
                                            "a comma or a closing bracket is missing");
                walk->at++;
                (*depth)--;
        }
        return 0;
}

/* Opens the container at walk->at.  Returns 1 when a value follows, 0 when it is empty and closed. */
static int enter(struct json_walk *walk, bool *in_object, size_t *depth, struct wla_error *err) {
        bool object = json_peek(walk) == '{';

        if (*depth == JSON_DEPTH_MAX)
                return json_fail_at(err, walk->at, "nested too deeply");

        walk->at++;
        json_skip_space(walk);
        if (json_peek(walk) == (object ? '}' : ']')) {
                walk->at++;
                return 0;
        }

        in_object[(*depth)++] = object;
        if (object && skip_name(walk, err) < 0)
                return -1;
        return 1;
}

/* Nesting is a stack of flags, so that a hostile text cannot make us recurse. */
int json_skip_value(struct json_walk *walk, struct wla_error *err) {
        bool in_object[JSON_DEPTH_MAX];
        size_t depth = 0;

        for (;;) {
                json_skip_space(walk);

                int follows = 0;
                int character = json_peek(walk);
                if (character == '{' || character == '[')
                        follows = enter(walk, in_object, &depth, err);
                else if (skip_scalar(walk, err) < 0)
                        return -1;

                if (follows == 0)
                        follows = after_value(walk, in_object, &depth, err);
                if (follows <= 0)
                        return follows;
        }
}

/* One decoded byte sequence of a string body; used to compare names without a copy. */
size_t json_next_decoded(struct json_walk *walk, char to[4]) {
        if (json_peek(walk) != '\\') {
                to[0] = walk->text[walk->at++];
                return 1;
        }

        walk->at++;
        unsigned long point = (unsigned long)read_escape(walk);
        if (point < 0x80) {
                to[0] = (char)point;
                return 1;
        }
        if (point < 0x800) {
                to[0] = (char)(0xc0 | point >> 6);
                to[1] = (char)(0x80 | (point & 63));
                return 2;
        }
        if (point < 0x10000) {
                to[0] = (char)(0xe0 | point >> 12);
                to[1] = (char)(0x80 | (point >> 6 & 63));
                to[2] = (char)(0x80 | (point & 63));
                return 3;
        }
        to[0] = (char)(0xf0 | point >> 18);
        to[1] = (char)(0x80 | (point >> 12 & 63));
        to[2] = (char)(0x80 | (point >> 6 & 63));
        to[3] = (char)(0x80 | (point & 63));
        return 4;
}

/* A quote ends a string unless an odd number of backslashes stands before it. */
static void skip_checked_string(struct json_walk *walk) {
        const char *start = walk->text + walk->at;
        const char *quote = start;
        size_t backslashes;

        do {
                quote = memchr(quote + 1, '"', (size_t)(walk->text + walk->size - quote - 1));
                backslashes = 0;
                while (quote[-1 - (ptrdiff_t)backslashes] == '\\')
                        backslashes++;
        } while (backslashes % 2 != 0);
        walk->at = (size_t)(quote - walk->text) + 1;
}

void json_skip_checked(struct json_walk *walk) {
        size_t depth = 0;

        json_skip_space(walk);
        for (;;) {
                int character = json_peek(walk);

                if (character == '"')
                        skip_checked_string(walk);
                else
                        walk->at++;
                depth += character == '{' || character == '[';
                depth -= character == '}' || character == ']';
                if (depth > 0)
                        continue;
                if (character == '"' || character == '}' || character == ']')
                        return;

                /* A number or a word ends where what may follow a value begins. */
                character = json_peek(walk);
                if (character < 0 || strchr(",]}: \t\r\n", character))
                        return;
        }
}

struct json_walk json_string_body(const struct json_value *string) {
        return (struct json_walk){.text = string->text, .size = string->size - 1, .at = 1};
}
