/* SPDX-License-Identifier: Apache-2.0 */
#include "source/broker_record.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct broker_record {
        pthread_mutex_t lock;
        struct broker_view view;
};

int broker_record_new(struct broker_record **ret, struct wla_error *err) {
        struct broker_record *record = calloc(1, sizeof(*record));

        if (!record)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        (void)pthread_mutex_init(&record->lock, NULL);
        *ret = record;
        return 0;
}

struct broker_record *broker_record_free(struct broker_record *record) {
        if (record)
                (void)pthread_mutex_destroy(&record->lock);
        free(record);
        return NULL;
}

void broker_record_note(struct broker_record *record, enum wla_code code, bool answered,
                        enum broker_trust trust) {
        const uint64_t now_sec = (uint64_t)time(NULL);

        if (!record)
                return;
        (void)pthread_mutex_lock(&record->lock);
        record->view.requests[code]++;
        if (answered)
                record->view.answered_sec = now_sec;
        record->view.last = code;
        if (trust != BROKER_TRUST_UNKNOWN) {
                record->view.trust = trust;
                record->view.judged_sec = now_sec;
        }
        (void)pthread_mutex_unlock(&record->lock);
}

struct broker_view broker_record_view(struct broker_record *record) {
        (void)pthread_mutex_lock(&record->lock);
        const struct broker_view view = record->view;
        (void)pthread_mutex_unlock(&record->lock);
        return view;
}
