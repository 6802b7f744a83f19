/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner.h"

#include <string.h>

#include "base/clock.h"
#include "cli/owner_files.h"
#include "kbs/envelope_file.h"

#define CALL_USEC (UINT64_C(60) * USEC_PER_SEC)

static const struct broker_login_words words = {
        .user = "the owner's user",
        .refused =
                "set WPM_SERVICE_USERNAME and WPM_SERVICE_PASSWORD right before another try: AAS "
                "bans users after five",
        .banned = "AAS lifts a ban after 15 minutes; correct the password before",
        .wrong_url = "AAS_API_URL must be the base URL of AAS, such as "
                     "https://aas.example:8444/aas/v1",
        .same_token = "KBS has to trust the signing certificate of AAS, and the clocks of both "
                      "have to agree",
};

void owner_close(struct owner *owner) {
        owner->kbs = kbs_client_free(owner->kbs);
        owner->token = broker_token_free(owner->token);
        owner->http = http_client_free(owner->http);
        owner_config_done(&owner->config);
}

static int open_http(struct owner *owner, struct wla_error *err) {
        const char *directory = owner->config.values[OWNER_TRUSTED_CA_DIRECTORY];
        const struct http_settings settings = {
                .trust_directory = *directory ? directory : NULL,
                .tls12 = strcmp(owner->config.values[OWNER_ALLOW_TLS12], "yes") == 0,
        };

        return http_client_new(&settings, &owner->http, err);
}

static int open_token(struct owner *owner, struct wla_error *err) {
        char url[BROKER_URL_SIZE];
        const char *text;
        const char *user;

        if (owner_config_need(&owner->config, OWNER_AAS_API_URL, &text, err) < 0 ||
            owner_config_need(&owner->config, OWNER_WPM_SERVICE_USERNAME, &user, err) < 0)
                return -1;
        if (broker_url_parse(text, url, err) < 0)
                return wla_wrap(err, "AAS_API_URL");
        if (!owner->config.password)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "set it in ~/.config/wlagent/owner.conf, which nobody else "
                                     "may read",
                                     "WPM_SERVICE_PASSWORD is not set");
        if (broker_token_new(owner->http, url, user, owner->config.password, &owner->token, err) <
            0)
                return -1;
        broker_token_set_words(owner->token, &words);
        broker_token_do_not_wait(owner->token);
        return 0;
}

static int open_kbs(struct owner *owner, const char *given, struct wla_error *err) {
        const char *endpoint = owner->config.values[OWNER_KBS_ENDPOINT_URL];
        const char *text = given;
        char url[BROKER_URL_SIZE];

        if ((!given || strcmp(given, "configured") == 0) &&
            owner_config_need(&owner->config, OWNER_KBS_BASE_URL, &text, err) < 0)
                return -1;
        if (broker_url_parse(text, url, err) < 0)
                return wla_wrap(err, given == text ? "--kbs" : "KBS_BASE_URL");

        const struct kbs_settings settings = {
                .url = url,
                .endpoint = *endpoint ? endpoint : NULL,
                .http = owner->http,
                .token = owner->token,
        };
        return kbs_client_new(&settings, &owner->kbs, err);
}

int owner_open(const char *url, const struct used_files *written, struct owner *ret,
               struct wla_error *err) {
        struct owner owner = {0};

        if (owner_config_read(&owner.config, err) < 0)
                return -1;
        if (owner_files_check(&owner.config, written, err) < 0 || open_http(&owner, err) < 0 ||
            open_token(&owner, err) < 0 || open_kbs(&owner, url, err) < 0) {
                owner_close(&owner);
                return -1;
        }
        *ret = owner;
        return 0;
}

void owner_key_clear(struct owner_key *key) {
        key->secret = wla_secret_free(key->secret);
}

int owner_key_unused(const struct owner_key *key, struct wla_error *err) {
        return key->made ? wla_wrap(err, "key %s, which KBS has made for this, stays there unused",
                                    key->kbs.id.text)
                         : -1;
}

int owner_key_make(struct owner *owner, const struct owner_key_wish *wish, struct owner_key *ret,
                   struct wla_error *err) {
        struct deadline deadline;

        if (wish->choice.exists)
                return kbs_key_known(owner->kbs, &wish->choice.id, &ret->kbs, err);

        const struct kbs_new_key what = {
                .usage = wish->choice.usage,
                .label = wish->label,
                .policy = wish->policy,
        };
        deadline_init(&deadline, clock_now_usec() + CALL_USEC);
        if (kbs_key_make(owner->kbs, &what, &deadline, &ret->kbs, err) < 0)
                return wla_wrap(err, "making a key");
        ret->made = true;
        return 0;
}

static int make_envelope(const struct owner *owner, struct envelope_key **ret,
                         struct wla_error *err) {
        const char *path = owner->config.values[OWNER_ENVELOPE_PRIVATE_KEY];

        int outcome = *path ? envelope_file_read(path, ret, err) : envelope_key_generate(ret, err);
        return outcome < 0 ? wla_wrap(err, "the envelope key") : 0;
}

static int fetch(struct owner *owner, const struct uuid *id, const struct envelope_key *envelope,
                 struct wla_secret **ret, struct wla_error *err) {
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + CALL_USEC);
        return kbs_key_fetch(owner->kbs, id, envelope, &deadline, ret, err);
}

int owner_key_fetch(struct owner *owner, const struct uuid *id, struct wla_secret **ret,
                    struct wla_error *err) {
        struct envelope_key *envelope = NULL;

        if (make_envelope(owner, &envelope, err) < 0)
                return -1;
        int outcome = fetch(owner, id, envelope, ret, err);
        envelope_key_free(envelope);
        return outcome;
}

int owner_key_get(struct owner *owner, const struct owner_key_wish *wish, struct owner_key *ret,
                  struct wla_error *err) {
        struct envelope_key *envelope = NULL;
        struct owner_key key = {0};

        /* Before a key is made that nobody could fetch. */
        if (make_envelope(owner, &envelope, err) < 0)
                return -1;
        int outcome = owner_key_make(owner, wish, &key, err);
        if (outcome == 0) {
                outcome = fetch(owner, &key.kbs.id, envelope, &key.secret, err);
                if (outcome < 0)
                        (void)owner_key_unused(&key, err);
        }
        envelope_key_free(envelope);
        if (outcome == 0)
                *ret = key;
        return outcome;
}
