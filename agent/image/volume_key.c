/* SPDX-License-Identifier: Apache-2.0 */
#include "image/volume_key.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/derived_key.h"

#define HALF (VOLUME_KEY_SIZE / 2)

static const char hint_other_header[] = "header and image do not belong together, or one of them "
                                        "was changed";

static struct wla_bytes bytes_of(const struct buf *buf) {
        return (struct wla_bytes){.data = buf->data, .size = buf->size};
}

int volume_key_generate(struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = NULL;

        if (wla_secret_new(VOLUME_KEY_SIZE, &key, err) < 0)
                return -1;

        uint8_t *bytes = wla_secret_fill(key);
        if (RAND_priv_bytes(bytes, VOLUME_KEY_SIZE) != 1 ||
            CRYPTO_memcmp(bytes, bytes + HALF, HALF) == 0)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL gives no random bytes for a key");

        *ret = TAKE_PTR(key);
        return 0;
}

int image_identity_write(const struct uuid *header, const struct image_token *token, struct buf *to,
                         struct wla_error *err) {
        return buf_printf(to, err, IMAGE_IDENTITY_PREFIX "%s\n%s\n%s\n%ju\n%ju\n%s\n", header->text,
                          token->key_id.text, image_content_name(token->content),
                          (uintmax_t)token->size, (uintmax_t)token->virtual_size,
                          token->sealed ? "sealed" : "open");
}

static int check_volume_key(const struct wla_secret *key, struct wla_error *err) {
        struct wla_bytes bytes = wla_secret_view(key);

        if (bytes.size != VOLUME_KEY_SIZE ||
            CRYPTO_memcmp(bytes.data, bytes.data + HALF, HALF) == 0)
                return wla_fail(err, WLA_E_INPUT, "what was wrapped is no key for AES-256-XTS");
        return 0;
}

int volume_key_wrap(const struct wla_secret *kek, struct wla_bytes identity,
                    const struct wla_secret *volume_key, struct wrapped_volume_key *ret,
                    struct wla_error *err) {
        _cleanup_buf_ struct buf sealed = BUF_WITH_LIMIT(VOLUME_KEY_WRAPPED_SIZE);
        struct wrapped_volume_key wrapped;

        if (check_volume_key(volume_key, err) < 0)
                return -1;
        if (RAND_bytes(wrapped.nonce, sizeof(wrapped.nonce)) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL gives no random bytes for a nonce");
        if (aes256_gcm_seal_bound(
                    kek, (struct wla_bytes){.data = wrapped.nonce, .size = sizeof(wrapped.nonce)},
                    identity, wla_secret_view(volume_key), &sealed, err) < 0)
                return -1;

        memcpy(wrapped.bytes, sealed.data, sizeof(wrapped.bytes));
        *ret = wrapped;
        return 0;
}

int volume_key_unwrap(const struct wla_secret *kek, struct wla_bytes identity,
                      const struct wrapped_volume_key *wrapped, struct wla_secret **ret,
                      struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = NULL;

        if (aes256_gcm_open_bound(
                    kek, (struct wla_bytes){.data = wrapped->nonce, .size = sizeof(wrapped->nonce)},
                    identity,
                    (struct wla_bytes){.data = wrapped->bytes, .size = sizeof(wrapped->bytes)},
                    &key, err) < 0 ||
            check_volume_key(key, err) < 0)
                return -1;

        *ret = TAKE_PTR(key);
        return 0;
}

int image_key_wrap(const struct wla_secret *kek, const struct uuid *header,
                   const struct wla_secret *volume_key, struct image_token *token,
                   struct wla_error *err) {
        _cleanup_buf_ struct buf identity = BUF_WITH_LIMIT(IMAGE_IDENTITY_MAX);

        if (image_identity_write(header, token, &identity, err) < 0 ||
            volume_key_wrap(kek, bytes_of(&identity), volume_key, &token->wrapped, err) < 0)
                return wla_wrap(err, "wrapping the volume key");
        return 0;
}

int image_key_unwrap(const struct wla_secret *kek, const struct luks2_header *header,
                     struct wla_secret **ret, struct wla_error *err) {
        _cleanup_buf_ struct buf identity = BUF_WITH_LIMIT(IMAGE_IDENTITY_MAX);

        if (image_identity_write(&header->uuid, &header->image, &identity, err) < 0)
                return -1;
        if (volume_key_unwrap(kek, bytes_of(&identity), &header->image.wrapped, ret, err) < 0) {
                if (err->code == WLA_E_DENIED)
                        err->hint = "the key is not the one that encrypted this image, or its "
                                    "header was changed";
                return wla_wrap(err, "the volume key does not open with %s",
                                header->image.key_id.text);
        }
        return 0;
}

/* The identity is the derivation's info and the additional data as well. */
static int derive_layer_kek(const struct wla_secret *image_key, const struct layer_token *token,
                            struct buf *identity, struct wla_secret **ret, struct wla_error *err) {
        if (buf_printf(identity, err, "wlagent-layer 1\n%s\n%s\n%s\n", token->vm.text,
                       token->target, token->image.text) < 0)
                return -1;
        return derived_key(image_key, bytes_of(identity), AES256_KEY_SIZE, ret, err);
}

int layer_key_wrap(const struct wla_secret *image_key, const struct wla_secret *layer_key,
                   struct layer_token *token, struct wla_error *err) {
        _cleanup_buf_ struct buf identity = BUF_WITH_LIMIT(IMAGE_IDENTITY_MAX);
        _cleanup_secret_ struct wla_secret *kek = NULL;

        if (derive_layer_kek(image_key, token, &identity, &kek, err) < 0 ||
            volume_key_wrap(kek, bytes_of(&identity), layer_key, &token->wrapped, err) < 0)
                return wla_wrap(err, "wrapping the layer's key");
        return 0;
}

int layer_key_unwrap(const struct wla_secret *image_key, const struct layer_token *token,
                     struct wla_secret **ret, struct wla_error *err) {
        _cleanup_buf_ struct buf identity = BUF_WITH_LIMIT(IMAGE_IDENTITY_MAX);
        _cleanup_secret_ struct wla_secret *kek = NULL;

        if (derive_layer_kek(image_key, token, &identity, &kek, err) < 0)
                return -1;
        if (volume_key_unwrap(kek, bytes_of(&identity), &token->wrapped, ret, err) < 0) {
                if (err->code == WLA_E_DENIED)
                        err->hint = "the layer belongs to another VM, disk or image, or its header "
                                    "was changed";
                return wla_wrap(err, "the layer's key does not open");
        }
        return 0;
}

static int mac_file_part(EVP_MAC_CTX *mac, int fd, uint8_t *block, size_t size, uint64_t offset,
                         struct wla_error *err) {
        size_t done = 0;

        while (done < size) {
                ssize_t got = pread(fd, block + done, size - done, (off_t)(offset + done));

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return wla_fail_errno(err, errno, "cannot read the image");
                if (got == 0)
                        return wla_fail_hint(err, WLA_E_DENIED, hint_other_header,
                                             "the image is shorter than its header says");
                done += (size_t)got;
        }
        if (EVP_MAC_update(mac, block, size) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run HMAC-SHA256");
        return 0;
}

int image_probe(const struct wla_secret *volume_key, const struct uuid *header, int fd,
                uint64_t size, uint8_t ret[IMAGE_PROBE_SIZE], struct wla_error *err) {
        _cleanup_mac_ EVP_MAC_CTX *mac = NULL;
        _cleanup_buf_ struct buf label = BUF_WITH_LIMIT(IMAGE_IDENTITY_MAX);
        _cleanup_free_ uint8_t *block = malloc(IMAGE_PROBE_SPAN);
        size_t span = size < IMAGE_PROBE_SPAN ? (size_t)size : IMAGE_PROBE_SPAN;
        size_t written;

        if (!block)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (buf_printf(&label, err, "wlagent-probe 1\n%s\n%ju\n", header->text, (uintmax_t)size) <
                    0 ||
            derived_mac(volume_key, bytes_of(&label), &mac, err) < 0 ||
            mac_file_part(mac, fd, block, span, 0, err) < 0 ||
            mac_file_part(mac, fd, block, span, size - span, err) < 0)
                return -1;
        if (EVP_MAC_final(mac, ret, &written, IMAGE_PROBE_SIZE) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run HMAC-SHA256");
        return 0;
}

int image_probe_check(const struct wla_secret *volume_key, const struct luks2_header *header,
                      int fd, struct wla_error *err) {
        uint8_t probe[IMAGE_PROBE_SIZE];

        if (image_probe(volume_key, &header->uuid, fd, header->image.size, probe, err) < 0)
                return -1;
        if (CRYPTO_memcmp(probe, header->image.probe, sizeof(probe)) != 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_other_header,
                                     "the header is not of this image");
        return 0;
}
