/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Counters, gauges and histograms for operators: the fixed table of metrics.def.
 *
 * Labels take values from fixed sets, so that nothing a peer sends can add a series.
 * Format:  Prometheus text 0.0.4, as node_exporter's textfile collector reads it.
 * Threads: any; counting takes no lock.
 * Failure: counting cannot fail; writing as file.h and buf.h say.
 */

#include "base/buf.h"
#include "wlagent/error.h"

#define METRICS_FILE_NAME "metrics.prom"

enum metric {
#define LABELS(...)
#define METRIC(kind, id, name, first, second, help) METRIC_##id,
#include "base/metrics.def"
#undef METRIC
#undef LABELS
        _METRIC_MAX
};

/* Values of labels.  CODE and RESULT take an enum wla_code. */
enum { METRIC_UNWRAP, METRIC_WRAP };
enum { METRIC_TPM_CONNECT, METRIC_TPM_PREPARE, METRIC_TPM_UNBIND };
enum { METRIC_LOCAL, METRIC_WLS, METRIC_TRUSTEE };
enum {
        METRIC_REPORT_POSTED,
        METRIC_REPORT_REFUSED,
        METRIC_REPORT_GIVEN_UP,
        METRIC_REPORT_NOT_MADE
};
enum {
        METRIC_REFUSED_USER,
        METRIC_REFUSED_LIMIT,
        METRIC_REFUSED_DESCRIPTORS,
        METRIC_REFUSED_SYSTEM
};

/* Sets what is known at start-up: the time and the version. */
void metrics_start(void);

/* first and second are values of the metric's labels, 0 where it has none. */
void metrics_count(enum metric metric, unsigned first, unsigned second);
void metrics_set(enum metric metric, uint64_t value);
void metrics_observe_usec(enum metric metric, uint64_t usec);

/* The sum over all labels of a counter; the value of a gauge; the number of observations. */
uint64_t metrics_total(enum metric metric);

int metrics_write(struct buf *to, struct wla_error *err) _must_check_;

/* Replaces METRICS_FILE_NAME in that directory. */
int metrics_write_file(const char *directory, struct wla_error *err) _must_check_;
