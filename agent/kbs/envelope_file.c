/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/envelope_file.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/file.h"
#include "base/private_file.h"

struct label {
        const char *begin;
        const char *end;
};

static const struct label labels[] = {
        {"-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----"},
        {"-----BEGIN RSA PRIVATE KEY-----\n", "-----END RSA PRIVATE KEY-----"},
};

static int fail_pem(struct wla_error *err) {
        return wla_fail(err, WLA_E_INPUT, "it is no PEM file with one PRIVATE KEY in clear");
}

/* Between the lines of the first label that is there. */
static bool find_block(struct wla_bytes text, struct wla_bytes *ret) {
        for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
                size_t begin = strlen(labels[i].begin);
                const uint8_t *at = memmem(text.data, text.size, labels[i].begin, begin);

                if (!at)
                        continue;
                at += begin;
                const uint8_t *end = memmem(at, text.size - (size_t)(at - text.data), labels[i].end,
                                            strlen(labels[i].end));
                if (!end)
                        return false;
                *ret = (struct wla_bytes){at, (size_t)(end - at)};
                return true;
        }
        return false;
}

/* The characters of the lines without what ends them, and how many there are. */
static size_t join_lines(struct wla_bytes block, uint8_t *to) {
        size_t size = 0;

        for (size_t i = 0; i < block.size; i++)
                if (block.data[i] != '\n' && block.data[i] != '\r')
                        to[size++] = block.data[i];
        return size;
}

int envelope_file_decode(const struct wla_secret *text, struct wla_secret **ret,
                         struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *joined = NULL;
        _cleanup_secret_ struct wla_secret *der = NULL;
        struct wla_bytes block;

        if (!find_block(wla_secret_view(text), &block) || block.size == 0)
                return fail_pem(err);
        if (wla_secret_new(block.size, &joined, err) < 0 ||
            wla_secret_new(block.size, &der, err) < 0)
                return -1;

        uint8_t *characters = wla_secret_fill(joined);
        size_t size = join_lines(block, characters);
        int decoded = size > 0 && size % 4 == 0
                              ? EVP_DecodeBlock(wla_secret_fill(der), characters, (int)size)
                              : -1;
        if (decoded < 3)
                return fail_pem(err);

        /* It counts the zeros that the padding stands for. */
        size_t padding = (size_t)(characters[size - 1] == '=') + (characters[size - 2] == '=');
        wla_secret_truncate(der, (size_t)decoded - padding);
        *ret = TAKE_PTR(der);
        return 0;
}

int envelope_file_read(const char *path, struct envelope_key **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *text = NULL;
        _cleanup_secret_ struct wla_secret *der = NULL;

        if (private_file_read(path, ENVELOPE_FILE_MAX, &text, err) < 0)
                return -1;
        if (envelope_file_decode(text, &der, err) < 0 || envelope_key_parse(der, ret, err) < 0)
                return wla_wrap(err, "%s", path);
        return 0;
}
