/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/volume_work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/json_object.h"
#include "base/log.h"
#include "loop/pool.h"
#include "vm/domain.h"
#include "volume/client.h"

/* Long enough for the largest image on the slowest disk; whoever waits may give up earlier. */
#define TIMEOUT_USEC (24 * 3600 * USEC_PER_SEC)
#define QUEUE_MAX    8u
#define REQUEST_MAX  4096u
#define REPLY_MAX    2048u

static const char hint_prepare[] = "only images in Intel's format have to be converted";
static const char hint_adopt[] = "only LUKS2 volumes with keyslots can be adopted";

struct volume_work {
        struct volume_work_options options;
        char socket[VOLUMED_PATH_SIZE];
        struct pool *pool; /* NULL until it is needed */
        sd_event_source *pool_source;
        struct control_service service;
};

struct work_call {
        struct pool_job job; /* first: the pool hands it back */
        struct volume_work *work;
        uint16_t command;
        char path[VOLUMED_PATH_SIZE];
        struct key_id key_id;
        struct key_peer peer;
        struct deadline deadline;
        uint64_t deadline_usec;
        struct key_ticket *ticket; /* while the key is asked for */
        bool cancelled;            /* while a worker has it: done is not called any more */
        control_done_fn done;
        void *userdata;

        /* The worker's, while it has the job. */
        struct volume_session *session; /* inspected */
        struct wla_secret *key;         /* for the second run */
        bool needless;                  /* after the first run: there is nothing to do */
        int outcome;
        struct wla_error err;
        char text[VOLUMED_TEXT_SIZE]; /* what was done */
};

static const char *operation_of(const struct work_call *call) {
        return call->command == CONTROL_VOLUME_PREPARE ? "volume prepare" : "volume adopt";
}

static void log_end(const struct work_call *call, enum wla_code code, const char *text) {
        const char *key = call->key_id.text[0] ? call->key_id.text : NULL;
        char uid[16];

        if (call->needless) {
                log_line(LOG_INFO, "volume %s: %s", call->path, text);
                return;
        }
        (void)snprintf(uid, sizeof(uid), "%" PRIu32, (uint32_t)call->peer.uid);
        const struct log_field fields[] = {
                {"WLA_KEY_ID", key},
                {"WLA_PEER_UID", uid},
                {"WLA_OPERATION", operation_of(call)},
                {"WLA_ERROR_CODE", wla_code_token(code)},
                {NULL, NULL},
        };

        log_event(code == WLA_OK ? LOG_NOTICE : LOG_WARNING,
                  code == WLA_OK ? LOG_ID_KEY_RELEASED : LOG_ID_KEY_REFUSED, fields,
                  "%s for uid %s: %s", operation_of(call), uid, text);
}

static struct work_call *call_free(struct work_call *call) {
        call->session = volume_session_free(call->session);
        call->key = wla_secret_free(call->key);
        free(call);
        return NULL;
}

static int write_reply(const char *text, struct buf *reply, struct wla_error *err) {
        return buf_append_text(reply, "{\"done\":", err) < 0 ||
                               json_write_string(reply, text, strlen(text), err) < 0 ||
                               buf_append_text(reply, "}", err) < 0
                       ? -1
                       : 0;
}

/* The call is over; the reply, if any, is the receiver's. */
static void finish(struct work_call *call) {
        struct buf reply = BUF_WITH_LIMIT(REPLY_MAX);
        struct control_result result = {0};
        control_done_fn done = call->cancelled ? NULL : call->done;
        void *userdata = call->userdata;

        if (call->outcome == 0)
                call->outcome = write_reply(call->text, &reply, &call->err);

        struct wla_error err = call->err;
        if (call->outcome < 0) {
                wla_error_format(&err, call->text, sizeof(call->text));
                result.err = &err;
        } else {
                result.text = &reply;
        }
        log_end(call, call->outcome < 0 ? err.code : WLA_OK, call->text);
        (void)call_free(call);
        if (done)
                done(userdata, &result);
        else
                buf_clear(&reply);
}

static void fail_call(struct work_call *call, const struct wla_error *err) {
        call->outcome = -1;
        call->err = *err;
        finish(call);
}

/* Not only for the format: whatever has been done already is not done again. */
static int judge(struct work_call *call, const struct volumed_reply *reply, struct wla_error *err) {
        bool prepare = call->command == CONTROL_VOLUME_PREPARE;

        if (prepare && reply->format == VOLUMED_FORMAT_OURS) {
                (void)snprintf(call->text, sizeof(call->text),
                               "there is nothing to do: starts open it as it is");
                call->needless = true;
                return 0;
        }
        if (reply->format != (prepare ? VOLUMED_FORMAT_ISECL : VOLUMED_FORMAT_LUKS2))
                return wla_fail_hint(err, WLA_E_INPUT, prepare ? hint_prepare : hint_adopt,
                                     "it is in another format");
        return 0;
}

static int inspect(struct work_call *call, struct wla_error *err) {
        struct volumed_request request = {.operation = VOLUMED_INSPECT_IMAGE};
        const struct volume_call inspection = {.request = &request, .header_fd = -1};
        struct volumed_reply reply;

        memcpy(request.path, call->path, sizeof(request.path));
        if (volume_session_open(call->work->socket, &call->deadline, &call->session, err) < 0 ||
            volume_session_call(call->session, &inspection, &call->deadline, &reply, err) < 0)
                return -1;
        return judge(call, &reply, err);
}

static int work_on(struct work_call *call, struct wla_error *err) {
        bool prepare = call->command == CONTROL_VOLUME_PREPARE;
        struct volumed_request request = {
                .operation = prepare ? VOLUMED_CONVERT_IMAGE : VOLUMED_ADOPT_VOLUME,
        };
        const struct volume_call order = {.request = &request, .key = call->key, .header_fd = -1};
        struct volumed_reply reply;

        if (prepare)
                memcpy(request.key_id, call->key_id.text, strlen(call->key_id.text));
        if (volume_session_call(call->session, &order, &call->deadline, &reply, err) < 0)
                return -1;
        (void)snprintf(call->text, sizeof(call->text), "%s",
                       prepare ? "it has been converted: starts open the conversion" : reply.text);
        return 0;
}

/* On the worker: the first time without a key, the second time with it. */
static void run(struct pool_job *job) {
        struct work_call *call = (struct work_call *)job;

        call->outcome = call->key ? work_on(call, &call->err) : inspect(call, &call->err);
        if (call->outcome < 0)
                call->outcome = wla_wrap(&call->err, "volume %s", call->path);
}

static int submit(struct work_call *call, struct wla_error *err) {
        return pool_submit(call->work->pool, &call->job, err);
}

/* The session keeps what was inspected while the key is asked for. */
static void take_key(void *userdata, const struct wla_secret *key,
                     const struct wla_error *failure) {
        struct work_call *call = userdata;
        struct wla_error err = {0};

        call->ticket = NULL;
        if (failure) {
                err = *failure;
                (void)wla_wrap(&err, "volume %s: its key", call->path);
        } else if (wla_secret_copy(key, &call->key, &err) == 0 && submit(call, &err) == 0) {
                return;
        }
        fail_call(call, &err);
}

static void came_back(struct pool_job *job, bool dropped) {
        struct work_call *call = (struct work_call *)job;

        if (dropped)
                call->outcome = wla_fail(&call->err, WLA_E_TIMEOUT,
                                         "nobody waits for the volume %s any more", call->path);
        if (call->outcome < 0 || call->needless || call->key || call->cancelled) {
                finish(call);
                return;
        }

        const struct key_waiter waiter = {
                .deadline_usec = call->deadline_usec,
                .ready = take_key,
                .userdata = call,
                .anew = true,
        };
        struct key_ticket *ticket = NULL;
        /* Without a ticket the call has gone on, or ended, already. */
        key_access_begin(call->work->options.access, &call->key_id, &call->peer, &waiter, &ticket);
        if (ticket)
                call->ticket = ticket;
}

static int on_pool(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct volume_work *work = userdata;

        (void)source;
        (void)fd;
        (void)events;
        pool_dispatch(work->pool);
        return 0;
}

static int ensure_pool(struct volume_work *work, struct wla_error *err) {
        if (work->pool)
                return 0;
        if (pool_new(1, QUEUE_MAX, &work->pool, err) < 0)
                return -1;

        int outcome = sd_event_add_io(work->options.event, &work->pool_source, pool_fd(work->pool),
                                      EPOLLIN, on_pool, work);
        if (outcome < 0) {
                work->pool = pool_free(work->pool);
                return wla_fail_errno(err, -outcome, "watching the worker for volumes");
        }
        return 0;
}

/* {"path": PATH, "key": KEY ID} */
static int read_request(const struct buf *payload, struct work_call *call, struct wla_error *err) {
        struct json_value root;
        struct json_value path;
        struct json_value key;
        const struct json_field fields[] = {
                {"path", &path, JSON_STRING, false},
                {"key", &key, JSON_STRING, false},
        };
        char id[KEY_ID_TEXT_MAX + 1];

        if (payload->size > REQUEST_MAX)
                return wla_fail(err, WLA_E_INPUT, "the request is too large");
        if (json_check((const char *)payload->data, payload->size, &root, err) < 0 ||
            json_read_object(&root, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            json_string_copy(&path, call->path, sizeof(call->path), err) < 0 ||
            json_string_copy(&key, id, sizeof(id), err) < 0 ||
            key_id_parse(id, strlen(id), &call->key_id, err) < 0)
                return -1;
        if (!disk_path_valid(call->path, strlen(call->path)))
                return wla_fail(err, WLA_E_INPUT, "the path is not absolute and in shortest form");
        return 0;
}

static void begin(void *self, const struct control_request *request, control_done_fn done,
                  void *userdata, void **ret) {
        struct volume_work *work = self;
        struct work_call *call = calloc(1, sizeof(*call));
        struct wla_error err = {0};

        *ret = NULL;
        if (!call) {
                (void)wla_fail(&err, WLA_E_BUSY, "out of memory");
                done(userdata, &(struct control_result){.err = &err});
                return;
        }

        call->work = work;
        call->command = request->command;
        call->peer = request->peer;
        call->deadline_usec = request->deadline_usec;
        call->done = done;
        call->userdata = userdata;
        deadline_init(&call->deadline, request->deadline_usec);
        call->job = (struct pool_job){.run = run, .done = came_back, .deadline = &call->deadline};
        if (read_request(request->payload, call, &err) < 0 || ensure_pool(work, &err) < 0 ||
            submit(call, &err) < 0) {
                fail_call(call, &err);
                return;
        }
        *ret = call;
}

static void cancel(void *self, void *userdata) {
        struct work_call *call = userdata;
        struct wla_error err = {0};

        (void)self;
        call->cancelled = true;
        deadline_cancel(&call->deadline);
        if (!call->ticket)
                return;

        key_ticket_cancel(call->ticket);
        call->ticket = NULL;
        (void)wla_fail(&err, WLA_E_TIMEOUT, "the client has gone");
        fail_call(call, &err);
}

static uint64_t timeout_usec(void *self, uint16_t command, const struct buf *payload) {
        (void)self;
        (void)command;
        (void)payload;
        return TIMEOUT_USEC;
}

int volume_work_new(const struct volume_work_options *options, struct volume_work **ret,
                    struct wla_error *err) {
        struct volume_work *work = calloc(1, sizeof(*work));

        if (!work)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        work->options = *options;
        int length = snprintf(work->socket, sizeof(work->socket), "%s", options->volume_socket);
        if (length < 0 || (size_t)length >= sizeof(work->socket)) {
                free(work);
                return wla_fail(err, WLA_E_INPUT,
                                "the path of wlagent-volumed's socket is too long");
        }
        work->service = (struct control_service){
                .timeout_usec = timeout_usec,
                .begin = begin,
                .cancel = cancel,
                .self = work,
        };
        *ret = work;
        return 0;
}

struct volume_work *volume_work_free(struct volume_work *work) {
        if (!work)
                return NULL;

        pool_free(work->pool);
        sd_event_source_disable_unref(work->pool_source);
        free(work);
        return NULL;
}

const struct control_service *volume_work_service(const struct volume_work *work) {
        return &work->service;
}
