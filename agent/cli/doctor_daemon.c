/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "cli/control_client.h"
#include "cli/doctor.h"
#include "cli/state_directory.h"

#define ANSWER_USEC (UINT64_C(5) * 1000 * 1000)

static const char remedy_start[] = "systemctl enable --now wlagentd.socket "
                                   "wlagentd-control.socket; systemctl status wlagentd";
static const char remedy_mode[] =
        "remove it and restart wlagentd, which makes it with mode 0660 or "
        "less";
static const char remedy_owner[] = "find out who made it; then remove it and restart wlagentd";

static const char remedy_memory[] = "raise LimitMEMLOCK= of wlagentd.service to 8M";
static const char remedy_restart[] = "run 'wlagent setup' if the findings above ask for it, then "
                                     "'systemctl restart wlagentd'";

static bool trusted_owner(uid_t uid) {
        uid_t daemon_uid;
        gid_t daemon_gid;

        if (uid == 0)
                return true;
        return !state_directory_daemon_ids(&daemon_uid, &daemon_gid) || uid == daemon_uid;
}

static void check_socket(struct doctor *doctor, const char *check, const char *path) {
        struct stat facts;

        if (lstat(path, &facts) < 0) {
                doctor_report(doctor, FINDING_FAILURE, check, remedy_start, "%s: %s", path,
                              errno == ENOENT ? "does not exist" : strerrordesc_np(errno));
                return;
        }

        if (!S_ISSOCK(facts.st_mode))
                doctor_report(doctor, FINDING_FAILURE, check, remedy_owner, "%s is not a socket",
                              path);
        else if (facts.st_mode & S_IRWXO)
                doctor_report(doctor, FINDING_WARNING, check, remedy_mode,
                              "%s may be used by everyone (mode %04o)", path,
                              facts.st_mode & 07777);
        else if (!trusted_owner(facts.st_uid))
                doctor_report(doctor, FINDING_FAILURE, check, remedy_owner,
                              "%s belongs to user %u, neither to root nor to " DAEMON_USER, path,
                              facts.st_uid);
        else
                doctor_report(doctor, FINDING_OK, check, NULL, "%s has mode %04o", path,
                              facts.st_mode & 07777);
}

/* What wlagentd says of itself; members that an older one does not send are no finding. */
static void check_status(struct doctor *doctor, const struct json_value *status) {
        const struct json_value locked = json_member(status, "memory_locked");
        const struct json_value tpm = json_member(status, "tpm");
        const struct json_value problem = json_member(&tpm, "problem");
        const struct json_value loaded = json_member(&tpm, "binding_key");
        char text[512];
        char host[KEY_FINGERPRINT_SIZE];
        struct wla_error err = {0};

        if (locked.type == JSON_FALSE)
                doctor_report(doctor, FINDING_WARNING, "daemon-memory", remedy_memory,
                              "wlagentd could not lock its memory: keys may be swapped to disk");

        if (!doctor_needs_store(doctor))
                return;
        if (json_string_copy(&problem, text, sizeof(text), &err) == 0)
                doctor_report(doctor, FINDING_FAILURE, "daemon-binding-key", remedy_restart,
                              "wlagentd has no binding key: %s", text);
        else if (json_string_copy(&loaded, text, sizeof(text), &err) == 0 &&
                 invocation_host_fingerprint(doctor->invocation, host, &err) == 0 &&
                 strcmp(text, host) != 0)
                doctor_report(doctor, FINDING_FAILURE, "daemon-binding-key", remedy_restart,
                              "wlagentd uses another binding key (%.16s...) than was set up "
                              "(%.16s...)",
                              text, host);
}

static void check_answer(struct doctor *doctor) {
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
        struct json_value status;
        struct wla_error err = {0};
        const struct control_call call = {
                .socket = doctor->config->agent.control_socket,
                .command = CONTROL_STATUS,
                .timeout_usec = ANSWER_USEC,
        };

        if (control_call(&call, &reply, &err) < 0 ||
            json_check((const char *)reply.data, reply.size, &status, &err) < 0) {
                if (err.code == WLA_E_UNAVAILABLE)
                        err.hint = remedy_start;
                doctor_report_error(doctor, FINDING_FAILURE, "daemon", &err);
                return;
        }

        doctor_report(doctor, FINDING_OK, "daemon", NULL, "wlagentd answers");
        check_status(doctor, &status);
}

void doctor_check_daemon(struct doctor *doctor) {
        check_socket(doctor, "keyprovider-socket", doctor->config->keyprovider.socket);
        check_socket(doctor, "control-socket", doctor->config->agent.control_socket);
        check_answer(doctor);
}
