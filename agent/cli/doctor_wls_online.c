/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/credential.h"
#include "base/file.h"
#include "cli/credential_store.h"
#include "cli/doctor_wls.h"
#include "cli/filter_program.h"
#include "cli/other_program.h"
#include "source/broker_token.h"
#include "source/key_origin.h"

#define ASK_USEC    (UINT64_C(20) * USEC_PER_SEC)
#define ANSWER_MAX  65536u
#define DECRYPT_MAX (CREDENTIAL_MAX + 1u)

static const char remedy_reach[] = "look at the address, the network of this host, a proxy, and "
                                   "whether the service runs";

/* The files are root's, and so is whoever runs this. */
static int read_file(const struct credential_place *place, struct buf *to, struct wla_error *err) {
        char program[PATH_MAX];
        char argument[] = "--name=" CREDENTIAL_AAS_PASSWORD;
        char path[PATH_MAX];
        char verb[] = "decrypt";
        char output[] = "-";
        char *const argv[] = {program, verb, argument, path, output, NULL};
        const struct filter_program decrypt = {.argv = argv, .limit_usec = ASK_USEC};

        if (place->kind == CREDENTIAL_PLAIN)
                return file_read(AT_FDCWD, place->path, to, err);
        (void)snprintf(path, sizeof(path), "%s", place->path);
        if (other_program_find("systemd-creds", program, err) < 0)
                return -1;
        return filter_program_run(&decrypt, to, err);
}

/* As the service gets it, where this runs with its credentials; else from the store. */
static int read_password(const struct doctor *doctor, struct wla_secret **ret,
                         struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(DECRYPT_MAX);
        struct credential_place place = {0};
        struct wla_error ignored = {0};

        if (credential_read(CREDENTIAL_AAS_PASSWORD, ret, &ignored) == 0)
                return 0;
        if (credential_find(doctor->root[0] != '\0' ? doctor->root : NULL, CREDENTIAL_AAS_PASSWORD,
                            &place, err) < 0)
                return -1;
        if (place.kind == CREDENTIAL_NONE)
                return wla_fail(err, WLA_E_NOT_FOUND,
                                "there is no credential " CREDENTIAL_AAS_PASSWORD);
        if (read_file(&place, &text, err) < 0)
                return -1;
        if (text.size > 0 && text.data[text.size - 1] == '\n')
                text.size--;
        if (text.size == 0)
                return wla_fail(err, WLA_E_INPUT, "the credential %s is empty", place.path);
        if (wla_secret_new(text.size, ret, err) < 0)
                return -1;
        memcpy(wla_secret_fill(*ret), text.data, text.size);
        return 0;
}

/* Any answer of it: the route needs no rights, and releases differ in whether they have it. */
static int reach(struct http_client *http, const char *base, struct wla_error *err) {
        _cleanup_answer_ struct http_answer answer = {0};
        static const char *const headers[] = {NULL};
        char url[BROKER_URL_SIZE + sizeof("/version")];
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + ASK_USEC);
        (void)snprintf(url, sizeof(url), "%s/version", base);
        const struct http_request request = {
                .method = "GET",
                .url = url,
                .headers = headers,
                .answer_max = ANSWER_MAX,
                .deadline = &deadline,
        };
        return http_perform(http, &request, &answer, err);
}

static void check_server(struct doctor *doctor, struct http_client *http) {
        struct wla_error err = {0};
        char url[BROKER_URL_SIZE];

        if (broker_url_parse(doctor->config->wls.server_url, url, &err) < 0)
                return;
        if (reach(http, url, &err) < 0)
                doctor_report(doctor, FINDING_FAILURE, "wls-online",
                              err.hint ? err.hint : remedy_reach, "WLS %s: %s", url,
                              wla_error_text(&err));
        else
                doctor_report(doctor, FINDING_OK, "wls-online", NULL, "WLS %s answers", url);
}

/* One login, which is not repeated. */
static int log_in(const struct doctor *doctor, struct http_client *http, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *password = NULL;
        struct wla_secret *line = NULL;
        struct broker_token *token = NULL;
        char url[BROKER_URL_SIZE];
        struct deadline deadline;

        if (broker_url_parse(doctor->config->wls.token_url, url, err) < 0 ||
            read_password(doctor, &password, err) < 0 ||
            broker_token_new(http, url, doctor->config->wls.service_user, password, &token, err) <
                    0)
                return -1;
        broker_token_do_not_wait(token);
        deadline_init(&deadline, clock_now_usec() + ASK_USEC);
        int outcome = broker_token_get(token, NULL, &deadline, &line, err);
        wla_secret_free(line);
        broker_token_free(token);
        return outcome;
}

static void check_login(struct doctor *doctor, struct http_client *http) {
        struct wla_error err = {0};

        if (log_in(doctor, http, &err) < 0)
                doctor_report(doctor, FINDING_FAILURE, "wls-online",
                              err.hint ? err.hint : remedy_reach, "%s", wla_error_text(&err));
        else
                doctor_report(doctor, FINDING_OK, "wls-online", NULL,
                              "AAS %s gives user %s a token", doctor->config->wls.token_url,
                              doctor->config->wls.service_user);
}

void doctor_check_wls_online(struct doctor *doctor) {
        const struct http_settings settings = {
                .trust_directory = doctor->config->wls.trust_directory,
                .tls12 = doctor->config->wls.allow_tls12,
        };
        struct http_client *http = NULL;
        struct wla_error err = {0};

        /* Where a TPM was looked at, it has been made for that. */
        if ((!CRYPTO_secure_malloc_initialized() && wla_secret_heap_init(true, &err) < 0) ||
            http_client_new(&settings, &http, &err) < 0) {
                doctor_report_error(doctor, FINDING_FAILURE, "wls-online", &err);
                return;
        }
        check_server(doctor, http);
        check_login(doctor, http);
        http_client_free(http);
}
