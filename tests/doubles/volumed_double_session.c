/* SPDX-License-Identifier: Apache-2.0 */
#include "volumed_double_session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "volume/packet.h"
#include "volumed_double_directory.h"
#include "volumed_double_image.h"

#define SECRET_PREFIX "secret-"

struct double_session double_session = {.header_fd = -1};

static void take_lease(const char *name) {
        char pid[16];

        (void)snprintf(pid, sizeof(pid), ".%d", (int)getpid());
        (void)snprintf(double_session.lease, sizeof(double_session.lease), "%s",
                       double_path("leases", name, pid));
        int fd = open(double_session.lease, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
                double_die("lease");
        (void)close(fd);
}

static int read_header(const char *path, struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);

        if (file_read(AT_FDCWD, path, &bytes, err) < 0 ||
            luks2_header_check(bytes.data, bytes.size, &double_session.header, err) < 0)
                return -1;
        double_session.header_fd = memfd_create("header", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (double_session.header_fd < 0 ||
            write(double_session.header_fd, bytes.data, bytes.size) != (ssize_t)bytes.size ||
            fcntl(double_session.header_fd, F_ADD_SEALS,
                  F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                double_die("memfd");
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
                double_die("conversion");
        reply->format = VOLUMED_FORMAT_OURS;
        reply->size = (uint64_t)status.st_size;
        return read_header(found->header, err);
}

static int convert_image(const struct volume_request *request, const struct volumed_request *wire,
                         struct volumed_reply *reply, struct wla_error *err) {
        const char *converted = double_path("converted", "", "");
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct double_isecl found;

        if (wla_secret_new(wire->key_size, &key, err) < 0)
                return -1;
        memcpy(wla_secret_fill(key), wire->key, wire->key_size);
        if (double_isecl_convert(double_session.path, converted, &request->key_id, key, err) < 0 ||
            double_isecl_find(double_session.path, converted, &found, err) < 0)
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
        if (double_isecl_find(request->path, double_path("converted", "", ""), &isecl, err) < 0)
                return -1;
        memcpy(double_session.path, request->path, sizeof(double_session.path));
        double_session.state = SESSION_IMAGE;
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

        double_session.name = (struct volume_name){.kind = VOLUME_DISK, .uuid = request->vm};
        memcpy(double_session.name.target, request->target, sizeof(double_session.name.target));
        volume_name_write(&double_session.name, name);
        double_session.state = SESSION_NO_LAYER;
        if (!double_exists(double_path("layers", name, ".header")))
                return 0;
        double_session.state = SESSION_LAYER;
        reply->format = VOLUMED_FORMAT_OURS;
        return read_header(double_path("layers", name, ".header"), err);
}

static int open_volume(const char *name, bool shared, struct volumed_reply *reply,
                       struct wla_error *err) {
        if (!shared && double_count_open(name) > 0)
                return wla_fail(err, WLA_E_BUSY, "%s is there already", name);
        (void)snprintf(reply->name, sizeof(reply->name), "%s", name);
        reply->writable = !shared;
        take_lease(name);
        double_session.state = SESSION_OPEN;
        return 0;
}

static int open_image(const struct volumed_request *wire, struct volumed_reply *reply,
                      struct wla_error *err) {
        const struct volume_name name = {.kind = VOLUME_IMAGE, .uuid = double_session.header.uuid};
        char text[VOLUME_NAME_SIZE];

        if (double_check_key(double_session.header_fd, wire, err) < 0)
                return -1;
        volume_name_write(&name, text);
        return open_volume(text, true, reply, err);
}

static int open_direct(const struct volume_request *request, const struct volumed_request *wire,
                       struct volumed_reply *reply, struct wla_error *err) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = request->vm};
        char text[VOLUME_NAME_SIZE];

        if (double_check_key(double_session.header_fd, wire, err) < 0)
                return -1;
        memcpy(name.target, request->target, sizeof(name.target));
        volume_name_write(&name, text);
        return open_volume(text, false, reply, err);
}

static int open_layer(const struct volumed_request *wire, struct volumed_reply *reply,
                      struct wla_error *err) {
        char text[VOLUME_NAME_SIZE];

        if (double_check_key(double_session.header_fd, wire, err) < 0)
                return -1;
        volume_name_write(&double_session.name, text);
        return open_volume(text, false, reply, err);
}

static int create_layer(const struct volume_request *request, const struct volumed_request *wire,
                        struct volumed_reply *reply, struct wla_error *err) {
        char text[VOLUME_NAME_SIZE];

        volume_name_write(&double_session.name, text);
        if (open_volume(text, false, reply, err) < 0)
                return -1;
        return request->layer.ephemeral
                       ? 0
                       : double_write_layer(&double_session.name, request, wire,
                                            double_path("layers", text, ".header"), err);
}

void double_send_reply(struct volumed_reply *reply, int attached_fd) {
        struct wla_error err = {0};

        reply->magic = VOLUMED_MAGIC;
        if (packet_send(double_session.fd, reply, sizeof(*reply), attached_fd, NULL, &err) < 0)
                _exit(EXIT_SUCCESS);
}

/* One reply a name; the last one, without, is sent by the caller. */
static void list_names(const char *folder, uint16_t operation) {
        DIR *entries = opendir(double_path(folder, "", ""));
        char last[NAME_MAX + 1] = "";

        if (!entries)
                double_die(folder);
        for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
                struct volumed_reply reply = {
                        .operation = operation, .size = 1048576, .writable = 1};
                char name[NAME_MAX + 1];

                (void)snprintf(name, sizeof(name), "%s", entry->d_name);
                name[strcspn(name, ".")] = '\0';
                /* With a lease a mapping is listed there; a second lease's name follows at once or not. */
                bool leased = strcmp(folder, "qemu") == 0 && double_count_leases(name) > 0;
                if (name[0] == '\0' || leased || strcmp(name, last) == 0 ||
                    strncmp(name, SECRET_PREFIX, strlen(SECRET_PREFIX)) == 0)
                        continue;
                (void)snprintf(last, sizeof(last), "%s", name);
                (void)snprintf(reply.name, sizeof(reply.name), "%.63s", name);
                reply.open_count = operation == VOLUMED_LIST ? double_count_open(name) : 0;
                reply.allocated = operation == VOLUMED_LIST ? 0 : 4096;
                /* A mapping and what it is over have one name here, so its end tells the file. */
                memcpy(&reply.data_inode, strchr(name, '\0') - 8, sizeof(reply.data_inode));
                if (operation == VOLUMED_LIST_CONVERSIONS) {
                        reply.used_sec = 1767225600;
                        reply.open_count = 1;
                        (void)snprintf(reply.text, sizeof(reply.text), "https://kms/isecl");
                }
                double_send_reply(&reply, -1);
        }
        (void)closedir(entries);
}

static int close_volume(const struct volume_request *request, struct wla_error *err) {
        char name[VOLUME_NAME_SIZE];

        volume_name_write(&request->name, name);
        if (double_count_open(name) > 0)
                return wla_fail(err, WLA_E_BUSY, "%s is in use", name);
        return wla_fail(err, WLA_E_NOT_FOUND, "%s is not open", name);
}

static int remove_conversion(const struct volume_request *request, struct wla_error *err) {
        char text[VOLUME_NAME_SIZE];

        volume_name_write(&request->name, text);
        if (unlink(double_path("conversions", text, "")) < 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no conversion %s", text);
        return 0;
}

static int remove_layer(const struct volume_request *request, struct wla_error *err) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = request->vm};
        char text[VOLUME_NAME_SIZE];

        memcpy(name.target, request->target, sizeof(name.target));
        volume_name_write(&name, text);
        if (double_count_open(text) > 0)
                return wla_fail(err, WLA_E_BUSY, "%s is in use", text);
        if (unlink(double_path("layers", text, ".header")) < 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no layer %s", text);
        return 0;
}

/* Slow: it never comes to its end. */
static int digest_image(struct volumed_reply *reply, struct wla_error *err) {
        const struct timespec pause = {.tv_nsec = 100000000};
        int outcome = double_digest(double_session.path, double_path("digests", "", ""), reply,
                                    err);

        if (double_session.slow) {
                (void)nanosleep(&pause, NULL);
                reply->digested = reply->size / 3;
                reply->has_digest = 0;
        }
        return outcome;
}

static int name_free_secret(const struct volume_request *request, char name[64],
                            struct wla_error *err) {
        (void)snprintf(name, 64, SECRET_PREFIX "%s", request->secret.text);
        return double_count_leases(name) > 0 ? wla_fail(err, WLA_E_BUSY, "%s is in use", name) : 0;
}

static int set_secret(const struct volume_request *request, const struct volumed_request *wire,
                      struct wla_error *err) {
        char name[64];

        if (name_free_secret(request, name, err) < 0)
                return -1;
        take_lease(name);
        int fd = open(double_session.lease, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, wire->key, wire->key_size) < 0 || close(fd) < 0)
                double_die("secret");
        double_session.state = SESSION_OPEN;
        return 0;
}

int double_serve(const struct volume_request *request, const struct volumed_request *wire,
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
