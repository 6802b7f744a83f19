/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"

#define TRACER_FIELD "\nTracerPid:\t"

static const char hint_tracer[] = "a debugger would see every key; stop it and start again";

/* proc(5): TracerPid in /proc/PID/status is 0 when nobody traces.  It stands in the first 1 KiB. */
static int refuse_tracer(struct wla_error *err) {
        char status[2048];
        _cleanup_close_ int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return wla_fail_errno(err, errno, "opening /proc/self/status");

        ssize_t size = read(fd, status, sizeof(status) - 1);
        if (size < 0)
                return wla_fail_errno(err, errno, "reading /proc/self/status");
        status[size] = '\0';

        const char *tracer = strstr(status, TRACER_FIELD);
        if (!tracer)
                return wla_fail(err, WLA_E_SYSTEM, "/proc/self/status does not name the tracer");
        tracer += strlen(TRACER_FIELD);
        if (tracer[0] != '0' || tracer[1] != '\n')
                return wla_fail_hint(err, WLA_E_SYSTEM, hint_tracer,
                                     "this process is traced by process %.*s",
                                     (int)strcspn(tracer, "\n"), tracer);
        return 0;
}

static int forbid_core_dumps(struct wla_error *err) {
        const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};

        if (setrlimit(RLIMIT_CORE, &none) < 0)
                return wla_fail_errno(err, errno, "forbidding core dumps");

        /* Also what a core_pattern with a pipe would get in spite of the limit. */
        if (prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L) < 0)
                return wla_fail_errno(err, errno, "making the process not dumpable");
        return 0;
}

int process_harden(struct wla_error *err) {
        if (forbid_core_dumps(err) < 0 || refuse_tracer(err) < 0)
                return -1;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) < 0)
                return wla_fail_errno(err, errno, "giving up new privileges");

        /* An arena a thread costs memory and spreads what was freed.  Another allocator than glibc's
         * may not know the word. */
        (void)mallopt(M_ARENA_MAX, 1);
        return 0;
}
