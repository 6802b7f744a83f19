/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One WrapKey or UnWrapKey from its JSON to its reply.  Private to service.c.
 *
 * Ownership: a call belongs to itself from keyprovider_call_new() until it is done or cancelled.
 */

#include "keyprovider/packet.h"
#include "keyprovider/provider_reply.h"
#include "keyprovider/service.h"

struct keyprovider_origin {
        struct key_peer peer;
        uint64_t deadline_usec;
        enum provider_framing framing;
        keyprovider_done_fn done;
        void *userdata;
};

struct keyprovider_call {
        struct key_access *access;
        const struct keyprovider_settings *settings;
        struct keyprovider_origin origin;
        uint64_t arrived_usec;

        struct provider_request request;
        struct packet packet;
        const struct key_id *key; /* NULL until the request is parsed */
        struct key_ticket *ticket;
};

/* NULL without memory. */
struct keyprovider_call *keyprovider_call_new(struct key_access *access,
                                              const struct keyprovider_settings *settings,
                                              const struct keyprovider_origin *origin);

/* Both may end the call.  wanted is what the transport says, or PROVIDER_UNKNOWN. */
void keyprovider_call_begin(struct keyprovider_call *call, enum provider_operation wanted,
                            struct wla_bytes json, struct keyprovider_call **ret);
void keyprovider_call_end(struct keyprovider_call *call, struct wla_secret *reply,
                          const struct wla_error *err);
