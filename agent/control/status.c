/* SPDX-License-Identifier: Apache-2.0 */
#include "control/status.h"

#include <string.h>
#include <unistd.h>

#include "base/json.h"

static int write_text(struct buf *json, const char *name, const char *text, struct wla_error *err) {
        if (buf_printf(json, err, "\"%s\":", name) < 0)
                return -1;
        return text ? json_write_string(json, text, strlen(text), err)
                    : buf_append_text(json, "null", err);
}

static int write_agent(const struct daemon_status *status, struct buf *json,
                       struct wla_error *err) {
        if (buf_printf(json, err, "{\"version\":\"%s\",\"pid\":%d,\"uptime_seconds\":%ju,",
                       WLAGENT_VERSION, (int)getpid(),
                       (uintmax_t)(status->uptime_usec / USEC_PER_SEC)) < 0 ||
            write_text(json, "configuration", status->config_path, err) < 0)
                return -1;
        return buf_printf(json, err,
                          ",\"memory_locked\":%s,\"secure_heap\":{\"used\":%zu,\"size\":%zu}",
                          status->memory_locked ? "true" : "false", status->secure_heap_used,
                          status->secure_heap_size);
}

static int write_keyprovider(const struct daemon_status *status, struct buf *json,
                             struct wla_error *err) {
        if (buf_append_text(json, ",\"keyprovider\":{", err) < 0 ||
            write_text(json, "socket", status->keyprovider_socket, err) < 0)
                return -1;
        return buf_printf(json, err, ",\"connections\":%zu,\"allow_wrap\":%s}",
                          status->keyprovider_connections, status->allow_wrap ? "true" : "false");
}

static int write_keys(const struct daemon_status *status, struct buf *json, struct wla_error *err) {
        return buf_printf(json, err,
                          ",\"keys\":{\"cached\":%zu,\"cache_seconds\":%ju,\"opening\":%zu,"
                          "\"waiting\":%zu,\"queued\":%zu}",
                          status->keys.cached, (uintmax_t)(status->cache_usec / USEC_PER_SEC),
                          status->keys.flights, status->keys.waiting, status->queued_jobs);
}

static int write_tpm(const struct daemon_status *status, struct buf *json, struct wla_error *err) {
        const char *separator = "";

        if (buf_append_text(json, ",\"tpm\":{", err) < 0 ||
            write_text(json, "device", status->tpm_device, err) < 0 ||
            buf_printf(json, err, ",\"busy_milliseconds\":%ju,",
                       (uintmax_t)(status->tpm_busy_usec / USEC_PER_MSEC)) < 0 ||
            write_text(json, "binding_key", status->binding_key, err) < 0 ||
            buf_append_text(json, ",", err) < 0 ||
            write_text(json, "problem", status->binding_key_problem, err) < 0 ||
            buf_append_text(json, ",\"pcrs\":[", err) < 0)
                return -1;

        for (unsigned pcr = 0; pcr < 32; pcr++)
                if (status->binding_key_pcrs & UINT32_C(1) << pcr) {
                        if (buf_printf(json, err, "%s%u", separator, pcr) < 0)
                                return -1;
                        separator = ",";
                }
        return buf_append_text(json, "]}", err);
}

/* null where nothing is known, as of a moment that has not been. */
static int write_moment(struct buf *json, const char *name, uint64_t seconds,
                        struct wla_error *err) {
        if (seconds == 0)
                return buf_printf(json, err, ",\"%s\":null", name);
        return buf_printf(json, err, ",\"%s\":%ju", name, (uintmax_t)seconds);
}

static int write_requests(const struct broker_view *view, struct buf *json, struct wla_error *err) {
        const char *separator = "";

        if (buf_append_text(json, ",\"requests\":{", err) < 0)
                return -1;
        for (unsigned code = 0; code < _WLA_CODE_MAX; code++) {
                if (view->requests[code] == 0)
                        continue;
                if (buf_printf(json, err, "%s\"%s\":%ju", separator, wla_code_token(code),
                               (uintmax_t)view->requests[code]) < 0)
                        return -1;
                separator = ",";
        }
        return buf_append_text(json, "}", err);
}

static int write_broker(const struct wls_state *broker, struct buf *json, struct wla_error *err) {
        static const char *const trusted[] = {
                [BROKER_TRUST_UNKNOWN] = "null",
                [BROKER_TRUST_YES] = "true",
                [BROKER_TRUST_NO] = "false",
        };
        const struct broker_view *view = &broker->requests;

        if (buf_append_text(json, ",\"broker\":{", err) < 0 ||
            write_text(json, "server", broker->url, err) < 0 ||
            write_moment(json, "last_answer", view->answered_sec, err) < 0 ||
            buf_append_text(json, ",", err) < 0 ||
            write_text(json, "last_result",
                       view->requests[view->last] > 0 ? wla_code_token(view->last) : NULL,
                       err) < 0 ||
            write_requests(view, json, err) < 0 ||
            write_moment(json, "token_until", broker->token_until_sec, err) < 0 ||
            buf_printf(json, err, ",\"host_trusted\":%s", trusted[view->trust]) < 0 ||
            write_moment(json, "host_judged", view->judged_sec, err) < 0)
                return -1;
        return buf_append_text(json, "}", err);
}

static int write_vms(const struct daemon_status *status, struct buf *json, struct wla_error *err) {
        return buf_printf(json, err, ",\"trust_reports\":%s,\"vms\":%s}", status->reports,
                          status->vms);
}

int daemon_status_write(const struct daemon_status *status, struct buf *json,
                        struct wla_error *err) {
        if (write_agent(status, json, err) < 0 || write_keyprovider(status, json, err) < 0 ||
            write_keys(status, json, err) < 0 || write_tpm(status, json, err) < 0 ||
            (status->broker && write_broker(status->broker, json, err) < 0) ||
            write_vms(status, json, err) < 0)
                return wla_wrap(err, "writing the status");
        return 0;
}
