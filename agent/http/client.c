/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/curl_library.h"
#include "http/transfer.h"
#include "loop/condition.h"
#include "loop/thread.h"

/* libcurl's own timers end its wait earlier. */
#define IDLE_MSEC              60000
#define CONNECTIONS_PER_BROKER 16L

/* One that waits so long in vain may be on a connection that brings no answer to anybody. */
#define SILENCE_USEC (2 * USEC_PER_SEC)

/* A handshake keeps the client's thread busy for some milliseconds, in which no answer is read.  So
 * connections to one broker are opened one after the other, and no faster than this while one takes its
 * time because the broker is far away. */
#define OPENING_PACE_USEC (5 * USEC_PER_MSEC)

struct http_client {
        struct transfer_options options;
        CURLM *multi; /* the thread's */
        pthread_t thread;

        pthread_mutex_t lock;
        pthread_cond_t left; /* a caller has, while the client stops */
        struct transfer *transfers;
        size_t callers;
        bool stopping;
};

static void append(struct http_client *client, struct transfer *transfer) {
        struct transfer **at = &client->transfers;

        while (*at)
                at = &(*at)->next;
        *at = transfer;
}

static void unlink_transfer(struct http_client *client, struct transfer *transfer) {
        struct transfer **at = &client->transfers;

        while (*at != transfer)
                at = &(*at)->next;
        *at = transfer->next;
}

/* With the lock held, as all below up to the thread. */
static void finish(struct http_client *client, struct transfer *transfer, CURLcode result) {
        unlink_transfer(client, transfer);
        if (transfer->state == TRANSFER_ABANDONED) {
                transfer_free(transfer);
                return;
        }
        transfer->result = result;
        transfer->state = TRANSFER_FINISHED;
        (void)pthread_cond_signal(&transfer->finished);
}

static bool runs_to(const struct transfer *transfer, const char *origin) {
        return transfer->state != TRANSFER_NEW && strcmp(transfer->purpose.origin, origin) == 0;
}

/* When it may be begun, if nothing happens before.  What the first connection to an origin is, decides
 * whether there will be others: libcurl waits for it too, but opens them all at once then. */
static uint64_t held_until_usec(const struct http_client *client, const struct transfer *transfer) {
        const char *origin = transfer->purpose.origin;
        size_t open = connections_count(client->options.connections, origin);
        size_t running = 0;
        size_t connecting = 0;
        uint64_t last_usec = 0;

        for (const struct transfer *other = client->transfers; other; other = other->next) {
                if (!runs_to(other, origin))
                        continue;
                running++;
                if (other->connecting_usec > 0)
                        connecting++;
                if (other->connecting_usec > last_usec)
                        last_usec = other->connecting_usec;
        }
        if (connecting == 0 || open > running)
                return 0;
        return open > connecting ? last_usec + OPENING_PACE_USEC : UINT64_MAX;
}

/* When it is to be called again, even if nothing happens. */
static uint64_t begin_new(struct http_client *client) {
        uint64_t now_usec = clock_now_usec();
        uint64_t again_usec = UINT64_MAX;
        struct transfer *next;

        for (struct transfer *transfer = client->transfers; transfer; transfer = next) {
                next = transfer->next;
                if (transfer->state != TRANSFER_NEW)
                        continue;

                uint64_t until_usec = held_until_usec(client, transfer);
                if (until_usec < again_usec)
                        again_usec = until_usec;
                if (until_usec > now_usec)
                        continue;
                transfer->state = TRANSFER_RUNNING;
                transfer->connecting_usec = now_usec;
                if (library.curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK)
                        finish(client, transfer, CURLE_OUT_OF_MEMORY);
        }
        return again_usec;
}

/* They are in the order in which they began.  The other's caller knows best how long the broker may take,
 * and has waited longer. */
static bool older_one_waits(const struct http_client *client, const struct transfer *transfer) {
        const struct transfer *other = client->transfers;

        for (; other != transfer; other = other->next)
                if (other->state != TRANSFER_ABANDONED && !other->yields &&
                    strcmp(other->purpose.origin, transfer->purpose.origin) == 0)
                        return true;
        return false;
}

static void cut_silent(struct http_client *client, const struct transfer *transfer) {
        if (transfer->timed_out && !older_one_waits(client, transfer))
                connections_cut(client->options.connections, transfer->purpose.origin,
                                transfer->begun_usec);
}

static void end_abandoned(struct http_client *client, bool all) {
        struct transfer *next;

        for (struct transfer *transfer = client->transfers; transfer; transfer = next) {
                next = transfer->next;
                if (!all && transfer->state != TRANSFER_ABANDONED)
                        continue;
                (void)library.curl_multi_remove_handle(client->multi, transfer->easy);
                cut_silent(client, transfer);
                finish(client, transfer, CURLE_ABORTED_BY_CALLBACK);
        }
}

static void end_finished(struct http_client *client) {
        struct CURLMsg *message;
        int left;

        while ((message = library.curl_multi_info_read(client->multi, &left))) {
                struct transfer *transfer = NULL;
                CURLcode result = message->data.result;

                (void)library.curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
                                                (char **)&transfer);
                (void)library.curl_multi_remove_handle(client->multi, message->easy_handle);
                if (result == CURLE_OK)
                        connections_heard(client->options.connections, transfer->purpose.origin,
                                          clock_now_usec());
                finish(client, transfer, result);
        }
}

/* When it is to be called again, even if nothing happens. */
static uint64_t begin_and_end(struct http_client *client) {
        end_finished(client);
        end_abandoned(client, false);
        return begin_new(client);
}

static int wait_msec(uint64_t until_usec) {
        uint64_t now_usec = clock_now_usec();

        if (until_usec <= now_usec)
                return 0;
        if (until_usec - now_usec >= IDLE_MSEC * USEC_PER_MSEC)
                return IDLE_MSEC;
        return (int)((until_usec - now_usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC);
}

static void *client_thread(void *argument) {
        struct http_client *client = argument;
        int running;

        (void)pthread_mutex_lock(&client->lock);
        while (!client->stopping) {
                (void)begin_and_end(client);
                (void)pthread_mutex_unlock(&client->lock);

                (void)library.curl_multi_perform(client->multi, &running);

                (void)pthread_mutex_lock(&client->lock);
                uint64_t until_usec = begin_and_end(client);
                (void)pthread_mutex_unlock(&client->lock);

                (void)library.curl_multi_poll(client->multi, NULL, 0, wait_msec(until_usec), NULL);
                (void)pthread_mutex_lock(&client->lock);
        }
        end_abandoned(client, true);
        (void)pthread_mutex_unlock(&client->lock);
        return NULL;
}

static void destroy(struct http_client *client) {
        (void)library.curl_multi_cleanup(client->multi);
        connections_free(client->options.connections);
        X509_STORE_free(client->options.store);
        (void)pthread_cond_destroy(&client->left);
        (void)pthread_mutex_destroy(&client->lock);
        free(client);
}

static bool make_multi(CURLM **ret) {
        CURLM *multi = library.curl_multi_init();

        if (!multi)
                return false;
        *ret = multi;
        return library.curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                                         CONNECTIONS_PER_BROKER) == CURLM_OK &&
               library.curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX) ==
                       CURLM_OK;
}

int http_client_new(const struct http_settings *settings, struct http_client **ret,
                    struct wla_error *err) {
        if (curl_library_load(err) < 0)
                return -1;

        struct http_client *client = calloc(1, sizeof(*client));
        if (!client)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        client->options.tls12 = settings->tls12;
        client->options.connections = connections_new();
        (void)pthread_mutex_init(&client->lock, NULL);
        condition_init(&client->left);

        if (!client->options.connections || !make_multi(&client->multi))
                (void)wla_fail(err, WLA_E_BUSY, "out of memory");
        else if (trust_store_load(settings->trust_directory, &client->options.store, err) == 0 &&
                 thread_start("http", client_thread, client, &client->thread, err) == 0) {
                *ret = client;
                return 0;
        }
        destroy(client);
        return -1;
}

struct http_client *http_client_free(struct http_client *client) {
        if (!client)
                return NULL;

        (void)pthread_mutex_lock(&client->lock);
        client->stopping = true;
        (void)pthread_mutex_unlock(&client->lock);
        (void)library.curl_multi_wakeup(client->multi);
        (void)pthread_join(client->thread, NULL);

        (void)pthread_mutex_lock(&client->lock);
        while (client->callers > 0)
                (void)pthread_cond_wait(&client->left, &client->lock);
        (void)pthread_mutex_unlock(&client->lock);
        destroy(client);
        return NULL;
}

static bool time_is_up(const struct http_request *request, const struct transfer *transfer) {
        return deadline_left_usec(request->deadline) == 0 ||
               (request->longest_usec > 0 &&
                clock_now_usec() - transfer->begun_usec >= request->longest_usec);
}

/* With the lock held.  Whether the transfer has finished; otherwise the thread's from now on. */
static bool wait_for_end(struct http_client *client, struct transfer *transfer,
                         const struct http_request *request) {
        while (transfer->state != TRANSFER_FINISHED && !time_is_up(request, transfer))
                condition_wait(&transfer->finished, &client->lock, request->deadline);
        if (transfer->state == TRANSFER_FINISHED)
                return true;

        transfer->state = TRANSFER_ABANDONED;
        transfer->timed_out = !deadline_cancelled(request->deadline) &&
                              clock_now_usec() - transfer->begun_usec >= SILENCE_USEC;
        (void)library.curl_multi_wakeup(client->multi);
        return false;
}

/* Whether the transfer is the caller's again. */
static bool run(struct http_client *client, struct transfer *transfer,
                const struct http_request *request) {
        (void)pthread_mutex_lock(&client->lock);
        client->callers++;
        append(client, transfer);
        (void)library.curl_multi_wakeup(client->multi);
        bool finished = wait_for_end(client, transfer, request);
        client->callers--;
        if (client->stopping)
                (void)pthread_cond_broadcast(&client->left);
        (void)pthread_mutex_unlock(&client->lock);
        return finished;
}

bool http_answer_says(const struct http_answer *answer, const char *part) {
        const struct buf *body = &answer->body;

        return body->size > 0 && memmem(body->data, body->size, part, strlen(part)) != NULL;
}

int http_perform(struct http_client *client, const struct http_request *request,
                 struct http_answer *ret, struct wla_error *err) {
        struct transfer *transfer = NULL;

        if (transfer_new(request, &client->options, &transfer, err) < 0)
                return -1;
        if (!run(client, transfer, request)) {
                ret->sent = true;
                if (deadline_cancelled(request->deadline))
                        return wla_fail(err, WLA_E_TIMEOUT, "nobody waits for the answer any more");
                return wla_fail_hint(err, WLA_E_TIMEOUT,
                                     "see that it runs; it may wait for a service behind it: see "
                                     "its log",
                                     "no answer in time");
        }

        int outcome = transfer_result(transfer, ret, err);
        transfer_free(transfer);
        return outcome;
}
