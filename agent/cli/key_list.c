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

#define CREATED_WIDTH ((int)KEY_FILE_CREATED_SIZE - 1)

struct listing {
        struct key_store store;
        struct key_names names;
        char host[KEY_FINGERPRINT_SIZE];
};

static void listing_done(struct listing *listing) {
        key_store_close(&listing->store);
        key_names_clear(&listing->names);
}

#define _cleanup_listing_ __attribute__((cleanup(listing_done)))

static bool for_this_host(const struct listing *listing, const struct key_file *file) {
        return strcmp(listing->host, file->binding_key) == 0;
}

/* A file that cannot be read is listed with the reason, and counted. */
static size_t print_text(const struct listing *listing) {
        size_t bad = 0;
        int width = (int)strlen("NAME");

        for (size_t i = 0; i < listing->names.count; i++)
                if ((int)strlen(listing->names.names[i]) > width)
                        width = (int)strlen(listing->names.names[i]);

        (void)printf("%-*s  %-*s  %s\n", width, "NAME", CREATED_WIDTH, "CREATED", "OPENS HERE");
        for (size_t i = 0; i < listing->names.count; i++) {
                struct wla_error err = {0};
                struct key_file file;

                if (key_store_read(&listing->store, listing->names.names[i], &file, &err) == 0) {
                        (void)printf("%-*s  %s  %s\n", width, file.name, file.created,
                                     for_this_host(listing, &file) ? "yes" : "no");
                        continue;
                }
                (void)printf("%-*s  %-*s  %s\n", width, listing->names.names[i], CREATED_WIDTH,
                             "unreadable", wla_error_text(&err));
                bad++;
        }
        return bad;
}

static void put_key(struct json_writer *writer, const struct listing *listing,
                    const struct key_file *file) {
        json_put_text(writer, "name", file->name);
        json_put_text(writer, "algorithm", KEY_FILE_ALGORITHM);
        json_put_text(writer, "binding_key", file->binding_key);
        json_put_text(writer, "created", file->created);
        json_put_bool(writer, "for_this_host", for_this_host(listing, file));
}

static int print_json(const struct listing *listing, size_t *ret_bad, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        size_t bad = 0;

        json_open_object(&writer, NULL);
        json_open_array(&writer, "keys");
        for (size_t i = 0; i < listing->names.count; i++) {
                struct wla_error reason = {0};
                struct key_file file;

                json_open_object(&writer, NULL);
                if (key_store_read(&listing->store, listing->names.names[i], &file, &reason) == 0)
                        put_key(&writer, listing, &file);
                else {
                        json_put_text(&writer, "name", listing->names.names[i]);
                        json_put_text(&writer, "error", wla_error_text(&reason));
                        bad++;
                }
                json_close_object(&writer);
        }
        json_close_array(&writer);
        json_close_object(&writer);

        *ret_bad = bad;
        return json_writer_print(&writer, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_listing_ struct listing listing = {.store = KEY_STORE_CLOSED};
        size_t bad = 0;

        if (invocation_key_store(invocation, &listing.store, err) < 0 ||
            invocation_host_fingerprint(invocation, listing.host, err) < 0 ||
            key_store_list(&listing.store, &listing.names, err) < 0)
                return OUTCOME_FAILED;

        if (!arguments->option[JSON])
                bad = print_text(&listing);
        else if (print_json(&listing, &bad, err) < 0)
                return OUTCOME_FAILED;

        if (bad == 0)
                return OUTCOME_OK;

        (void)wla_fail_hint(err, WLA_E_INPUT, "'wlagent doctor' has the remedy for each",
                            "%zu of %zu key files cannot be used", bad, listing.names.count);
        return OUTCOME_FAILED;
}

const struct command command_key_list = {
        .name = "list",
        .summary = "List the keys in the store, and whether this host opens them",
        .operand = OPERAND_NONE,
        .options = options,
        .run = run,
};
