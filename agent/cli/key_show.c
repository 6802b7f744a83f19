/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/json_writer.h"
#include "source/key_store.h"

enum { JSON };

static const struct command_option options[] = {
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

static int print_json(const struct key_store *store, const struct key_file *file, bool opens_here,
                      struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        char text[KEY_ID_TEXT_MAX];

        json_open_object(&writer, NULL);
        json_put_text(&writer, "name", file->name);
        (void)snprintf(text, sizeof(text), "local:///%s", file->name);
        json_put_text(&writer, "id", text);
        json_put_text(&writer, "directory", store->directory);
        json_put_text(&writer, "algorithm", KEY_FILE_ALGORITHM);
        json_put_text(&writer, "binding_key", file->binding_key);
        json_put_text(&writer, "created", file->created);
        json_put_bool(&writer, "for_this_host", opens_here);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static void print_text(const struct key_store *store, const struct key_file *file,
                       bool opens_here) {
        (void)printf("Name:         %s\n"
                     "Id:           local:///%s\n"
                     "File:         %s/%s.json\n"
                     "Algorithm:    " KEY_FILE_ALGORITHM "\n"
                     "Created:      %s\n"
                     "Binding key:  %s\n"
                     "Opens here:   %s\n",
                     file->name, file->name, store->directory, file->name, file->created,
                     file->binding_key,
                     opens_here ? "yes" : "no, it was wrapped for another binding key");
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        char host[KEY_FINGERPRINT_SIZE];
        struct key_file file;

        if (invocation_key_store(invocation, &store, err) < 0 ||
            invocation_host_fingerprint(invocation, host, err) < 0 ||
            key_store_read(&store, arguments->operand, &file, err) < 0)
                return OUTCOME_FAILED;

        bool opens_here = strcmp(host, file.binding_key) == 0;
        if (!arguments->option[JSON]) {
                print_text(&store, &file, opens_here);
                return OUTCOME_OK;
        }

        return print_json(&store, &file, opens_here, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;
}

const struct command command_key_show = {
        .name = "show",
        .summary = "Show what is known of a key; never the key itself",
        .operand = OPERAND_KEY,
        .options = options,
        .run = run,
};
