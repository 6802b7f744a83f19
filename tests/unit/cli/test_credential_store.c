/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/credential_store.h"

#define NAME  "aas-password"
#define OTHER "binding-key-secret"

static char root[64];

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *at) {
        (void)facts;
        (void)type;
        (void)at;
        return remove(path);
}

static void make_root(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        (void)snprintf(root, sizeof(root), "/tmp/wlagent-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(root));
        ck_assert_int_eq(setenv("SYSTEMD_CREDENTIAL_SECRET", "/nonexistent", 1), 0);
}

static void remove_root(void) {
        ck_assert_int_eq(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static const char *below(const char *path) {
        static char full[256];

        (void)snprintf(full, sizeof(full), "%s/%s", root, path);
        return full;
}

static void write_text(const char *path, const char *text, mode_t mode) {
        FILE *file = fopen(path, "w");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(chmod(path, mode), 0);
}

/* What stands at the path, at most 255 bytes; "" when there is nothing. */
static const char *read_text(const char *path) {
        static char text[256];
        FILE *file = fopen(below(path), "r");

        text[0] = '\0';
        if (!file)
                return text;
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        (void)fclose(file);
        return text;
}

/* A systemd-creds that turns letters around, and takes the name into the result. */
static void provide_program(const char *script) {
        char path[128];

        ck_assert(mkdir(below("bin"), 0755) == 0 || errno == EEXIST);
        (void)snprintf(path, sizeof(path), "%s/bin", root);
        write_text(below("bin/systemd-creds"), script, 0755);
        (void)snprintf(path, sizeof(path), "%s/bin:/usr/bin:/bin", root);
        ck_assert_int_eq(setenv("PATH", path, 1), 0);
}

static void encryption_works(void) {
        provide_program("#!/bin/sh\n"
                        "[ \"$1 $3 $4 $5\" = 'encrypt --tpm2-pcrs= - -' ] || exit 1\n"
                        "echo \"$2\"; exec tr a-z n-za-m\n");
}

static void encryption_fails(void) {
        provide_program("#!/bin/sh\necho No key. >&2; exit 1\n");
}

static struct wla_secret *secret_of(const char *text) {
        struct wla_secret *secret = NULL;
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_new(strlen(text), &secret, &err), 0);
        memcpy(wla_secret_fill(secret), text, strlen(text));
        return secret;
}

static struct credential_place put(const char *name, const char *text) {
        _cleanup_secret_ struct wla_secret *secret = secret_of(text);
        struct credential_place place;
        struct wla_error err = {0};

        int outcome = credential_write(root, name, secret, &place, &err);
        ck_assert_msg(outcome == 0, "%s", wla_error_text(&err));
        return place;
}

static enum credential_kind kind_of(const char *name) {
        struct credential_place place;
        struct wla_error err = {0};

        ck_assert_int_eq(credential_find(root, name, &place, &err), 0);
        return place.kind;
}

static unsigned mode_of(const char *path) {
        struct stat facts;

        ck_assert_int_eq(lstat(below(path), &facts), 0);
        return facts.st_mode & 07777;
}

START_TEST(encrypted_where_that_works) {
        make_root();
        encryption_works();
        ck_assert_int_eq(kind_of(NAME), CREDENTIAL_NONE);

        struct credential_place place = put(NAME, "swordfish");
        ck_assert_int_eq(place.kind, CREDENTIAL_ENCRYPTED);
        ck_assert_str_eq(place.path, below("etc/credstore.encrypted/" NAME));
        ck_assert_str_eq(read_text("etc/credstore.encrypted/" NAME), "--name=" NAME "\nfjbeqsvfu");
        ck_assert_uint_eq(mode_of("etc/credstore.encrypted/" NAME), 0600);
        ck_assert_uint_eq(mode_of("etc/credstore.encrypted"), 0700);
        ck_assert_int_eq(kind_of(NAME), CREDENTIAL_ENCRYPTED);
        ck_assert_int_eq(kind_of(OTHER), CREDENTIAL_NONE);
        remove_root();
}
END_TEST

START_TEST(in_clear_for_root_where_it_does_not) {
        make_root();
        encryption_fails();

        struct credential_place place = put(NAME, "swordfish");
        ck_assert_int_eq(place.kind, CREDENTIAL_PLAIN);
        ck_assert_str_eq(place.path, below("etc/credstore/" NAME));
        ck_assert_ptr_nonnull(strstr(wla_error_text(&place.why_plain), "systemd-creds: No key."));
        ck_assert_str_eq(read_text("etc/credstore/" NAME), "swordfish");
        ck_assert_uint_eq(mode_of("etc/credstore/" NAME), 0600);
        ck_assert_uint_eq(mode_of("etc/credstore"), 0700);
        ck_assert_ptr_nonnull(strstr(read_text("etc/systemd/system/wlagentd.service.d/"
                                               "credential-" NAME ".conf"),
                                     "[Service]\nLoadCredential=" NAME "\n"));
        ck_assert_int_eq(kind_of(NAME), CREDENTIAL_PLAIN);

        ck_assert_int_eq(setenv("PATH", below("nothing"), 1), 0);
        place = put(OTHER, "hunter2");
        ck_assert_int_eq(place.kind, CREDENTIAL_PLAIN);
        ck_assert_str_eq(wla_error_text(&place.why_plain), "systemd-creds is not installed");
        remove_root();
}
END_TEST

START_TEST(one_of_the_other_kind_goes) {
        make_root();
        encryption_fails();
        (void)put(NAME, "first");
        encryption_works();
        (void)put(NAME, "second");
        ck_assert_int_eq(kind_of(NAME), CREDENTIAL_ENCRYPTED);
        ck_assert_int_eq(access(below("etc/credstore/" NAME), F_OK), -1);
        ck_assert_int_eq(
                access(below("etc/systemd/system/wlagentd.service.d/credential-" NAME ".conf"),
                       F_OK),
                -1);

        encryption_fails();
        (void)put(NAME, "third");
        ck_assert_int_eq(kind_of(NAME), CREDENTIAL_PLAIN);
        ck_assert_int_eq(access(below("etc/credstore.encrypted/" NAME), F_OK), -1);
        ck_assert_str_eq(read_text("etc/credstore/" NAME), "third");
        remove_root();
}
END_TEST

START_TEST(a_draft_changes_nothing) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        struct credential_draft *draft = NULL;
        struct credential_place place;
        struct wla_error err = {0};

        make_root();
        secret = secret_of("second");
        encryption_works();
        (void)put(NAME, "first");
        ck_assert_int_eq(credential_draft_new(root, NAME, secret, &draft, &err), 0);
        ck_assert_str_eq(read_text("etc/credstore.encrypted/" NAME), "--name=" NAME "\nsvefg");
        ck_assert_int_eq(access(below("etc/credstore.encrypted/." NAME ".new"), F_OK), 0);
        ck_assert_ptr_null(credential_draft_free(draft));
        ck_assert_int_eq(access(below("etc/credstore.encrypted/." NAME ".new"), F_OK), -1);

        /* What a crash has left does not keep another from being made. */
        write_text(below("etc/credstore.encrypted/." NAME ".new"), "rubbish", 0600);
        ck_assert_int_eq(credential_draft_new(root, NAME, secret, &draft, &err), 0);
        ck_assert_int_eq(credential_draft_publish(draft, &place, &err), 0);
        ck_assert_ptr_null(credential_draft_free(draft));
        ck_assert_str_eq(read_text("etc/credstore.encrypted/" NAME), "--name=" NAME "\nfrpbaq");
        ck_assert_int_eq(access(below("etc/credstore.encrypted/." NAME ".new"), F_OK), -1);
        remove_root();
}
END_TEST

START_TEST(what_cannot_be_written_leaves_the_old_one) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        struct credential_place place;
        struct wla_error err = {0};

        make_root();
        secret = secret_of("second");
        encryption_works();
        (void)put(NAME, "first");
        ck_assert_int_eq(mkdir(below("etc/credstore.encrypted/." NAME ".new"), 0700), 0);
        ck_assert_int_eq(credential_write(root, NAME, secret, &place, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "writing "));
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "/credstore.encrypted/" NAME ": "));
        ck_assert_str_eq(read_text("etc/credstore.encrypted/" NAME), "--name=" NAME "\nsvefg");

        write_text(below("file"), "", 0600);
        ck_assert_int_eq(credential_write(below("file"), NAME, secret, &place, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "making the directory "));
        remove_root();
}
END_TEST

START_TEST(names_and_sizes_are_checked) {
        static const char long_name[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                        "aaaaaaa";
        static const char *const names[] = {"", "a/b", "..", "A", "a b", "a:b", long_name};
        _cleanup_secret_ struct wla_secret *secret = NULL;
        struct credential_place place;
        struct wla_error err = {0};

        make_root();
        encryption_works();
        ck_assert_int_eq(wla_secret_new(CREDENTIAL_SECRET_MAX + 1, &secret, &err), 0);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                ck_assert_int_eq(credential_write(root, names[i], secret, &place, &err), -1);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "is not the name of a"));
                ck_assert_int_eq(credential_find(root, names[i], &place, &err), -1);
        }
        ck_assert_int_eq(credential_write(root, NAME, secret, &place, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "the credential " NAME " has more than 1024 bytes");
        ck_assert_int_eq(access(below("etc"), F_OK), -1);
        remove_root();
}
END_TEST

START_TEST(systemd_opens_what_it_has_encrypted) {
        char path[128];
        char command[512];

        make_root();
        if (access("/usr/bin/systemd-creds", X_OK) < 0 || geteuid() != 0) {
                remove_root();
                return;
        }
        (void)snprintf(path, sizeof(path), "%s/host-key", root);
        ck_assert_int_eq(setenv("SYSTEMD_CREDENTIAL_SECRET", path, 1), 0);
        ck_assert_int_eq(setenv("PATH", "/usr/bin:/bin", 1), 0);

        struct credential_place place = put(NAME, "swordfish");
        ck_assert_msg(place.kind == CREDENTIAL_ENCRYPTED, "%s", wla_error_text(&place.why_plain));
        ck_assert_ptr_null(strstr(read_text("etc/credstore.encrypted/" NAME), "swordfish"));

        int size = snprintf(command, sizeof(command),
                            "systemd-creds decrypt --name=" NAME " %s %s/opened 2>%s/said",
                            place.path, root, root);
        ck_assert_int_lt(size, (int)sizeof(command));
        pid_t child = fork();
        if (child == 0)
                (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(status == 0, "%s", read_text("said"));
        ck_assert_str_eq(read_text("opened"), "swordfish");
        remove_root();
}
END_TEST

START_TEST(none_for_another_host_without_its_key) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        struct credential_place place;
        struct wla_error err = {0};

        make_root();
        secret = secret_of("swordfish");
        ck_assert(credential_is_usable(root));
        ck_assert_int_eq(setenv("SYSTEMD_CREDENTIAL_SECRET", "", 1), 0);
        ck_assert(credential_is_usable(NULL) && credential_is_usable("/"));
        ck_assert(!credential_is_usable(root));
        ck_assert_int_eq(credential_write(root, NAME, secret, &place, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_int_eq(access(below("etc"), F_OK), -1);
        remove_root();
}
END_TEST

SUITE_MAIN("credential_store", none_for_another_host_without_its_key, encrypted_where_that_works,
           in_clear_for_root_where_it_does_not, one_of_the_other_kind_goes, a_draft_changes_nothing,
           what_cannot_be_written_leaves_the_old_one, names_and_sizes_are_checked,
           systemd_opens_what_it_has_encrypted)
