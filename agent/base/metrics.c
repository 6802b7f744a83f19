/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"

#define TEXT_MAX      (64u * 1024u)
#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define NAME_FORMAT   "wlagent_%s"
#define HISTOGRAM_SUM (COUNT(bounds_usec) + 1) /* the cell behind those of the buckets and +Inf */

static const uint64_t bounds_usec[] = {
        50,    100,    250,    500,    1000,    2500,    5000,    10000,    25000,
        50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000,
};

enum metric_kind { COUNTER, GAUGE, HISTOGRAM };

#define CODE_TOKEN(name, token, grpc) token,
#define METRIC_CODE_VALUES            "ok", WLA_CODES(CODE_TOKEN)
#define METRIC(...)
#define LABELS(id, name, ...) static const char *const values_##id[] = {__VA_ARGS__};
#include "base/metrics.def"
#undef LABELS

struct labels {
        const char *name;
        const char *const *values;
        unsigned count;
};

#define LABELS(id, name, ...) \
        static const struct labels labels_##id = {name, values_##id, COUNT(values_##id)};
#include "base/metrics.def"
#undef LABELS
#undef METRIC

_Static_assert(COUNT(values_CODE) == _WLA_CODE_MAX, "CODE_TOKEN misses a code");

#define CELLS_COUNTER(first, second)   (COUNT(values_##first) * COUNT(values_##second))
#define CELLS_GAUGE(first, second)     (COUNT(values_##first) * COUNT(values_##second))
#define CELLS_HISTOGRAM(first, second) (HISTOGRAM_SUM + 1)

#define LABELS(...)
#define METRIC(kind, id, name, first, second, help) \
        static _Atomic uint64_t cells_##id[CELLS_##kind(first, second)];
#include "base/metrics.def"
#undef METRIC

static const struct {
        enum metric_kind kind;
        const char *name;
        const char *help;
        const struct labels *first;
        const struct labels *second;
        _Atomic uint64_t *cells;
        size_t cell_count;
} metrics[_METRIC_MAX] = {
#define METRIC(kind, id, name, first, second, help) \
        {kind, name, help, &labels_##first, &labels_##second, cells_##id, COUNT(cells_##id)},
#include "base/metrics.def"
#undef METRIC
#undef LABELS
};

static void add(_Atomic uint64_t *cell, uint64_t value) {
        (void)atomic_fetch_add_explicit(cell, value, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *cell) {
        return atomic_load_explicit(cell, memory_order_relaxed);
}

void metrics_start(void) {
        struct timespec now = {0};

        (void)clock_gettime(CLOCK_REALTIME, &now);
        metrics_set(METRIC_START_TIME_SECONDS, (uint64_t)now.tv_sec);
        metrics_set(METRIC_BUILD_INFO, 1);
}

void metrics_count(enum metric metric, unsigned first, unsigned second) {
        assert(metrics[metric].kind == COUNTER);
        assert(first < metrics[metric].first->count && second < metrics[metric].second->count);

        add(&metrics[metric].cells[first * metrics[metric].second->count + second], 1);
}

void metrics_set(enum metric metric, uint64_t value) {
        assert(metrics[metric].kind == GAUGE);

        atomic_store_explicit(metrics[metric].cells, value, memory_order_relaxed);
}

void metrics_observe_usec(enum metric metric, uint64_t usec) {
        size_t bucket = 0;

        assert(metrics[metric].kind == HISTOGRAM);

        while (bucket < COUNT(bounds_usec) && usec > bounds_usec[bucket])
                bucket++;
        add(&metrics[metric].cells[bucket], 1);
        add(&metrics[metric].cells[HISTOGRAM_SUM], usec);
}

uint64_t metrics_total(enum metric metric) {
        size_t count = metrics[metric].cell_count;
        uint64_t total = 0;

        if (metrics[metric].kind == HISTOGRAM)
                count = HISTOGRAM_SUM;
        for (size_t i = 0; i < count; i++)
                total += get(&metrics[metric].cells[i]);
        return total;
}

static int write_labels(const struct labels *labels, unsigned value, bool first, struct buf *to,
                        struct wla_error *err) {
        if (labels == &labels_NONE)
                return 0;
        return buf_printf(to, err, "%s%s=\"%s\"", first ? "{" : ",", labels->name,
                          labels->values[value]);
}

static int write_series(enum metric metric, unsigned first, unsigned second, struct buf *to,
                        struct wla_error *err) {
        const struct labels *first_labels = metrics[metric].first;
        const struct labels *second_labels = metrics[metric].second;
        size_t cell = first * second_labels->count + second;

        if (buf_printf(to, err, NAME_FORMAT, metrics[metric].name) < 0 ||
            write_labels(first_labels, first, /* first= */ true, to, err) < 0 ||
            write_labels(second_labels, second, /* first= */ false, to, err) < 0)
                return -1;
        return buf_printf(to, err, "%s %" PRIu64 "\n", first_labels == &labels_NONE ? "" : "}",
                          get(&metrics[metric].cells[cell]));
}

static int write_all_series(enum metric metric, struct buf *to, struct wla_error *err) {
        for (unsigned first = 0; first < metrics[metric].first->count; first++)
                for (unsigned second = 0; second < metrics[metric].second->count; second++)
                        if (write_series(metric, first, second, to, err) < 0)
                                return -1;
        return 0;
}

static int write_histogram(enum metric metric, struct buf *to, struct wla_error *err) {
        const char *name = metrics[metric].name;
        _Atomic uint64_t *cells = metrics[metric].cells;
        uint64_t count = 0;

        for (size_t i = 0; i < COUNT(bounds_usec); i++) {
                count += get(&cells[i]);
                if (buf_printf(to, err,
                               NAME_FORMAT "_bucket{le=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64
                                           "\n",
                               name, bounds_usec[i] / USEC_PER_SEC, bounds_usec[i] % USEC_PER_SEC,
                               count) < 0)
                        return -1;
        }

        count += get(&cells[COUNT(bounds_usec)]);
        uint64_t sum_usec = get(&cells[HISTOGRAM_SUM]);
        return buf_printf(
                to, err,
                NAME_FORMAT "_bucket{le=\"+Inf\"} %" PRIu64 "\n" NAME_FORMAT "_sum %" PRIu64
                            ".%06" PRIu64 "\n" NAME_FORMAT "_count %" PRIu64 "\n",
                name, count, name, sum_usec / USEC_PER_SEC, sum_usec % USEC_PER_SEC, name, count);
}

int metrics_write(struct buf *to, struct wla_error *err) {
        static const char *const kinds[] = {
                [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};

        for (enum metric metric = 0; metric < _METRIC_MAX; metric++) {
                if (buf_printf(to, err, "# HELP " NAME_FORMAT " %s\n# TYPE " NAME_FORMAT " %s\n",
                               metrics[metric].name, metrics[metric].help, metrics[metric].name,
                               kinds[metrics[metric].kind]) < 0)
                        return -1;
                if ((metrics[metric].kind == HISTOGRAM ? write_histogram(metric, to, err)
                                                       : write_all_series(metric, to, err)) < 0)
                        return -1;
        }
        return 0;
}

int metrics_write_file(const char *directory, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(TEXT_MAX);
        _cleanup_close_ int fd = -1;

        if (metrics_write(&text, err) < 0)
                return wla_wrap(err, "writing metrics");
        if (file_open_directory(directory, /* create= */ false, 0, &fd, err) < 0)
                return wla_wrap(err, "writing metrics");
        if (file_write(fd, METRICS_FILE_NAME, text.data, text.size, 0644, /* replace= */ true,
                       err) < 0)
                return wla_wrap(err, "writing metrics");
        return 0;
}
