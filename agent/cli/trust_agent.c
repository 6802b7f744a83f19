/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/trust_agent.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/key_certificate.h"

#define AIK_CERTIFICATE "aik.pem"
#define AIK_SECRET      "aiksecretkey"
#define AIK_SECRET_MAX  128u
#define USER_NAME       "tagent"

static const char hint_provision[] =
        "set up the Trust Agent first: 'tagent setup' provisions the "
        "attestation key; TRUSTAGENT_CONFIGURATION says where it is else";
static const char hint_user[] =
        "install the Trust Agent first, or set TRUSTAGENT_USERNAME to its user";

static int open_configuration(const struct answers *answers, int *ret, const char **ret_path,
                              struct wla_error *err) {
        static const char *const usual[] = {"/etc/trustagent", "/opt/trustagent/configuration"};
        const char *told = answers_text(answers, ANSWER_TRUSTAGENT_CONFIGURATION);
        const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

        for (size_t i = 0; i < (told ? 1 : sizeof(usual) / sizeof(usual[0])); i++) {
                const char *path = told ? told : usual[i];
                int fd = open(path, flags);

                if (fd < 0 && (told || errno != ENOENT))
                        return wla_fail_errno(err, errno, "the Trust Agent's configuration %s",
                                              path);
                if (fd >= 0) {
                        *ret = fd;
                        *ret_path = path;
                        return 0;
                }
        }
        return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_provision,
                             "there is no configuration of the Trust Agent, neither %s nor %s",
                             usual[0], usual[1]);
}

int trust_agent_read_aik(const struct answers *answers, struct buf *ret_der,
                         struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(TRUST_AGENT_FILE_MAX);
        _cleanup_close_ int directory = -1;
        const char *path;

        if (open_configuration(answers, &directory, &path, err) < 0)
                return -1;
        if (file_read(directory, AIK_CERTIFICATE, &text, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        err->hint = hint_provision;
                return wla_wrap(err, "%s", path);
        }
        const struct wla_bytes bytes = {.data = text.data, .size = text.size};
        if (key_certificate_read_pem(bytes, ret_der, err) < 0)
                return wla_wrap(err, "%s/" AIK_CERTIFICATE, path);
        return 0;
}

/* One byte more than allowed, to see that it is too long. */
static int read_secret(int fd, struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;

        if (wla_secret_new(AIK_SECRET_MAX + 1, &secret, err) < 0)
                return -1;
        uint8_t *text = wla_secret_fill(secret);
        ssize_t size = read(fd, text, AIK_SECRET_MAX + 1);
        if (size < 0)
                return wla_fail_errno(err, errno, "cannot read it");
        if (size > 0 && text[size - 1] == '\n')
                size--;
        if (size == 0 || size > (ssize_t)AIK_SECRET_MAX)
                return wla_fail(err, WLA_E_INPUT, "it has to have 1 to %u bytes", AIK_SECRET_MAX);

        wla_secret_truncate(secret, (size_t)size);
        *ret = TAKE_PTR(secret);
        return 0;
}

int trust_agent_read_aik_secret(const struct answers *answers, struct wla_secret **ret,
                                struct wla_error *err) {
        _cleanup_close_ int directory = -1;
        _cleanup_close_ int fd = -1;
        const char *path;

        *ret = NULL;
        if (answers_text(answers, ANSWER_AIK_SECRET))
                return answers_require_secret(answers, ANSWER_AIK_SECRET, ret, err);
        if (open_configuration(answers, &directory, &path, err) < 0)
                return -1;
        fd = openat(directory, AIK_SECRET, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return wla_fail_errno(err, errno, "cannot open %s/" AIK_SECRET, path);
        if (read_secret(fd, ret, err) < 0)
                return wla_wrap(err, "%s/" AIK_SECRET, path);
        return 0;
}

int trust_agent_find_user(const struct answers *answers, uid_t *ret_uid, gid_t *ret_gid,
                          struct wla_error *err) {
        const char *name = answers_text(answers, ANSWER_TRUSTAGENT_USERNAME);

        if (!name)
                name = USER_NAME;
        const struct passwd *user = getpwnam(name);
        if (!user)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_user,
                                     "there is no user %.80s, who reads the certificate for HVS",
                                     name);
        *ret_uid = user->pw_uid;
        *ret_gid = user->pw_gid;
        return 0;
}
