/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/nova.h"

#include <string.h>

#include "base/file.h"
#include "vm/registry.h"
#include "volume/nova_path.h"

static const char hint_files[] = "images of Nova are opened with images_type=qcow2 and "
                                 "use_cow_images=true only; wlagent-nova(7) tells more";
static const char hint_register[] = "run 'wlagent image register' on this host";

static int add_line(struct domain *domain, bool wls, struct wla_error *err) {
        struct nova_instance *nova = &domain->nova;
        struct uuid instance;

        if (nova->disk[0] == '\0')
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_files,
                                     "its root disk is not a file of this instance");
        if (domain->disk_count == DOMAIN_DISKS_MAX)
                return wla_fail(err, WLA_E_INPUT, "more than %u protected disks", DOMAIN_DISKS_MAX);

        for (size_t i = 0; i < domain->disk_count; i++)
                if (strcmp(domain->disks[i].target, nova->target) == 0)
                        return wla_fail(err, WLA_E_INPUT, "disk %s is there twice", nova->target);

        struct protected_disk *line = &domain->disks[domain->disk_count];
        *line = (struct protected_disk){.mode = DISK_NOVA, .nova_image = nova->image};
        memcpy(line->target, nova->target, sizeof(line->target));
        if (nova_base_path(nova->disk, &nova->image, line->image, &instance, err) < 0 ||
            (wls && key_id_image(&nova->image, &line->key_id, err) < 0))
                return -1;
        line->has_key_id = wls;
        domain->disk_count++;
        return 0;
}

int nova_protect(const char *state_directory, struct domain *domain, int *ret_header_fd,
                 struct wla_error *err) {
        const struct nova_instance *nova = &domain->nova;
        struct registered_image image = {.header_fd = -1};

        if (nova->image.text[0] != '\0' &&
            registry_open(state_directory, &nova->image, &image, err) < 0)
                return -1;
        if (!image.found && nova->image_below)
                return wla_fail_hint(err, WLA_E_INPUT, hint_register,
                                     "an image of wlagent is below the instance's disk, but the "
                                     "instance's image is not registered");
        if (image.found && add_line(domain, image.wls, err) < 0) {
                file_closep(&image.header_fd);
                return wla_wrap(err, "image %s is encrypted", nova->image.text);
        }
        *ret_header_fd = image.header_fd;
        return 0;
}

int nova_point(const struct nova_target *target, const struct launch_place *place,
               struct wla_error *err) {
        const struct volume_name name = {.kind = VOLUME_IMAGE, .uuid = target->header};
        struct volumed_request request = {
                .operation = VOLUMED_REBASE,
                .nova.to_mapping = target->to_mapping,
                .nova.content = (uint8_t)target->content,
                .nova.virtual_size = target->virtual_size,
        };
        const struct volume_call call = {.request = &request, .header_fd = -1};
        struct volume_session *session = NULL;
        struct volumed_reply reply;

        volume_name_write(&name, request.name);
        memcpy(request.nova.image, target->image.text, sizeof(request.nova.image));
        if (nova_disk_path(target->base, place->vm, request.path, err) < 0 ||
            volume_session_open(place->socket, place->deadline, &session, err) < 0)
                return -1;
        int outcome = volume_session_call(session, &call, place->deadline, &reply, err);
        volume_session_free(session);
        return outcome;
}
