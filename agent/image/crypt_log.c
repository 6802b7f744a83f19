/* SPDX-License-Identifier: Apache-2.0 */
#include "image/crypt_log.h"

#include <stdio.h>
#include <string.h>

static void keep_first_error(int level, const char *message, void *userdata) {
        struct crypt_log *log = userdata;

        if (level == CRYPT_LOG_ERROR && log->text[0] == '\0')
                (void)snprintf(log->text, sizeof(log->text), "%.*s", (int)strcspn(message, "\n"),
                               message);
}

void crypt_log_begin(struct crypt_log *log, struct crypt_device *device) {
        *log = (struct crypt_log){0};
        crypt_set_log_callback(device, keep_first_error, log);
}

void crypt_log_end(void) {
        crypt_set_log_callback(NULL, NULL, NULL);
}

int crypt_log_check(const struct crypt_log *log, int outcome, const char *what,
                    struct wla_error *err) {
        if (outcome >= 0)
                return 0;
        if (log->text[0] != '\0')
                return wla_fail(err, WLA_E_SYSTEM, "libcryptsetup cannot %s: %s", what, log->text);
        return wla_fail_errno(err, -outcome, "libcryptsetup cannot %s", what);
}
