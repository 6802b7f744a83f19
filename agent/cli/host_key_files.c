/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/host_key_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/directory_path.h"
#include "cli/distinct_files.h"
#include "cli/state_directory.h"
#include "tpm/binding_key.h"

#define KEY_MODE       0640
#define DIRECTORY_MODE 0755
#define ENDING         ".json"
#define CERTIFICATE    ".pem"
#define DRAFT          ".new"
#define KEPT           ".old"
#define KEPT_MODE      0644

static const char hint_kept[] = "it may be the only copy of a key that is in use: look at what it "
                                "is, and move it elsewhere";

/* Where the key's file is, taken apart. */
struct place {
        int directory;
        char directory_path[PATH_MAX];
        const char *name;
        char draft[NAME_MAX + 1];
        char kept[NAME_MAX + 1];
};

#define PLACE ((struct place){.directory = -1})

static void place_done(struct place *place) {
        file_closep(&place->directory);
}

#define _cleanup_place_ __attribute__((cleanup(place_done)))

static const char *setting_of(const struct config *config, enum host_key_usage usage) {
        return usage == HOST_KEY_BINDING ? config->wls.binding_key : config->wls.signing_key;
}

/* PATH.pem of PATH.json. */
static int name_certificate(const struct config *config, enum host_key_usage usage,
                            char ret[static PATH_MAX], struct wla_error *err) {
        const char *path = setting_of(config, usage);
        size_t length = strlen(path);
        size_t ending = strlen(ENDING);

        if (length <= ending || strcmp(path + length - ending, ENDING) != 0)
                return wla_fail(err, WLA_E_INPUT, "%s=%s does not end with " ENDING,
                                usage == HOST_KEY_BINDING ? "BindingKey" : "SigningKey", path);
        int size = snprintf(ret, PATH_MAX, "%.*s" CERTIFICATE, (int)(length - ending), path);
        if (size < 0 || size >= PATH_MAX)
                return wla_fail(err, WLA_E_INPUT, "the path %.80s... is too long", path);
        return 0;
}

/* A key that is made where another is replaces that, whoever made it; what else belongs to a key has its name. */
int host_key_files_check_distinct(const struct config *config, struct wla_error *err) {
        const char *state = config->agent.state_directory;
        char own[PATH_MAX + sizeof("/" BINDING_KEY_FILE)];
        char own_pem[PATH_MAX + sizeof("/" BINDING_KEY_PEM_FILE)];
        char binding_pem[PATH_MAX];
        char signing_pem[PATH_MAX];
        struct wla_error ignored;
        /* Without the ending it has no certificate: the tasks that would make one say so. */
        bool has_binding = name_certificate(config, HOST_KEY_BINDING, binding_pem, &ignored) == 0;
        bool has_signing = name_certificate(config, HOST_KEY_SIGNING, signing_pem, &ignored) == 0;
        const struct used_file files[] = {
                {.role = "BindingKey=", .path = config->wls.binding_key, .written = true},
                {.role = "SigningKey=", .path = config->wls.signing_key, .written = true},
                {.role = "the binding key of 'wlagent setup' in StateDirectory=",
                 .path = own,
                 .written = true},
                {.role = "the public key of 'wlagent setup' in StateDirectory=",
                 .path = own_pem,
                 .written = true},
                {.role = "the certificate of BindingKey=",
                 .path = has_binding ? binding_pem : NULL,
                 .written = true},
                {.role = "the certificate of SigningKey=",
                 .path = has_signing ? signing_pem : NULL,
                 .written = true},
        };

        (void)snprintf(own, sizeof(own), "%s/" BINDING_KEY_FILE, state);
        (void)snprintf(own_pem, sizeof(own_pem), "%s/" BINDING_KEY_PEM_FILE, state);
        return distinct_files_check(files, sizeof(files) / sizeof(files[0]), err);
}

int host_key_files_place(const struct config *config, const char *root, enum host_key_usage usage,
                         struct host_key_files *ret, struct wla_error *err) {
        *ret = (struct host_key_files){
                .usage = usage,
                .key_path = setting_of(config, usage),
                .credential = usage == HOST_KEY_BINDING ? CREDENTIAL_BINDING_KEY_SECRET
                                                        : CREDENTIAL_SIGNING_KEY_SECRET,
                .root = root,
        };
        if (name_certificate(config, usage, ret->certificate, err) < 0)
                return -1;
        return host_key_files_check_distinct(config, err);
}

int host_key_files_find(const struct host_key_files *files, enum host_key_presence *ret,
                        struct wla_error *err) {
        struct credential_place place;
        struct stat facts;

        *ret = HOST_KEY_ABSENT;
        if (lstat(files->key_path, &facts) < 0)
                return errno == ENOENT
                               ? 0
                               : directory_path_fail(errno, "looking at", files->key_path, err);
        if (credential_find(files->root, files->credential, &place, err) < 0)
                return -1;
        *ret = place.kind == CREDENTIAL_NONE ? HOST_KEY_WITHOUT_SECRET : HOST_KEY_PAIR;
        return 0;
}

static int open_place(const struct host_key_files *files, struct place *place,
                      struct wla_error *err) {
        const char *slash = strrchr(files->key_path, '/');
        int length = (int)(slash - files->key_path);

        int size = snprintf(place->directory_path, sizeof(place->directory_path), "%.*s", length,
                            files->key_path);
        place->name = slash + 1;
        if (size <= 0 || (size_t)size >= sizeof(place->directory_path) ||
            (size_t)snprintf(place->draft, sizeof(place->draft), "%s" DRAFT, place->name) >=
                    sizeof(place->draft) ||
            (size_t)snprintf(place->kept, sizeof(place->kept), "%s" KEPT, place->name) >=
                    sizeof(place->kept))
                return wla_fail(err, WLA_E_INPUT, "%.80s is no path of a key", files->key_path);
        return directory_path_make(place->directory_path, DIRECTORY_MODE, &place->directory, err);
}

static int write_draft(const struct place *place, const struct host_key *key,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);
        uid_t uid;
        gid_t gid = (gid_t)-1;

        if (host_key_format(key, &text, err) < 0)
                return -1;
        (void)state_directory_daemon_ids(&uid, &gid);
        const struct wla_bytes bytes = {.data = text.data, .size = text.size};
        return file_write_for(place->directory, place->draft, bytes, KEY_MODE, (uid_t)-1, gid, err);
}

/* A copy: the Trust Agent goes on reading the certificate until there is a new one. */
static int keep_certificate(const struct host_key_files *files, const struct place *place,
                            struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);
        const char *name = strrchr(files->certificate, '/') + 1;
        char kept[PATH_MAX + sizeof(KEPT)];

        if (file_read(place->directory, name, &text, err) < 0)
                return err->code == WLA_E_NOT_FOUND ? 0 : wla_wrap(err, "%s", files->certificate);
        (void)snprintf(kept, sizeof(kept), "%s" KEPT, name);
        const struct wla_bytes bytes = {.data = text.data, .size = text.size};
        if (file_write_for(place->directory, kept, bytes, KEPT_MODE, (uid_t)-1, (gid_t)-1, err) < 0)
                return wla_wrap(err, "keeping %s", files->certificate);
        return 0;
}

/* The first that is kept is the one that counts. */
static int check_none_is_kept(const struct host_key_files *files, const struct place *place,
                              struct wla_error *err) {
        struct stat facts;

        if (fstatat(place->directory, place->kept, &facts, AT_SYMLINK_NOFOLLOW) == 0)
                return wla_fail_hint(err, WLA_E_INPUT, hint_kept,
                                     "%s" KEPT " is there already, and %s would be kept as that",
                                     files->key_path, files->key_path);
        if (errno != ENOENT)
                return directory_path_fail(errno, "looking for a kept", files->key_path, err);
        return 0;
}

static int keep_old_key(const struct host_key_files *files, const struct place *place,
                        struct wla_error *err) {
        if (check_none_is_kept(files, place, err) < 0 || keep_certificate(files, place, err) < 0)
                return -1;
        if (renameat2(place->directory, place->name, place->directory, place->kept,
                      RENAME_NOREPLACE) < 0)
                return directory_path_fail(errno, "keeping", files->key_path, err);
        return 0;
}

/* From here to the end there is no key, and then the new one. */
static int withdraw_old_key(const struct host_key_files *files, const struct place *place,
                            struct wla_error *err) {
        enum host_key_presence presence;

        if (host_key_files_find(files, &presence, err) < 0)
                return -1;
        bool keep = presence == HOST_KEY_WITHOUT_SECRET || files->is_no_key;
        if (presence != HOST_KEY_ABSENT && keep && keep_old_key(files, place, err) < 0)
                return -1;
        if (presence != HOST_KEY_ABSENT && !keep && unlinkat(place->directory, place->name, 0) < 0)
                return directory_path_fail(errno, "removing", files->key_path, err);
        if (fsync(place->directory) < 0)
                return wla_fail_errno(err, errno, "removing %s", files->key_path);
        return 0;
}

static int publish_key(const struct host_key_files *files, const struct place *place,
                       struct wla_error *err) {
        if (renameat(place->directory, place->draft, place->directory, place->name) < 0 ||
            fsync(place->directory) < 0)
                return directory_path_fail(errno, "writing", files->key_path, err);
        return 0;
}

int host_key_files_publish(const struct host_key_files *files, const struct host_key *key,
                           const struct wla_secret *secret, struct credential_place *ret,
                           struct wla_error *err) {
        _cleanup_credential_draft_ struct credential_draft *draft = NULL;
        _cleanup_place_ struct place place = PLACE;

        /* What may well fail comes before the old key goes. */
        if (open_place(files, &place, err) < 0 || write_draft(&place, key, err) < 0 ||
            credential_draft_new(files->root, files->credential, secret, &draft, err) < 0)
                return -1;

        if (withdraw_old_key(files, &place, err) < 0)
                return -1;
        if (credential_draft_publish(draft, ret, err) < 0 || publish_key(files, &place, err) < 0)
                return wla_wrap(err, "replacing the %s, of which there is none now",
                                host_key_usage_name(files->usage));
        return 0;
}
