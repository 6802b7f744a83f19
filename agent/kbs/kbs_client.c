/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/kbs_client.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_walk.h"
#include "kbs/kbs_answer.h"

#define ANSWER_MAX  16384u
#define REQUEST_MAX 4096u
#define URL_MAX     (BROKER_URL_SIZE + 64u)

static const char hint_endpoint[] =
        "ENDPOINT_URL of KBS says which name it gives itself; if hosts are to use that one, set "
        "KBS_ENDPOINT_URL to it";

static const char hint_open[] = "delete it in KBS, which may give it to every trusted host";

struct kbs_client {
        char url[BROKER_URL_SIZE];
        char endpoint[BROKER_URL_SIZE];
        struct http_client *http;
        struct broker_token *token;
        bool old_route; /* 3.x or 4.x: its answers have shown it */
};

struct kbs_call {
        struct kbs_client *client;
        const char *const *types; /* Accept and Content-Type */
        struct wla_bytes body;
        const struct deadline *deadline;
        struct wla_secret *token; /* a header line */
};

static const char *const json_types[] = {"Accept: application/json",
                                         "Content-Type: application/json"};
static const char *const envelope_types[] = {"Accept: application/json",
                                             "Content-Type: text/plain"};

int kbs_client_new(const struct kbs_settings *settings, struct kbs_client **ret,
                   struct wla_error *err) {
        struct kbs_client *client = calloc(1, sizeof(*client));
        const char *endpoint = settings->endpoint ? settings->endpoint : settings->url;

        if (!client)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (broker_url_parse(settings->url, client->url, err) < 0 ||
            broker_url_parse(endpoint, client->endpoint, err) < 0) {
                free(client);
                return wla_wrap(err, "the base URL of KBS");
        }
        client->http = settings->http;
        client->token = settings->token;
        *ret = client;
        return 0;
}

struct kbs_client *kbs_client_free(struct kbs_client *client) {
        free(client);
        return NULL;
}

int kbs_label_check(const char *label, struct wla_error *err) {
        size_t size = strlen(label);
        size_t step;

        if (size == 0 || size > KBS_LABEL_MAX)
                return wla_fail(err, WLA_E_INPUT, "a label has 1 to %u bytes, not %zu",
                                KBS_LABEL_MAX, size);
        for (size_t at = 0; at < size; at += step) {
                const unsigned char *character = (const unsigned char *)label + at;

                step = json_utf8_sequence(character, size - at);
                if (step == 0 || *character < 0x20 || *character == 0x7f)
                        return wla_fail(err, WLA_E_INPUT,
                                        "byte %zu of the label is no text in UTF-8", at + 1);
        }
        return 0;
}

static int get_token(struct kbs_call *call, const struct wla_secret *refused,
                     struct wla_error *err) {
        struct wla_secret *fresh = NULL;

        if (broker_token_get(call->client->token, refused, call->deadline, &fresh, err) < 0)
                return -1;
        wla_secret_free(call->token);
        call->token = fresh;
        return 0;
}

static int post(const struct kbs_call *call, const char *path, struct http_answer *ret,
                struct wla_error *err) {
        _cleanup_buf_ struct buf url = BUF_WITH_LIMIT(URL_MAX);

        if (buf_printf(&url, err, "%s%s", call->client->url, path) < 0 || !buf_text(&url, err))
                return -1;

        const char *const headers[] = {call->types[0], call->types[1], NULL};
        const struct http_request request = {
                .method = "POST",
                .url = (const char *)url.data,
                .headers = headers,
                .secret_header = call->token,
                .body = call->body,
                .answer_max = ANSWER_MAX,
                .deadline = call->deadline,
        };
        if (http_perform(call->client->http, &request, ret, err) < 0)
                return wla_wrap(err, "KBS %s", call->client->url);
        return 0;
}

static int write_request(const struct kbs_new_key *what, struct buf *to, struct wla_error *err) {
        if (buf_append_text(to, "{\"key_information\":{\"algorithm\":\"AES\",\"key_length\":256}",
                            err) < 0)
                return -1;
        if (what->usage.text[0] && buf_printf(to, err, ",\"usage\":\"%s\"", what->usage.text) < 0)
                return -1;
        if (what->label &&
            (kbs_label_check(what->label, err) < 0 || buf_append_text(to, ",\"label\":", err) < 0 ||
             json_write_string(to, what->label, strlen(what->label), err) < 0))
                return -1;
        if (what->policy &&
            buf_printf(to, err, ",\"transfer_policy_id\":\"%s\"", what->policy->text) < 0)
                return -1;
        return buf_append_text(to, "}", err);
}

/* Whatever else it says, a link of that origin that ends in keys/UUID/transfer. */
static int read_link(const struct kbs_client *client, const struct key_id *text,
                     struct kbs_key *ret, struct wla_error *err) {
        const char *path = strchr(client->endpoint + strlen("https://"), '/');
        size_t origin = path ? (size_t)(path - client->endpoint) : strlen(client->endpoint);
        struct key_origins expected = {.count = 1};
        struct key_link link;
        struct kbs_key key;

        if (text->scheme != KEY_SCHEME_HTTPS)
                return wla_fail(err, WLA_E_INPUT, "it is no https URL");
        if (key_origin_parse(client->endpoint, origin, &expected.origins[0], err) < 0)
                return -1;
        if (key_link_parse(text, &expected, &link, err) < 0) {
                if (err->code != WLA_E_DENIED)
                        return -1;
                return wla_fail_hint(err, WLA_E_DENIED, hint_endpoint,
                                     "hosts would ask another server than %s",
                                     expected.origins[0].text);
        }
        key.id = link.key;
        if (key_id_parse(link.url, strlen(link.url), &key.link, err) < 0)
                return -1;
        *ret = key;
        return 0;
}

static int take_link(const struct kbs_client *client, const char *text, const struct uuid *id,
                     struct kbs_key *ret, struct wla_error *err) {
        struct key_id link;
        struct kbs_key key;

        if (key_id_parse(text, strlen(text), &link, err) < 0 ||
            read_link(client, &link, &key, err) < 0)
                return -1;
        if (!uuid_equal(&key.id, id))
                return wla_fail(err, WLA_E_INPUT, "it names another key");
        *ret = key;
        return 0;
}

static int make(struct kbs_call *call, struct kbs_made *ret, struct wla_error *err) {
        enum kbs_next next = KBS_FINAL;

        if (get_token(call, NULL, err) < 0)
                return -1;
        for (bool again = false;; again = true) {
                _cleanup_answer_ struct http_answer answer = {0};

                if (post(call, "/keys", &answer, err) < 0)
                        return answer.sent ? wla_wrap(err, "KBS may have made a key all the same")
                                           : -1;
                if (kbs_answer_made(&answer, ret, &next, err) == 0)
                        return 0;
                if (answer.status == 201)
                        return wla_wrap(err, "KBS has made a key that cannot be used");
                if (next != KBS_NEW_TOKEN || again)
                        return -1;
                if (get_token(call, call->token, err) < 0)
                        return -1;
        }
}

/* A KBS, or what stands before it, may drop what it does not know. */
static int check_conditions(const struct kbs_new_key *asked, const struct kbs_made *made,
                            struct wla_error *err) {
        if (asked->usage.text[0] && strcmp(asked->usage.text, made->usage.text) != 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_open,
                                     "KBS has made key %s without its asset tags", made->id.text);
        if (asked->policy && !uuid_equal(asked->policy, &made->policy))
                return wla_fail_hint(err, WLA_E_DENIED, hint_open,
                                     "KBS has made key %s without its transfer policy",
                                     made->id.text);
        return 0;
}

int kbs_key_make(struct kbs_client *client, const struct kbs_new_key *what,
                 const struct deadline *deadline, struct kbs_key *ret, struct wla_error *err) {
        _cleanup_buf_ struct buf body = BUF_WITH_LIMIT(REQUEST_MAX);
        struct kbs_call call = {
                .client = client,
                .types = json_types,
                .deadline = deadline,
        };
        struct kbs_made made = {0};

        if (write_request(what, &body, err) < 0)
                return -1;
        call.body = (struct wla_bytes){body.data, body.size};
        int outcome = make(&call, &made, err);
        wla_secret_free(call.token);
        if (outcome < 0 || check_conditions(what, &made, err) < 0)
                return -1;

        if (take_link(client, made.link, &made.id, ret, err) < 0)
                return wla_wrap(err, "KBS has made key %s, whose link is not usable", made.id.text);
        return 0;
}

int kbs_key_known(const struct kbs_client *client, const struct uuid *id, struct kbs_key *ret,
                  struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(URL_MAX);

        if (buf_printf(&text, err, "%s/keys/%s/transfer", client->endpoint, id->text) < 0 ||
            !buf_text(&text, err))
                return -1;
        return take_link(client, (const char *)text.data, id, ret, err);
}

int kbs_key_linked(const struct kbs_client *client, const struct key_id *link, struct kbs_key *ret,
                   struct wla_error *err) {
        if (read_link(client, link, ret, err) < 0)
                return wla_wrap(err, "%s", link->text);
        return 0;
}

/* One route, with a fresh token when the first is refused. */
static int fetch_by(struct kbs_call *call, const struct uuid *id, bool old_route,
                    uint8_t ret[ENVELOPE_SIZE], enum kbs_next *ret_next, struct wla_error *err) {
        _cleanup_buf_ struct buf path = BUF_WITH_LIMIT(URL_MAX);

        if (buf_printf(&path, err, "/keys/%s%s", id->text, old_route ? "/transfer" : "") < 0 ||
            !buf_text(&path, err))
                return -1;
        for (bool again = false;; again = true) {
                _cleanup_answer_ struct http_answer answer = {0};

                *ret_next = KBS_FINAL;
                if (post(call, (const char *)path.data, &answer, err) < 0)
                        return -1;
                if (kbs_answer_envelope(&answer, id, ret, ret_next, err) == 0)
                        return 0;
                if (*ret_next != KBS_NEW_TOKEN || again)
                        return -1;
                if (get_token(call, call->token, err) < 0)
                        return -1;
        }
}

static int fetch(struct kbs_call *call, const struct uuid *id, uint8_t ret[ENVELOPE_SIZE],
                 struct wla_error *err) {
        struct kbs_client *client = call->client;
        enum kbs_next next = KBS_FINAL;

        if (get_token(call, NULL, err) < 0)
                return -1;
        if (!client->old_route) {
                if (fetch_by(call, id, false, ret, &next, err) == 0)
                        return 0;
                if (next != KBS_OTHER_ROUTE)
                        return -1;
        }
        if (fetch_by(call, id, true, ret, &next, err) < 0)
                return -1;
        client->old_route = true;
        return 0;
}

int kbs_key_fetch(struct kbs_client *client, const struct uuid *id,
                  const struct envelope_key *envelope, const struct deadline *deadline,
                  struct wla_secret **ret, struct wla_error *err) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(ENVELOPE_PEM_MAX);
        struct kbs_call call = {.client = client, .types = envelope_types, .deadline = deadline};
        uint8_t wrapped[ENVELOPE_SIZE];

        if (envelope_key_public(envelope, &pem, err) < 0)
                return -1;
        call.body = (struct wla_bytes){pem.data, pem.size};
        int outcome = fetch(&call, id, wrapped, err);
        wla_secret_free(call.token);
        if (outcome == 0)
                outcome = envelope_key_open(envelope, wrapped, KBS_KEY_SIZE, ret, err);
        return outcome < 0 ? wla_wrap(err, "key %s", id->text) : 0;
}
