/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/daemon_access.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/state_directory.h"

#define GROUPS_MAX 64
#define ACL        "system.posix_acl_access"
#define MAY_READ   04u
#define MAY_PASS   01u

static const char hint_open[] =
        "open it with 'chmod a+rx', a file with 'chmod a+r', when nothing else is in there that "
        "others must not read: root certificates are no secret";

struct identity {
        uid_t uid;
        gid_t groups[GROUPS_MAX];
        int group_count;
};

static bool find_daemon(struct identity *ret) {
        gid_t group;

        ret->group_count = GROUPS_MAX;
        return geteuid() == 0 && state_directory_daemon_ids(&ret->uid, &group) &&
               getgrouplist(DAEMON_USER, group, ret->groups, &ret->group_count) >= 0;
}

static bool is_member(const struct identity *who, gid_t group) {
        for (int i = 0; i < who->group_count; i++)
                if (who->groups[i] == group)
                        return true;
        return false;
}

/* The first class that fits is the one that counts: path_resolution(7). */
static bool may(const struct identity *who, const struct stat *facts, unsigned wanted) {
        unsigned mode = facts->st_mode & 0777;

        if (facts->st_uid == who->uid)
                mode >>= 6;
        else if (is_member(who, facts->st_gid))
                mode >>= 3;
        return (mode & wanted) == wanted;
}

static int check_one(const struct identity *who, const char *path, unsigned wanted,
                     struct wla_error *err) {
        struct stat facts;

        if (stat(path, &facts) < 0 || may(who, &facts, wanted) || getxattr(path, ACL, NULL, 0) > 0)
                return 0;
        return wla_fail_hint(err, WLA_E_DENIED, hint_open, "wlagentd may not %s %s (mode %04o)",
                             wanted & MAY_READ ? "read" : "pass", path, facts.st_mode & 07777);
}

static int check_files(const struct identity *who, const char *directory, struct wla_error *err) {
        DIR *list = opendir(directory);
        const struct dirent *entry;
        int outcome = 0;

        while (list && outcome == 0 && (entry = readdir(list))) {
                char path[PATH_MAX];
                int size = snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);

                if (entry->d_name[0] != '.' && size > 0 && (size_t)size < sizeof(path))
                        outcome = check_one(who, path, MAY_READ, err);
        }
        if (list)
                (void)closedir(list);
        return outcome;
}

int daemon_access_check(const char *directory, struct wla_error *err) {
        char above[PATH_MAX];
        size_t length = strlen(directory);
        struct identity who;

        if (length == 0 || length >= sizeof(above) || !find_daemon(&who))
                return 0;
        memcpy(above, directory, length + 1);
        for (char *slash = strchr(above + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (check_one(&who, above, MAY_PASS, err) < 0)
                        return -1;
                *slash = '/';
        }
        if (check_one(&who, directory, MAY_READ | MAY_PASS, err) < 0)
                return -1;
        return check_files(&who, directory, err);
}
