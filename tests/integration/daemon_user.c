/* SPDX-License-Identifier: Apache-2.0 */

/* For LD_PRELOAD: a system that has the user wlagent, with uid and gid 4711; with NO_DAEMON_USER in the
 * environment one that has not, whatever this machine has. */

#include <pwd.h>
#include <stdlib.h>
#include <string.h>

__attribute__((visibility("default"))) struct passwd *getpwnam(const char *name) {
        static char user[] = "wlagent";
        static char nothing[] = "";
        static struct passwd entry = {
                .pw_name = user,
                .pw_passwd = nothing,
                .pw_uid = 4711,
                .pw_gid = 4711,
                .pw_gecos = nothing,
                .pw_dir = nothing,
                .pw_shell = nothing,
        };

        return strcmp(name, user) == 0 && !getenv("NO_DAEMON_USER") ? &entry : NULL;
}
