/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>

#include "base/json_walk.h"

/* Of a text that has been walked once. */
static struct json_value read_value(struct json_walk *walk) {
        json_skip_space(walk);
        size_t start = walk->at;
        json_skip_checked(walk);
        return (struct json_value){
                .type = json_type_of((unsigned char)walk->text[start]),
                .text = walk->text + start,
                .size = walk->at - start,
        };
}

/* Iterators start at 0, stand behind the comma between elements, and skip the opening bracket. */
static bool next_in(const struct json_value *container, enum json_type type, size_t *at,
                    struct json_walk *ret) {
        if (container->type != type)
                return false;

        struct json_walk walk = {.text = container->text, .size = container->size - 1, .at = *at};
        walk.at += walk.at == 0;
        json_skip_space(&walk);
        if (walk.at >= walk.size)
                return false;
        *ret = walk;
        return true;
}

static void step_over_comma(struct json_walk *walk, size_t *at) {
        json_skip_space(walk);
        if (json_peek(walk) == ',')
                walk->at++;
        *at = walk->at;
}

bool json_next_element(const struct json_value *array, size_t *at, struct json_value *ret) {
        struct json_walk walk;

        if (!next_in(array, JSON_ARRAY, at, &walk))
                return false;
        *ret = read_value(&walk);
        step_over_comma(&walk, at);
        return true;
}

bool json_next_member(const struct json_value *object, size_t *at, struct json_value *ret_name,
                      struct json_value *ret) {
        struct json_walk walk;

        if (!next_in(object, JSON_OBJECT, at, &walk))
                return false;
        *ret_name = read_value(&walk);
        json_skip_space(&walk);
        walk.at++;
        *ret = read_value(&walk);
        step_over_comma(&walk, at);
        return true;
}

static bool names_equal(const struct json_value *a, const struct json_value *b) {
        struct json_walk left = json_string_body(a);
        struct json_walk right = json_string_body(b);
        char left_bytes[4];
        char right_bytes[4];
        size_t left_size = 0;
        size_t right_size = 0;
        size_t left_at = 0;
        size_t right_at = 0;

        for (;;) {
                if (left_at == left_size) {
                        left_size = left.at < left.size ? json_next_decoded(&left, left_bytes) : 0;
                        left_at = 0;
                }
                if (right_at == right_size) {
                        right_size = right.at < right.size ? json_next_decoded(&right, right_bytes)
                                                           : 0;
                        right_at = 0;
                }
                if (left_size == 0 || right_size == 0)
                        return left_size == right_size;
                if (left_bytes[left_at++] != right_bytes[right_at++])
                        return false;
        }
}

static bool name_is(const struct json_value *name, const char *wanted, bool fold_case) {
        struct json_walk walk = json_string_body(name);

        while (walk.at < walk.size) {
                char bytes[4];
                size_t size = json_next_decoded(&walk, bytes);

                for (size_t i = 0; i < size; i++, wanted++) {
                        int here = (unsigned char)bytes[i];
                        int there = (unsigned char)*wanted;

                        if (fold_case && here < 0x80 && there < 0x80) {
                                here = tolower(here);
                                there = tolower(there);
                        }
                        if (there == 0 || here != there)
                                return false;
                }
        }
        return *wanted == '\0';
}

/* FNV-1a of the decoded name: names that only begin alike need not be compared with each other. */
static uint64_t hash_name(const struct json_value *name) {
        struct json_walk walk = json_string_body(name);
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        while (walk.at < walk.size) {
                char bytes[4];
                size_t size = json_next_decoded(&walk, bytes);

                for (size_t i = 0; i < size; i++)
                        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
        }
        return hash;
}

static int check_members(const struct json_value *object, size_t offset, struct wla_error *err) {
        struct json_value names[JSON_MEMBERS_MAX];
        uint64_t hashes[JSON_MEMBERS_MAX];
        struct json_value value;
        size_t count = 0;
        size_t at = 0;

        while (count < JSON_MEMBERS_MAX && json_next_member(object, &at, &names[count], &value)) {
                hashes[count] = hash_name(&names[count]);
                for (size_t i = 0; i < count; i++)
                        if (hashes[i] == hashes[count] && names_equal(&names[i], &names[count]))
                                return json_fail_at(err, offset, "an object holds a name twice");
                count++;
        }
        if (count == JSON_MEMBERS_MAX)
                return json_fail_at(err, offset, "an object holds too many members");
        return 0;
}

/* Every opening brace outside a string starts an object; the text is known to be well formed. */
static int check_duplicates(const char *text, size_t size, struct wla_error *err) {
        struct json_walk walk = {.text = text, .size = size};

        while (walk.at < size) {
                if (text[walk.at] == '"') {
                        json_skip_checked(&walk);
                        continue;
                }
                if (text[walk.at] == '{') {
                        struct json_walk inner = walk;
                        struct json_value object = read_value(&inner);

                        if (check_members(&object, walk.at, err) < 0)
                                return -1;
                }
                walk.at++;
        }
        return 0;
}

int json_check(const char *text, size_t size, struct json_value *ret, struct wla_error *err) {
        struct json_walk walk = {.text = text, .size = size};

        json_skip_space(&walk);
        if (walk.at == size)
                return wla_fail(err, WLA_E_INPUT, "JSON: the text is empty");
        if (json_skip_value(&walk, err) < 0)
                return -1;
        json_skip_space(&walk);
        if (walk.at != size)
                return json_fail_at(err, walk.at, "text behind the end");
        if (check_duplicates(text, size, err) < 0)
                return -1;

        walk.at = 0;
        *ret = read_value(&walk);
        return 0;
}

static struct json_value find_member(const struct json_value *object, const char *name,
                                     bool fold_case) {
        struct json_value member_name;
        struct json_value value;
        size_t at = 0;

        while (json_next_member(object, &at, &member_name, &value))
                if (name_is(&member_name, name, fold_case))
                        return value;
        return (struct json_value){.type = JSON_ABSENT};
}

struct json_value json_member(const struct json_value *object, const char *name) {
        return find_member(object, name, false);
}

struct json_value json_member_nocase(const struct json_value *object, const char *name) {
        struct json_value exact = find_member(object, name, false);

        return exact.type != JSON_ABSENT ? exact : find_member(object, name, true);
}
