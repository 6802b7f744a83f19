/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A key file as the tests know it, and its text with one thing changed. */

#include <check.h>
#include <string.h>

#include "source/key_file.h"

#define SAMPLE_FINGERPRINT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static inline struct key_file sample_key_file(const char *name) {
        struct key_file file = {
                .binding_key = SAMPLE_FINGERPRINT,
                .created = "2026-01-31T23:59:59Z",
        };

        memcpy(file.name, name, strlen(name));
        for (size_t i = 0; i < sizeof(file.wrapped); i++)
                file.wrapped[i] = (uint8_t)(i * 7 + 1);
        return file;
}

/* Writes the sample's text with the first old replaced by new; returns its size. */
static inline size_t sample_text(const char *name, const char *old, const char *new,
                                 struct buf *to) {
        struct wla_error err = {0};
        const struct key_file file = sample_key_file(name);
        struct buf whole = BUF_WITH_LIMIT(4096);

        ck_assert_int_eq(key_file_format(&file, &whole, &err), 0);
        const char *text = buf_text(&whole, &err);
        const char *at = strstr(text, old);
        ck_assert_ptr_nonnull(at);

        ck_assert_int_eq(buf_append(to, text, (size_t)(at - text), &err), 0);
        ck_assert_int_eq(buf_append_text(to, new, &err), 0);
        ck_assert_int_eq(buf_append_text(to, at + strlen(old), &err), 0);
        buf_clear(&whole);
        return to->size;
}
