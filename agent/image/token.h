/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The two tokens that wlagent puts into LUKS2 headers without keyslots.
 *
 * "wlagent-image", members in this order:
 *   type, keyslots [], version 1, key_id, nonce, wrapped_key, content, size, virtual_size, probe, seal
 * "wlagent-layer":
 *   type, keyslots [], version 1, vm, target, image, nonce, wrapped_key
 *
 * Byte strings are standard base64, sizes decimal strings as LUKS2 writes them; seal is optional, any
 * other member is refused.  wrapped_key is the 64-byte volume key under AES-256-GCM, tag behind.  Key id,
 * content, sizes and whether there is a seal are authenticated with it; probe and seal are codes under
 * the volume key themselves (agent/image/volume_key.h).
 *
 * Threads: pure.  Failure: WLA_E_INPUT; WLA_E_UNSUPPORTED for a version other than IMAGE_TOKEN_VERSION.
 */

#include <stdint.h>

#include "base/aead.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/uuid.h"
#include "key/key_id.h"

#define IMAGE_TOKEN_TYPE    "wlagent-image"
#define LAYER_TOKEN_TYPE    "wlagent-layer"
#define IMAGE_TOKEN_VERSION 1u
#define IMAGE_TOKEN_MAX     4096u /* bytes of JSON of either token, at most */

#define VOLUME_KEY_SIZE         64u /* AES-256-XTS */
#define VOLUME_KEY_WRAPPED_SIZE (VOLUME_KEY_SIZE + AES256_GCM_TAG)
#define IMAGE_PROBE_SIZE        32u
#define IMAGE_SEAL_SIZE         32u
#define IMAGE_SECTOR_SIZE       4096u
#define DISK_SECTOR_SIZE        512u /* of the disk inside */

/* Letters, digits, '-' and '_', '-' not first; as libvirt's <target dev=>. */
#define DISK_TARGET_SIZE 16u /* with the terminating zero */

bool disk_target_valid(const char *target, size_t size);

/* What the plaintext of an image is. */
enum image_content {
        IMAGE_CONTENT_RAW,
        IMAGE_CONTENT_QCOW2,
        _IMAGE_CONTENT_MAX,
};

/* "raw", "qcow2". */
const char *image_content_name(enum image_content content);

struct wrapped_volume_key {
        uint8_t nonce[AES256_GCM_NONCE];
        uint8_t bytes[VOLUME_KEY_WRAPPED_SIZE];
};

struct image_token {
        struct key_id key_id;
        struct wrapped_volume_key wrapped;
        enum image_content content;
        uint64_t size;         /* of the ciphertext, bytes: a multiple of IMAGE_SECTOR_SIZE */
        uint64_t virtual_size; /* of the disk inside, bytes: a multiple of 512 */
        uint8_t probe[IMAGE_PROBE_SIZE];
        bool sealed;
        uint8_t seal[IMAGE_SEAL_SIZE];
};

struct layer_token {
        struct uuid vm;
        char target[DISK_TARGET_SIZE];
        struct uuid image; /* the header UUID of the image below */
        struct wrapped_volume_key wrapped;
};

int image_token_read(const struct json_value *token, struct image_token *ret,
                     struct wla_error *err) _must_check_;
int layer_token_read(const struct json_value *token, struct layer_token *ret,
                     struct wla_error *err) _must_check_;

int image_token_write(const struct image_token *token, struct buf *json,
                      struct wla_error *err) _must_check_;
int layer_token_write(const struct layer_token *token, struct buf *json,
                      struct wla_error *err) _must_check_;
