/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/hvs_certify.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "cli/key_certificate.h"
#include "source/key_origin.h"

#define BODY_MAX   32768u
#define ANSWER_MAX 65536u
#define SAID_MAX   128u

#define STATUS_CREATED           201u
#define STATUS_BAD_REQUEST       400u
#define STATUS_UNAUTHORIZED      401u
#define STATUS_NOT_FOUND         404u
#define STATUS_UNSUPPORTED_MEDIA 415u

static const char hint_url[] = "HVS_URL must be the base URL of HVS, such as "
                               "https://hvs.example:8443/hvs/v2";
static const char hint_decode[] =
        "something on the way has changed the request, or this HVS is none of "
        "versions 3.0 to 5.1";
static const char hint_certify[] = "the attestation key that certified this key has to be the one "
                                   "of aik.pem, and a certificate of "
                                   "this very HVS: its log says which check failed; provision the "
                                   "Trust Agent with this HVS, or "
                                   "make the key again with --force";
static const char hint_token[] = "BEARER_TOKEN is invalid or has expired: get a new installation "
                                 "token from AAS";
static const char hint_permission[] =
        "the user of BEARER_TOKEN needs the role HVS:Certifier, with the permission "
        "host_signing_key_certificates:create:*, in AAS";
static const char hint_server[] =
        "the log of HVS says why; when it is well again, run the same command";
static const char hint_cut[] =
        "HVS has broken the connection off: it may be overloaded, or a proxy stands "
        "between; run the same command again";
static const char hint_garbage[] =
        "nothing was stored; look at what stands at HVS_URL, and at its version";

struct route {
        const char *path;
        const char *member;
};

static const struct route routes[] = {
        [HOST_KEY_BINDING] = {"/rpc/certify-host-binding-key", "binding_key_der_certificate"},
        [HOST_KEY_SIGNING] = {"/rpc/certify-host-signing-key", "signing_key_der_certificate"},
};

static int append_member(struct buf *body, const char *name, struct wla_bytes value,
                         struct wla_error *err) {
        if (buf_printf(body, err, "%s\"%s\":\"", body->size > 0 ? "," : "{", name) < 0 ||
            base64_append(body, value.data, value.size, err) < 0)
                return -1;
        return buf_append_text(body, "\"", err);
}

static int write_body(const struct hvs_certify *asked, struct buf *body, struct wla_error *err) {
        struct host_key_registration found;

        host_key_registration(asked->key, &found);
        const struct wla_bytes name_digest = {.data = found.name_digest,
                                              .size = sizeof(found.name_digest)};
        if (append_member(body, "public_key_modulus", found.public_key_modulus, err) < 0 ||
            append_member(body, "tpm_certify_key", found.tpm_certify_key, err) < 0 ||
            append_member(body, "tpm_certify_key_signature", found.tpm_certify_key_signature, err) <
                    0 ||
            append_member(body, "aik_der_certificate", asked->aik, err) < 0 ||
            append_member(body, "name_digest", name_digest, err) < 0)
                return -1;
        return buf_append_text(body, ",\"tpm_version\":\"2.0\",\"operating_system\":\"Linux\"}",
                               err);
}

/* Terminated, in locked memory. */
static int write_authorization(const struct wla_secret *token, struct wla_secret **ret,
                               struct wla_error *err) {
        static const char name[] = "Authorization: Bearer ";
        const struct wla_bytes text = wla_secret_view(token);

        if (wla_secret_new(sizeof(name) + text.size, ret, err) < 0)
                return -1;
        uint8_t *to = wla_secret_fill(*ret);
        memcpy(to, name, sizeof(name) - 1);
        memcpy(to + sizeof(name) - 1, text.data, text.size);
        return 0;
}

/* The first line, printable characters only. */
static void copy_said(const struct buf *body, char to[static SAID_MAX]) {
        size_t size = 0;

        while (size < body->size && size < SAID_MAX - 1 && body->data[size] != '\n') {
                to[size] = body->data[size] < ' ' || body->data[size] > '~'
                                   ? '?'
                                   : (char)body->data[size];
                size++;
        }
        to[size] = '\0';
}

static int fail_bad_request(const char *said, struct wla_error *err) {
        bool decoding = strstr(said, "decoding") != NULL;

        return wla_fail_hint(err, WLA_E_INPUT, decoding ? hint_decode : hint_certify,
                             decoding ? "it does not understand the request: %s"
                                      : "it does not certify the key: %s",
                             said);
}

static int fail_status(const struct http_answer *answer, struct wla_error *err) {
        char said[SAID_MAX];

        copy_said(&answer->body, said);
        switch (answer->status) {
        case STATUS_BAD_REQUEST:
                return fail_bad_request(said, err);
        case STATUS_UNAUTHORIZED:
                if (said[0] == '\0')
                        return wla_fail_hint(err, WLA_E_DENIED, hint_token,
                                             "it does not accept the token");
                return wla_fail_hint(err, WLA_E_DENIED, hint_permission, "it refuses: %s", said);
        case STATUS_NOT_FOUND:
                return wla_fail_hint(err, WLA_E_INPUT, hint_url, "there is no such service there");
        case STATUS_UNSUPPORTED_MEDIA:
                return wla_fail_hint(err, WLA_E_INPUT, hint_decode,
                                     "it does not take the request's type: %s", said);
        default:
                return wla_fail_hint(err, answer->status >= 500 ? WLA_E_UNAVAILABLE : WLA_E_INPUT,
                                     answer->status >= 500 ? hint_server : hint_url,
                                     "it answered with status %u%s%s", answer->status,
                                     said[0] ? ": " : "", said);
        }
}

static int read_certificate(const struct hvs_certify *asked, const struct buf *body,
                            struct buf *ret_pem, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(2 * HVS_CERTIFICATE_MAX);
        _cleanup_buf_ struct buf der = BUF_WITH_LIMIT(HVS_CERTIFICATE_MAX);
        struct json_value object;

        if (json_check((const char *)body->data, body->size, &object, err) < 0)
                return -1;
        const char *name = routes[asked->key->usage].member;
        const struct json_value value = json_member(&object, name);
        if (value.type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "there is no \"%s\"", name);
        if (json_string(&value, &text, err) < 0 ||
            base64_decode((const char *)text.data, text.size, &der, err) < 0)
                return wla_wrap(err, "\"%s\"", name);

        const struct wla_bytes certificate = {.data = der.data, .size = der.size};
        if (key_certificate_check(certificate, asked->key, err) < 0)
                return -1;
        return key_certificate_write_pem(certificate, ret_pem, err);
}

static int perform(const struct hvs_certify *asked, const char *url, struct http_answer *ret,
                   struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *authorization = NULL;
        _cleanup_buf_ struct buf body = BUF_WITH_LIMIT(BODY_MAX);

        if (write_body(asked, &body, err) < 0 ||
            write_authorization(asked->token, &authorization, err) < 0)
                return -1;

        const char *const headers[] = {
                "Accept: application/json",
                "Content-Type: application/json",
                NULL,
        };
        const struct http_request request = {
                .method = "POST",
                .url = url,
                .headers = headers,
                .secret_header = authorization,
                .body = {.data = body.data, .size = body.size},
                .answer_max = ANSWER_MAX,
                .deadline = asked->deadline,
        };
        if (http_perform(asked->http, &request, ret, err) == 0)
                return 0;
        if (err->code == WLA_E_UNAVAILABLE && ret->sent)
                err->hint = hint_cut;
        return -1;
}

int hvs_certify(const struct hvs_certify *asked, struct buf *ret_pem, struct wla_error *err) {
        _cleanup_answer_ struct http_answer answer = {0};
        char url[BROKER_URL_SIZE + 64];

        (void)snprintf(url, sizeof(url), "%s%s", asked->url, routes[asked->key->usage].path);
        if (perform(asked, url, &answer, err) < 0)
                return wla_wrap(err, "HVS %s", url);
        if (answer.status != STATUS_CREATED) {
                (void)fail_status(&answer, err);
                return wla_wrap(err, "HVS %s", url);
        }
        if (read_certificate(asked, &answer.body, ret_pem, err) < 0) {
                if (err->code == WLA_E_INPUT)
                        err->hint = hint_garbage;
                return wla_wrap(err, "what HVS %s answered", url);
        }
        return 0;
}
