/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define BAR_WIDTH     30u
#define SHOW_INTERVAL (100 * USEC_PER_MSEC)
#define GIB           ((double)(UINT64_C(1) << 30))
#define WIPE_LINE     "\r\033[K"

struct progress progress_begin(const char *what) {
        return (struct progress){
                .what = what,
                .visible = isatty(STDERR_FILENO) == 1,
                .started_usec = clock_now_usec(),
        };
}

static void format_left(char *to, size_t size, uint64_t seconds) {
        if (seconds < 3600)
                (void)snprintf(to, size, "%" PRIu64 ":%02" PRIu64, seconds / 60, seconds % 60);
        else
                (void)snprintf(to, size, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, seconds / 3600,
                               seconds / 60 % 60, seconds % 60);
}

void progress_format(char to[PROGRESS_LINE_SIZE], const char *what, uint64_t done, uint64_t size,
                     uint64_t elapsed_usec) {
        double part = size > 0 ? (double)done / (double)size : 1;
        double elapsed = (double)elapsed_usec / (double)USEC_PER_SEC;
        double rate = elapsed > 0 ? (double)done / elapsed : 0;
        char bar[BAR_WIDTH + 1];
        char left[32] = "?";

        memset(bar, ' ', BAR_WIDTH);
        memset(bar, '#', (size_t)(part * BAR_WIDTH));
        bar[BAR_WIDTH] = '\0';
        if (rate > 0)
                format_left(left, sizeof(left), (uint64_t)((double)(size - done) / rate));
        (void)snprintf(to, PROGRESS_LINE_SIZE,
                       "%s  [%s] %3u %%  %.1f of %.1f GiB  %.1f GiB/s  %s left", what, bar,
                       (unsigned)(part * 100), (double)done / GIB, (double)size / GIB, rate / GIB,
                       left);
}

void progress_show(void *userdata, uint64_t done, uint64_t size) {
        struct progress *progress = userdata;
        uint64_t now_usec = clock_now_usec();
        char line[PROGRESS_LINE_SIZE];

        if (!progress->visible || now_usec - progress->shown_usec < SHOW_INTERVAL)
                return;

        progress->shown_usec = now_usec;
        progress_format(line, progress->what, done, size, now_usec - progress->started_usec);
        (void)fprintf(stderr, "%s%s", WIPE_LINE, line);
        (void)fflush(stderr);
}

void progress_end(struct progress *progress) {
        if (progress->visible && progress->shown_usec > 0)
                (void)fputs(WIPE_LINE, stderr);
        progress->shown_usec = 0;
}
