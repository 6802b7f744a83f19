/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The ocicrypt keyprovider: UnWrapKey and WrapKey, whatever transport they come by.
 *
 * Wire: ocicrypt v1.2 docs/keyprovider.md and keyprovider.proto; packets of Confidential Containers
 * ({kid, wrapped_data, iv, wrap_type}) and Intel SecL ({key_url, wrapped_key, wrap_type}).
 *
 * Threads:   the loop thread.
 * Ownership: a call belongs to the service from begin to done or cancel.  The service must outlive all
 *            its calls.
 * Failure:   through done or the gRPC status; each call ends with one event in the log.
 */

#include "base/buf.h"
#include "base/secret.h"
#include "key/access.h"
#include "keyprovider/h2_connection.h"

#define KEYPROVIDER_METHOD_WRAP   "/keyprovider.KeyProviderService/WrapKey"
#define KEYPROVIDER_METHOD_UNWRAP "/keyprovider.KeyProviderService/UnWrapKey"

struct keyprovider_service;
struct keyprovider_call;

struct keyprovider_settings {
        bool allow_wrap;
        bool allow_unauthenticated_wrap;
};

int keyprovider_service_new(struct key_access *access, const struct keyprovider_settings *settings,
                            struct keyprovider_service **ret, struct wla_error *err) _must_check_;
struct keyprovider_service *keyprovider_service_free(struct keyprovider_service *service);
void keyprovider_service_configure(struct keyprovider_service *service,
                                   const struct keyprovider_settings *settings);

/* The handler for h2_connection. */
const struct grpc_handler *keyprovider_service_handler(struct keyprovider_service *service);

/* The same for bare JSON (ocicrypt's cmd transport).  done gets the reply JSON, which it then
 * owns, or an error; exactly once, perhaps before begin returns (then *ret is NULL).  json is wiped. */
typedef void (*keyprovider_done_fn)(void *userdata, struct wla_secret *reply,
                                    const struct wla_error *err);
void keyprovider_service_begin(struct keyprovider_service *service, struct buf *json,
                               const struct key_peer *peer, uint64_t deadline_usec,
                               keyprovider_done_fn done, void *userdata,
                               struct keyprovider_call **ret);
void keyprovider_call_cancel(struct keyprovider_call *call);
