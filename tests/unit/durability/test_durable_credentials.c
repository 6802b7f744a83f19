/* SPDX-License-Identifier: Apache-2.0 */

/* Secrets that 'wlagent setup' keeps for wlagentd. */

#include "durable_names.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/credential_store.h"
#include "scratch.h"
#include "suite.h"

static struct scratch root;
static int root_fd;

static int host_without_systemd_creds(void) {
        ck_assert_int_eq(setenv("SYSTEMD_CREDENTIAL_SECRET", "/nonexistent", 1), 0);
        ck_assert_int_eq(setenv("PATH", "/nonexistent", 1), 0);
        scratch_make(&root);
        root_fd = open(root.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return root_fd;
}

static int write_credential(struct wla_error *err) {
        struct wla_secret *secret = NULL;
        struct credential_place place;

        ck_assert_int_eq(wla_secret_new(9, &secret, err), 0);
        memcpy(wla_secret_fill(secret), "swordfish", 9);
        int outcome = credential_write(root.path, "aas-password", secret, &place, err);
        (void)wla_secret_free(secret);
        return outcome;
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *at) {
        (void)facts;
        (void)type;
        (void)at;
        return remove(path);
}

static void remove_root(bool failed) {
        (void)failed;
        (void)close(root_fd);
        ck_assert_int_eq(nftw(root.path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

START_TEST(a_credential) {
        const struct durable_trial trial = {host_without_systemd_creds, write_credential,
                                            remove_root, false};
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(/* allow_unlocked= */ true, &err), 0);
        ck_assert_uint_eq(durable_names_try(&trial), 4);
}
END_TEST

SUITE_MAIN("durability/credentials", a_credential)
