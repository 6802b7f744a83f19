/* SPDX-License-Identifier: Apache-2.0 */

/* Sits between a program and swtpm, passes on real bytes, and does the damage it is told to.
 *
 *   tpm_fault_proxy --listen SOCKET --tpm SOCKET [--tpm-control SOCKET] [--capture FILE]
 *                   [--least CODE:MICROSECONDS]... [--times FILE] [--awake MICROSECONDS]
 *                   [--fault CODE:FIRST[-LAST]:ACTION]...
 *
 * A fault strikes the FIRST to LAST (default FIRST) command of that command code, counted from 1 since
 * the start; code 0 counts every command.  The first fault that fits a command is the one.
 *
 *   rc=CODE      answer this response code; the TPM never sees the command
 *   claim=CODE   pass the command on, and answer this response code instead of what the TPM says
 *   truncate=N   pass on only the first N bytes of the answer, then close
 *   short=N      the same, and hold the connection open
 *   garble=N     flip the bits of byte N of the answer; -1 is the last byte
 *   size=N       write N into the size field of the answer
 *   drop         close instead of passing the command on
 *   lose         pass the command on, then close instead of answering
 *   hang         never answer, and hold the connection open
 *   reset        reset the TPM, which then wants TPM2_Startup, before the command is passed on
 *   flush        flush the transient objects of the TPM before that
 *   extend=PCR   extend a PCR of the SHA-256 bank before that
 *
 * --capture writes what crosses the TPM's side, both directions.
 * --least makes each command of that code take at least that long, as a slow chip's do; code 0 is all others. While
 * one is worked on, no other is.
 * --times writes a line for each command: its code in hex, the number of the connection, and the microseconds of
 * CLOCK_MONOTONIC at which the TPM began with it and had done: from when all of the command was here to just before the
 * answer is sent. Taking the command from the socket and sending the answer are not the TPM's, and as this proxy does
 * both, and has to be woken for the one, they count for who asks. The file is mapped, zeros behind the lines: to
 * write to it would take time between one command and the next.
 * --awake has it look for the next command that long behind an answer without sleeping: a chip takes a command when it
 * comes, and no processor has to be woken for it first.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HEADER_SIZE  10u
#define MESSAGE_MAX  4096u
#define FAULTS_MAX   16u
#define CLIENTS_MAX  64u
#define PACES_MAX    8u
#define TIMES_MAX    (4u << 20) /* some 80000 lines */
#define CMD_INIT     2u         /* of swtpm's control channel */
#define NO_SESSIONS  0x8001u
#define SESSIONS     0x8002u
#define CC_EXTEND    0x182u
#define CC_FLUSH     0x165u
#define ALG_SHA256   0x0bu
#define RS_PW        0x40000009u
#define FIRST_OBJECT 0x80000000u
#define OBJECTS_MAX  3u /* of swtpm */

enum action { RC, CLAIM, TRUNCATE, SHORT, GARBLE, SIZE, DROP, LOSE, HANG, RESET, FLUSH, EXTEND };

static const char *const action_names[] = {
        [RC] = "rc",         [CLAIM] = "claim", [TRUNCATE] = "truncate", [SHORT] = "short",
        [GARBLE] = "garble", [SIZE] = "size",   [DROP] = "drop",         [LOSE] = "lose",
        [HANG] = "hang",     [RESET] = "reset", [FLUSH] = "flush",       [EXTEND] = "extend",
};

struct fault {
        uint32_t code;
        unsigned long first;
        unsigned long last;
        enum action action;
        long value;
        unsigned long seen;
};

struct pace {
        uint32_t code;
        uint64_t least_usec;
};

struct message {
        uint8_t data[MESSAGE_MAX];
        size_t size;
};

struct proxy {
        const char *listen;
        const char *tpm;
        const char *tpm_control;
        FILE *capture;
        char *times; /* TIMES_MAX, mapped; NULL: nobody wants to know */
        size_t times_size;
        struct pace paces[PACES_MAX];
        size_t pace_count;
        uint64_t awake_usec;
        uint64_t asleep_at_usec; /* CLOCK_MONOTONIC */
        unsigned connections;    /* so far */
        unsigned numbers[1 + CLIENTS_MAX];
        struct fault faults[FAULTS_MAX];
        size_t fault_count;
        struct pollfd fds[1 + CLIENTS_MAX]; /* the first listens */
        size_t fd_count;
};

static _Noreturn void die(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

static _Noreturn void die_usage(const char *argument) {
        (void)fprintf(stderr, "tpm_fault_proxy: cannot understand '%s'\n", argument);
        exit(2);
}

static void put_be(struct message *message, uint32_t value, unsigned bytes) {
        while (bytes-- > 0)
                message->data[message->size++] = (uint8_t)(value >> 8 * bytes);
}

static void set_size(struct message *message, uint32_t size) {
        struct message field = {0};

        put_be(&field, size, 4);
        memcpy(message->data + 2, field.data, 4);
}

static uint32_t get_be32(const uint8_t *from) {
        return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static int read_exactly(int fd, uint8_t *to, size_t size) {
        while (size > 0) {
                ssize_t got = read(fd, to, size);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        return -1;
                to += got;
                size -= (size_t)got;
        }
        return 0;
}

static int read_message(int fd, struct message *message) {
        if (read_exactly(fd, message->data, HEADER_SIZE) < 0)
                return -1;

        message->size = get_be32(message->data + 2);
        if (message->size < HEADER_SIZE || message->size > MESSAGE_MAX)
                return -1;
        return read_exactly(fd, message->data + HEADER_SIZE, message->size - HEADER_SIZE);
}

static int send_bytes(int fd, const uint8_t *data, size_t size) {
        return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -1;
}

static int connect_to(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
                return fd;
        if (fd >= 0)
                (void)close(fd);
        return -1;
}

static uint64_t now_usec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t least_usec(const struct proxy *proxy, uint32_t code) {
        uint64_t least = 0;

        for (size_t i = 0; i < proxy->pace_count; i++) {
                if (proxy->paces[i].code == code)
                        return proxy->paces[i].least_usec;
                if (proxy->paces[i].code == 0)
                        least = proxy->paces[i].least_usec;
        }
        return least;
}

static void keep_pace(const struct proxy *proxy, uint32_t code, uint64_t begun_usec) {
        uint64_t end_usec = begun_usec + least_usec(proxy, code);
        const struct timespec until = {
                .tv_sec = (time_t)(end_usec / 1000000u),
                .tv_nsec = (long)(end_usec % 1000000u * 1000u),
        };

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
                ;
}

static void capture(struct proxy *proxy, const struct message *message) {
        if (proxy->capture) {
                (void)fwrite(message->data, 1, message->size, proxy->capture);
                (void)fflush(proxy->capture);
        }
}

/* message becomes the answer. */
static int ask_tpm(struct proxy *proxy, struct message *message) {
        int fd = connect_to(proxy->tpm);

        capture(proxy, message);
        int r = fd >= 0 && send_bytes(fd, message->data, message->size) == 0 &&
                                read_message(fd, message) == 0
                        ? 0
                        : -1;
        if (r == 0)
                capture(proxy, message);
        if (fd >= 0)
                (void)close(fd);
        return r;
}

static void reset_tpm(struct proxy *proxy) {
        struct message command = {0};
        uint8_t result[4];
        int fd = proxy->tpm_control ? connect_to(proxy->tpm_control) : -1;

        if (fd < 0)
                die("--tpm-control");
        put_be(&command, CMD_INIT, 4);
        put_be(&command, 0, 4);
        if (send_bytes(fd, command.data, command.size) < 0 || read_exactly(fd, result, 4) < 0 ||
            get_be32(result) != 0)
                die("resetting the TPM");
        (void)close(fd);
}

static void extend_pcr(struct proxy *proxy, uint32_t pcr) {
        struct message command = {0};

        put_be(&command, SESSIONS, 2);
        put_be(&command, 0, 4);
        put_be(&command, CC_EXTEND, 4);
        put_be(&command, pcr, 4);
        put_be(&command, 9, 4); /* authorisation: empty password */
        put_be(&command, RS_PW, 4);
        put_be(&command, 0, 4);
        put_be(&command, 0, 1);
        put_be(&command, 1, 4); /* one digest */
        put_be(&command, ALG_SHA256, 2);
        for (int i = 0; i < 8; i++)
                put_be(&command, 0x5a5a5a5a, 4);
        set_size(&command, (uint32_t)command.size);
        if (ask_tpm(proxy, &command) < 0 || get_be32(command.data + 6) != 0)
                die("extending a PCR");
}

static void flush_objects(struct proxy *proxy) {
        for (uint32_t i = 0; i < OBJECTS_MAX; i++) {
                struct message command = {0};

                put_be(&command, NO_SESSIONS, 2);
                put_be(&command, HEADER_SIZE + 4, 4);
                put_be(&command, CC_FLUSH, 4);
                put_be(&command, FIRST_OBJECT + i, 4);
                if (ask_tpm(proxy, &command) < 0)
                        die("flushing objects");
        }
}

static void answer_rc(struct message *message, uint32_t rc) {
        message->size = 0;
        put_be(message, NO_SESSIONS, 2);
        put_be(message, HEADER_SIZE, 4);
        put_be(message, rc, 4);
}

static struct fault *find_fault(struct proxy *proxy, const struct message *command) {
        uint32_t code = get_be32(command->data + 6);
        struct fault *found = NULL;

        for (size_t i = 0; i < proxy->fault_count; i++) {
                struct fault *fault = &proxy->faults[i];

                if (fault->code != 0 && fault->code != code)
                        continue;
                fault->seen++;
                if (!found && fault->seen >= fault->first && fault->seen <= fault->last)
                        found = fault;
        }
        return found;
}

enum outcome { KEEP, CLOSE };

static enum outcome send_answer(int fd, const struct message *answer, size_t size) {
        return send_bytes(fd, answer->data, size < answer->size ? size : answer->size) == 0 ? KEEP
                                                                                            : CLOSE;
}

static enum outcome damage_answer(int fd, struct message *answer, const struct fault *fault) {
        size_t at = fault->value < 0 ? answer->size - (size_t)-fault->value : (size_t)fault->value;

        switch (fault->action) {
        case CLAIM:
                answer_rc(answer, (uint32_t)fault->value);
                break;
        case TRUNCATE:
                (void)send_answer(fd, answer, (size_t)fault->value);
                return CLOSE;
        case SHORT:
                return send_answer(fd, answer, (size_t)fault->value);
        case GARBLE:
                if (at < answer->size)
                        answer->data[at] ^= 0xff;
                break;
        case SIZE:
                set_size(answer, (uint32_t)fault->value);
                break;
        case LOSE:
                return CLOSE;
        case RC:
        case DROP:
        case HANG:
        case RESET:
        case FLUSH:
        case EXTEND:
                break;
        }
        return send_answer(fd, answer, answer->size);
}

static void open_times(struct proxy *proxy, const char *path) {
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        if (fd < 0 || ftruncate(fd, TIMES_MAX) < 0)
                die(path);
        proxy->times = mmap(NULL, TIMES_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                            0);
        if (proxy->times == MAP_FAILED)
                die(path);
        (void)close(fd);
}

static void note_times(struct proxy *proxy, uint32_t code, unsigned connection, uint64_t begun_usec,
                       uint64_t done_usec) {
        size_t room = TIMES_MAX - proxy->times_size;
        int size = snprintf(proxy->times + proxy->times_size, room, "%x %u %llu %llu\n", code,
                            connection, (unsigned long long)begun_usec,
                            (unsigned long long)done_usec);

        if (size < 0 || (size_t)size >= room)
                die("--times is full");
        proxy->times_size += (size_t)size;
}

/* Asks the TPM, at the pace of the command. */
static int ask_at_pace(struct proxy *proxy, unsigned connection, struct message *message) {
        uint32_t code = get_be32(message->data + 6);
        uint64_t begun_usec = now_usec();
        int r = ask_tpm(proxy, message);

        keep_pace(proxy, code, begun_usec);

        uint64_t done_usec = now_usec();
        proxy->asleep_at_usec = done_usec + proxy->awake_usec;
        if (proxy->times)
                note_times(proxy, code, connection, begun_usec, done_usec);
        return r;
}

/* One command, and what becomes of it. */
static enum outcome serve(struct proxy *proxy, int fd, unsigned connection) {
        static const struct fault no_fault = {.action = EXTEND};
        struct message message = {0};

        if (read_message(fd, &message) < 0)
                return CLOSE;

        const struct fault *fault = find_fault(proxy, &message);
        if (!fault)
                fault = &no_fault;
        else if (fault->action == EXTEND)
                extend_pcr(proxy, (uint32_t)fault->value);

        if (fault->action == RC) {
                answer_rc(&message, (uint32_t)fault->value);
                return send_answer(fd, &message, message.size);
        }
        if (fault->action == DROP)
                return CLOSE;
        if (fault->action == HANG)
                return KEEP;
        if (fault->action == RESET)
                reset_tpm(proxy);
        if (fault->action == FLUSH)
                flush_objects(proxy);

        if (ask_at_pace(proxy, connection, &message) < 0)
                return CLOSE;
        return damage_answer(fd, &message, fault);
}

static unsigned long parse_number(const char *text, char end, const char **ret_rest,
                                  const char *argument) {
        char *rest = NULL;

        errno = 0;
        unsigned long value = strtoul(text, &rest, 0);
        if (errno != 0 || rest == text || (end != '\0' && *rest != end))
                die_usage(argument);

        *ret_rest = end != '\0' ? rest + 1 : rest;
        return value;
}

static struct fault parse_fault(const char *argument) {
        struct fault fault = {0};
        const char *at = argument;

        fault.code = (uint32_t)parse_number(at, ':', &at, argument);
        fault.first = fault.last = parse_number(at, '\0', &at, argument);
        if (*at == '-')
                fault.last = parse_number(at + 1, '\0', &at, argument);
        if (*at++ != ':')
                die_usage(argument);

        size_t size = strcspn(at, "=");
        for (size_t i = 0; i < sizeof(action_names) / sizeof(action_names[0]); i++)
                if (strlen(action_names[i]) == size && strncmp(at, action_names[i], size) == 0) {
                        fault.action = (enum action)i;
                        if (at[size] == '=')
                                fault.value = (long)parse_number(at + size + 1, '\0', &at,
                                                                 argument);
                        return fault;
                }
        die_usage(argument);
}

static struct pace parse_pace(const char *argument) {
        const char *at = argument;
        struct pace pace = {.code = (uint32_t)parse_number(at, ':', &at, argument)};

        pace.least_usec = parse_number(at, '\0', &at, argument);
        return pace;
}

static void listen_on(struct proxy *proxy) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", proxy->listen);
        (void)unlink(proxy->listen);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(fd, 16) < 0)
                die(proxy->listen);

        proxy->fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
        proxy->fd_count = 1;
}

static void accept_client(struct proxy *proxy) {
        int fd = accept(proxy->fds[0].fd, NULL, NULL);

        if (fd >= 0 && proxy->fd_count < 1 + CLIENTS_MAX) {
                proxy->numbers[proxy->fd_count] = ++proxy->connections;
                proxy->fds[proxy->fd_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
        } else if (fd >= 0)
                (void)close(fd);
}

static void serve_clients(struct proxy *proxy) {
        for (size_t i = proxy->fd_count - 1; i > 0; i--)
                if (proxy->fds[i].revents != 0 &&
                    serve(proxy, proxy->fds[i].fd, proxy->numbers[i]) == CLOSE) {
                        (void)close(proxy->fds[i].fd);
                        proxy->fds[i] = proxy->fds[--proxy->fd_count];
                        proxy->numbers[i] = proxy->numbers[proxy->fd_count];
                }
}

static void parse_arguments(struct proxy *proxy, int argc, char *argv[]) {
        static const struct option options[] = {
                {"listen", required_argument, NULL, 'l'},
                {"tpm", required_argument, NULL, 't'},
                {"tpm-control", required_argument, NULL, 'c'},
                {"capture", required_argument, NULL, 'w'},
                {"fault", required_argument, NULL, 'f'},
                {"least", required_argument, NULL, 'p'},
                {"times", required_argument, NULL, 's'},
                {"awake", required_argument, NULL, 'a'},
                {NULL, 0, NULL, 0},
        };
        const char *rest;
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'l')
                        proxy->listen = optarg;
                else if (option == 't')
                        proxy->tpm = optarg;
                else if (option == 'c')
                        proxy->tpm_control = optarg;
                else if (option == 'w')
                        proxy->capture = fopen(optarg, "we");
                else if (option == 's')
                        open_times(proxy, optarg);
                else if (option == 'a')
                        proxy->awake_usec = parse_number(optarg, '\0', &rest, optarg);
                else if (option == 'p' && proxy->pace_count < PACES_MAX)
                        proxy->paces[proxy->pace_count++] = parse_pace(optarg);
                else if (option == 'f' && proxy->fault_count < FAULTS_MAX)
                        proxy->faults[proxy->fault_count++] = parse_fault(optarg);
                else
                        die_usage(argv[optind - 1]);
        }
        if (!proxy->listen || !proxy->tpm)
                die_usage("missing --listen or --tpm");
}

int main(int argc, char *argv[]) {
        static struct proxy proxy;

        /* A chip is done when it is done, and not up to 50 us later. */
        (void)prctl(PR_SET_TIMERSLACK, 1);
        parse_arguments(&proxy, argc, argv);
        listen_on(&proxy);
        for (;;) {
                int patience = now_usec() < proxy.asleep_at_usec ? 0 : -1;

                if (poll(proxy.fds, proxy.fd_count, patience) < 0 && errno != EINTR)
                        die("poll");
                serve_clients(&proxy);
                if (proxy.fds[0].revents != 0)
                        accept_client(&proxy);
        }
}
