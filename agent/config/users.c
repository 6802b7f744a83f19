/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "config/value.h"

#define SEPARATORS   " \t,"
#define NAME_MAX_LEN 64u
#define LOOKUP_SIZE  4096u

/* (uid_t)-1 means "no user" to the kernel. */
#define UID_MOST UINT32_C(0xfffffffe)

static bool read_uid(const char *name, uid_t *ret) {
        uint64_t value = 0;

        for (const char *at = name; *at; at++) {
                if (*at < '0' || *at > '9')
                        return false;
                value = value * 10 + (uint64_t)(*at - '0');
                if (value > UID_MOST)
                        return false;
        }

        *ret = (uid_t)value;
        return true;
}

static int find_uid(const char *name, uid_t *ret, struct wla_error *err) {
        char strings[LOOKUP_SIZE];
        struct passwd entry;
        struct passwd *found = NULL;

        if (read_uid(name, ret))
                return 0;

        int r = getpwnam_r(name, &entry, strings, sizeof(strings), &found);
        if (!found && r != 0 && r != ENOENT)
                return wla_fail_errno(err, r, "looking up user \"%s\"", name);
        if (!found)
                return wla_fail(err, WLA_E_INPUT, "there is no user \"%s\"", name);

        *ret = found->pw_uid;
        return 0;
}

static int add_user(struct config_users *users, const char *text, size_t length,
                    struct wla_error *err) {
        char name[NAME_MAX_LEN];
        uid_t uid;

        if (length >= sizeof(name))
                return wla_fail(err, WLA_E_INPUT, "the name of a user has %zu characters", length);
        memcpy(name, text, length);
        name[length] = '\0';
        if (find_uid(name, &uid, err) < 0)
                return -1;

        for (size_t i = 0; i < users->count; i++)
                if (users->uids[i] == uid)
                        return 0;
        if (users->count == CONFIG_USERS_MAX)
                return wla_fail(err, WLA_E_INPUT, "more than %u users", CONFIG_USERS_MAX);
        users->uids[users->count++] = uid;
        return 0;
}

int config_users_parse(const char *text, struct config_users *ret, struct wla_error *err) {
        struct config_users users = {0};

        for (const char *at = text + strspn(text, SEPARATORS); *at; at += strspn(at, SEPARATORS)) {
                size_t length = strcspn(at, SEPARATORS);

                if (add_user(&users, at, length, err) < 0)
                        return -1;
                at += length;
        }

        users.text = strdup(text);
        if (!users.text)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        *ret = users;
        return 0;
}
