/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/session.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "image/header_writer.h"
#include "image/sector_cipher.h"
#include "image/volume_key.h"
#include "scratch.h"
#include "suite.h"
#include "volume/packet.h"

#define UUID "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"

/* A session in a process of its own, as volumed makes them, without any device. */
struct fixture {
        struct scratch scratch;
        struct config *config;
        struct wla_secret *key;
        int fd;
        pid_t child;
        struct volumed_reply reply;
        int header_fd;
        struct wla_error err;
};

static void write_text(const struct fixture *fixture, const char *name, const void *data,
                       size_t size) {
        const char *path = scratch_file(&fixture->scratch, name);
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fwrite(data, 1, size, file), size);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(chmod(path, 0644), 0);
}

/* An image of two sectors, and its header. */
static void write_image(struct fixture *fixture) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        _cleanup_buf_ struct buf header = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        static uint8_t disk[2 * IMAGE_SECTOR_SIZE];
        struct header_content content = {.token = &json};
        struct image_token token = {.size = sizeof(disk), .virtual_size = sizeof(disk)};
        struct wla_error err = {0};

        ck_assert_int_eq(volume_key_generate(&fixture->key, &err), 0);
        content.volume_key = fixture->key;
        ck_assert_int_eq(
                sector_cipher_new(fixture->key, IMAGE_SECTOR_SIZE, SECTOR_ENCRYPT, &cipher, &err),
                0);
        ck_assert_int_eq(sector_cipher_run(cipher, 0, disk, sizeof(disk), &err), 0);
        write_text(fixture, "image", disk, sizeof(disk));
        write_text(fixture, "bare", disk, sizeof(disk));
        ck_assert_int_eq(uuid_parse(UUID, strlen(UUID), &content.uuid, &err), 0);
        ck_assert_int_eq(key_id_parse("local:///test", 13, &token.key_id, &err), 0);
        memset(&token.wrapped, 0x5a, sizeof(token.wrapped));
        ck_assert_int_eq(image_token_write(&token, &json, &err), 0);
        ck_assert_msg(header_write(&content, &header, &err) == 0, "%s", wla_error_text(&err));
        write_text(fixture, "image.header", header.data, header.size);
        write_text(fixture, "other.header", header.data, header.size);
}

static void start(struct fixture *fixture) {
        char text[256];
        struct buf faults = BUF_WITH_LIMIT(4096);
        int fds[2];

        *fixture = (struct fixture){.header_fd = -1};
        if (!wla_secret_heap_locked())
                ck_assert_int_eq(wla_secret_pages_init(false, &fixture->err), 0);
        scratch_make(&fixture->scratch);
        int length = snprintf(text, sizeof(text), "[Volumes]\nImageRoots=%s\nLayerDirectory=%s/l\n",
                              fixture->scratch.path, fixture->scratch.path);
        write_text(fixture, "conf", text, (size_t)length);
        ck_assert_int_eq(config_read(scratch_file(&fixture->scratch, "conf"), &fixture->config,
                                     &faults, &fixture->err),
                         0);
        write_image(fixture);

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        fixture->child = fork();
        if (fixture->child == 0) {
                (void)close(fds[0]);
                session_run(fds[1], fixture->config);
                _exit(0);
        }
        ck_assert_int_gt(fixture->child, 0);
        (void)close(fds[1]);
        fixture->fd = fds[0];
}

static void stop(struct fixture *fixture) {
        int status = -1;

        (void)close(fixture->fd);
        ck_assert_int_eq(waitpid(fixture->child, &status, 0), fixture->child);
        ck_assert_int_eq(status, 0);
        file_closep(&fixture->header_fd);
        fixture->key = wla_secret_free(fixture->key);
        fixture->config = config_free(fixture->config);
        (void)unlink(scratch_file(&fixture->scratch, "l/lock"));
        (void)rmdir(scratch_file(&fixture->scratch, "l"));
        scratch_remove(&fixture->scratch);
}

static struct volumed_request request_for(const struct fixture *fixture,
                                          enum volumed_operation operation, const char *name) {
        struct volumed_request request = {.magic = VOLUMED_MAGIC, .operation = (uint16_t)operation};

        if (name)
                (void)snprintf(request.path, sizeof(request.path), "%s/%s", fixture->scratch.path,
                               name);
        return request;
}

static int ask(struct fixture *fixture, const struct volumed_request *request, int attached_fd) {
        file_closep(&fixture->header_fd);
        ck_assert_int_eq(packet_send(fixture->fd, request, sizeof(*request), attached_fd, NULL,
                                     &fixture->err),
                         0);
        ck_assert_int_eq(packet_receive(fixture->fd, &fixture->reply, sizeof(fixture->reply), NULL,
                                        &fixture->header_fd, &fixture->err),
                         0);
        ck_assert_uint_eq(fixture->reply.magic, VOLUMED_MAGIC);
        return fixture->reply.code;
}

static void check_ended(struct fixture *fixture) {
        char byte[sizeof(struct volumed_reply)];
        int attached = -1;

        ck_assert_int_eq(
                packet_receive(fixture->fd, byte, sizeof(byte), NULL, &attached, &fixture->err),
                -1);
        ck_assert_int_eq(fixture->err.code, WLA_E_UNAVAILABLE);
}

START_TEST(an_image_is_inspected) {
        struct fixture fixture;
        struct stat status;

        start(&fixture);
        struct volumed_request request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "image");
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_OK);
        ck_assert_uint_eq(fixture.reply.operation, VOLUMED_INSPECT_IMAGE);
        ck_assert_uint_eq(fixture.reply.format, VOLUMED_FORMAT_OURS);
        ck_assert_uint_eq(fixture.reply.size, 2 * IMAGE_SECTOR_SIZE);
        ck_assert_int_eq(stat(request.path, &status), 0);
        ck_assert_uint_eq(fixture.reply.data_inode, status.st_ino);
        ck_assert_int_eq(fstat(fixture.header_fd, &status), 0);
        ck_assert_int_eq(status.st_size, IMAGE_HEADER_SIZE);
        ck_assert_int_eq(fcntl(fixture.header_fd, F_GET_SEALS),
                         F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        stop(&fixture);
}
END_TEST

START_TEST(a_header_may_come_with_the_request) {
        struct fixture fixture;

        start(&fixture);
        struct volumed_request request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "bare");
        int fd = open(scratch_file(&fixture.scratch, "other.header"), O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(ask(&fixture, &request, fd), WLA_OK);
        (void)close(fd);
        stop(&fixture);

        start(&fixture);
        request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "bare");
        (void)snprintf(request.header, sizeof(request.header), "%s/other.header",
                       fixture.scratch.path);
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_OK);
        stop(&fixture);

        start(&fixture);
        request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "bare");
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_E_INPUT);
        ck_assert_ptr_nonnull(strstr(fixture.reply.text, "the image has no header (put the"));
        ck_assert_ptr_nonnull(strstr(fixture.reply.text, "is registered: wlagent-nova(7)"));
        check_ended(&fixture);
        stop(&fixture);
}
END_TEST

START_TEST(two_headers_are_one_too_many) {
        struct fixture fixture;

        start(&fixture);
        struct volumed_request request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "bare");
        (void)snprintf(request.header, sizeof(request.header), "%s/other.header",
                       fixture.scratch.path);
        int fd = open(request.header, O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(ask(&fixture, &request, fd), WLA_E_INPUT);
        (void)close(fd);
        stop(&fixture);
}
END_TEST

START_TEST(a_malformed_request_ends_the_session) {
        struct fixture fixture;

        start(&fixture);
        struct volumed_request request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "image");
        request.name[0] = 'x';
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_E_INPUT);
        ck_assert_uint_eq(fixture.reply.operation, 0);
        check_ended(&fixture);
        stop(&fixture);

        start(&fixture);
        request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "image");
        request.key[3] = 1;
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_E_INPUT);
        check_ended(&fixture);
        stop(&fixture);

        start(&fixture);
        ck_assert_int_eq(send(fixture.fd, "short", 5, 0), 5);
        ck_assert_int_eq(packet_receive(fixture.fd, &fixture.reply, sizeof(fixture.reply), NULL,
                                        &fixture.header_fd, &fixture.err),
                         0);
        ck_assert_int_eq(fixture.reply.code, WLA_E_INPUT);
        check_ended(&fixture);
        stop(&fixture);
}
END_TEST

START_TEST(what_is_not_permitted_ends_the_session) {
        static const enum volumed_operation operations[] = {VOLUMED_OPEN_IMAGE, VOLUMED_OPEN_LAYER};
        struct fixture fixture;

        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
                start(&fixture);
                struct volumed_request request = request_for(&fixture, operations[i], NULL);
                request.key_size = VOLUME_KEY_SIZE;
                if (operations[i] == VOLUMED_OPEN_LAYER)
                        request.layer.virtual_size = 512;
                ck_assert_int_eq(ask(&fixture, &request, -1), WLA_E_INPUT);
                ck_assert_ptr_nonnull(strstr(fixture.reply.text, "is not permitted here"));
                check_ended(&fixture);
                stop(&fixture);
        }

        start(&fixture);
        struct volumed_request request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "image");
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_OK);
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_E_INPUT);
        check_ended(&fixture);
        stop(&fixture);

        start(&fixture);
        request = request_for(&fixture, VOLUMED_LIST_LAYERS, NULL);
        ck_assert_int_eq(ask(&fixture, &request, fixture.fd), WLA_E_INPUT);
        ck_assert_ptr_nonnull(strstr(fixture.reply.text, "takes no file"));
        stop(&fixture);
}
END_TEST

START_TEST(a_wrong_key_opens_nothing) {
        struct fixture fixture;

        start(&fixture);
        struct volumed_request request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "image");
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_OK);
        request = request_for(&fixture, VOLUMED_OPEN_IMAGE, NULL);
        request.key_size = VOLUME_KEY_SIZE;
        memset(request.key, 7, VOLUME_KEY_SIZE);
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_E_DENIED);
        ck_assert_ptr_nonnull(strstr(fixture.reply.text, "the key does not open the header"));
        check_ended(&fixture);
        stop(&fixture);
}
END_TEST

/* The digest is right; the probe of this header was never computed. */
START_TEST(a_header_of_another_image_opens_nothing) {
        struct fixture fixture;

        start(&fixture);
        struct volumed_request request = request_for(&fixture, VOLUMED_INSPECT_IMAGE, "image");
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_OK);
        request = request_for(&fixture, VOLUMED_OPEN_IMAGE, NULL);
        struct wla_bytes key = wla_secret_view(fixture.key);
        request.key_size = (uint16_t)key.size;
        memcpy(request.key, key.data, key.size);
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_E_DENIED);
        ck_assert_ptr_null(strstr(fixture.reply.text, "the key does not open"));
        stop(&fixture);
}
END_TEST

START_TEST(layers_are_looked_for_and_listed) {
        struct fixture fixture;

        start(&fixture);
        struct volumed_request request = request_for(&fixture, VOLUMED_LIST_LAYERS, NULL);
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_OK);
        ck_assert_str_eq(fixture.reply.name, "");

        request = request_for(&fixture, VOLUMED_INSPECT_LAYER, NULL);
        (void)snprintf(request.vm, sizeof(request.vm), UUID);
        (void)snprintf(request.target, sizeof(request.target), "vda");
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_OK);
        ck_assert_uint_eq(fixture.reply.format, 0);
        ck_assert_int_eq(fixture.header_fd, -1);
        /* There is none to be opened. */
        request = request_for(&fixture, VOLUMED_OPEN_LAYER, NULL);
        request.key_size = VOLUME_KEY_SIZE;
        request.layer.virtual_size = 512;
        ck_assert_int_eq(ask(&fixture, &request, -1), WLA_E_INPUT);
        stop(&fixture);
}
END_TEST

SUITE_MAIN("volume/session", an_image_is_inspected, a_header_may_come_with_the_request,
           two_headers_are_one_too_many, a_malformed_request_ends_the_session,
           what_is_not_permitted_ends_the_session, a_wrong_key_opens_nothing,
           a_header_of_another_image_opens_nothing, layers_are_looked_for_and_listed)
