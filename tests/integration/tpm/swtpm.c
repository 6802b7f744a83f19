/* SPDX-License-Identifier: Apache-2.0 */
#include "swtpm.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
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

static void await_address(const struct sockaddr *address, socklen_t size, const char *name) {
        for (int i = 0; i < READY_POLLS; i++) {
                int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
                int r = connect(fd, address, size);

                (void)close(fd);
                if (r == 0)
                        return;
                (void)poll(NULL, 0, READY_POLL_MSEC);
        }
        ck_abort_msg("nothing listens on %s", name);
}

void await_socket(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        await_address((const struct sockaddr *)&address, sizeof(address), path);
}

static struct sockaddr_in loopback(unsigned port) {
        return (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool is_free(unsigned port) {
        const struct sockaddr_in address = loopback(port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r = bind(fd, (const struct sockaddr *)&address, sizeof(address));

        (void)close(fd);
        return r == 0;
}

static unsigned find_ports(void) {
        for (unsigned i = 0; i < 1000; i++) {
                unsigned port = 20000 + ((unsigned)getpid() * 2 + i * 62) % 12000;

                if (is_free(port) && is_free(port + 1))
                        return port;
        }
        ck_abort_msg("no free ports");
        return 0;
}

static void await_ready(const struct swtpm *swtpm) {
        const struct sockaddr_in address = loopback(swtpm->port);

        if (swtpm->port != 0)
                await_address((const struct sockaddr *)&address, sizeof(address), swtpm->tcti);
        else
                await_socket(swtpm->socket);
}

void swtpm_start(struct swtpm *swtpm) {
        char state[128];
        char server[128];
        char control[128];
        char log[128];

        (void)snprintf(state, sizeof(state), "dir=%s", swtpm->directory);
        (void)snprintf(log, sizeof(log), "file=%s/log", swtpm->directory);
        if (swtpm->port != 0) {
                (void)snprintf(server, sizeof(server), "type=tcp,port=%u", swtpm->port);
                (void)snprintf(control, sizeof(control), "type=tcp,port=%u", swtpm->port + 1);
        } else {
                (void)snprintf(server, sizeof(server), "type=unixio,path=%s", swtpm->socket);
                (void)snprintf(control, sizeof(control), "type=unixio,path=%s.ctrl", swtpm->socket);
        }

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
        await_ready(swtpm);
}

void swtpm_stop(struct swtpm *swtpm) {
        reap(&swtpm->pid);
        (void)unlink(swtpm->socket);
}

static void make_place(struct swtpm *swtpm) {
        *swtpm = (struct swtpm){0};
        test_directory(swtpm->directory, sizeof(swtpm->directory));
        (void)snprintf(swtpm->socket, sizeof(swtpm->socket), "%s/sock", swtpm->directory);
        (void)snprintf(swtpm->tcti, sizeof(swtpm->tcti), "swtpm:path=%s", swtpm->socket);
}

void swtpm_begin(struct swtpm *swtpm) {
        make_place(swtpm);
        swtpm_start(swtpm);
}

void swtpm_begin_with(struct swtpm *swtpm, const char *state) {
        char content[65536];
        char path[128];

        make_place(swtpm);
        (void)snprintf(path, sizeof(path), "%s/tpm2-00.permall", swtpm->directory);
        int from = open(state, O_RDONLY | O_CLOEXEC);
        int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        ssize_t size = read(from, content, sizeof(content));
        ck_assert_int_gt(size, 0);
        ck_assert_int_eq(write(to, content, (size_t)size), size);
        ck_assert_int_eq(close(from), 0);
        ck_assert_int_eq(close(to), 0);
        swtpm_start(swtpm);
}

void swtpm_begin_tcp(struct swtpm *swtpm) {
        *swtpm = (struct swtpm){.port = find_ports()};
        test_directory(swtpm->directory, sizeof(swtpm->directory));
        (void)snprintf(swtpm->tcti, sizeof(swtpm->tcti), "swtpm:host=127.0.0.1,port=%u",
                       swtpm->port);
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
