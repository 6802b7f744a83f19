/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/rehearsal.h"

#include <string.h>

#include "image/header_writer.h"
#include "image/sector_cipher.h"
#include "image/volume_key.h"
#include "volume/crypt_volume.h"
#include "volume/device_mapper.h"

#define KEY_ID "local:///rehearsal"

static int make_header(const struct wla_secret *volume_key, struct sealed_header *ret,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        _cleanup_buf_ struct buf header = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
        struct header_content content = {.volume_key = volume_key, .token = &json};
        struct image_token token = {
                .size = IMAGE_HEADER_SIZE,
                .virtual_size = IMAGE_HEADER_SIZE,
        };

        if (uuid_generate(&content.uuid, err) < 0 ||
            key_id_parse(KEY_ID, strlen(KEY_ID), &token.key_id, err) < 0 ||
            image_token_write(&token, &json, err) < 0 || header_write(&content, &header, err) < 0)
                return -1;
        return sealed_header_make(header.data, header.size, ret, err);
}

static int open_volume(const struct wla_secret *volume_key, const struct sealed_header *sealed,
                       const struct luks2_header *header, struct wla_error *err) {
        _cleanup_crypt_volume_ struct crypt_volume *volume = NULL;

        if (crypt_volume_open(sealed, header, &volume, err) < 0)
                return -1;
        return crypt_volume_check_key(volume, volume_key, err);
}

/* The header stands for the image that it would be of. */
static int judge_image(const struct wla_secret *volume_key, const struct sealed_header *sealed,
                       const struct luks2_header *header, struct wla_error *err) {
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        uint8_t probe[IMAGE_PROBE_SIZE];
        uint8_t sector[IMAGE_SECTOR_SIZE];

        memcpy(sector, sealed->bytes, sizeof(sector));
        if (image_probe(volume_key, &header->uuid, sealed->fd, sealed->size, probe, err) < 0 ||
            sector_cipher_new(volume_key, sizeof(sector), SECTOR_DECRYPT, &cipher, err) < 0)
                return -1;
        return sector_cipher_run(cipher, 0, sector, sizeof(sector), err);
}

static int rehearse(struct wla_error *err) {
        _cleanup_sealed_header_ struct sealed_header sealed = SEALED_HEADER_NONE;
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        struct luks2_header header;

        if (volume_key_generate(&volume_key, err) < 0 ||
            make_header(volume_key, &sealed, err) < 0 ||
            luks2_header_check(sealed.bytes, sealed.size, &header, err) < 0 ||
            open_volume(volume_key, &sealed, &header, err) < 0 ||
            judge_image(volume_key, &sealed, &header, err) < 0)
                return wla_wrap(err, "rehearsing");
        return 0;
}

int rehearse_opening(struct wla_error *err) {
        int outcome = rehearse(err);

        dm_forget();
        return outcome;
}
