/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ocicrypt's keywrap, answered for an image's owner with a key of KBS: Intel SecL's wpm
 * get-ocicrypt-wrappedkey.
 *
 * The layer's options are sealed with AES-256-GCM under the key, nothing authenticated with them; the
 * annotation names the key by its transfer link.  kbs/key_choice.h has what the parameter may say.
 *
 * Failure: as cli/owner.h and keyprovider/provider_request.h.
 */

#include "base/buf.h"
#include "base/secret.h"
#include "wlagent/error.h"

#define OWNER_REPLY_MAX (64u * 1024u)

/* Appends the one line that is to be printed, its newline with it. */
int owner_wrap(struct wla_bytes request, struct buf *reply, struct wla_error *err) _must_check_;
