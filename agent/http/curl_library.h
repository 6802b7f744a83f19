/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* libcurl and libssl, loaded when the first client is made: they bring some 25 libraries with them, which
 * a host that has its keys in the local store shall not pay for.
 *
 * Threads: the functions may be called from any thread once curl_library_load() has succeeded.
 * Failure: WLA_E_SYSTEM, naming the library that is missing.
 */

#include <curl/curl.h>
#include <openssl/ssl.h>

#include "wlagent/error.h"

#define CURL_FUNCTIONS(F)           \
        F(curl_easy_cleanup)        \
        F(curl_easy_getinfo)        \
        F(curl_easy_header)         \
        F(curl_easy_init)           \
        F(curl_easy_setopt)         \
        F(curl_easy_strerror)       \
        F(curl_global_init_mem)     \
        F(curl_multi_add_handle)    \
        F(curl_multi_cleanup)       \
        F(curl_multi_info_read)     \
        F(curl_multi_init)          \
        F(curl_multi_perform)       \
        F(curl_multi_poll)          \
        F(curl_multi_remove_handle) \
        F(curl_multi_setopt)        \
        F(curl_multi_wakeup)        \
        F(curl_slist_append)        \
        F(curl_slist_free_all)

#define SSL_FUNCTIONS(F)                    \
        F(SSL_CTX_set1_cert_store)          \
        F(SSL_CTX_set_cert_verify_callback) \
        F(SSL_CTX_set_options)              \
        F(SSL_CTX_set_security_level)       \
        F(SSL_CTX_set_verify)

/* libcurl's macros of the same names would check calls of its own functions only. */
#undef curl_easy_getinfo
#undef curl_easy_setopt
#undef curl_multi_setopt

struct curl_library {
#define DECLARE(name) __typeof__(name) *name;
        CURL_FUNCTIONS(DECLARE)
        SSL_FUNCTIONS(DECLARE)
#undef DECLARE
};

extern struct curl_library library;

/* Loads both, once, and makes libcurl wipe the memory that it frees. */
int curl_library_load(struct wla_error *err) _must_check_;
