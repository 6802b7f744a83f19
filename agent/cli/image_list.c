/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/image_input.h"
#include "cli/image_registry.h"
#include "cli/json_writer.h"

enum { JSON };

static const struct command_option options[] = {
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

#define UUID_WIDTH  ((int)UUID_TEXT_SIZE - 1)
#define BYTES_WIDTH 17

struct entry {
        bool wls;
        bool isecl; /* then nothing but its key is known */
        struct key_id key;
        struct luks2_header header;
};

static int read_one(const struct image_registry *registry, const struct uuid *name,
                    struct entry *ret, struct wla_error *err) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);

        *ret = (struct entry){.wls = image_registry_uses_wls(registry, name)};
        if (image_registry_read(registry, name, &content, err) < 0)
                return -1;
        ret->isecl = ret->wls && content.size == 0;
        if (ret->isecl)
                return key_id_image(name, &ret->key, err);
        if (luks2_header_check(content.data, content.size, &ret->header, err) < 0)
                return -1;
        if (ret->header.kind != LUKS2_IMAGE)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the header of no image of wlagent");
        ret->key = ret->header.image.key_id;
        return 0;
}

static void print_one(const struct uuid *name, const struct entry *entry) {
        char size[24] = "in Intel's format";

        if (!entry->isecl)
                (void)snprintf(size, sizeof(size), "%" PRIu64, entry->header.image.virtual_size);
        (void)printf("%s  %*s  %s%s\n", name->text, BYTES_WIDTH, size, entry->key.text,
                     entry->wls ? "  (by WLS)" : "");
}

static size_t print_text(const struct image_registry *registry, const struct image_names *names) {
        size_t bad = 0;

        (void)printf("%-*s  %*s  %s\n", UUID_WIDTH, "IMAGE", BYTES_WIDTH, "BYTES", "KEY");
        for (size_t i = 0; i < names->count; i++) {
                struct wla_error err = {0};
                struct entry entry;

                if (read_one(registry, &names->names[i], &entry, &err) == 0) {
                        print_one(&names->names[i], &entry);
                        continue;
                }
                (void)printf("%s  %*s  %s\n", names->names[i].text, BYTES_WIDTH, "unreadable",
                             wla_error_text(&err));
                bad++;
        }
        return bad;
}

static void put_image(struct json_writer *writer, const struct entry *entry) {
        const struct luks2_header *header = &entry->header;

        json_put_text(writer, "format", entry->isecl ? "isecl" : "wlagent");
        json_put_text(writer, "key", entry->key.text);
        if (entry->isecl)
                return;
        json_put_text(writer, "header_uuid", header->uuid.text);
        json_put_text(writer, "content", image_content_name(header->image.content));
        json_put_number(writer, "size", header->image.size);
        json_put_number(writer, "virtual_size", header->image.virtual_size);
}

static int print_json(const struct image_registry *registry, const struct image_names *names,
                      size_t *ret_bad, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

        json_open_object(&writer, NULL);
        json_open_array(&writer, "images");
        for (size_t i = 0; i < names->count; i++) {
                struct wla_error reason = {0};
                struct entry entry;
                int outcome = read_one(registry, &names->names[i], &entry, &reason);

                json_open_object(&writer, NULL);
                json_put_text(&writer, "image", names->names[i].text);
                json_put_bool(&writer, "wls", entry.wls);
                if (outcome == 0) {
                        put_image(&writer, &entry);
                } else {
                        json_put_text(&writer, "error", wla_error_text(&reason));
                        ++*ret_bad;
                }
                json_close_object(&writer);
        }
        json_close_array(&writer);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static enum outcome list(const struct arguments *arguments, const struct image_registry *registry,
                         const struct image_names *names, struct wla_error *err) {
        size_t bad = 0;

        if (!arguments->option[JSON])
                bad = print_text(registry, names);
        else if (print_json(registry, names, &bad, err) < 0)
                return OUTCOME_FAILED;
        if (bad == 0)
                return OUTCOME_OK;

        (void)wla_fail_hint(err, WLA_E_INPUT,
                            "register them again with 'wlagent image register --force'",
                            "%zu of %zu headers cannot be used", bad, names->count);
        return OUTCOME_FAILED;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_image_registry_ struct image_registry registry = IMAGE_REGISTRY_CLOSED;
        const struct config *config;
        struct image_names names;

        if (invocation_config(invocation, &config, err) < 0 ||
            image_registry_open(config->agent.state_directory, false, &registry, err) < 0 ||
            image_registry_list(&registry, &names, err) < 0)
                return OUTCOME_FAILED;

        enum outcome outcome = list(arguments, &registry, &names, err);
        file_freep(&names.names);
        return outcome;
}

const struct command command_image_list = {
        .name = "list",
        .summary = "List the registered images of OpenStack",
        .operand = OPERAND_NONE,
        .options = options,
        .run = run,
};
