/* SPDX-License-Identifier: Apache-2.0 */

/* libvirt's qemu hook: tells wlagentd what happens to a domain, and libvirt when wlagentd refuses.
 *
 *   50-wlagent NAME OPERATION SUBOPERATION EXTRA      the domain's XML on standard input
 *
 * Exit code 1 keeps the domain from starting, and ends a running one at "started" and "reconnect".
 * libvirt shows standard error to whoever started the domain, reads standard output as a new definition,
 * and waits without limit while it holds the domain's lock.  So this prints one line at most, ends in
 * time whatever wlagentd does, and leaves no process behind.
 *
 * The hook is not what keeps a protected domain down: its disks do not exist until wlagentd opens them.
 *
 * Threads: one.  Source: https://libvirt.org/hooks.html, libvirt 9.0 to 11.3.
 */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qemu_files.h"
#include "wlagent/control.h"
#include "wlagent/error.h"

#define XML_MAX     (1024u * 1024u)
#define REASON_MAX  1152u
#define TEXT_MAX    4096u
#define UUID_LENGTH 36u

#define HINT_START "start it with 'systemctl start wlagentd'; 'wlagent doctor' looks for the cause"

enum weight {
        DECIDES, /* wlagentd has to agree before a protected domain goes on */
        OBJECTS, /* only what wlagentd expressly denies counts */
        TOLD,    /* wlagentd gets to know */
};

static const struct operation {
        const char *name;
        enum control_domain_operation number;
        enum weight weight;
        unsigned seconds;
} operations[] = {
        /* A second more than wlagentd takes by default, so that its reason is the one shown. */
        {"prepare", DOMAIN_PREPARE, DECIDES, 21},
        {"start", DOMAIN_START, DECIDES, 21},
        {"migrate", DOMAIN_MIGRATE, DECIDES, 21},
        {"restore", DOMAIN_RESTORE, DECIDES, 21},
        /* The disks are open by now: a silent wlagentd is no reason to kill the domain.  But one that is
         * slow knows whether the domain comes from another host, which waits meanwhile. */
        {"started", DOMAIN_STARTED, OBJECTS, 21},
        {"stopped", DOMAIN_STOPPED, TOLD, 2},
        {"release", DOMAIN_RELEASE, TOLD, 2},
        {"reconnect", DOMAIN_RECONNECT, TOLD, 2},
};

/* How long libvirt may take to hand over a definition, and how long a domain that is not protected
 * waits for a wlagentd that does not answer. */
#define READ_SECONDS        4
#define UNPROTECTED_SECONDS 2

/* What makes a domain protected whether or not wlagentd can be asked. */
static const char *const marks[] = {"urn:wlagent:domain:1", "/dev/mapper/wlagent-"};
static const char volume_prefix[] = "wlagent-";
static const char nova_mark[] = "http://openstack.org/xmlns/libvirt/nova/";

static struct {
        struct control_header header;
        struct control_domain domain;
        char xml[XML_MAX + 1]; /* one more, to see that there is more */
} request;

_Static_assert(offsetof(__typeof__(request), xml) ==
                       sizeof(struct control_header) + sizeof(struct control_domain),
               "the request is sent as it is");

static const char line_late[] =
        "wlagent: the domain has encrypted disks and wlagentd does not answer ('journalctl -u "
        "wlagentd' says why)\n";

/* What to say when time is up; NULL: exit with success. */
static const char *volatile late_line;

/* Nothing can be done about a standard error that takes nothing. */
static void say(const char *line) {
        ssize_t ignored = write(STDERR_FILENO, line, strlen(line));

        (void)ignored;
}

static void on_alarm(int number) {
        (void)number;
        if (late_line)
                say(late_line);
        _exit(late_line ? 1 : 0);
}

/* From here on the process ends after so many seconds, wherever it is. */
static void limit_time(unsigned seconds, const char *line) {
        const struct sigaction action = {.sa_handler = on_alarm};
        sigset_t alarms;

        late_line = line;
        (void)sigemptyset(&alarms);
        (void)sigaddset(&alarms, SIGALRM);
        (void)sigaction(SIGALRM, &action, NULL);
        (void)sigprocmask(SIG_UNBLOCK, &alarms, NULL);
        (void)alarm(seconds);
}

/* One line, and nothing in it that steers a terminal or a log.  Returns the exit code. */
static _printf_(1, 2) int refuse(const char *format, ...) {
        char line[REASON_MAX];
        va_list args;

        (void)alarm(0);
        va_start(args, format);
        (void)vsnprintf(line, sizeof(line) - 1, format, args);
        va_end(args);

        char *end = line + strlen(line);
        for (char *c = line; c < end; c++)
                if (*c < ' ' || *c > '~')
                        *c = '?';
        end[0] = '\n';
        end[1] = '\0';
        say(line);
        return 1;
}

/* Returns why there is no definition to judge, or NULL. */
static const char *read_definition(size_t *ret_size) {
        size_t size = 0;
        ssize_t got = 0;

        do {
                size += (size_t)got;
                got = read(STDIN_FILENO, request.xml + size, sizeof(request.xml) - size);
        } while (got > 0);

        if (got < 0)
                return strerrordesc_np(errno);
        *ret_size = size;
        if (size > XML_MAX)
                return "it has more than 1 MiB";
        return size == 0 ? "libvirt gave none" : NULL;
}

/* In lower case, as images are registered. */
static bool uuid_at(const char *from, char *ret) {
        for (size_t i = 0; i < UUID_LENGTH; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? from[i] != '-' : !isxdigit((unsigned char)from[i]))
                        return false;
                ret[i] = (char)tolower((unsigned char)from[i]);
        }
        return true;
}

/* Whether any UUID in the definition is that of a registered image, or that cannot be told. */
static bool names_registered_image(size_t size) {
        char name[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx.header";
        int images = open(HOOK_IMAGES, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (images < 0)
                return errno != ENOENT;

        for (size_t i = 0; i + UUID_LENGTH <= size; i++)
                if (uuid_at(request.xml + i, name) &&
                    (faccessat(images, name, F_OK, 0) == 0 || errno != ENOENT))
                        return true;
        return false;
}

static bool mentions(size_t size, const char *mark) {
        return memmem(request.xml, size, mark, strlen(mark)) != NULL;
}

static bool looks_protected(size_t size) {
        return mentions(size, marks[0]) || mentions(size, marks[1]) ||
               (mentions(size, nova_mark) && names_registered_image(size));
}

static bool send_all(int fd, size_t size) {
        const char *from = (const char *)&request;
        ssize_t sent = 0;

        for (; size > 0; from += sent, size -= (size_t)sent) {
                sent = send(fd, from, size, MSG_NOSIGNAL);
                if (sent < 0)
                        return errno == EPIPE || errno == ECONNRESET; /* it may have answered */
        }
        return true;
}

static bool receive_all(int fd, char *to, size_t size) {
        ssize_t got = 0;

        for (; size > 0; to += got, size -= (size_t)got) {
                got = recv(fd, to, size, MSG_WAITALL);
                if (got == 0)
                        errno = ECONNRESET;
                if (got <= 0)
                        return false;
        }
        return true;
}

static void limit_answer(const struct operation *operation, bool protected) {
        limit_time(protected ? operation->seconds : UNPROTECTED_SECONDS,
                   protected ? line_late : NULL);
}

static bool says_protected(const struct control_header *reply) {
        return reply->magic == CONTROL_MAGIC && reply->command == CONTROL_DOMAIN &&
               reply->code == CONTROL_PROTECTED && reply->size == 0;
}

/* wlagentd finds protected domains that cannot be seen to be from here.  Whatever comes next, and if nothing
 * does: only its consent lets them go on. */
static bool receive_reply(int fd, const struct operation *operation, bool *protected,
                          struct control_header *ret) {
        if (!receive_all(fd, (char *)ret, sizeof(*ret)))
                return false;
        if (operation->weight != DECIDES || !says_protected(ret))
                return true;
        if (!*protected)
                limit_answer(operation, true);
        *protected = true;
        return receive_all(fd, (char *)ret, sizeof(*ret));
}

/* Returns why no answer came, or NULL; the text of a refusal goes to text. */
static const char *ask(const struct operation *operation, size_t xml_size, bool *protected,
                       enum wla_code *ret, char text[TEXT_MAX]) {
        const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = HOOK_SOCKET};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct control_header reply;

        request.domain.operation = (uint16_t)operation->number;
        request.domain.xml_size = (uint32_t)xml_size;
        request.header.magic = CONTROL_MAGIC;
        request.header.command = CONTROL_DOMAIN;
        request.header.size = (uint32_t)(sizeof(request.domain) + xml_size);

        if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
            !send_all(fd, sizeof(request.header) + request.header.size) ||
            !receive_reply(fd, operation, protected, &reply))
                return strerrordesc_np(errno);

        if (reply.magic != CONTROL_MAGIC || reply.command != CONTROL_DOMAIN ||
            reply.code >= _WLA_CODE_MAX || reply.size > CONTROL_PAYLOAD_MAX ||
            (reply.code == WLA_OK && reply.size > 0 && operation->weight != OBJECTS))
                return "what answers there is no wlagentd of this version";

        if (!receive_all(fd, text, reply.size < TEXT_MAX ? reply.size : TEXT_MAX - 1))
                return strerrordesc_np(errno);
        *ret = (enum wla_code)reply.code;
        return NULL;
}

/* Other codes say something of wlagentd and nothing of the domain: a wlagentd in trouble, or of another
 * version, stops no domain that is none of its business. */
static bool is_verdict(enum wla_code code) {
        return code == WLA_E_DENIED || code == WLA_E_INPUT || code == WLA_E_NOT_FOUND ||
               code == WLA_E_TPM;
}

static int decide(const struct operation *operation, size_t size) {
        bool protected = looks_protected(size);
        char text[TEXT_MAX] = {0};
        enum wla_code code = WLA_OK;

        limit_answer(operation, protected);
        const char *reason = ask(operation, size, &protected, &code, text);
        if (reason && protected)
                return refuse(
                        "wlagent: the domain has encrypted disks and wlagentd cannot be asked "
                        "for them: " HOOK_SOCKET ": %s (" HINT_START ")",
                        reason);
        if (reason || code == WLA_OK || (!protected && !is_verdict(code)))
                return 0;
        return refuse("wlagent: %s", text[0] != '\0' ? text : "wlagentd refused without a reason");
}

/* A layer is empty on a host that the domain has just come to: libvirt copies it, if it was asked to, and by
 * now QEMU has opened it for that. */
static int check_copied(const char *domain, char *names) {
        char *rest = NULL;

        for (char *name = strtok_r(names, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest)) {
                if (strncmp(name, volume_prefix, strlen(volume_prefix)) != 0)
                        return 0; /* this is no answer of ours */

                bool writes = false;
                const char *reason = qemu_writes_to(domain, name, &writes);

                if (reason)
                        return refuse("wlagent: whether libvirt copies the layer %s to this host "
                                      "cannot be seen: %s",
                                      name, reason);
                if (!writes)
                        return refuse("wlagent: the layer %s is not copied to this host, and the "
                                      "domain would lose what it has written (use "
                                      "--copy-storage-inc)",
                                      name);
        }
        return 0;
}

static int tell(const struct operation *operation, const char *domain, size_t size) {
        char text[TEXT_MAX] = {0};
        enum wla_code code = WLA_OK;
        bool protected = false;

        if (operation->weight == OBJECTS)
                limit_time(looks_protected(size) ? operation->seconds : UNPROTECTED_SECONDS, NULL);
        if (ask(operation, size, &protected, &code, text) || operation->weight != OBJECTS)
                return 0;
        if (code == WLA_OK)
                return check_copied(domain, text);
        return code == WLA_E_DENIED ? refuse("wlagent: %s", text) : 0;
}

int main(int argc, char **argv) {
        const struct operation *operation = NULL;
        size_t size = 0;

        for (size_t i = 0; argc > 2 && i < sizeof(operations) / sizeof(operations[0]); i++)
                if (strcmp(operations[i].name, argv[2]) == 0)
                        operation = &operations[i];
        if (!operation)
                return 0;

        /* A definition for migration holds passwords. */
        (void)prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);

        bool decides = operation->weight == DECIDES;
        limit_time(decides || operation->weight == OBJECTS ? READ_SECONDS : operation->seconds,
                   decides ? "wlagent: libvirt did not finish the domain's definition in time\n"
                           : NULL);
        const char *reason = read_definition(&size);
        if (!reason)
                return decides ? decide(operation, size) : tell(operation, argv[1], size);
        if (!decides)
                return 0;
        return refuse("wlagent: the domain's definition cannot be judged: %s (the log of libvirtd "
                      "may tell more)",
                      reason);
}
