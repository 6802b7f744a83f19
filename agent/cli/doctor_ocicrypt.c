/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/doctor.h"

/* ocicrypt's configuration of keyproviders (docs/keyprovider.md of github.com/containers/ocicrypt).
 * Its readers go on without keyproviders, mostly silently, when something is wrong with it. */

#define CONFIG_VARIABLE "OCICRYPT_KEYPROVIDER_CONFIG"
#define CONFIG_SIZE_MAX 65536u
#define ADDRESS_MAX     256u
#define NAMES_MAX       256u

static const char check_name[] = "ocicrypt-config";
static const char remedy_install[] =
        "set " CONFIG_VARIABLE "=/etc/workload-agent/ocicrypt.json in the environment of CRI-O, "
        "podman and skopeo; containerd reads "
        "/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf";
static const char remedy_example[] = "see /etc/workload-agent/ocicrypt.json for how it should look";
static const char remedy_unix[] = "write \"grpc\": \"unix:///PATH\", with three slashes";
static const char remedy_cmd[] = "remove \"cmd\" or \"grpc\"; ocicrypt uses \"cmd\" when both are "
                                 "there";

static const char *const default_paths[] = {
        "/etc/workload-agent/ocicrypt.json",
        "/etc/crio/keyprovider.json",
        "/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf",
};

struct providers {
        struct doctor *doctor;
        const char *path;
        char ours[NAMES_MAX]; /* names of those that lead here, for people */
};

static void add_name(struct providers *providers, const char *name) {
        size_t length = strlen(providers->ours);

        (void)snprintf(providers->ours + length, sizeof(providers->ours) - length, "%s%s",
                       length > 0 ? ", " : "", name);
}

/* The path of "unix:///PATH" and of "unix:/PATH"; NULL for other addresses. */
static const char *socket_path(const char *address) {
        if (strncmp(address, "unix:", 5) != 0)
                return NULL;
        address += 5;
        if (strncmp(address, "///", 3) == 0)
                address += 2;
        return address[0] == '/' ? address : NULL;
}

/* Also over a link, as /var/run is one to /run: Intel SecL's documents write that. */
static bool is_same(const char *path, const char *socket) {
        const char *name = strrchr(path, '/');
        const char *socket_name = strrchr(socket, '/');
        _cleanup_free_ char *directory = strndup(path, (size_t)(name - path) + 1);
        _cleanup_free_ char *socket_directory = strndup(socket, (size_t)(socket_name - socket) + 1);
        _cleanup_free_ char *real = directory ? realpath(directory, NULL) : NULL;
        _cleanup_free_ char *socket_real = socket_directory ? realpath(socket_directory, NULL)
                                                            : NULL;

        if (strcmp(path, socket) == 0)
                return true;
        return real && socket_real && strcmp(name, socket_name) == 0 &&
               strcmp(real, socket_real) == 0;
}

static void check_grpc(struct providers *providers, const char *name, const char *address) {
        const char *path = socket_path(address);

        if (address[0] == '/')
                doctor_report(providers->doctor, FINDING_FAILURE, check_name, remedy_unix,
                              "%s: provider %s has a bare path as address", providers->path, name);
        else if (path && is_same(path, providers->doctor->config->keyprovider.socket))
                add_name(providers, name);
}

static void check_cmd(struct providers *providers, const char *name, const struct json_value *cmd) {
        const struct json_value value = json_member(cmd, "path");
        struct wla_error ignored = {0};
        char path[ADDRESS_MAX];

        if (json_string_copy(&value, path, sizeof(path), &ignored) < 0) {
                doctor_report(providers->doctor, FINDING_FAILURE, check_name, remedy_example,
                              "%s: the \"cmd\" of provider %s has no \"path\"", providers->path,
                              name);
                return;
        }

        const char *slash = strrchr(path, '/');
        if (strcmp(slash ? slash + 1 : path, "wlagent") != 0)
                return;

        if (access(path, X_OK) == 0)
                add_name(providers, name);
        else
                doctor_report(providers->doctor, FINDING_FAILURE, check_name, remedy_example,
                              "%s: provider %s runs %s, which is not there", providers->path, name,
                              path);
}

static void check_provider(struct providers *providers, const struct json_value *quoted,
                           const struct json_value *provider) {
        const struct json_value grpc = json_member(provider, "grpc");
        const struct json_value cmd = json_member(provider, "cmd");
        struct wla_error ignored = {0};
        char address[ADDRESS_MAX];
        char name[64];

        if (json_string_copy(quoted, name, sizeof(name), &ignored) < 0)
                return;

        bool has_grpc = json_string_copy(&grpc, address, sizeof(address), &ignored) == 0;
        if (!has_grpc && cmd.type != JSON_OBJECT)
                doctor_report(providers->doctor, FINDING_FAILURE, check_name, remedy_example,
                              "%s: provider %s has neither \"grpc\" nor \"cmd\"", providers->path,
                              name);
        if (has_grpc && cmd.type == JSON_OBJECT)
                doctor_report(providers->doctor, FINDING_WARNING, check_name, remedy_cmd,
                              "%s: \"cmd\" of provider %s shadows its \"grpc\"", providers->path,
                              name);

        if (cmd.type == JSON_OBJECT)
                check_cmd(providers, name, &cmd);
        else if (has_grpc)
                check_grpc(providers, name, address);
}

static void check_text(struct doctor *doctor, const char *path, const struct buf *text) {
        struct providers providers = {.doctor = doctor, .path = path};
        struct wla_error err = {0};
        struct json_value object;
        struct json_value name;
        struct json_value value;
        size_t at = 0;

        if (json_check((const char *)text->data, text->size, &object, &err) < 0) {
                doctor_report(doctor, FINDING_FAILURE, check_name, remedy_example, "%s: %s", path,
                              wla_error_text(&err));
                return;
        }

        const struct json_value list = json_member(&object, "key-providers");
        if (list.type != JSON_OBJECT) {
                doctor_report(doctor, FINDING_FAILURE, check_name, remedy_example,
                              "%s: there is no object \"key-providers\"", path);
                return;
        }

        while (json_next_member(&list, &at, &name, &value))
                check_provider(&providers, &name, &value);

        if (providers.ours[0] != '\0')
                doctor_report(doctor, FINDING_OK, check_name, NULL,
                              "%s: these providers lead to this agent: %s", path, providers.ours);
        else
                doctor_report(doctor, FINDING_FAILURE, check_name, remedy_example,
                              "%s: no provider in it leads to unix://%s", path,
                              doctor->config->keyprovider.socket);
}

/* Links are common here, so it is read by what they lead to. */
static bool check_file(struct doctor *doctor, const char *path, bool required) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(CONFIG_SIZE_MAX);
        _cleanup_free_ char *real = realpath(path, NULL);
        struct wla_error err = {0};

        if (!real && !required)
                return false;

        if (!real)
                doctor_report(doctor, FINDING_FAILURE, check_name, remedy_install,
                              CONFIG_VARIABLE " names %s, which does not exist", path);
        else if (file_read(AT_FDCWD, real, &text, &err) < 0)
                doctor_report_error(doctor, FINDING_FAILURE, check_name, &err);
        else
                check_text(doctor, path, &text);
        return true;
}

void doctor_check_ocicrypt(struct doctor *doctor) {
        const char *named = getenv(CONFIG_VARIABLE);
        bool any = false;

        if (named && named[0] != '\0') {
                (void)check_file(doctor, named, true);
                return;
        }

        for (size_t i = 0; i < sizeof(default_paths) / sizeof(default_paths[0]); i++)
                any |= check_file(doctor, default_paths[i], false);

        if (!any)
                doctor_report(
                        doctor, FINDING_WARNING, check_name, remedy_install,
                        "no ocicrypt configuration was found: image tools do not know of this "
                        "agent");
}
