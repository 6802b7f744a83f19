/* SPDX-License-Identifier: Apache-2.0 */
#include "swtpm.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_POLLS     1000
#define READY_POLL_MSEC 10

pid_t spawn(const char *const argv[]) {
        pid_t parent = getpid();
        pid_t pid = fork();

        if (pid == 0) {
                int null = open("/dev/null", O_RDWR);

                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(126);
                (void)dup2(null, STDIN_FILENO);
                (void)execvp(argv[0], (char *const *)(const void *)argv);
                _exit(127);
        }
        ck_assert_msg(pid > 0, "cannot start %s", argv[0]);
        return pid;
}

void reap(pid_t *pid) {
        if (*pid > 0) {
                (void)kill(*pid, SIGKILL);
                (void)waitpid(*pid, NULL, 0);
        }
        *pid = 0;
}

void await_socket(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        for (int i = 0; i < READY_POLLS; i++) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                int r = connect(fd, (const struct sockaddr *)&address, sizeof(address));

                (void)close(fd);
                if (r == 0)
                        return;
                (void)poll(NULL, 0, READY_POLL_MSEC);
        }
        ck_abort_msg("nothing listens on %s", path);
}

void swtpm_start(struct swtpm *swtpm) {
        char state[128];
        char server[128];
        char control[128];
        char log[128];

        (void)snprintf(state, sizeof(state), "dir=%s", swtpm->directory);
        (void)snprintf(server, sizeof(server), "type=unixio,path=%s", swtpm->socket);
        (void)snprintf(control, sizeof(control), "type=unixio,path=%s.ctrl", swtpm->socket);
        (void)snprintf(log, sizeof(log), "file=%s/log", swtpm->directory);

        const char *const argv[] = {"swtpm",
                                    "socket",
                                    "--tpm2",
                                    "--tpmstate",
                                    state,
                                    "--server",
                                    server,
                                    "--ctrl",
                                    control,
                                    "--log",
                                    log,
                                    "--flags",
                                    "not-need-init,startup-clear",
                                    NULL};
        swtpm->pid = spawn(argv);
        await_socket(swtpm->socket);
}

void swtpm_stop(struct swtpm *swtpm) {
        reap(&swtpm->pid);
        (void)unlink(swtpm->socket);
}

void swtpm_begin(struct swtpm *swtpm) {
        *swtpm = (struct swtpm){0};
        test_directory(swtpm->directory, sizeof(swtpm->directory));
        (void)snprintf(swtpm->socket, sizeof(swtpm->socket), "%s/sock", swtpm->directory);
        (void)snprintf(swtpm->tcti, sizeof(swtpm->tcti), "swtpm:path=%s", swtpm->socket);
        swtpm_start(swtpm);
}

static char top[] = "/tmp/wlagent-tpm-XXXXXX";

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
        (void)status;
        (void)type;
        (void)walk;
        return remove(path);
}

void test_directory_begin(void) {
        if (!mkdtemp(top)) {
                perror(top);
                exit(EXIT_FAILURE);
        }
}

void test_directory_end(void) {
        (void)nftw(top, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void test_directory(char *to, size_t size) {
        (void)snprintf(to, size, "%s/XXXXXX", top);
        ck_assert_ptr_nonnull(mkdtemp(to));
}
