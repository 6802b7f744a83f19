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
 *   DIRECTORY/fault               made by a test: "OPERATION hang|die|busy|refuse [COUNT]"; late, and
 *                                 lost: as hang and die, when it is done; slow: a digest that is never done;
 *                                 replaced: busy, after double_replace()
 *
 * A mapping exists as long as there is a lease on it, or a file in qemu.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "image/luks2_header.h"
#include "volume/packet.h"
#include "volume/request.h"
#include "volumed_double_image.h"

static const char *const operation_names[_VOLUMED_OPERATION_MAX] = {
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

#define SECRET_PREFIX "secret-"

static const char *directory;

/* What one session knows. */
static struct {
        int fd;
        enum session_state state;
        struct luks2_header header;
        int header_fd;
        struct volume_name name; /* of the layer */
        char lease[4096];        /* path; "" without one */
        bool late;               /* what is asked is done, and not answered */
        bool lost;
        bool slow;
        char path[VOLUMED_PATH_SIZE]; /* of the image */
} session = {.header_fd = -1};

static void die(const char *what) {
        (void)fprintf(stderr, "volumed_double: %s: %s\n", what, strerror(errno));
        _exit(EXIT_FAILURE);
}

static const char *path_of(const char *folder, const char *name, const char *suffix) {
        static char paths[4][4096];
        static unsigned next;
        char *path = paths[next++ % 4];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s%s%s%s", directory, folder, name[0] ? "/" : "",
                       name, suffix);
        return path;
}

static void note(const char *text, const char *object) {
        char line[4096];
        int fd = open(path_of("order", "", ""), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

        (void)snprintf(line, sizeof(line), "%s %s\n", text, object);
        if (fd < 0 || write(fd, line, strlen(line)) < 0)
                die("order");
        (void)close(fd);
}

static bool exists(const char *path) {
        return access(path, F_OK) == 0;
}

static unsigned count_leases(const char *name) {
        DIR *leases = opendir(path_of("leases", "", ""));
        size_t size = strlen(name);
        unsigned count = 0;

        if (!leases)
                die("leases");
        for (struct dirent *entry = readdir(leases); entry; entry = readdir(leases))
                count += strncmp(entry->d_name, name, size) == 0 && entry->d_name[size] == '.';
        (void)closedir(leases);
        return count;
}

static unsigned count_open(const char *name) {
        return count_leases(name) + exists(path_of("qemu", name, ""));
}

static void take_lease(const char *name) {
        char pid[16];

        (void)snprintf(pid, sizeof(pid), ".%d", (int)getpid());
        (void)snprintf(session.lease, sizeof(session.lease), "%s", path_of("leases", name, pid));
        int fd = open(session.lease, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
                die("lease");
        (void)close(fd);
}

static int read_header(const char *path, struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);

        if (file_read(AT_FDCWD, path, &bytes, err) < 0 ||
            luks2_header_check(bytes.data, bytes.size, &session.header, err) < 0)
                return -1;
        session.header_fd = memfd_create("header", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (session.header_fd < 0 ||
            write(session.header_fd, bytes.data, bytes.size) != (ssize_t)bytes.size ||
            fcntl(session.header_fd, F_ADD_SEALS,
                  F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                die("memfd");
        return 0;
}

/* Of an ISecL-VMC image: what it is known by, and its conversion in its place. */
static int tell_isecl(const struct double_isecl *found, struct volumed_reply *reply,
                      struct wla_error *err) {
        const struct volume_name name = {.kind = VOLUME_IMAGE, .uuid = found->identity};
        struct stat status;

        volume_name_write(&name, reply->name);
        if (!found->converted) {
                reply->format = VOLUMED_FORMAT_ISECL;
                return 0;
        }
        if (stat(found->image, &status) < 0)
                die("conversion");
        reply->format = VOLUMED_FORMAT_OURS;
        reply->size = (uint64_t)status.st_size;
        return read_header(found->header, err);
}

static int convert_image(const struct volume_request *request, const struct volumed_request *wire,
                         struct volumed_reply *reply, struct wla_error *err) {
        const char *converted = path_of("converted", "", "");
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct double_isecl found;

        if (wla_secret_new(wire->key_size, &key, err) < 0)
                return -1;
        memcpy(wla_secret_fill(key), wire->key, wire->key_size);
        if (double_isecl_convert(session.path, converted, &request->key_id, key, err) < 0 ||
            double_isecl_find(session.path, converted, &found, err) < 0)
                return -1;
        return tell_isecl(&found, reply, err);
}

static int inspect_image(const struct volume_request *request, struct volumed_reply *reply,
                         struct wla_error *err) {
        struct double_isecl isecl;
        struct stat status;
        char header[VOLUMED_PATH_SIZE + 16];

        if (stat(request->path, &status) < 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "%s does not exist", request->path);
        if (double_isecl_find(request->path, path_of("converted", "", ""), &isecl, err) < 0)
                return -1;
        memcpy(session.path, request->path, sizeof(session.path));
        session.state = SESSION_IMAGE;
        reply->size = (uint64_t)status.st_size;
        if (isecl.found)
                return tell_isecl(&isecl, reply, err);
        (void)snprintf(header, sizeof(header), "%s.header", request->path);
        if (double_find_header(header, err) < 0 || read_header(header, err) < 0)
                return -1;
        reply->format = VOLUMED_FORMAT_OURS;
        return 0;
}

static int inspect_layer(const struct volume_request *request, struct volumed_reply *reply,
                         struct wla_error *err) {
        char name[VOLUME_NAME_SIZE];

        session.name = (struct volume_name){.kind = VOLUME_DISK, .uuid = request->vm};
        memcpy(session.name.target, request->target, sizeof(session.name.target));
        volume_name_write(&session.name, name);
        session.state = SESSION_NO_LAYER;
        if (!exists(path_of("layers", name, ".header")))
                return 0;
        session.state = SESSION_LAYER;
        reply->format = VOLUMED_FORMAT_OURS;
        return read_header(path_of("layers", name, ".header"), err);
}

static int open_volume(const char *name, bool shared, struct volumed_reply *reply,
                       struct wla_error *err) {
        if (!shared && count_open(name) > 0)
                return wla_fail(err, WLA_E_BUSY, "%s is there already", name);
        (void)snprintf(reply->name, sizeof(reply->name), "%s", name);
        reply->writable = !shared;
        take_lease(name);
        session.state = SESSION_OPEN;
        return 0;
}

static int open_image(const struct volumed_request *wire, struct volumed_reply *reply,
                      struct wla_error *err) {
        const struct volume_name name = {.kind = VOLUME_IMAGE, .uuid = session.header.uuid};
        char text[VOLUME_NAME_SIZE];

        if (double_check_key(session.header_fd, wire, err) < 0)
                return -1;
        volume_name_write(&name, text);
        return open_volume(text, true, reply, err);
}

static int open_direct(const struct volume_request *request, const struct volumed_request *wire,
                       struct volumed_reply *reply, struct wla_error *err) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = request->vm};
        char text[VOLUME_NAME_SIZE];

        if (double_check_key(session.header_fd, wire, err) < 0)
                return -1;
        memcpy(name.target, request->target, sizeof(name.target));
        volume_name_write(&name, text);
        return open_volume(text, false, reply, err);
}

static int open_layer(const struct volumed_request *wire, struct volumed_reply *reply,
                      struct wla_error *err) {
        char text[VOLUME_NAME_SIZE];

        if (double_check_key(session.header_fd, wire, err) < 0)
                return -1;
        volume_name_write(&session.name, text);
        return open_volume(text, false, reply, err);
}

static int create_layer(const struct volume_request *request, const struct volumed_request *wire,
                        struct volumed_reply *reply, struct wla_error *err) {
        char text[VOLUME_NAME_SIZE];

        volume_name_write(&session.name, text);
        if (open_volume(text, false, reply, err) < 0)
                return -1;
        return request->layer.ephemeral
                       ? 0
                       : double_write_layer(&session.name, request, wire,
                                            path_of("layers", text, ".header"), err);
}

static void send_reply(struct volumed_reply *reply, int attached_fd) {
        struct wla_error err = {0};

        reply->magic = VOLUMED_MAGIC;
        if (packet_send(session.fd, reply, sizeof(*reply), attached_fd, NULL, &err) < 0)
                _exit(EXIT_SUCCESS);
}

/* One reply a name; the last one, without, is sent by the caller. */
static void list_names(const char *folder, uint16_t operation) {
        DIR *entries = opendir(path_of(folder, "", ""));
        char last[NAME_MAX + 1] = "";

        if (!entries)
                die(folder);
        for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
                struct volumed_reply reply = {
                        .operation = operation, .size = 1048576, .writable = 1};
                char name[NAME_MAX + 1];

                (void)snprintf(name, sizeof(name), "%s", entry->d_name);
                name[strcspn(name, ".")] = '\0';
                /* With a lease a mapping is listed there; a second lease's name follows at once or not. */
                bool leased = strcmp(folder, "qemu") == 0 && count_leases(name) > 0;
                if (name[0] == '\0' || leased || strcmp(name, last) == 0 ||
                    strncmp(name, SECRET_PREFIX, strlen(SECRET_PREFIX)) == 0)
                        continue;
                (void)snprintf(last, sizeof(last), "%s", name);
                (void)snprintf(reply.name, sizeof(reply.name), "%.63s", name);
                reply.open_count = operation == VOLUMED_LIST ? count_open(name) : 0;
                reply.allocated = operation == VOLUMED_LIST ? 0 : 4096;
                /* A mapping and what it is over have one name here, so its end tells the file. */
                memcpy(&reply.data_inode, strchr(name, '\0') - 8, sizeof(reply.data_inode));
                if (operation == VOLUMED_LIST_CONVERSIONS) {
                        reply.used_sec = 1767225600;
                        reply.open_count = 1;
                        (void)snprintf(reply.text, sizeof(reply.text), "https://kms/isecl");
                }
                send_reply(&reply, -1);
        }
        (void)closedir(entries);
}

static int close_volume(const struct volume_request *request, struct wla_error *err) {
        char name[VOLUME_NAME_SIZE];

        volume_name_write(&request->name, name);
        if (count_open(name) > 0)
                return wla_fail(err, WLA_E_BUSY, "%s is in use", name);
        return wla_fail(err, WLA_E_NOT_FOUND, "%s is not open", name);
}

static int remove_conversion(const struct volume_request *request, struct wla_error *err) {
        char text[VOLUME_NAME_SIZE];

        volume_name_write(&request->name, text);
        if (unlink(path_of("conversions", text, "")) < 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no conversion %s", text);
        return 0;
}

static int remove_layer(const struct volume_request *request, struct wla_error *err) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = request->vm};
        char text[VOLUME_NAME_SIZE];

        memcpy(name.target, request->target, sizeof(name.target));
        volume_name_write(&name, text);
        if (count_open(text) > 0)
                return wla_fail(err, WLA_E_BUSY, "%s is in use", text);
        if (unlink(path_of("layers", text, ".header")) < 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no layer %s", text);
        return 0;
}

/* Slow: it never comes to its end. */
static int digest_image(struct volumed_reply *reply, struct wla_error *err) {
        const struct timespec pause = {.tv_nsec = 100000000};
        int outcome = double_digest(session.path, path_of("digests", "", ""), reply, err);

        if (session.slow) {
                (void)nanosleep(&pause, NULL);
                reply->digested = reply->size / 3;
                reply->has_digest = 0;
        }
        return outcome;
}

static int name_free_secret(const struct volume_request *request, char name[64],
                            struct wla_error *err) {
        (void)snprintf(name, 64, SECRET_PREFIX "%s", request->secret.text);
        return count_leases(name) > 0 ? wla_fail(err, WLA_E_BUSY, "%s is in use", name) : 0;
}

static int set_secret(const struct volume_request *request, const struct volumed_request *wire,
                      struct wla_error *err) {
        char name[64];

        if (name_free_secret(request, name, err) < 0)
                return -1;
        take_lease(name);
        int fd = open(session.lease, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, wire->key, wire->key_size) < 0 || close(fd) < 0)
                die("secret");
        session.state = SESSION_OPEN;
        return 0;
}

static int serve(const struct volume_request *request, const struct volumed_request *wire,
                 struct volumed_reply *reply, struct wla_error *err) {
        switch (request->operation) {
        case VOLUMED_INSPECT_IMAGE:
                return inspect_image(request, reply, err);
        case VOLUMED_CONVERT_IMAGE:
                return convert_image(request, wire, reply, err);
        case VOLUMED_INSPECT_LAYER:
                return inspect_layer(request, reply, err);
        case VOLUMED_OPEN_IMAGE:
                return open_image(wire, reply, err);
        case VOLUMED_OPEN_DIRECT:
                return open_direct(request, wire, reply, err);
        case VOLUMED_OPEN_LAYER:
                return open_layer(wire, reply, err);
        case VOLUMED_CREATE_LAYER:
                return create_layer(request, wire, reply, err);
        case VOLUMED_LIST:
                list_names("leases", VOLUMED_LIST);
                list_names("qemu", VOLUMED_LIST);
                return 0;
        case VOLUMED_LIST_LAYERS:
                list_names("layers", VOLUMED_LIST_LAYERS);
                return 0;
        case VOLUMED_LIST_CONVERSIONS:
                list_names("conversions", VOLUMED_LIST_CONVERSIONS);
                return 0;
        case VOLUMED_REMOVE_CONVERSION:
                return remove_conversion(request, err);
        case VOLUMED_CLOSE:
                return close_volume(request, err);
        case VOLUMED_REMOVE_LAYER:
                return remove_layer(request, err);
        case VOLUMED_REBASE:
                return double_rebase(request, err);
        case VOLUMED_DIGEST_IMAGE:
                return digest_image(reply, err);
        case VOLUMED_SET_SECRET:
                return set_secret(request, wire, err);
        case VOLUMED_CLEAR_SECRET:
                return name_free_secret(request, (char[64]){0}, err);
        default:
                return wla_fail(err, WLA_E_UNSUPPORTED, "the double does not do this");
        }
}

static void hang(void) {
        struct pollfd hangup = {.fd = session.fd, .events = POLLRDHUP};

        (void)poll(&hangup, 1, -1);
        _exit(EXIT_SUCCESS);
}

/* With a count the fault passes. */
static int inject(const char *operation, struct wla_error *err) {
        char name[32];
        char action[16];
        unsigned count = 1;
        FILE *file = fopen(path_of("fault", "", ""), "r");

        if (!file)
                return 0;
        int fields = fscanf(file, "%31s %15s %u", name, action, &count);
        (void)fclose(file);
        if (fields < 2 || strcmp(name, operation) != 0 || count == 0)
                return 0;
        if (fields == 3) {
                file = fopen(path_of("fault", "", ""), "w");
                if (!file)
                        die("fault");
                (void)fprintf(file, "%s %s %u\n", name, action, count - 1);
                (void)fclose(file);
        }

        note("FAULT", action);
        if (strcmp(action, "hang") == 0)
                hang();
        if (strcmp(action, "die") == 0)
                _exit(EXIT_FAILURE);
        session.late = strcmp(action, "late") == 0;
        session.lost = strcmp(action, "lost") == 0;
        session.slow = strcmp(action, "slow") == 0;
        if (session.late || session.lost || session.slow)
                return 0;
        if (strcmp(action, "busy") == 0)
                return wla_fail(err, WLA_E_BUSY, "the mapping is there already");
        if (strcmp(action, "replaced") == 0)
                return double_replace(session.path, directory, err);
        return wla_fail(err, WLA_E_DENIED, "refused by the test");
}

static void answer(const struct volumed_request *wire) {
        struct volumed_reply reply = {.operation = wire->operation};
        struct volume_request request;
        struct wla_error err = {0};
        int outcome = volume_request_read(wire, &request, &err);

        if (outcome == 0 && !session_permits(session.state, request.operation))
                outcome = wla_fail(&err, WLA_E_INPUT, "operation %u is not permitted now",
                                   request.operation);
        if (outcome == 0) {
                note(operation_names[request.operation], request.path[0] ? request.path
                                                         : request.secret.text[0]
                                                                 ? request.secret.text
                                                                 : request.vm.text);
                outcome = inject(operation_names[request.operation], &err);
        }
        int header_before = session.header_fd;
        if (outcome == 0)
                outcome = serve(&request, wire, &reply, &err);
        if (session.late)
                hang();
        if (session.lost)
                _exit(EXIT_FAILURE);
        if (outcome < 0) {
                reply = (struct volumed_reply){.operation = wire->operation,
                                               .code = (uint16_t)err.code};
                (void)snprintf(reply.text, sizeof(reply.text), "%s", wla_error_text(&err));
        }
        send_reply(&reply, header_before < 0 ? session.header_fd : -1);
        if (outcome < 0)
                _exit(EXIT_FAILURE);
}

static void end_lease(void) {
        if (session.lease[0] == '\0')
                return;
        (void)unlink(session.lease);
        note("END", strrchr(session.lease, '/') + 1);
}

static void run_session(int fd) {
        struct volumed_request *wire = mmap(NULL, sizeof(*wire), PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct wla_error err = {0};

        session.fd = fd;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (wire == MAP_FAILED || wla_secret_heap_init(true, &err) < 0)
                die("memory");
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

/* Whatever a former life or a killed session has left. */
static void remove_leases(pid_t pid) {
        DIR *leases = opendir(path_of("leases", "", ""));
        char suffix[16];

        if (!leases)
                die("leases");
        (void)snprintf(suffix, sizeof(suffix), ".%d", (int)pid);
        for (struct dirent *entry = readdir(leases); entry; entry = readdir(leases)) {
                const char *dot = strchr(entry->d_name, '.');

                if (dot && dot != entry->d_name && (pid == 0 || strcmp(dot, suffix) == 0))
                        (void)unlinkat(dirfd(leases), entry->d_name, 0);
        }
        (void)closedir(leases);
}

static int make_socket(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        (void)unlink(path);
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(fd, 64) < 0)
                die(path);
        return fd;
}

static void reap(void) {
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                remove_leases(pid);
}

int main(int argc, char **argv) {
        static const char *const folders[] = {"layers", "leases", "qemu", "conversions"};

        if (argc != 5 || strcmp(argv[1], "--listen") != 0 || strcmp(argv[3], "--directory") != 0)
                return 2;
        directory = argv[4];
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
                (void)mkdir(path_of(folders[i], "", ""), 0755);
        remove_leases(0);

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
