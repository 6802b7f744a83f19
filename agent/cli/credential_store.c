/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/credential_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/credential_encrypt.h"
#include "cli/directory_path.h"

#define NAME_SIZE         64u
#define FILE_MODE         0600
#define STORE_MODE        0700
#define DROP_IN_MODE      0644
#define DROP_IN_DIRECTORY "/etc/systemd/system/wlagentd.service.d"

static const char hint_root[] =
        "run it on that host itself, or set SYSTEMD_CREDENTIAL_SECRET to the "
        "file with the host's key, systemd-creds(1)";

static const char *const stores[] = {
        [CREDENTIAL_ENCRYPTED] = "/etc/credstore.encrypted",
        [CREDENTIAL_PLAIN] = "/etc/credstore",
};

struct credential_draft {
        char *root; /* "" for this system */
        char name[NAME_SIZE];
        char draft_name[NAME_SIZE + 8];
        struct credential_place place;
        int store; /* where the draft is; -1: none */
        bool published;
};

static int check_name(const char *name, struct wla_error *err) {
        size_t length = strlen(name);

        if (length == 0 || length >= NAME_SIZE ||
            strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != length)
                return wla_fail(err, WLA_E_INPUT, "'%.80s' is not the name of a credential", name);
        return 0;
}

static int make_path(const char *root, const char *directory, const char *name,
                     char to[static PATH_MAX], struct wla_error *err) {
        int size = snprintf(to, PATH_MAX, "%s%s%s%s", root, directory, name ? "/" : "",
                            name ? name : "");

        if (size < 0 || size >= PATH_MAX)
                return wla_fail(err, WLA_E_INPUT, "a path below '%.80s' is too long", root);
        return 0;
}

static int open_directory(const char *root, const char *directory, mode_t mode, int *ret,
                          struct wla_error *err) {
        char path[PATH_MAX];

        if (make_path(root, directory, NULL, path, err) < 0)
                return -1;
        return directory_path_make(path, mode, ret, err);
}

static int exists(const char *root, const char *directory, const char *name, char ret[PATH_MAX],
                  bool *ret_found, struct wla_error *err) {
        struct stat facts;

        *ret_found = false;
        if (make_path(root, directory, name, ret, err) < 0)
                return -1;
        if (lstat(ret, &facts) == 0)
                *ret_found = S_ISREG(facts.st_mode) && facts.st_size > 0;
        else if (errno != ENOENT)
                return directory_path_fail(errno, "looking at", ret, err);
        return 0;
}

static void drop_in_name(const char *name, char to[static NAME_SIZE + 32]) {
        (void)snprintf(to, NAME_SIZE + 32, "credential-%s.conf", name);
}

int credential_find(const char *root, const char *name, struct credential_place *ret,
                    struct wla_error *err) {
        char drop_in[NAME_SIZE + 32];
        char path[PATH_MAX];
        bool plain = false;
        bool found = false;

        root = root ? root : "";
        *ret = (struct credential_place){0};
        if (check_name(name, err) < 0)
                return -1;
        drop_in_name(name, drop_in);
        if (exists(root, DROP_IN_DIRECTORY, drop_in, path, &plain, err) < 0)
                return -1;

        enum credential_kind kind = plain ? CREDENTIAL_PLAIN : CREDENTIAL_ENCRYPTED;
        if (exists(root, stores[kind], name, ret->path, &found, err) < 0)
                return -1;
        ret->kind = found ? kind : CREDENTIAL_NONE;
        return 0;
}

bool credential_is_usable(const char *root) {
        const char *key = secure_getenv("SYSTEMD_CREDENTIAL_SECRET");
        struct stat here;
        struct stat there;

        if (!root || (key && *key != '\0'))
                return true;
        return stat("/", &here) == 0 && stat(root, &there) == 0 && here.st_dev == there.st_dev &&
               here.st_ino == there.st_ino;
}

/* Of one name, so that what a crash has left is replaced by the next. */
static int write_file(struct credential_draft *draft, enum credential_kind kind,
                      struct wla_bytes content, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        draft->place.kind = kind;
        (void)snprintf(draft->draft_name, sizeof(draft->draft_name), ".%s.new", draft->name);
        if (make_path(draft->root, stores[kind], draft->name, draft->place.path, err) < 0 ||
            open_directory(draft->root, stores[kind], STORE_MODE, &draft->store, err) < 0)
                return -1;

        if (unlinkat(draft->store, draft->draft_name, 0) == 0 || errno == ENOENT)
                fd = openat(draft->store, draft->draft_name,
                            O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
        if (fd < 0 || file_write_all(fd, content) < 0 || fsync(fd) < 0)
                return directory_path_fail(errno, "writing", draft->place.path, err);
        return 0;
}

static int write_draft(struct credential_draft *draft, const struct wla_secret *secret,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf encrypted = BUF_WITH_LIMIT(CREDENTIAL_ENCRYPTED_MAX);

        if (credential_encrypt(draft->name, secret, &encrypted, &draft->place.why_plain) < 0)
                return write_file(draft, CREDENTIAL_PLAIN, wla_secret_view(secret), err);

        const struct wla_bytes content = {.data = encrypted.data, .size = encrypted.size};
        return write_file(draft, CREDENTIAL_ENCRYPTED, content, err);
}

int credential_draft_new(const char *root, const char *name, const struct wla_secret *secret,
                         struct credential_draft **ret, struct wla_error *err) {
        _cleanup_credential_draft_ struct credential_draft *draft = NULL;

        if (check_name(name, err) < 0)
                return -1;
        if (wla_secret_view(secret).size > CREDENTIAL_SECRET_MAX)
                return wla_fail(err, WLA_E_INPUT, "the credential %s has more than %u bytes", name,
                                CREDENTIAL_SECRET_MAX);

        if (!credential_is_usable(root))
                return wla_fail_hint(
                        err, WLA_E_INPUT, hint_root,
                        "the credential %s for '%.80s' would be encrypted with the key "
                        "of this machine, and could not be decrypted there",
                        name, root);

        draft = calloc(1, sizeof(*draft));
        if (!draft)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        draft->store = -1;
        draft->root = strdup(root ? root : "");
        if (!draft->root)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        (void)snprintf(draft->name, sizeof(draft->name), "%s", name);
        if (write_draft(draft, secret, err) < 0)
                return -1;

        *ret = TAKE_PTR(draft);
        return 0;
}

static int remove_file(const char *root, const char *directory, const char *name,
                       struct wla_error *err) {
        char path[PATH_MAX];

        if (make_path(root, directory, name, path, err) < 0)
                return -1;
        if (unlinkat(AT_FDCWD, path, 0) < 0 && errno != ENOENT)
                return directory_path_fail(errno, "removing", path, err);
        return 0;
}

static int write_drop_in(const struct credential_draft *draft, const char *name,
                         struct wla_error *err) {
        _cleanup_close_ int directory = -1;
        char text[256];

        int size = snprintf(text, sizeof(text),
                            "# SPDX-License-Identifier: Apache-2.0\n"
                            "# Made by wlagent: this credential is not encrypted.\n"
                            "[Service]\n"
                            "LoadCredential=%s\n",
                            draft->name);
        if (open_directory(draft->root, DROP_IN_DIRECTORY, 0755, &directory, err) < 0)
                return -1;
        return file_write(directory, name, text, (size_t)size, DROP_IN_MODE, true, err);
}

/* The drop-in decides which of the two files is read, and is changed when the new one is in place; the one
 * of the other kind goes last. */
static int choose_kind(const struct credential_draft *draft, struct wla_error *err) {
        char drop_in[NAME_SIZE + 32];
        bool plain = draft->place.kind == CREDENTIAL_PLAIN;

        drop_in_name(draft->name, drop_in);
        if (plain ? write_drop_in(draft, drop_in, err) < 0
                  : remove_file(draft->root, DROP_IN_DIRECTORY, drop_in, err) < 0)
                return -1;
        return remove_file(draft->root, stores[plain ? CREDENTIAL_ENCRYPTED : CREDENTIAL_PLAIN],
                           draft->name, err);
}

int credential_draft_publish(struct credential_draft *draft, struct credential_place *ret,
                             struct wla_error *err) {
        if (renameat(draft->store, draft->draft_name, draft->store, draft->name) < 0)
                return directory_path_fail(errno, "writing", draft->place.path, err);
        draft->published = true;
        if (fsync(draft->store) < 0)
                return directory_path_fail(errno, "writing", draft->place.path, err);
        if (choose_kind(draft, err) < 0)
                return wla_wrap(err, "%s is written, but not in force", draft->place.path);

        *ret = draft->place;
        return 0;
}

struct credential_draft *credential_draft_free(struct credential_draft *draft) {
        if (!draft)
                return NULL;

        if (draft->store >= 0 && !draft->published)
                (void)unlinkat(draft->store, draft->draft_name, 0);
        file_closep(&draft->store);
        free(draft->root);
        free(draft);
        return NULL;
}

int credential_write(const char *root, const char *name, const struct wla_secret *secret,
                     struct credential_place *ret, struct wla_error *err) {
        _cleanup_credential_draft_ struct credential_draft *draft = NULL;

        if (credential_draft_new(root, name, secret, &draft, err) < 0)
                return -1;
        return credential_draft_publish(draft, ret, err);
}
