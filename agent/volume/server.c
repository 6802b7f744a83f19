/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "config/value.h"
#include "loop/listener.h"
#include "volume/child.h"
#include "volume/message.h"
#include "volume/rehearsal.h"

/* A lease a disk, until its VM has started: a host that starts all its VMs at boot stays below. */
#define CHILDREN_MAX 240u

#define SOCKET_NAME "volumed"
#define SOCKET_MODE 0600

struct server {
        const struct config *config;
        sd_event *event;
        struct listener *listener;
        unsigned children;
};

static int check_event(int outcome, const char *what, struct wla_error *err) {
        return outcome < 0 ? wla_fail_errno(err, -outcome, "cannot %s", what) : 0;
}

/* Nothing has been asked yet, so the reply names no operation. */
static void tell_busy(int fd) {
        struct volumed_reply reply = {.magic = VOLUMED_MAGIC, .code = WLA_E_BUSY};

        (void)snprintf(reply.text, sizeof(reply.text),
                       "wlagent-volumed has %u sessions already; try again when some have ended",
                       CHILDREN_MAX);
        (void)send(fd, &reply, sizeof(reply), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int start_child(struct server *server, const struct child_job *job, struct wla_error *err) {
        pid_t parent = getpid();
        pid_t pid = fork();

        if (pid < 0)
                return wla_fail_errno(err, errno, "making a process for a session");
        if (pid == 0)
                child_run(job, parent);
        server->children++;
        return 0;
}

/* The descriptor is the child's; here it is closed in any case. */
static int accepted(void *userdata, int fd, const struct ucred *peer, struct wla_error *err) {
        struct server *server = userdata;
        _cleanup_close_ int connection_fd = fd;
        const struct child_job job = {.fd = fd, .config = server->config};

        (void)peer;
        if (server->children >= CHILDREN_MAX) {
                tell_busy(connection_fd);
                return wla_fail(err, WLA_E_BUSY, "%u sessions are open", CHILDREN_MAX);
        }
        return start_child(server, &job, err);
}

static void sweep(struct server *server) {
        const struct child_job job = {.fd = -1, .config = server->config};
        struct wla_error err = {0};

        if (start_child(server, &job, &err) < 0)
                log_line(LOG_ERR, "tidying up: %s", wla_error_text(&err));
}

static int on_child(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        struct server *server = userdata;
        bool killed = false;
        int status;

        (void)source;
        (void)info;
        while (waitpid(-1, &status, WNOHANG) > 0) {
                server->children--;
                if (!WIFSIGNALED(status))
                        continue;
                killed = true;
                log_line(LOG_WARNING, "a session %s; what it has left is tidied up",
                         WTERMSIG(status) == SIGALRM ? "waited for a device in vain"
                                                     : "was killed");
        }
        if (killed)
                sweep(server);
        return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        struct server *server = userdata;

        (void)source;
        (void)info;
        return sd_event_exit(server->event, 0);
}

/* Leases would end with a restart, so what has changed in the configuration waits for the next one. */
static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        (void)source;
        (void)info;
        (void)userdata;
        log_line(LOG_NOTICE, "the configuration is read when wlagent-volumed starts again");
        return 0;
}

/* A log that has gone takes no lease with it. */
static int ignore_broken_pipes(struct wla_error *err) {
        const struct sigaction ignore = {.sa_handler = SIG_IGN};

        if (sigaction(SIGPIPE, &ignore, NULL) < 0)
                return wla_fail_errno(err, errno, "ignoring a signal");
        return 0;
}

static int watch_signals(struct server *server, struct wla_error *err) {
        static const struct {
                int number;
                sd_event_signal_handler_t handler;
        } signals[] = {
                {SIGTERM, on_stop},
                {SIGINT, on_stop},
                {SIGCHLD, on_child},
                {SIGHUP, on_hangup},
        };
        sigset_t set;

        (void)sigemptyset(&set);
        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                (void)sigaddset(&set, signals[i].number);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return wla_fail_errno(err, errno, "blocking signals");
        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                if (check_event(sd_event_add_signal(server->event, NULL, signals[i].number,
                                                    signals[i].handler, server),
                                "watch signals", err) < 0)
                        return -1;
        return 0;
}

/* Whether the path is still the socket that was just made: its directory is the agent's. */
static int give_socket(const struct unix_socket *socket, uid_t uid, struct wla_error *err) {
        _cleanup_close_ int fd = open(socket->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;

        if (fd < 0 || fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at socket %s", socket->path);
        if (status.st_dev != socket->device || status.st_ino != socket->inode)
                return wla_fail(err, WLA_E_DENIED, "socket %s has been replaced", socket->path);
        if (fchownat(fd, "", uid, (gid_t)-1, AT_EMPTY_PATH) < 0)
                return wla_fail_errno(err, errno, "giving socket %s to the agent", socket->path);
        return 0;
}

static int open_socket(const struct config *config, const struct config_users *users,
                       struct unix_socket *ret, struct wla_error *err) {
        if (unix_socket_inherit(SOCKET_NAME, SOCK_SEQPACKET, ret, err) < 0)
                return -1;
        if (ret->fd >= 0)
                return 0;
        if (unix_socket_listen(config->volumes.socket, SOCK_SEQPACKET, SOCKET_MODE, ret, err) < 0)
                return -1;
        if (users->count > 0 && give_socket(ret, users->uids[0], err) < 0) {
                unix_socket_close(ret);
                return -1;
        }
        return 0;
}

/* Without that user there is nobody to let in but root, who is anyway. */
static void find_agent(const struct config *config, struct config_users *ret) {
        struct wla_error err = {0};

        if (config_users_parse(config->volumes.agent_user, ret, &err) < 0)
                log_line(LOG_WARNING, "AgentUser=: %s; only root may command wlagent-volumed",
                         wla_error_text(&err));
}

static int listen_for_agent(struct server *server, struct wla_error *err) {
        const struct listener_options options = {
                .event = server->event,
                .name = SOCKET_NAME,
                .accepted = accepted,
                .userdata = server,
        };
        struct unix_socket socket = UNIX_SOCKET_NONE;
        struct config_users users = {0};

        find_agent(server->config, &users);
        int outcome = open_socket(server->config, &users, &socket, err);
        if (outcome == 0)
                outcome = listener_new(&options, &socket, &server->listener, err);
        if (outcome == 0)
                listener_allow(server->listener, users.uids, users.count);
        free(users.text);
        return outcome;
}

int server_new(const struct config *config, struct server **ret, struct wla_error *err) {
        struct server *server = calloc(1, sizeof(*server));

        if (!server)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        server->config = config;
        if (check_event(sd_event_new(&server->event), "make an event loop", err) < 0 ||
            ignore_broken_pipes(err) < 0 || watch_signals(server, err) < 0 ||
            listen_for_agent(server, err) < 0) {
                (void)server_free(server);
                return -1;
        }

        *ret = server;
        return 0;
}

/* What does not work here says so in each session. */
static void rehearse(const struct server *server) {
        struct wla_error err = {0};

        if (wla_secret_pages_init(server->config->agent.allow_unlocked_memory, &err) < 0 ||
            rehearse_opening(&err) < 0)
                log_line(LOG_WARNING, "sessions will begin slowly: %s", wla_error_text(&err));
}

int server_run(struct server *server, struct wla_error *err) {
        rehearse(server);
        sweep(server);
        log_line(LOG_INFO, "wlagent-volumed " WLAGENT_VERSION " is ready");
        (void)sd_notify(0, "READY=1");
        int outcome = check_event(sd_event_loop(server->event), "run the event loop", err);
        (void)sd_notify(0, "STOPPING=1");
        return outcome;
}

struct server *server_free(struct server *server) {
        if (!server)
                return NULL;

        (void)listener_free(server->listener);
        (void)sd_event_unref(server->event);
        free(server);
        return NULL;
}
