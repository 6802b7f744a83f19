/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/migrate.h"

/* What of Intel's agent would run beside this one: its unit, its hook, its command; and who asks it for keys. */

#define HOOK_MAX     (1024u * 1024u)
#define OCICRYPT_MAX 65536u
#define SOCKET       "unix:///var/run/workload-agent/wlagent.sock"
#define OUR_SOCKET   "unix:///run/workload-agent/wlagent.sock"

#define UNIT_LINK   "/etc/systemd/system/wlagent.service"
#define WANTED_LINK "/etc/systemd/system/multi-user.target.wants/wlagent.service"

/* A link to a file of Intel's agent; what else stands there is somebody's. */
static int look_link(struct migrate *migrate, const char *path, const char *const *targets,
                     const char *why, struct wla_error *err) {
        struct wla_error cause = {0};
        char target[PATH_MAX];

        if (host_root_link(&migrate->root, path, target, &cause) < 0) {
                if (cause.code == WLA_E_NOT_FOUND)
                        return 0;
                return migrate_plan_note(
                        &migrate->plan, err, MIGRATE_BY_HAND, path,
                        "%s, so it is left alone: it is wlagent's own, or must not "
                        "stand in front of it",
                        wla_error_text(&cause));
        }
        for (size_t i = 0; targets[i]; i++)
                if (strcmp(target, targets[i]) == 0)
                        return migrate_plan_remove(&migrate->plan, path, why, err);
        return migrate_plan_note(&migrate->plan, err, MIGRATE_KEPT, path,
                                 "it leads to something that is not Intel's agent");
}

static int look_unit(struct migrate *migrate, struct wla_error *err) {
        static const char *const targets[] = {INTEL_UNIT, UNIT_LINK, "../wlagent.service", NULL};

        if (look_link(migrate, WANTED_LINK, targets, "Intel's agent starts with the host by it",
                      err) < 0)
                return -1;
        return look_link(migrate, UNIT_LINK, targets,
                         "systemd knows Intel's agent by it; the running service is stopped", err);
}

static int look_command(struct migrate *migrate, struct wla_error *err) {
        static const char *const targets[] = {INTEL_PROGRAM, NULL};

        return look_link(migrate, INTEL_COMMAND, targets,
                         "it stands before wlagent in PATH; the Trust Agent has to find wlagent "
                         "there",
                         err);
}

/* Intel's own, in a place that is not the one it is installed in. */
static int note_linked_hook(struct migrate *migrate, const char *target, struct wla_error *err) {
        return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, INTEL_HOOK,
                                 "it leads to Intel's hook, %s, which refuses every start of a VM "
                                 "once its agent is stopped: remove the link",
                                 target);
}

static int judge_hook(struct migrate *migrate, struct buf *text, struct wla_error *err) {
        struct wla_error ignored = {0};
        char target[PATH_MAX];
        bool calls = false;

        const char *script = buf_text(text, err);
        if (!script)
                return -1;
        if (strlen(script) != text->size)
                calls = memmem(script, text->size, "wlagent", strlen("wlagent"));
        else if (migrate_is_intel_hook(script, &calls))
                return host_root_link(&migrate->root, INTEL_HOOK, target, &ignored) == 0
                               ? note_linked_hook(migrate, target, err)
                               : migrate_plan_remove(&migrate->plan, INTEL_HOOK,
                                                     "Intel's hook; it refuses every start of a VM "
                                                     "once its agent is stopped",
                                                     err);
        if (calls)
                return migrate_plan_note(
                        &migrate->plan, err, MIGRATE_BY_HAND, INTEL_HOOK,
                        "it runs Intel's agent and has lines of the site as well, so "
                        "it is left alone: take those of 'wlagent' out, or it "
                        "refuses every start of a VM");
        return migrate_plan_note(&migrate->plan, err, MIGRATE_KEPT, INTEL_HOOK,
                                 "the site's own hook; libvirt runs it as well as wlagent's");
}

/* libvirt follows a link as well.  One that cannot be read may call Intel's agent, and refuse all VMs. */
static int look_hook(struct migrate *migrate, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(HOOK_MAX);
        struct wla_error why = {0};
        struct stat facts;

        if (host_root_stat(&migrate->root, INTEL_HOOK, &facts, &why) < 0 &&
            why.code == WLA_E_NOT_FOUND)
                return 0;
        if (host_root_read_followed(&migrate->root, INTEL_HOOK, &text, &why) < 0)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, INTEL_HOOK,
                                         "whether it runs Intel's agent, and then refuses every "
                                         "start of a VM, cannot be told: %s; put it right, or "
                                         "remove it",
                                         wla_error_text(&why));
        return judge_hook(migrate, &text, err);
}

/* Whether a provider of it leads to the socket that both agents have. */
static bool leads_here(const struct buf *text) {
        struct wla_error ignored = {0};
        struct json_value object;
        struct json_value name;
        struct json_value provider;
        size_t at = 0;
        char address[256];

        if (json_check((const char *)text->data, text->size, &object, &ignored) < 0)
                return false;
        const struct json_value list = json_member(&object, "key-providers");
        while (json_next_member(&list, &at, &name, &provider)) {
                const struct json_value grpc = json_member(&provider, "grpc");

                if (json_string_copy(&grpc, address, sizeof(address), &ignored) == 0 &&
                    (strcmp(address, SOCKET) == 0 || strcmp(address, OUR_SOCKET) == 0))
                        return true;
        }
        return false;
}

static int look_ocicrypt(struct migrate *migrate, struct wla_error *err) {
        static const char *const paths[] = {
                "/etc/ocicrypt-wlagent.json",
                "/etc/ocicrypt-wpm.json",
                "/etc/crio/keyprovider.json",
                "/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf",
        };

        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
                _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(OCICRYPT_MAX);
                struct wla_error ignored = {0};

                if (host_root_read(&migrate->root, paths[i], &text, &ignored) == 0 &&
                    leads_here(&text) &&
                    migrate_plan_note(&migrate->plan, err, MIGRATE_KEPT, paths[i],
                                      "container engines ask on the socket that wlagentd has, "
                                      "by the name of their provider as before") < 0)
                        return -1;
        }
        return 0;
}

/* The Trust Agent looks for wlagent once, when it starts. */
static int note_trust_agent(struct migrate *migrate, struct wla_error *err) {
        if (migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, "tagent",
                              "restart the Trust Agent afterwards: it looks only then whether a "
                              "command wlagent is there, and HVS asks for the binding key's "
                              "certificate by that") < 0)
                return -1;
        if (!host_root_exists(&migrate->root, INTEL_PROGRAMS))
                return 0;
        return migrate_plan_note(
                &migrate->plan, err, MIGRATE_BY_HAND, INTEL_PROGRAMS,
                "it stays, as the Trust Agent measures it by default: before you "
                "remove it, make the SOFTWARE flavors of HVS that name it anew, or "
                "the host becomes untrusted");
}

/* Files that the installer of Intel's agent reads secrets from, and that are often forgotten. */
static int note_answer_files(struct migrate *migrate, struct wla_error *err) {
        static const char *const paths[] = {"/root/workload-agent.env", "/root/trustagent.env"};

        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
                if (host_root_exists(&migrate->root, paths[i]) &&
                    migrate_plan_note(
                            &migrate->plan, err, MIGRATE_BY_HAND, paths[i],
                            "it holds passwords and tokens in clear; remove it when it is "
                            "not needed any more") < 0)
                        return -1;
        return 0;
}

int migrate_look_services(struct migrate *migrate, struct wla_error *err) {
        if (look_unit(migrate, err) < 0 || look_hook(migrate, err) < 0 ||
            look_command(migrate, err) < 0 || look_ocicrypt(migrate, err) < 0 ||
            note_trust_agent(migrate, err) < 0)
                return -1;
        return note_answer_files(migrate, err);
}
