/* SPDX-License-Identifier: Apache-2.0 */

/* Asks wlagent-volumed as wlagentd does, with wlagentd's own half of the protocol, and makes images whose
 * volume key a test knows.
 *
 *   volume-client make RAW OUT KEYFILE UUID            OUT and OUT.header, as wlagent image encrypt
 *   volume-client forge DATA KEYFILE UUID HEADER       a header for what another key encrypted
 *   volume-client SOCKET STEP...
 *
 *     image PATH [header=PATH | attach=FILE]           inspect an image
 *     layer VM TARGET                                  inspect a layer
 *     open KEYFILE                                     the image, or the layer of 16 MiB over a raw one
 *     open-keeping KEYFILE                             that layer, where QEMU frees no cluster
 *     direct VM TARGET KEYFILE
 *     digest                                           of the image, as far as one answer tells
 *     convert KEYFILE KEY-ID | adopt KEYFILE
 *     create IMAGE-UUID SIZE raw|qcow2 KEYFILE kept|ephemeral|kept-keeping
 *     list | layers | conversions | close NAME | remove VM TARGET | remove-conversion NAME
 *     rebase DISK GLANCE-UUID NAME base | ... mapping raw|qcow2 SIZE
 *     set-secret UUID KEYFILE | clear-secret UUID
 *     wait                                             says "waiting" and waits for a line
 *
 * What comes back is a line each; after the last step it holds the session until standard input ends.
 * The exit code of a refusal is 1, with a line "CODE: TEXT". */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "image/header_writer.h"
#include "image/sector_cipher.h"
#include "image/volume_key.h"
#include "volume/client.h"

#define CALL_USEC (60 * USEC_PER_SEC)

#define LAYER_SIZE (UINT64_C(16) << 20)

static struct wla_error err;

static int refuse(void) {
        char text[768];

        wla_error_format(&err, text, sizeof(text));
        (void)printf("%s: %s\n", wla_code_token(err.code), text);
        exit(1);
}

static void check(int outcome) {
        if (outcome < 0)
                refuse();
}

static void usage(void) {
        (void)fputs("see the head of volume_client.c\n", stderr);
        exit(2);
}

static void put(char *to, size_t size, const char *text) {
        if (strlen(text) >= size)
                usage();
        memcpy(to, text, strlen(text));
}

static struct wla_secret *read_key(const char *path) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(4096);
        struct wla_secret *key = NULL;

        check(file_read(AT_FDCWD, path, &bytes, &err));
        check(wla_secret_new(bytes.size, &key, &err));
        memcpy(wla_secret_fill(key), bytes.data, bytes.size);
        return key;
}

static void write_file(const char *path, const void *data, size_t size) {
        FILE *file = fopen(path, "we");

        if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
                perror(path);
                exit(2);
        }
        (void)chmod(path, 0644);
}

/* A header for what is there already. */
static void write_header(const char *data, const struct wla_secret *key, const char *uuid,
                         const char *path) {
        struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        struct buf header = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);
        struct header_content content = {.volume_key = key, .token = &json};
        struct image_token token = {.content = IMAGE_CONTENT_RAW};
        int fd = open(data, O_RDONLY | O_CLOEXEC);
        struct stat status = {0};

        (void)fstat(fd, &status);
        check(uuid_parse(uuid, strlen(uuid), &content.uuid, &err));
        check(key_id_parse("local:///test", 13, &token.key_id, &err));
        token.size = (uint64_t)status.st_size;
        token.virtual_size = token.size;
        memset(&token.wrapped, 0x5a, sizeof(token.wrapped));
        check(image_probe(key, &content.uuid, fd, token.size, token.probe, &err));
        check(image_token_write(&token, &json, &err));
        check(header_write(&content, &header, &err));
        write_file(path, header.data, header.size);
}

static void make(const char *raw, const char *out, const char *key_path, const char *uuid) {
        struct buf disk = BUF_WITH_LIMIT(256u * 1024 * 1024);
        struct wla_secret *key = read_key(key_path);
        struct sector_cipher *cipher = NULL;
        char path[4096];

        check(file_read(AT_FDCWD, raw, &disk, &err));
        check(sector_cipher_new(key, IMAGE_SECTOR_SIZE, SECTOR_ENCRYPT, &cipher, &err));
        check(sector_cipher_run(cipher, 0, disk.data, disk.size, &err));
        write_file(out, disk.data, disk.size);

        (void)snprintf(path, sizeof(path), "%s.header", out);
        write_header(out, key, uuid, path);
}

struct state {
        struct volume_session *session;
        struct deadline deadline;
        char **arguments; /* what is left */
};

static const char *next(struct state *state) {
        if (!*state->arguments)
                usage();
        return *state->arguments++;
}

static void print_reply(const struct volumed_reply *reply) {
        (void)printf("name=%s format=%u size=%" PRIu64 " allocated=%" PRIu64 " device=%" PRIu64
                     " inode=%" PRIu64 " major=%u minor=%u writable=%u open=%u\n",
                     reply->name, reply->format, reply->size, reply->allocated, reply->data_device,
                     reply->data_inode, reply->device_major, reply->device_minor, reply->writable,
                     reply->open_count);
}

static struct volumed_reply call(struct state *state, const struct volumed_request *request,
                                 const char *key_path, int header_fd) {
        struct wla_secret *key = key_path ? read_key(key_path) : NULL;
        int header = -1;
        const struct volume_call volume_call = {
                .request = request,
                .key = key,
                .header_fd = header_fd,
                .ret_header = &header,
        };
        struct volumed_reply reply;

        deadline_init(&state->deadline, clock_now_usec() + CALL_USEC);
        check(volume_session_call(state->session, &volume_call, &state->deadline, &reply, &err));
        file_closep(&header);
        (void)wla_secret_free(key);
        return reply;
}

static void inspect_image(struct state *state) {
        struct volumed_request request = {.operation = VOLUMED_INSPECT_IMAGE};
        int fd = -1;

        put(request.path, sizeof(request.path), next(state));
        if (*state->arguments && strncmp(*state->arguments, "header=", 7) == 0)
                put(request.header, sizeof(request.header), next(state) + 7);
        if (*state->arguments && strncmp(*state->arguments, "attach=", 7) == 0)
                fd = open(next(state) + 7, O_RDONLY | O_CLOEXEC);
        struct volumed_reply reply = call(state, &request, NULL, fd);
        print_reply(&reply);
        file_closep(&fd);
}

static void digest(struct state *state) {
        const struct volumed_request request = {.operation = VOLUMED_DIGEST_IMAGE};
        struct volumed_reply reply = call(state, &request, NULL, -1);

        (void)printf("digested=%" PRIu64 " of=%" PRIu64 " digest=", reply.digested, reply.size);
        for (size_t i = 0; i < sizeof(reply.digest) && reply.has_digest; i++)
                (void)printf("%02x", reply.digest[i]);
        (void)printf("\n");
}

static void convert(struct state *state) {
        struct volumed_request request = {.operation = VOLUMED_CONVERT_IMAGE};
        const char *key = next(state);

        put(request.key_id, sizeof(request.key_id), next(state));
        struct volumed_reply reply = call(state, &request, key, -1);
        print_reply(&reply);
}

static void adopt(struct state *state) {
        const struct volumed_request request = {.operation = VOLUMED_ADOPT_VOLUME};
        struct volumed_reply reply = call(state, &request, next(state), -1);

        (void)printf("%s\n", reply.text);
}

static void with_disk(struct state *state, enum volumed_operation operation, bool key) {
        struct volumed_request request = {.operation = (uint16_t)operation};

        put(request.vm, sizeof(request.vm), next(state));
        put(request.target, sizeof(request.target), next(state));
        struct volumed_reply reply = call(state, &request, key ? next(state) : NULL, -1);
        print_reply(&reply);
}

static void open_image(struct state *state) {
        const struct volumed_request request = {.operation = VOLUMED_OPEN_IMAGE};
        struct volumed_reply reply = call(state, &request, next(state), -1);

        print_reply(&reply);
}

static void open_layer(struct state *state, bool keeping) {
        const struct volumed_request request = {
                .operation = VOLUMED_OPEN_LAYER,
                .layer.virtual_size = LAYER_SIZE,
                .layer.keeps_places = keeping,
        };
        struct volumed_reply reply = call(state, &request, next(state), -1);

        print_reply(&reply);
}

static void create(struct state *state) {
        struct volumed_request request = {.operation = VOLUMED_CREATE_LAYER};

        put(request.layer.image, sizeof(request.layer.image), next(state));
        request.layer.virtual_size = strtoull(next(state), NULL, 10);
        request.layer.backing_content = strcmp(next(state), "raw") == 0 ? IMAGE_CONTENT_RAW
                                                                        : IMAGE_CONTENT_QCOW2;
        const char *key = next(state);
        const char *kind = next(state);
        request.layer.ephemeral = strcmp(kind, "ephemeral") == 0;
        request.layer.keeps_places = strcmp(kind, "kept-keeping") == 0;
        if (!request.layer.ephemeral)
                memset(&request.layer.wrapped, 0x5a, sizeof(request.layer.wrapped));
        struct volumed_reply reply = call(state, &request, key, -1);
        print_reply(&reply);
}

static void list(struct state *state, enum volumed_operation operation) {
        const struct volumed_request request = {.operation = (uint16_t)operation};
        struct volumed_reply reply = call(state, &request, NULL, -1);

        while (reply.name[0]) {
                print_reply(&reply);
                check(volume_session_next(state->session, &state->deadline, &reply, &err));
        }
}

static void with_name(struct state *state, enum volumed_operation operation) {
        struct volumed_request request = {.operation = (uint16_t)operation};

        put(request.name, sizeof(request.name), next(state));
        struct volumed_reply reply = call(state, &request, NULL, -1);
        print_reply(&reply);
}

static void rebase(struct state *state) {
        struct volumed_request request = {.operation = VOLUMED_REBASE};

        put(request.path, sizeof(request.path), next(state));
        put(request.nova.image, sizeof(request.nova.image), next(state));
        put(request.name, sizeof(request.name), next(state));
        request.nova.to_mapping = strcmp(next(state), "mapping") == 0;
        if (request.nova.to_mapping) {
                request.nova.content = strcmp(next(state), "raw") == 0 ? IMAGE_CONTENT_RAW
                                                                       : IMAGE_CONTENT_QCOW2;
                request.nova.virtual_size = strtoull(next(state), NULL, 10);
        }
        struct volumed_reply reply = call(state, &request, NULL, -1);
        print_reply(&reply);
}

static void with_secret(struct state *state, enum volumed_operation operation, bool key) {
        struct volumed_request request = {.operation = (uint16_t)operation};

        put(request.secret, sizeof(request.secret), next(state));
        struct volumed_reply reply = call(state, &request, key ? next(state) : NULL, -1);
        print_reply(&reply);
}

static void wait_for_line(void) {
        (void)puts("waiting");
        (void)fflush(stdout);
        for (int c = getchar(); c != '\n' && c != EOF; c = getchar())
                ;
}

static void step(struct state *state, const char *word, bool *layer) {
        if (strcmp(word, "image") == 0)
                inspect_image(state);
        else if (strcmp(word, "layer") == 0) {
                with_disk(state, VOLUMED_INSPECT_LAYER, false);
                *layer = true;
        } else if (strcmp(word, "open") == 0 && *layer)
                open_layer(state, false);
        else if (strcmp(word, "open-keeping") == 0)
                open_layer(state, true);
        else if (strcmp(word, "open") == 0)
                open_image(state);
        else if (strcmp(word, "direct") == 0)
                with_disk(state, VOLUMED_OPEN_DIRECT, true);
        else if (strcmp(word, "digest") == 0)
                digest(state);
        else if (strcmp(word, "convert") == 0)
                convert(state);
        else if (strcmp(word, "adopt") == 0)
                adopt(state);
        else if (strcmp(word, "create") == 0)
                create(state);
        else if (strcmp(word, "wait") == 0)
                wait_for_line();
        else if (strcmp(word, "list") == 0)
                list(state, VOLUMED_LIST);
        else if (strcmp(word, "layers") == 0)
                list(state, VOLUMED_LIST_LAYERS);
        else if (strcmp(word, "conversions") == 0)
                list(state, VOLUMED_LIST_CONVERSIONS);
        else if (strcmp(word, "close") == 0)
                with_name(state, VOLUMED_CLOSE);
        else if (strcmp(word, "remove-conversion") == 0)
                with_name(state, VOLUMED_REMOVE_CONVERSION);
        else if (strcmp(word, "remove") == 0)
                with_disk(state, VOLUMED_REMOVE_LAYER, false);
        else if (strcmp(word, "set-secret") == 0)
                with_secret(state, VOLUMED_SET_SECRET, true);
        else if (strcmp(word, "clear-secret") == 0)
                with_secret(state, VOLUMED_CLEAR_SECRET, false);
        else if (strcmp(word, "rebase") == 0)
                rebase(state);
        else
                usage();
}

int main(int argc, char **argv) {
        struct state state = {.arguments = argv + 2};
        bool layer = false;

        if (argc < 3)
                usage();
        check(wla_secret_heap_init(true, &err));
        if (strcmp(argv[1], "make") == 0 && argc == 6) {
                make(argv[2], argv[3], argv[4], argv[5]);
                return 0;
        }
        if (strcmp(argv[1], "forge") == 0 && argc == 6) {
                write_header(argv[2], read_key(argv[3]), argv[4], argv[5]);
                return 0;
        }

        deadline_init(&state.deadline, clock_now_usec() + CALL_USEC);
        check(volume_session_open(argv[1], &state.deadline, &state.session, &err));
        while (*state.arguments)
                step(&state, next(&state), &layer);
        (void)puts("done");
        (void)fflush(stdout);
        while (getchar() != EOF)
                ;
        (void)volume_session_free(state.session);
        return 0;
}
