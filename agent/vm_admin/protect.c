/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/libvirt_hook.h"
#include "cli/path_option.h"
#include "cli/vm.h"
#include "vm_admin/domain_change.h"
#include "vm_admin/domain_edit.h"
#include "vm_admin/libvirt_secret.h"
#include "vm_admin/protected_image.h"
#include "vm_admin/volumed_word.h"

static const char hint_path[] = "write it without empty, \".\" and \"..\" components";

static int take_path(const char *option, const char *path, char ret[VOLUMED_PATH_SIZE],
                     struct wla_error *err) {
        _cleanup_buf_ struct buf whole = BUF_WITH_LIMIT(2 * VOLUMED_PATH_SIZE);
        const char *text;

        if (path_option_take(path, &whole, &text, err) < 0)
                return wla_wrap(err, "option --%s", option);
        if (!disk_path_valid(text, strlen(text)))
                return wla_fail_hint(err, WLA_E_INPUT, hint_path, "option --%s is no such path",
                                     option);

        memcpy(ret, text, strlen(text) + 1);
        return 0;
}

static int take_key(const char *text, struct protected_disk *disk, struct wla_error *err) {
        if (key_id_parse(text, strlen(text), &disk->key_id, err) < 0)
                return wla_wrap(err, "option --key");
        disk->has_key_id = true;
        return 0;
}

/* The disk is libvirt's own. */
static int take_secret_options(const struct arguments *arguments, struct wla_error *err) {
        if (arguments->option[VM_PROTECT_IMAGE] || arguments->option[VM_PROTECT_MODE] ||
            arguments->option[VM_PROTECT_HEADER])
                return wla_fail(err, WLA_E_INPUT,
                                "option --secret goes with --key alone: the disk has no image of "
                                "wlagent");
        if (!arguments->option[VM_PROTECT_KEY])
                return wla_fail(err, WLA_E_INPUT,
                                "option --key is missing: which key does the secret get?");
        return 0;
}

static int take_options(const struct arguments *arguments, struct protected_disk *disk,
                        struct wla_error *err) {
        const char *target = arguments->option[VM_PROTECT_DISK];
        const char *image = arguments->option[VM_PROTECT_IMAGE];
        bool secret = arguments->option[VM_PROTECT_SECRET] != NULL;
        const char *mode = arguments->option[VM_PROTECT_MODE];
        const char *header = arguments->option[VM_PROTECT_HEADER];
        const char *key = arguments->option[VM_PROTECT_KEY];

        if (!target)
                return wla_fail(err, WLA_E_INPUT, "option --disk is missing: which disk?");
        if (secret && take_secret_options(arguments, err) < 0)
                return -1;
        if (!secret && !image)
                return wla_fail(err, WLA_E_INPUT, "option --image is missing: which image?");
        if (!disk_target_valid(target, strlen(target)))
                return wla_fail(err, WLA_E_INPUT, "'%.32s' is not the target of a disk", target);
        (void)snprintf(disk->target, sizeof(disk->target), "%s", target);

        if (mode && disk_mode_parse(mode, &disk->mode, err) < 0)
                return wla_wrap(err, "option --mode");
        if ((image && take_path("image", image, disk->image, err) < 0) ||
            (header && take_path("header", header, disk->header, err) < 0) ||
            (key && take_key(key, disk, err) < 0))
                return -1;
        return 0;
}

static void name_device(const struct domain_change *change, const struct protected_disk *disk,
                        char ret[VOLUME_NAME_SIZE]) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = change->definition.uuid};

        memcpy(name.target, disk->target, sizeof(name.target));
        volume_name_write(&name, ret);
}

static void print_secret(const struct domain_change *change, const struct protected_disk *disk) {
        (void)printf("Disk %s of domain %s %s protected, by libvirt's secret %s.\n", disk->target,
                     change->name, change->changed ? "is" : "was already", disk->secret.text);
        (void)printf("wlagentd gives it the key %s at each start, and takes it away again.\n",
                     disk->key_id.text);
        domain_change_print_notes(change);
}

static void print_text(const struct domain_change *change, const struct protected_disk *disk) {
        static const char *const meanings[] = {
                [DISK_LAYER] = "with a layer of its own over",
                [DISK_DIRECT] = "writing to",
                [DISK_EPHEMERAL] = "until it stops, over",
        };
        char device[VOLUME_NAME_SIZE];

        if (disk->mode == DISK_SECRET) {
                print_secret(change, disk);
                return;
        }
        name_device(change, disk, device);
        (void)printf("Disk %s of domain %s %s protected, %s %s.\n", disk->target, change->name,
                     change->changed ? "is" : "was already", meanings[disk->mode], disk->image);
        (void)printf("It is " VOLUME_DEVICE_ROOT "%s, which wlagentd opens at each start.\n",
                     device);
        domain_change_print_notes(change);
}

static int print_json(const struct domain_change *change, const struct protected_disk *disk,
                      struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        char device[sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE] = VOLUME_DEVICE_ROOT;

        name_device(change, disk, device + strlen(VOLUME_DEVICE_ROOT));
        json_open_object(&writer, NULL);
        json_put_text(&writer, "disk", disk->target);
        json_put_text(&writer, "mode", disk_mode_name(disk->mode));
        if (disk->mode == DISK_SECRET) {
                json_put_text(&writer, "secret", disk->secret.text);
                json_put_text(&writer, "key", disk->key_id.text);
        } else {
                json_put_text(&writer, "image", disk->image);
                json_put_text(&writer, "device", device);
        }
        if (domain_change_put(change, &writer, err) < 0)
                return -1;
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static int tell(const struct domain_change *change, const struct protected_disk *disk, bool json,
                struct wla_error *err) {
        _cleanup_buf_ struct buf xml = BUF_WITH_LIMIT(DOMAIN_CHANGE_XML_MAX);

        if (json)
                return print_json(change, disk, err);
        if (!change->dry_run) {
                print_text(change, disk);
                return 0;
        }
        if (domain_change_print(change, &xml, err) < 0)
                return -1;
        (void)printf("%.*s\n", (int)xml.size, (const char *)xml.data);
        return 0;
}

static bool is_of_the_service(const struct domain_change *change) {
        return !change->uri || strcmp(change->uri, CONNECTION_DEFAULT_URI) == 0;
}

/* By a URI that leads nowhere else: what another host runs, or by way of a socket, is not to be seen here. */
static bool is_of_this_host(const struct domain_change *change) {
        return is_of_the_service(change) || strcmp(change->uri, "qemu:///session") == 0;
}

/* Without the hook libvirt fails for want of the disk, and says no more than that. */
static void warn_of_hook(const struct domain_change *change, const struct config *config) {
        struct libvirt_hook_fault fault;
        struct libvirt_host host;

        /* Who is not root may not see it, and a session is no service of the host. */
        if (geteuid() != 0 || !is_of_the_service(change))
                return;
        libvirt_host_read("", config->agent.state_directory, &host);
        enum libvirt_hook outcome = libvirt_hook_check(&host, &fault);
        if (outcome != LIBVIRT_HOOK_RUNS)
                (void)fprintf(stderr,
                              "wlagent: libvirt %s wlagent's hook, and %s not start domain %.80s: "
                              "%s\nhint: %s\n",
                              outcome == LIBVIRT_HOOK_FAILS ? "does not run" : "may not run",
                              outcome == LIBVIRT_HOOK_FAILS ? "does" : "then does", change->name,
                              fault.text, fault.remedy);
}

static void warn_of_volumed(const struct domain_change *change, const struct config *config,
                            const struct protected_disk *disk) {
        struct wla_error err = {0};

        if (disk->mode == DISK_SECRET || volumed_word_of(config, disk, &err) == 0)
                return;
        (void)fprintf(stderr,
                      "wlagent: wlagent-volumed, as it runs, does not open the image, and domain "
                      "%.80s does not start: %s\n",
                      change->name, wla_error_text(&err));
        if (err.hint)
                (void)fprintf(stderr, "hint: %s\n", err.hint);
}

static int edit(struct domain_change *change, struct protected_disk *disk, bool secret,
                struct wla_error *err) {
        if (!secret) {
                disk->keeps_places = connection_keeps_places(change->connection);
                return domain_edit_protect(&change->definition, disk, err);
        }
        if (domain_edit_give_secret(&change->definition, disk, err) < 0)
                return -1;
        return libvirt_secret_check(change->connection, &disk->secret, err);
}

enum outcome vm_protect(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        bool dry_run = arguments->option[VM_PROTECT_DRY_RUN] != NULL;
        _cleanup_domain_change_ struct domain_change change = DOMAIN_CHANGE(
                arguments->option[VM_PROTECT_CONNECT], dry_run);
        bool secret = arguments->option[VM_PROTECT_SECRET] != NULL;
        struct protected_disk disk = {.mode = DISK_LAYER};
        const struct config *config;

        if (take_options(arguments, &disk, err) < 0)
                return OUTCOME_USAGE;

        /* A definition may hold passwords. */
        if (invocation_config(invocation, &config, err) < 0 || invocation_forbid_dumps(err) < 0 ||
            (!secret && protected_image_check(&config->volumes.image_roots, &disk, err) < 0))
                return OUTCOME_FAILED;

        if (domain_change_begin(&change, arguments->operand, err) < 0)
                return OUTCOME_FAILED;
        if (edit(&change, &disk, secret, err) < 0) {
                (void)wla_wrap(err, "domain %.80s", change.name);
                return OUTCOME_FAILED;
        }
        if (domain_change_finish(&change, err) < 0 ||
            tell(&change, &disk, arguments->option[VM_PROTECT_JSON] != NULL, err) < 0)
                return OUTCOME_FAILED;
        if (is_of_this_host(&change)) {
                warn_of_hook(&change, config);
                warn_of_volumed(&change, config, &disk);
        }
        return OUTCOME_OK;
}
