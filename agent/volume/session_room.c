/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

#include "image/layer_room.h"
#include "image/qcow2_format.h"
#include "image/sector_cipher.h"
#include "volume/session.h"

int session_read_start(int fd, uint8_t *to, size_t size, size_t *ret, struct wla_error *err) {
        for (*ret = 0; *ret < size;) {
                ssize_t got = pread(fd, to + *ret, size - *ret, (off_t)*ret);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return wla_fail_errno(err, errno, "reading what is in it");
                if (got == 0)
                        break;
                *ret += (size_t)got;
        }
        return 0;
}

/* false: what the key shows is no layer, which whoever maps it and reads it all tells better.  In a file that ends
 * before is nothing, for any key. */
static int read_first_sector(const struct session *session, const struct wla_secret *key,
                             uint8_t sector[static IMAGE_SECTOR_SIZE], bool *ret,
                             struct wla_error *err) {
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        size_t have;

        if (session_read_start(session->layer.disk_fd, sector, IMAGE_SECTOR_SIZE, &have, err) < 0)
                return -1;
        *ret = true;
        if (have < IMAGE_SECTOR_SIZE) {
                memset(sector, 0, IMAGE_SECTOR_SIZE);
                return 0;
        }
        if (sector_cipher_new(key, IMAGE_SECTOR_SIZE, SECTOR_DECRYPT, &cipher, err) < 0 ||
            sector_cipher_run(cipher, 0, sector, IMAGE_SECTOR_SIZE, err) < 0)
                return -1;
        *ret = qcow2_load32(sector, QCOW2_AT_MAGIC) == QCOW2_MAGIC;
        return 0;
}

/* Of the sector, which a guest has written, nothing stays in memory. */
static int check_first_sector(const struct session *session, const struct wla_secret *key,
                              uint64_t virtual_size, bool *ret, struct wla_error *err) {
        uint8_t sector[IMAGE_SECTOR_SIZE];
        int result = read_first_sector(session, key, sector, ret, err);

        if (result == 0 && *ret)
                result = layer_room_check(sector, session->layer.size, virtual_size, err);
        OPENSSL_cleanse(sector, sizeof(sector));
        return result;
}

/* In front of the mapping, which keeps the length that it was made with. */
int session_give_room(struct session *session, const struct wla_secret *key, uint64_t virtual_size,
                      struct wla_error *err) {
        struct layer_room room;
        bool readable = false;

        if (layer_room_for(virtual_size, &room, err) < 0 ||
            check_first_sector(session, key, virtual_size, &readable, err) < 0)
                return -1;
        if (!readable)
                return 0;
        return layer_files_lengthen_durably(session->layer.disk_fd, room.ample,
                                            &session->layer.size, err);
}
