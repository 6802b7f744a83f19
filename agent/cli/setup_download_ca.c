/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/ca_certificates.h"
#include "cli/daemon_access.h"
#include "cli/directory_path.h"
#include "cli/setup_task.h"
#include "http/trust.h"
#include "source/key_origin.h"

/* Of Intel SecL's CMS: GET BASE/ca-certificates, which answers to exactly this type. */
#define ACCEPT         "Accept: application/x-pem-file"
#define PATH_IN_CMS    "/ca-certificates"
#define ANSWER_MAX     262144u
#define LIMIT_USEC     (60 * USEC_PER_SEC)
#define FILE_MODE      0644
#define DIRECTORY_MODE 0755

static const char hint_pin[] = "CMS_TLS_CERT_SHA384 is what 'cms tlscertsha384' prints on the host "
                               "of CMS: 96 hex digits; when "
                               "that is what you have set, somebody else answers in its place";

static bool is_usable(const char *directory, struct wla_error *err) {
        X509_STORE *store = NULL;

        if (trust_store_load(directory, &store, err) < 0)
                return false;
        X509_STORE_free(store);
        return true;
}

static int digit(char c) {
        static const char digits[] = "0123456789abcdef";
        const char *found = c ? strchr(digits, c | (c >= 'A' && c <= 'F' ? 0x20 : 0)) : NULL;

        return found ? (int)(found - digits) : -1;
}

static int read_pin(const struct answers *answers, uint8_t to[static HTTP_PIN_SIZE],
                    struct wla_error *err) {
        const char *text;

        if (answers_require(answers, ANSWER_CMS_TLS_CERT_SHA384, &text, err) < 0)
                return -1;
        bool fits = strlen(text) == (size_t)2 * HTTP_PIN_SIZE;
        for (size_t i = 0; fits && i < HTTP_PIN_SIZE; i++) {
                int high = digit(text[2 * i]);
                int low = digit(text[2 * i + 1]);

                fits = high >= 0 && low >= 0;
                to[i] = (uint8_t)(high * 16 + low);
        }
        if (!fits)
                return wla_fail_hint(err, WLA_E_INPUT, hint_pin,
                                     "CMS_TLS_CERT_SHA384 is no SHA-384 in hex");
        return 0;
}

static int read_url(const struct answers *answers, char to[static BROKER_URL_SIZE],
                    struct wla_error *err) {
        const char *text;

        if (answers_require(answers, ANSWER_CMS_BASE_URL, &text, err) < 0)
                return -1;
        if (broker_url_parse(text, to, err) < 0)
                return wla_wrap(err, "CMS_BASE_URL");
        return 0;
}

static int judge(const struct http_answer *answer, struct wla_error *err) {
        if (answer->status == 200)
                return 0;
        if (answer->status >= 500)
                return wla_fail_hint(err, WLA_E_UNAVAILABLE, "the log of CMS says why",
                                     "it answered with status %u", answer->status);
        return wla_fail_hint(err, WLA_E_INPUT,
                             "CMS_BASE_URL must be the base URL of CMS, such as "
                             "https://cms.example:8445/cms/v1",
                             "it answered with status %u", answer->status);
}

/* The pin stands for the chain: there is none to check yet. */
static int ask(const struct config *config, const char *base, const uint8_t *pin,
               struct http_answer *ret, struct wla_error *err) {
        static const char *const headers[] = {ACCEPT, NULL};
        const struct http_settings settings = {.tls12 = config->wls.allow_tls12};
        struct http_client *client = NULL;
        char url[BROKER_URL_SIZE + sizeof(PATH_IN_CMS)];
        struct deadline deadline;

        (void)snprintf(url, sizeof(url), "%s%s", base, PATH_IN_CMS);
        deadline_init(&deadline, clock_now_usec() + LIMIT_USEC);
        const struct http_request request = {
                .method = "GET",
                .url = url,
                .headers = headers,
                .answer_max = ANSWER_MAX,
                .pin = pin,
                .deadline = &deadline,
        };
        if (http_client_new(&settings, &client, err) < 0)
                return -1;
        int outcome = http_perform(client, &request, ret, err);
        http_client_free(client);
        if (outcome < 0 && err->code == WLA_E_DENIED)
                err->hint = hint_pin;
        if (outcome < 0 || judge(ret, err) < 0)
                return wla_wrap(err, "CMS %s", url);
        return 0;
}

static int store(const char *directory, const struct ca_certificates *certificates,
                 struct wla_error *err) {
        const struct wla_bytes pem = {.data = certificates->pem.data,
                                      .size = certificates->pem.size};
        _cleanup_close_ int fd = -1;

        if (directory_path_make(directory, DIRECTORY_MODE, &fd, err) < 0 ||
            file_write_for(fd, certificates->file_name, pem, FILE_MODE, (uid_t)-1, (gid_t)-1, err) <
                    0 ||
            !is_usable(directory, err))
                return wla_wrap(err, "storing the certificate of CMS");
        return 0;
}

static int download(struct setup_task_context *context, const char *directory,
                    struct wla_error *err) {
        _cleanup_ca_certificates_ struct ca_certificates certificates = CA_CERTIFICATES;
        _cleanup_answer_ struct http_answer answer = {0};
        char url[BROKER_URL_SIZE];
        uint8_t pin[HTTP_PIN_SIZE];

        /* Whoever could change the directory would choose whom this host trusts. */
        if (directory_path_check(directory, err) < 0)
                return wla_wrap(err, "TrustDirectory=%s", directory);
        if (read_url(context->answers, url, err) < 0 || read_pin(context->answers, pin, err) < 0 ||
            ask(context->config, url, pin, &answer, err) < 0)
                return -1;

        const struct wla_bytes text = {.data = answer.body.data, .size = answer.body.size};
        if (ca_certificates_parse(text, &certificates, err) < 0)
                return wla_wrap(err, "what CMS %s answered", url);
        if (store(directory, &certificates, err) < 0)
                return -1;

        context->restart_agent = true;
        setup_task_tell(context, true, "%s is trusted from now on: %s/%s", certificates.subject,
                        directory, certificates.file_name);
        return 0;
}

int setup_download_ca(struct setup_task_context *context, struct wla_error *err) {
        const char *directory = context->config->wls.trust_directory;
        struct wla_error ignored = {0};

        /* Not opened here: it was closed by somebody, and perhaps for the sake of what else is in it.  Who has the files of
         * another system made cannot ask for its users. */
        if (!context->root && daemon_access_check(directory, err) < 0)
                return wla_wrap(err, "TrustDirectory=%s", directory);
        if (!context->force && is_usable(directory, &ignored)) {
                setup_task_tell(context, false, "%s has certificates already", directory);
                return 0;
        }
        return download(context, directory, err);
}
