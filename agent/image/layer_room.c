/* SPDX-License-Identifier: Apache-2.0 */
#include "image/layer_room.h"

#include "image/qcow2_format.h"
#include "image/qcow2_writer.h"

static const char hint_short[] =
        "whatever has cut it off has lost what was there: restore the layer from "
        "a backup, or give it up with 'wlagent volume remove'";

int layer_room_for(uint64_t virtual_size, struct layer_room *ret, struct wla_error *err) {
        uint64_t full;

        if (qcow2_full_size(virtual_size, &full, err) < 0)
                return -1;
        *ret = (struct layer_room){.least = full, .ample = 2 * full};
        return 0;
}

int layer_room_check(const uint8_t head[static 512], uint64_t size, uint64_t virtual_size,
                     struct wla_error *err) {
        struct wla_error ignored = {0};
        struct layer_room room;
        struct layer_room own;

        if (layer_room_for(virtual_size, &room, err) < 0)
                return -1;
        /* Other faults are told by who reads all of the head. */
        if (qcow2_load32(head, QCOW2_AT_MAGIC) == QCOW2_MAGIC &&
            layer_room_for(qcow2_load64(head, QCOW2_AT_VIRTUAL_SIZE), &own, &ignored) == 0 &&
            own.least < room.least)
                room = own;
        if (size >= room.least)
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, hint_short,
                             "its file has %ju bytes, and was made with at least %ju",
                             (uintmax_t)size, (uintmax_t)room.least);
}
