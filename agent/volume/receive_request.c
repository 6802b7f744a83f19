/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/receive_request.h"

#include <string.h>

#include "base/file.h"
#include "volume/packet.h"

static int take_key(const struct volumed_request *wire, struct wla_secret **ret,
                    struct wla_error *err) {
        for (size_t i = wire->key_size; i < sizeof(wire->key); i++)
                if (wire->key[i] != 0)
                        return wla_fail(err, WLA_E_INPUT, "there are bytes behind the key");
        if (wire->key_size == 0)
                return 0;

        if (wla_secret_new(wire->key_size, ret, err) < 0)
                return -1;
        memcpy(wla_secret_fill(*ret), wire->key, wire->key_size);
        return 0;
}

int receive_request(int fd, struct volume_request *ret, struct wla_secret **ret_key,
                    int *ret_attached, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *packet = NULL;
        _cleanup_close_ int attached = -1;

        if (wla_secret_new(sizeof(struct volumed_request), &packet, err) < 0)
                return -1;
        struct volumed_request *wire = (void *)wla_secret_fill(packet);
        if (packet_receive(fd, wire, sizeof(*wire), NULL, &attached, err) < 0)
                return -1;
        if (volume_request_read(wire, ret, err) < 0 || take_key(wire, ret_key, err) < 0)
                return wla_wrap(err, "request");

        *ret_attached = TAKE_FD(attached);
        return 0;
}
