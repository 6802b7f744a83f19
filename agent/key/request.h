/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who asks for which key, and until when. */

#include <sys/types.h>

#include "base/clock.h"
#include "key/key_id.h"

/* From SO_PEERCRED, never from the request. */
struct key_peer {
        uid_t uid;
        gid_t gid;
        pid_t pid;
};

struct key_request {
        struct key_id id;
        struct key_peer peer;     /* the first that asked; later ones share its fetch */
        struct deadline deadline; /* the latest of all that wait; 0 when nobody waits any more */
};
