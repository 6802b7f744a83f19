/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/credential_encrypt.h"

#include <limits.h>
#include <stdio.h>

#include "base/clock.h"
#include "cli/filter_program.h"
#include "cli/other_program.h"

/* A TPM may take long to make a key. */
#define LIMIT_USEC (60 * USEC_PER_SEC)

int credential_encrypt(const char *name, const struct wla_secret *secret, struct buf *ret,
                       struct wla_error *err) {
        char path[PATH_MAX];
        char name_option[sizeof("--name=") + NAME_MAX];
        char encrypt[] = "encrypt";
        char no_pcrs[] = "--tpm2-pcrs=";
        char standard[] = "-";

        if (other_program_find("systemd-creds", path, err) < 0)
                return -1;
        (void)snprintf(name_option, sizeof(name_option), "--name=%s", name);

        char *const argv[] = {path, encrypt, name_option, no_pcrs, standard, standard, NULL};
        const struct filter_program program = {
                .argv = argv,
                .input = wla_secret_view(secret),
                .limit_usec = LIMIT_USEC,
        };
        return filter_program_run(&program, ret, err);
}
