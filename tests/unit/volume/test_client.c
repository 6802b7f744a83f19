/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/client.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "scratch.h"
#include "suite.h"
#include "volume/packet.h"

#define NAME "wlagent-image-0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"

/* A strict volumed for one connection: it takes one request and sends the replies it was given. */
struct double_volumed {
        struct scratch scratch;
        char path[320];
        int listen_fd;
        pthread_t thread;
        bool hang_up;
        struct volumed_reply replies[3];
        size_t reply_count;
        size_t reply_size;
        int attached_fd;
        struct volumed_request request;
        bool header_came;
};

static void *run_double(void *userdata) {
        struct double_volumed *volumed = userdata;
        struct wla_error err = {0};
        int attached = -1;
        int fd = accept4(volumed->listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (!volumed->hang_up && packet_receive(fd, &volumed->request, sizeof(volumed->request),
                                                NULL, &attached, &err) == 0) {
                volumed->header_came = attached >= 0;
                for (size_t i = 0; i < volumed->reply_count; i++)
                        if (packet_send(fd, &volumed->replies[i], volumed->reply_size,
                                        i == 0 ? volumed->attached_fd : -1, NULL, &err) < 0)
                                break;
        }
        if (attached >= 0)
                (void)close(attached);
        (void)close(fd);
        return NULL;
}

static struct deadline soon(void) {
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + 10 * USEC_PER_SEC);
        return deadline;
}

static void double_listen(struct double_volumed *volumed) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct wla_error err = {0};

        *volumed = (struct double_volumed){
                .reply_count = 1, .attached_fd = -1, .reply_size = sizeof(struct volumed_reply)};
        volumed->replies[0] = (struct volumed_reply){
                .magic = VOLUMED_MAGIC, .operation = VOLUMED_LIST, .name = NAME};
        if (!wla_secret_heap_locked())
                ck_assert_int_eq(wla_secret_heap_init(false, &err), 0);
        scratch_make(&volumed->scratch);
        (void)snprintf(volumed->path, sizeof(volumed->path), "%s",
                       scratch_file(&volumed->scratch, "s"));
        memcpy(address.sun_path, volumed->path, strlen(volumed->path));
        volumed->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(volumed->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(volumed->listen_fd, 1), 0);
}

static struct volume_session *double_start(struct double_volumed *volumed) {
        struct volume_session *session = NULL;
        struct deadline deadline = soon();
        struct wla_error err = {0};

        ck_assert_int_eq(pthread_create(&volumed->thread, NULL, run_double, volumed), 0);
        ck_assert_int_eq(volume_session_open(volumed->path, &deadline, &session, &err), 0);
        return session;
}

static void double_stop(struct double_volumed *volumed, struct volume_session *session) {
        ck_assert_int_eq(pthread_join(volumed->thread, NULL), 0);
        (void)volume_session_free(session);
        (void)close(volumed->listen_fd);
        scratch_remove(&volumed->scratch);
}

static int list(struct volume_session *session, struct volumed_reply *reply,
                struct wla_error *err) {
        const struct volumed_request request = {.operation = VOLUMED_LIST};
        const struct volume_call call = {.request = &request, .header_fd = -1};
        struct deadline deadline = soon();

        return volume_session_call(session, &call, &deadline, reply, err);
}

START_TEST(request_key_and_header_arrive) {
        const struct volumed_request request = {.operation = VOLUMED_OPEN_IMAGE, .path = "/x"};
        struct double_volumed volumed;
        struct volumed_reply reply;
        struct wla_error err = {0};
        struct deadline deadline = soon();
        _cleanup_secret_ struct wla_secret *key = NULL;
        int header = -1;

        double_listen(&volumed);
        volumed.replies[0].operation = VOLUMED_OPEN_IMAGE;
        volumed.attached_fd = volumed.listen_fd;
        ck_assert_int_eq(wla_secret_new(3, &key, &err), 0);
        memcpy(wla_secret_fill(key), "abc", 3);
        struct volume_session *session = double_start(&volumed);
        const struct volume_call call = {
                .request = &request,
                .key = key,
                .header_fd = volumed.listen_fd,
                .ret_header = &header,
        };
        ck_assert_int_eq(volume_session_call(session, &call, &deadline, &reply, &err), 0);
        double_stop(&volumed, session);

        ck_assert_uint_eq(volumed.request.magic, VOLUMED_MAGIC);
        ck_assert_uint_eq(volumed.request.operation, VOLUMED_OPEN_IMAGE);
        ck_assert_uint_eq(volumed.request.key_size, 3);
        ck_assert_mem_eq(volumed.request.key, "abc\0", 4);
        ck_assert_str_eq(volumed.request.path, "/x");
        ck_assert(volumed.header_came);
        ck_assert_str_eq(reply.name, NAME);
        ck_assert_int_ge(header, 0);
        (void)close(header);
}
END_TEST

START_TEST(a_list_has_several_replies) {
        struct double_volumed volumed;
        struct volumed_reply reply;
        struct wla_error err = {0};
        struct deadline deadline = soon();

        double_listen(&volumed);
        volumed.reply_count = 3;
        volumed.replies[1] = volumed.replies[0];
        volumed.replies[2] = volumed.replies[0];
        volumed.replies[2].name[0] = '\0';
        memset(volumed.replies[2].name, 0, sizeof(volumed.replies[2].name));
        struct volume_session *session = double_start(&volumed);
        ck_assert_int_eq(list(session, &reply, &err), 0);
        ck_assert_int_eq(volume_session_next(session, &deadline, &reply, &err), 0);
        ck_assert_str_eq(reply.name, NAME);
        ck_assert_int_eq(volume_session_next(session, &deadline, &reply, &err), 0);
        ck_assert_str_eq(reply.name, "");
        ck_assert_int_eq(volume_session_next(session, &deadline, &reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        double_stop(&volumed, session);
}
END_TEST

START_TEST(a_refusal_keeps_code_and_text) {
        struct double_volumed volumed;
        struct volumed_reply reply;
        struct wla_error err = {0};

        double_listen(&volumed);
        volumed.replies[0].code = WLA_E_DENIED;
        memcpy(volumed.replies[0].text, "no\n\x1b[2J", 8);
        struct volume_session *session = double_start(&volumed);
        ck_assert_int_eq(list(session, &reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_str_eq(wla_error_text(&err), "no  [2J");
        double_stop(&volumed, session);
}
END_TEST

START_TEST(replies_that_break_the_protocol_are_refused) {
        for (int i = 0; i < 9; i++) {
                struct double_volumed volumed;
                struct volumed_reply reply;
                struct wla_error err = {0};

                double_listen(&volumed);
                struct volumed_reply *sent = &volumed.replies[0];
                switch (i) {
                case 0:
                        sent->magic++;
                        break;
                case 1:
                        sent->operation++;
                        break;
                case 2:
                        sent->code = _WLA_CODE_MAX;
                        break;
                case 3:
                        sent->format = VOLUMED_FORMAT_ISECL + 1;
                        break;
                case 4:
                        sent->writable = 2;
                        break;
                case 5:
                        memset(sent->name, 'a', sizeof(sent->name));
                        break;
                case 6:
                        memset(sent->text, 'a', sizeof(sent->text));
                        break;
                case 7:
                        memcpy(sent->name, "../x", 5);
                        break;
                default:
                        volumed.reply_size--;
                        break;
                }
                struct volume_session *session = double_start(&volumed);
                ck_assert_int_eq(list(session, &reply, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                double_stop(&volumed, session);
        }
}
END_TEST

START_TEST(a_volumed_that_is_not_there_is_named) {
        struct double_volumed volumed;
        struct volume_session *session = NULL;
        struct volumed_reply reply;
        struct wla_error err = {0};
        struct deadline deadline = soon();

        double_listen(&volumed);
        volumed.hang_up = true;
        session = double_start(&volumed);
        ck_assert_int_eq(list(session, &reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        ck_assert_ptr_nonnull(err.hint);
        (void)close(volumed.listen_fd);
        volumed.listen_fd = -1;
        struct volume_session *none = NULL;
        ck_assert_int_eq(volume_session_open(volumed.path, &deadline, &none, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "wlagent-volumed is not running"));
        ck_assert_ptr_null(none);
        ck_assert_int_eq(
                volume_session_open(scratch_file(&volumed.scratch, "none"), &deadline, &none, &err),
                -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        double_stop(&volumed, session);

        char path[200];
        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        ck_assert_int_eq(volume_session_open(path, &deadline, &none, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        deadline_cancel(&deadline);
        ck_assert_int_eq(volume_session_open("/none", &deadline, &none, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
}
END_TEST

START_TEST(a_key_that_does_not_fit_is_not_sent) {
        const struct volumed_request request = {.operation = VOLUMED_OPEN_IMAGE};
        struct double_volumed volumed;
        struct volumed_reply reply;
        struct wla_error err = {0};
        struct deadline deadline = soon();
        _cleanup_secret_ struct wla_secret *key = NULL;

        double_listen(&volumed);
        ck_assert_int_eq(wla_secret_new(VOLUMED_KEY_MAX + 1, &key, &err), 0);
        struct volume_session *session = double_start(&volumed);
        const struct volume_call call = {.request = &request, .key = key, .header_fd = -1};
        ck_assert_int_eq(volume_session_call(session, &call, &deadline, &reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        session = volume_session_free(session);
        double_stop(&volumed, session);
        ck_assert_uint_eq(volumed.request.magic, 0);
}
END_TEST

SUITE_MAIN("volume/client", request_key_and_header_arrive, a_list_has_several_replies,
           a_refusal_keeps_code_and_text, replies_that_break_the_protocol_are_refused,
           a_volumed_that_is_not_there_is_named, a_key_that_does_not_fit_is_not_sent)
