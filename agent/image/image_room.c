/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image_room.h"

#include "image/qcow2_writer.h"

static const char hint_compact[] =
        "choose mode layer, or encrypt the disk without --compact; what VMs "
        "have written to it so far, 'wlagent image decrypt --changed' gives back";

int image_room_check(const struct image_token *token, struct wla_error *err) {
        uint64_t needed;

        if (token->content != IMAGE_CONTENT_QCOW2)
                return 0;
        if (qcow2_full_size(token->virtual_size, &needed, err) < 0)
                return -1;
        if (token->size >= needed)
                return 0;
        return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_compact,
                             "it is compact, without room for what a VM writes to it");
}
