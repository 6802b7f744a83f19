/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/child.h"

#include <linux/major.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "volume/session.h"
#include "volume/sweep.h"

/* The main process has a few. */
#define INHERITED_MAX 256

/* Of /dev/random and /dev/urandom (the kernel's devices.txt). */
#define RANDOM_MINOR  8u
#define URANDOM_MINOR 9u

/* libsystemd keeps the one on which it writes to the journal, and would write to whatever came in its
 * place. */
static bool is_log(int fd) {
        int domain = 0;
        int type = 0;
        socklen_t size = sizeof(int);

        return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
               getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM;
}

/* So does libcryptsetup with these, and a key would come from whatever came in their place. */
static bool is_random(int fd) {
        struct stat status;

        return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) &&
               (status.st_rdev == makedev(MEM_MAJOR, RANDOM_MINOR) ||
                status.st_rdev == makedev(MEM_MAJOR, URANDOM_MINOR));
}

static void close_others(int own_fd) {
        for (int fd = STDERR_FILENO + 1; fd < INHERITED_MAX; fd++)
                if (fd != own_fd && !is_log(fd) && !is_random(fd))
                        (void)close(fd);
        (void)close_range(INHERITED_MAX, ~0U, 0);
}

static void reset_signals(void) {
        sigset_t none;

        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What sessions have left that were killed. */
static void tidy_up(const struct config *config, struct wla_error *err) {
        _cleanup_layer_store_ struct layer_store store = LAYER_STORE_NONE;

        if (sweep_mappings(err) < 0)
                log_line(LOG_WARNING, "tidying up the mappings: %s", wla_error_text(err));
        if (layer_store_open(config->volumes.layer_directory, &store, err) < 0 ||
            layer_store_tidy(&store, err) < 0)
                log_line(LOG_WARNING, "tidying up the layers: %s", wla_error_text(err));
}

static void work(const struct child_job *job, struct wla_error *err) {
        if (job->fd < 0) {
                tidy_up(job->config, err);
                return;
        }
        /* Not the heap: see ordinary_key.h. */
        if (wla_secret_pages_init(job->config->agent.allow_unlocked_memory, err) < 0) {
                log_line(LOG_ERR, "a session cannot start: %s", wla_error_text(err));
                return;
        }
        session_run(job->fd, job->config);
}

void child_run(const struct child_job *job, pid_t parent) {
        struct wla_error err = {0};

        /* Leases end with the main process, however it ends. */
        if (prctl(PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        close_others(job->fd);
        reset_signals();
        (void)umask(S_IRWXG | S_IRWXO);
        work(job, &err);
        _exit(EXIT_SUCCESS);
}
