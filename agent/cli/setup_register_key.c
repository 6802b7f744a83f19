/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/directory_path.h"
#include "cli/host_key_files.h"
#include "cli/hvs_certify.h"
#include "cli/key_certificate.h"
#include "cli/setup_task.h"
#include "cli/trust_agent.h"
#include "source/key_origin.h"

#define LIMIT_USEC       (60 * USEC_PER_SEC)
#define CERTIFICATE_MODE 0644
#define CONTAINER_MARK   "/.container-env"

static const char hint_make[] = "run 'wlagent setup binding-key' or signing-key first";
static const char hint_aik[] = "the Trust Agent has a new attestation key: make the key again with "
                               "--force, then register it";

/* Who shall have the certificate. */
struct reader {
        uid_t uid;
        gid_t gid;
        bool is_trust_agent;
};

/* The Trust Agent gives the certificate of the binding key to HVS; in a container it runs as root. */
static int find_reader(const struct setup_task_context *context, enum host_key_usage usage,
                       struct reader *ret, struct wla_error *err) {
        char mark[PATH_MAX];

        *ret = (struct reader){.uid = (uid_t)-1, .gid = (gid_t)-1};
        (void)snprintf(mark, sizeof(mark), "%s" CONTAINER_MARK, context->root ? context->root : "");
        if (usage != HOST_KEY_BINDING || access(mark, F_OK) == 0)
                return 0;
        ret->is_trust_agent = true;
        return trust_agent_find_user(context->answers, &ret->uid, &ret->gid, err);
}

/* Whether the certificate that is there is for the key that is there. */
static bool is_registered(const struct host_key_files *files, const struct host_key *key,
                          struct buf *pem) {
        _cleanup_buf_ struct buf der = BUF_WITH_LIMIT(HVS_CERTIFICATE_MAX);
        struct wla_error ignored = {0};

        if (file_read(AT_FDCWD, files->certificate, pem, &ignored) < 0)
                return false;
        const struct wla_bytes text = {.data = pem->data, .size = pem->size};
        if (key_certificate_read_pem(text, &der, &ignored) < 0)
                return false;
        const struct wla_bytes certificate = {.data = der.data, .size = der.size};
        return key_certificate_check(certificate, key, &ignored) == 0;
}

static bool belongs_to(const struct host_key_files *files, const struct reader *reader) {
        struct stat facts;

        return !reader->is_trust_agent ||
               (lstat(files->certificate, &facts) == 0 && facts.st_uid == reader->uid &&
                (facts.st_mode & S_IRUSR));
}

static int write_certificate(const struct host_key_files *files, const struct buf *pem,
                             const struct reader *reader, struct wla_error *err) {
        const char *slash = strrchr(files->certificate, '/');
        const struct wla_bytes bytes = {.data = pem->data, .size = pem->size};
        _cleanup_close_ int directory = -1;
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%.*s", (int)(slash - files->certificate),
                       files->certificate);
        if (directory_path_make(path, 0755, &directory, err) < 0)
                return -1;
        if (file_write_for(directory, slash + 1, bytes, CERTIFICATE_MODE, reader->uid, reader->gid,
                           err) < 0)
                return wla_wrap(err, "%s", files->certificate);
        return 0;
}

/* Intel's installer makes the directory with mode 0700: then the Trust Agent gets to the certificate, or wlagentd to
 * its configuration, but not both. */
static int open_directory_to_reader(struct setup_task_context *context,
                                    const struct host_key_files *files, const struct reader *reader,
                                    struct wla_error *err) {
        const char *slash = strrchr(files->certificate, '/');
        _cleanup_close_ int directory = -1;
        struct stat facts;
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%.*s", (int)(slash - files->certificate),
                       files->certificate);
        directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0 || fstat(directory, &facts) < 0)
                return directory_path_fail(errno, "opening the directory", path, err);
        if (!reader->is_trust_agent || (facts.st_mode & S_IXOTH))
                return 0;
        if (fchmod(directory, (facts.st_mode & 07777) | S_IXGRP | S_IXOTH) < 0)
                return directory_path_fail(errno, "opening to the Trust Agent", path, err);
        context->changed = true;
        return setup_task_note(context, err, "%s can be entered by the Trust Agent now", path);
}

static int check_aik(const struct host_key *key, struct wla_bytes aik, struct wla_error *err) {
        uint8_t modulus[RSA_WRAPPED_SIZE];

        if (key_certificate_modulus(aik, modulus, err) < 0)
                return wla_wrap(err, "aik.pem");
        if (host_key_check_signature(key, modulus, err) < 0) {
                err->hint = hint_aik;
                return wla_wrap(err, "the attestation key of aik.pem has not certified this key");
        }
        return 0;
}

static int read_url(const struct answers *answers, char to[static BROKER_URL_SIZE],
                    struct wla_error *err) {
        enum answer answer = ANSWER_HVS_URL;
        const char *text = answers_text(answers, ANSWER_HVS_URL);

        if (!text && answers_text(answers, ANSWER_MTWILSON_API_URL))
                answer = ANSWER_MTWILSON_API_URL;
        if (answers_require(answers, answer, &text, err) < 0)
                return -1;
        if (broker_url_parse(text, to, err) < 0)
                return wla_wrap(err, "%s", answer_name(answer));
        return 0;
}

static int certify(const struct setup_task_context *context, const struct host_key *key,
                   struct buf *ret_pem, struct wla_error *err) {
        const struct http_settings settings = {
                .trust_directory = context->config->wls.trust_directory,
                .tls12 = context->config->wls.allow_tls12,
        };
        _cleanup_buf_ struct buf aik = BUF_WITH_LIMIT(TRUST_AGENT_FILE_MAX);
        _cleanup_secret_ struct wla_secret *token = NULL;
        struct http_client *http = NULL;
        char url[BROKER_URL_SIZE];
        struct deadline deadline;

        if (read_url(context->answers, url, err) < 0 ||
            answers_require_secret(context->answers, ANSWER_BEARER_TOKEN, &token, err) < 0 ||
            trust_agent_read_aik(context->answers, &aik, err) < 0)
                return -1;
        const struct wla_bytes certificate = {.data = aik.data, .size = aik.size};
        if (check_aik(key, certificate, err) < 0 || http_client_new(&settings, &http, err) < 0)
                return -1;

        deadline_init(&deadline, clock_now_usec() + LIMIT_USEC);
        const struct hvs_certify asked = {
                .http = http,
                .url = url,
                .token = token,
                .key = key,
                .aik = certificate,
                .deadline = &deadline,
        };
        int outcome = hvs_certify(&asked, ret_pem, err);
        http_client_free(http);
        return outcome;
}

static int register_key(struct setup_task_context *context, enum host_key_usage usage,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(2 * HVS_CERTIFICATE_MAX);
        struct host_key_files files;
        struct reader reader;
        struct host_key key;

        if (host_key_files_place(context->config, context->root, usage, &files, err) < 0 ||
            find_reader(context, usage, &reader, err) < 0)
                return -1;
        if (host_key_read(files.key_path, usage, &key, NULL, err) < 0) {
                err->hint = err->code == WLA_E_NOT_FOUND ? hint_make : err->hint;
                return -1;
        }

        bool registered = is_registered(&files, &key, &pem);
        if (!registered || context->force) {
                buf_reset(&pem);
                if (certify(context, &key, &pem, err) < 0 ||
                    write_certificate(&files, &pem, &reader, err) < 0)
                        return -1;
                setup_task_tell(context, true, "HVS has certified the %s: %s",
                                host_key_usage_name(usage), files.certificate);
                context->restart_agent |= usage == HOST_KEY_SIGNING;
        } else if (!belongs_to(&files, &reader)) {
                if (write_certificate(&files, &pem, &reader, err) < 0)
                        return -1;
                setup_task_tell(context, true, "%s belongs to the Trust Agent's user now",
                                files.certificate);
        } else {
                setup_task_tell(context, false, "%s is a certificate for the %s already",
                                files.certificate, host_key_usage_name(usage));
        }
        return open_directory_to_reader(context, &files, &reader, err);
}

int setup_register_binding_key(struct setup_task_context *context, struct wla_error *err) {
        return register_key(context, HOST_KEY_BINDING, err);
}

int setup_register_signing_key(struct setup_task_context *context, struct wla_error *err) {
        return register_key(context, HOST_KEY_SIGNING, err);
}
