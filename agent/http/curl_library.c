/* SPDX-License-Identifier: Apache-2.0 */
#include "http/curl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "base/wiping_alloc.h"

#define CURL_SONAME "libcurl.so.4"
#define SSL_SONAME  "libssl.so.3"

struct curl_library library;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool loaded;

static void *open_library(const char *name, struct wla_error *err) {
        void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);

        if (!handle)
                (void)wla_fail_hint(err, WLA_E_SYSTEM,
                                    "key brokers are asked through libcurl: install libcurl4",
                                    "cannot load %s: %s", name, dlerror());
        return handle;
}

static int find(void *handle, const char *name, void *to, struct wla_error *err) {
        void *symbol = dlsym(handle, name);

        if (!symbol)
                return wla_fail(err, WLA_E_SYSTEM, "a library for HTTPS has no function %s", name);
        memcpy(to, &symbol, sizeof(symbol));
        return 0;
}

static int load(struct wla_error *err) {
        void *curl = open_library(CURL_SONAME, err);
        void *ssl = curl ? open_library(SSL_SONAME, err) : NULL;

        if (!ssl)
                return -1;
#define FIND_IN_CURL(name)                             \
        if (find(curl, #name, &library.name, err) < 0) \
                return -1;
#define FIND_IN_SSL(name)                             \
        if (find(ssl, #name, &library.name, err) < 0) \
                return -1;
        CURL_FUNCTIONS(FIND_IN_CURL)
        SSL_FUNCTIONS(FIND_IN_SSL)
#undef FIND_IN_CURL
#undef FIND_IN_SSL

        CURLcode begun = library.curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc,
                                                      wiping_free, wiping_realloc, wiping_strdup,
                                                      wiping_calloc);
        if (begun != CURLE_OK)
                return wla_fail(err, WLA_E_SYSTEM, "libcurl does not start: %s",
                                library.curl_easy_strerror(begun));
        return 0;
}

int curl_library_load(struct wla_error *err) {
        (void)pthread_mutex_lock(&lock);
        int outcome = loaded ? 0 : load(err);
        loaded = outcome == 0;
        (void)pthread_mutex_unlock(&lock);
        return outcome;
}
