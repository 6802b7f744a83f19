/* SPDX-License-Identifier: Apache-2.0 */

/* A wlagent-volumed without device-mapper: it speaks the protocol as strictly, checks headers and keys for
 * real, keeps layers, leases and mappings, and tells in which order it was asked.
 *
 *   volumed_double --listen SOCKET --directory DIRECTORY
 *
 *   DIRECTORY/layers/NAME.header  the layer of the volume NAME
 *   DIRECTORY/leases/NAME.PID     held by the session that PID serves; secret-UUID.PID: a secret and its value
 *   DIRECTORY/qemu/NAME           made by a test: somebody else has the mapping open
 *   DIRECTORY/converted           conversions of ISecL-VMC images
 *   DIRECTORY/order               a line for each request, and one for each lease that ends
 *   DIRECTORY/fault               made by a test, a line for each operation: "OPERATION
 *                                 hang|die|busy|refuse [COUNT]"; late, and
 *                                 lost: as hang and die, when it is done; slow: a digest that is never done;
 *                                 replaced: busy, after double_replace()
 *
 * A mapping exists as long as there is a lease on it, or a file in qemu.
 */

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "volume/packet.h"
#include "volumed_double_directory.h"
#include "volumed_double_image.h"
#include "volumed_double_session.h"

const char *const double_operation_names[_VOLUMED_OPERATION_MAX] = {
        [VOLUMED_INSPECT_IMAGE] = "INSPECT_IMAGE",
        [VOLUMED_INSPECT_LAYER] = "INSPECT_LAYER",
        [VOLUMED_OPEN_IMAGE] = "OPEN_IMAGE",
        [VOLUMED_OPEN_DIRECT] = "OPEN_DIRECT",
        [VOLUMED_OPEN_LAYER] = "OPEN_LAYER",
        [VOLUMED_CREATE_LAYER] = "CREATE_LAYER",
        [VOLUMED_LIST] = "LIST",
        [VOLUMED_LIST_LAYERS] = "LIST_LAYERS",
        [VOLUMED_LIST_CONVERSIONS] = "LIST_CONVERSIONS",
        [VOLUMED_REMOVE_CONVERSION] = "REMOVE_CONVERSION",
        [VOLUMED_CLOSE] = "CLOSE",
        [VOLUMED_REMOVE_LAYER] = "REMOVE_LAYER",
        [VOLUMED_REBASE] = "REBASE",
        [VOLUMED_CONVERT_IMAGE] = "CONVERT_IMAGE",
        [VOLUMED_DIGEST_IMAGE] = "DIGEST_IMAGE",
        [VOLUMED_SET_SECRET] = "SET_SECRET",
        [VOLUMED_CLEAR_SECRET] = "CLEAR_SECRET",
};

static void answer(const struct volumed_request *wire) {
        struct volumed_reply reply = {.operation = wire->operation};
        struct volume_request request;
        struct wla_error err = {0};
        int outcome = volume_request_read(wire, &request, &err);

        if (outcome == 0 && !session_permits(double_session.state, request.operation))
                outcome = wla_fail(&err, WLA_E_INPUT, "operation %u is not permitted now",
                                   request.operation);
        if (outcome == 0) {
                double_note(double_operation_names[request.operation], double_object(&request));
                outcome = double_inject(double_operation_names[request.operation], &err);
        }
        int header_before = double_session.header_fd;
        if (outcome == 0)
                outcome = double_serve(&request, wire, &reply, &err);
        if (double_session.late)
                double_hang();
        if (double_session.lost)
                _exit(EXIT_FAILURE);
        if (outcome < 0) {
                reply = (struct volumed_reply){.operation = wire->operation,
                                               .code = (uint16_t)err.code};
                (void)snprintf(reply.text, sizeof(reply.text), "%s", wla_error_text(&err));
        }
        double_send_reply(&reply, header_before < 0 ? double_session.header_fd : -1);
        if (outcome < 0)
                _exit(EXIT_FAILURE);
}

static void end_lease(void) {
        if (double_session.lease[0] == '\0')
                return;
        (void)unlink(double_session.lease);
        double_note("END", strrchr(double_session.lease, '/') + 1);
}

static void run_session(int fd) {
        struct volumed_request *wire = mmap(NULL, sizeof(*wire), PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct wla_error err = {0};

        double_session.fd = fd;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (wire == MAP_FAILED || wla_secret_heap_init(true, &err) < 0)
                double_die("memory");
        for (;;) {
                int attached = -1;

                if (packet_receive(fd, wire, sizeof(*wire), NULL, &attached, &err) < 0)
                        break;
                file_closep(&attached);
                answer(wire);
                explicit_bzero(wire->key, sizeof(wire->key));
        }
        end_lease();
        _exit(EXIT_SUCCESS);
}

static int make_socket(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        (void)unlink(path);
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(fd, 64) < 0)
                double_die(path);
        return fd;
}

static void reap(void) {
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                double_remove_leases(pid);
}

int main(int argc, char **argv) {
        static const char *const folders[] = {"layers", "leases", "qemu", "conversions"};

        if (argc != 5 || strcmp(argv[1], "--listen") != 0 || strcmp(argv[3], "--directory") != 0)
                return 2;
        double_directory = argv[4];
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
                (void)mkdir(double_path(folders[i], "", ""), 0755);
        double_remove_leases(0);

        int fd = make_socket(argv[2]);
        for (;;) {
                struct pollfd ready = {.fd = fd, .events = POLLIN};

                reap();
                if (poll(&ready, 1, 20) <= 0)
                        continue;
                int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
                if (connection >= 0 && fork() == 0)
                        run_session(connection);
                (void)close(connection);
        }
}
