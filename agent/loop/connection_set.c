/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "loop/connection_state.h"

#define TIMER_ACCURACY (100 * USEC_PER_MSEC)

void connection_set_arm(struct connection_set *set, uint64_t at_usec) {
        if (at_usec >= set->timer_usec)
                return;

        set->timer_usec = at_usec;
        (void)sd_event_source_set_time(set->timer, at_usec);
        (void)sd_event_source_set_enabled(set->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct connection_set *set = userdata;
        struct connection *next;
        uint64_t now_usec = clock_now_usec();

        (void)source;
        (void)usec;
        set->timer_usec = UINT64_MAX;
        for (struct connection *connection = LIST_FIRST(&set->connections); connection;
             connection = next) {
                next = LIST_NEXT(connection, entry);
                if (!connection->self)
                        continue;

                uint64_t at_usec = connection_due_usec(connection);
                if (at_usec <= now_usec)
                        connection_tick(connection, now_usec);
                else
                        connection_set_arm(set, at_usec);
        }
        return 0;
}

static int on_wake(sd_event_source *source, void *userdata) {
        struct connection_set *set = userdata;
        struct connection *next;
        uint64_t now_usec = clock_now_usec();

        (void)source;
        for (struct connection *connection = LIST_FIRST(&set->connections); connection;
             connection = next) {
                next = LIST_NEXT(connection, entry);
                if (!connection->woken)
                        continue;
                connection->woken = false;
                connection_flush(connection, now_usec);
        }
        return 0;
}

static int add_sources(struct connection_set *set) {
        sd_event *event = set->options.event;

        int r = sd_event_add_time(event, &set->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY, on_timer,
                                  set);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(set->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &set->wake, on_wake, set);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(set->wake, SD_EVENT_OFF);
}

static int make_buffers(struct connection_set *set, struct wla_error *err) {
        if (wla_secret_new(CONNECTION_PIECE, &set->in, err) < 0 ||
            wla_secret_new(CONNECTION_PIECE, &set->out_memory, err) < 0)
                return -1;
        set->out = (struct buf){
                .data = wla_secret_fill(set->out_memory),
                .allocated = CONNECTION_PIECE,
                .limit = CONNECTION_PIECE,
        };
        return 0;
}

int connection_set_new(const struct connection_set_options *options, struct connection_set **ret,
                       struct wla_error *err) {
        struct connection_set *set = calloc(1, sizeof(*set));
        if (!set)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        LIST_INIT(&set->connections);
        set->options = *options;
        set->timer_usec = UINT64_MAX;
        if (make_buffers(set, err) < 0) {
                (void)connection_set_free(set);
                return -1;
        }

        int r = add_sources(set);
        if (r < 0) {
                (void)connection_set_free(set);
                return wla_fail_errno(err, -r, "preparing for connections");
        }

        *ret = set;
        return 0;
}

struct connection_set *connection_set_free(struct connection_set *set) {
        if (!set)
                return NULL;

        set->options.closed = NULL;
        while (!LIST_EMPTY(&set->connections))
                connection_close(LIST_FIRST(&set->connections));
        (void)sd_event_source_disable_unref(set->timer);
        (void)sd_event_source_disable_unref(set->wake);
        (void)wla_secret_free(set->in);
        (void)wla_secret_free(set->out_memory);
        free(set);
        return NULL;
}

size_t connection_set_count(const struct connection_set *set) {
        return set->count;
}

void connection_set_limit(struct connection_set *set, size_t connections_max) {
        set->options.connections_max = connections_max;
}

static bool allows_nobody(const void *userdata, uid_t uid) {
        (void)userdata;
        (void)uid;
        return false;
}

void connection_set_shutdown(struct connection_set *set) {
        connection_set_review(set, allows_nobody, NULL);
}

void connection_set_review(struct connection_set *set,
                           bool (*allows)(const void *userdata, uid_t uid), const void *userdata) {
        struct connection *next;
        uint64_t now_usec = clock_now_usec();

        for (struct connection *connection = LIST_FIRST(&set->connections); connection;
             connection = next) {
                next = LIST_NEXT(connection, entry);
                if (connection->self && !allows(userdata, connection->peer.uid))
                        connection_shutdown(connection, now_usec);
        }
}
