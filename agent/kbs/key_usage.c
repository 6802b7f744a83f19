/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/key_usage.h"

#include <string.h>
#include <strings.h>

static const char hint_form[] = "write NAME:VALUE, or several as NAME:VALUE,NAME:VALUE, of letters "
                                "and digits";

struct name {
        const char *text;
        size_t size;
};

static size_t count_word(const char *text, size_t size) {
        size_t count = 0;

        while (count < size && ((text[count] >= 'a' && text[count] <= 'z') ||
                                (text[count] >= 'A' && text[count] <= 'Z') ||
                                (text[count] >= '0' && text[count] <= '9')))
                count++;
        return count;
}

/* Exactly NAME:VALUE. */
static bool split_tag(const char *tag, size_t size, struct name *ret) {
        size_t name = count_word(tag, size);

        if (name == 0 || name == size || tag[name] != ':')
                return false;
        size_t value = count_word(tag + name + 1, size - name - 1);
        *ret = (struct name){tag, name};
        return value > 0 && name + 1 + value == size;
}

static bool is_among(const struct name *name, const struct name *others, size_t count) {
        for (size_t i = 0; i < count; i++)
                if (others[i].size == name->size &&
                    strncasecmp(others[i].text, name->text, name->size) == 0)
                        return true;
        return false;
}

int key_usage_parse(const char *text, size_t size, struct key_usage *ret, struct wla_error *err) {
        struct name names[KEY_USAGE_TAGS];
        size_t count = 0;

        if (size > KEY_USAGE_MAX)
                return wla_fail(err, WLA_E_INPUT, "the asset tags have more than %u characters",
                                KEY_USAGE_MAX);

        for (size_t at = 0; at <= size;) {
                const char *comma = memchr(text + at, ',', size - at);
                size_t end = comma ? (size_t)(comma - text) : size;

                if (count == KEY_USAGE_TAGS)
                        return wla_fail(err, WLA_E_INPUT, "there are more than %u asset tags",
                                        KEY_USAGE_TAGS);
                if (!split_tag(text + at, end - at, &names[count]))
                        return wla_fail_hint(err, WLA_E_INPUT, hint_form,
                                             "asset tag %zu does not have the form NAME:VALUE",
                                             count + 1);
                if (is_among(&names[count], names, count))
                        return wla_fail(err, WLA_E_INPUT,
                                        "asset tag %zu has a name that came before: no host could "
                                        "have both",
                                        count + 1);
                count++;
                at = end + 1;
        }

        *ret = (struct key_usage){0};
        memcpy(ret->text, text, size);
        return 0;
}
