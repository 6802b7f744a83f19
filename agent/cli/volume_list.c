/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/volume.h"

enum { JSON };

static const struct command_option options[] = {
        [JSON] = {"json", NULL, "print the JSON object as wlagentd sends it"},
        {0},
};

#define NAME_WIDTH ((int)VOLUME_NAME_SIZE - 5)
#define SIZE_TEXT  16u

/* As in "1.5 GiB"; "-" when it is not known. */
static void write_size(const struct json_value *value, char ret[SIZE_TEXT]) {
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
        struct wla_error ignored = {0};
        uint64_t bytes = 0;
        size_t unit = 0;

        if (json_unsigned(value, UINT64_MAX >> 1, &bytes, &ignored) < 0) {
                (void)snprintf(ret, SIZE_TEXT, "-");
                return;
        }

        double shown = (double)bytes;
        for (; shown >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
                shown /= 1024;
        (void)snprintf(ret, SIZE_TEXT, unit == 0 ? "%.0f %s" : "%.1f %s", shown, units[unit]);
}

static bool is_true(const struct json_value *object, const char *name) {
        return json_member(object, name).type == JSON_TRUE;
}

static void read_name(const struct json_value *object, char ret[VOLUME_NAME_SIZE]) {
        const struct json_value name = json_member(object, "name");
        struct wla_error ignored = {0};

        if (json_string_copy(&name, ret, VOLUME_NAME_SIZE, &ignored) < 0)
                (void)snprintf(ret, VOLUME_NAME_SIZE, "?");
}

static void print_volume(const struct json_value *volume) {
        const struct json_value size = json_member(volume, "size");
        const struct json_value allocated = json_member(volume, "allocated");
        const struct json_value count = json_member(volume, "open_count");
        char name[VOLUME_NAME_SIZE];
        char size_text[SIZE_TEXT];
        char allocated_text[SIZE_TEXT];

        read_name(volume, name);
        write_size(&size, size_text);
        write_size(&allocated, allocated_text);
        (void)printf("%-*s  %-9s  %10s  %10s  %.*s\n", NAME_WIDTH, name,
                     is_true(volume, "writable") ? "writable" : "read-only", size_text,
                     allocated_text, (int)count.size, count.text);
}

static bool is_open(const struct json_value *volumes, const char *layer) {
        struct json_value volume;

        for (size_t at = 0; json_next_element(volumes, &at, &volume);) {
                char name[VOLUME_NAME_SIZE];

                read_name(&volume, name);
                if (strcmp(name, layer) == 0)
                        return true;
        }
        return false;
}

static void print_layer(const struct json_value *layer, const struct json_value *volumes) {
        const struct json_value size = json_member(layer, "size");
        const struct json_value allocated = json_member(layer, "allocated");
        bool orphan = json_member(layer, "orphan_since").type == JSON_NUMBER;
        char name[VOLUME_NAME_SIZE];
        char size_text[SIZE_TEXT];
        char allocated_text[SIZE_TEXT];

        read_name(layer, name);
        write_size(&size, size_text);
        write_size(&allocated, allocated_text);

        const char *state = orphan ? "orphan" : "closed";
        if (is_open(volumes, name))
                state = "open";
        (void)printf("%-*s  %-9s  %10s  %10s\n", NAME_WIDTH, name, state, size_text,
                     allocated_text);
}

/* As in "2026-03-01"; "-" when it is not known. */
static void write_day(const struct json_value *value, char ret[SIZE_TEXT]) {
        struct wla_error ignored = {0};
        uint64_t sec = 0;
        struct tm day;

        bool known = json_unsigned(value, UINT64_MAX >> 1, &sec, &ignored) == 0;
        time_t at = (time_t)sec;
        if (!known || !localtime_r(&at, &day) || strftime(ret, SIZE_TEXT, "%F", &day) == 0)
                (void)snprintf(ret, SIZE_TEXT, "-");
}

static void print_conversion(const struct json_value *conversion) {
        const struct json_value allocated = json_member(conversion, "allocated");
        const struct json_value layers = json_member(conversion, "layers");
        const struct json_value used = json_member(conversion, "last_used");
        char key[KEY_ID_TEXT_MAX + 1];
        const struct json_value id = json_member(conversion, "key");
        struct wla_error ignored = {0};
        char name[VOLUME_NAME_SIZE];
        char size[SIZE_TEXT];
        char day[SIZE_TEXT];

        read_name(conversion, name);
        write_size(&allocated, size);
        write_day(&used, day);
        if (json_string_copy(&id, key, sizeof(key), &ignored) < 0)
                (void)snprintf(key, sizeof(key), "?");
        (void)printf("%-*s  %-10s  %10s  %6.*s  %s\n", NAME_WIDTH, name, day, size,
                     (int)layers.size, layers.text, key);
}

static void print_text(const struct json_value *object) {
        const struct json_value volumes = json_member(object, "volumes");
        const struct json_value layers = json_member(object, "layers");
        struct json_value element;

        (void)printf("%-*s  %-9s  %10s  %10s  %s\n", NAME_WIDTH, "VOLUME", "ACCESS", "SIZE",
                     "ON DISK", "OPENED BY");
        for (size_t at = 0; json_next_element(&volumes, &at, &element);)
                print_volume(&element);

        (void)printf("\n%-*s  %-9s  %10s  %10s\n", NAME_WIDTH, "LAYER", "STATE", "SIZE", "ON DISK");
        for (size_t at = 0; json_next_element(&layers, &at, &element);)
                print_layer(&element, &volumes);

        const struct json_value conversions = json_member(object, "conversions");
        size_t begin = 0;
        if (!json_next_element(&conversions, &begin, &element))
                return;
        (void)printf("\n%-*s  %-10s  %10s  %6s  %s\n", NAME_WIDTH, "CONVERTED IMAGE", "LAST USED",
                     "ON DISK", "LAYERS", "KEY");
        for (size_t at = 0; json_next_element(&conversions, &at, &element);)
                print_conversion(&element);
}

static void print_names(const struct json_value *list) {
        struct json_value element;

        for (size_t at = 0; json_next_element(list, &at, &element);) {
                char name[VOLUME_NAME_SIZE];

                read_name(&element, name);
                (void)puts(name);
        }
}

int volume_print_names(struct invocation *invocation, bool removable, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
        struct json_value object;

        if (volume_ask(invocation, CONTROL_VOLUMES, NULL, &text, &object, err) < 0)
                return -1;

        const struct json_value list = json_member(&object, removable ? "layers" : "volumes");
        const struct json_value conversions = json_member(&object, "conversions");
        print_names(&list);
        if (removable)
                print_names(&conversions);
        return 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
        struct json_value object;

        if (volume_ask(invocation, CONTROL_VOLUMES, NULL, &text, &object, err) < 0)
                return OUTCOME_FAILED;

        if (arguments->option[JSON])
                (void)printf("%.*s\n", (int)object.size, object.text);
        else
                print_text(&object);
        return OUTCOME_OK;
}

const struct command command_volume_list = {
        .name = "list",
        .summary = "List the volumes that are open, the layers of VMs, and converted images",
        .operand = OPERAND_NONE,
        .options = options,
        .run = run,
};
