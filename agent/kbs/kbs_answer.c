/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/kbs_answer.h"

#include <string.h>

#include "base/json_object.h"

struct meaning {
        unsigned status;
        const char *part; /* of the body; NULL: any body */
        enum wla_code code;
        enum kbs_next next;
        const char *text;
        const char *hint;
};

static const char hint_base[] = "KBS_BASE_URL must be the base URL of KBS, such as "
                                "https://kbs.example:9443/kbs/v1";

static const char hint_stranger[] = "see the log of KBS; something else may stand at KBS_BASE_URL";

/* The first that fits.  What is one route's only stands in that route's own table. */
static const struct meaning of_all[] = {
        {401, "Insufficient privileges", WLA_E_DENIED, KBS_FINAL,
         "the owner's user may not do that",
         "give WPM_SERVICE_USERNAME the role KBS:KeyManager in AAS"},
        {401, NULL, WLA_E_DENIED, KBS_NEW_TOKEN, "KBS does not accept the owner's token",
         "KBS and AAS must share one AAS signing certificate, and their clocks must agree"},
        {403, NULL, WLA_E_DENIED, KBS_FINAL, "KBS refuses the owner's user",
         "give WPM_SERVICE_USERNAME the role KBS:KeyManager in AAS"},
        {429, NULL, WLA_E_UNAVAILABLE, KBS_FINAL, "KBS is asked too often",
         "see the log of KBS, or of the proxy that stands before it"},
};

static const struct meaning of_create[] = {
        {400, NULL, WLA_E_INPUT, KBS_FINAL, "KBS does not make such a key",
         "it does not know the transfer policy, or its key manager has no AES keys: see its log"},
        {404, NULL, WLA_E_NOT_FOUND, KBS_FINAL, "KBS does not know the address", hint_base},
        {405, NULL, WLA_E_NOT_FOUND, KBS_FINAL, "KBS does not know the address", hint_base},
        {415, NULL, WLA_E_INPUT, KBS_FINAL, "KBS does not speak this program's dialect", hint_base},
};

static const struct meaning of_envelope[] = {
        {404, "Key with specified id does not exist", WLA_E_NOT_FOUND, KBS_FINAL,
         "KBS has no such key", "see that the id is one of this KBS"},
        {404, NULL, WLA_E_NOT_FOUND, KBS_OTHER_ROUTE, "KBS does not know the address", hint_base},
        {405, NULL, WLA_E_NOT_FOUND, KBS_OTHER_ROUTE, "KBS does not know the address", hint_base},
        {400, NULL, WLA_E_INPUT, KBS_FINAL, "KBS does not take the owner's public key",
         "see the log of KBS"},
        {415, NULL, WLA_E_INPUT, KBS_FINAL, "KBS does not speak this program's dialect", hint_base},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct meaning *find(const struct meaning *table, size_t count,
                                  const struct http_answer *answer) {
        for (size_t i = 0; i < count; i++) {
                const struct meaning *row = &table[i];

                if (row->status == answer->status &&
                    (!row->part || http_answer_says(answer, row->part)))
                        return row;
        }
        return NULL;
}

static int fail_status(const struct http_answer *answer, const struct meaning *own, size_t count,
                       enum kbs_next *ret_next, struct wla_error *err) {
        const struct meaning *row = find(own, count, answer);

        if (!row)
                row = find(of_all, COUNT(of_all), answer);
        if (row) {
                *ret_next = row->next;
                return wla_fail_hint(err, row->code, row->hint, "%s (status %u)", row->text,
                                     answer->status);
        }
        if (answer->status >= 300 && answer->status < 400)
                return wla_fail_hint(err, WLA_E_DENIED, hint_base,
                                     "KBS sends its client elsewhere (status %u), which is not "
                                     "followed",
                                     answer->status);
        return wla_fail_hint(err, answer->status >= 500 ? WLA_E_UNAVAILABLE : WLA_E_DENIED,
                             "see the log of KBS", "KBS answered with status %u", answer->status);
}

static int read_object(const struct http_answer *answer, struct json_value *ret,
                       struct wla_error *err) {
        if (json_check((const char *)answer->body.data, answer->body.size, ret, err) < 0) {
                err->hint = hint_stranger;
                return wla_wrap(err, "the answer of KBS");
        }
        if (ret->type != JSON_OBJECT)
                return wla_fail_hint(err, WLA_E_INPUT, hint_stranger,
                                     "the answer of KBS is no JSON object");
        return 0;
}

/* What is not told, or is told in no form of ours, equals nothing that was asked for. */
static void read_conditions(const struct json_value *object, struct kbs_made *made) {
        const struct json_value usage = json_member(object, "usage");
        const struct json_value policy = json_member(object, "transfer_policy_id");
        struct wla_error ignored = {0};

        if (usage.type != JSON_STRING ||
            json_string_copy(&usage, made->usage.text, sizeof(made->usage.text), &ignored) < 0)
                made->usage = (struct key_usage){0};
        if (policy.type != JSON_STRING ||
            uuid_parse(policy.text + 1, policy.size - 2, &made->policy, &ignored) < 0)
                made->policy = (struct uuid){0};
}

static int read_made(const struct json_value *object, struct kbs_made *ret, struct wla_error *err) {
        const struct json_value information = json_member(object, "key_information");
        const struct json_value id = json_member(&information, "id");
        const struct json_value link = json_member(object, "transfer_link");
        struct kbs_made made = {0};

        if (id.type != JSON_STRING || link.type != JSON_STRING)
                return wla_fail_hint(err, WLA_E_INPUT, hint_stranger,
                                     "the answer of KBS does not tell id and link of the key");
        if (uuid_parse(id.text + 1, id.size - 2, &made.id, err) < 0)
                return wla_wrap(err, "the id of the key in the answer of KBS");
        if (json_string_copy(&link, made.link, sizeof(made.link), err) < 0)
                return wla_wrap(err, "the link of key %s in the answer of KBS", made.id.text);
        read_conditions(object, &made);
        *ret = made;
        return 0;
}

int kbs_answer_made(const struct http_answer *answer, struct kbs_made *ret, enum kbs_next *ret_next,
                    struct wla_error *err) {
        struct json_value object;

        *ret_next = KBS_FINAL;
        if (answer->status != 201)
                return fail_status(answer, of_create, COUNT(of_create), ret_next, err);
        if (read_object(answer, &object, err) < 0)
                return -1;
        return read_made(&object, ret, err);
}

/* Releases 3.x and 4.x name the key that is in the envelope. */
static int check_id(const struct json_value *object, const struct uuid *id, struct wla_error *err) {
        const struct json_value told = json_member(object, "id");
        struct wla_error ignored = {0};
        struct uuid found;

        if (told.type == JSON_ABSENT)
                return 0;
        if (told.type != JSON_STRING ||
            uuid_parse(told.text + 1, told.size - 2, &found, &ignored) < 0 ||
            !uuid_equal(&found, id))
                return wla_fail_hint(err, WLA_E_INPUT, hint_stranger,
                                     "KBS answered with another key than it was asked for");
        return 0;
}

int kbs_answer_envelope(const struct http_answer *answer, const struct uuid *id,
                        uint8_t ret[ENVELOPE_SIZE], enum kbs_next *ret_next,
                        struct wla_error *err) {
        struct json_value object;

        *ret_next = KBS_FINAL;
        if (answer->status != 200)
                return fail_status(answer, of_envelope, COUNT(of_envelope), ret_next, err);
        if (read_object(answer, &object, err) < 0 || check_id(&object, id, err) < 0)
                return -1;

        struct json_value wrapped = json_member(&object, "wrapped_key");
        if (wrapped.type == JSON_ABSENT)
                wrapped = json_member(&object, "payload");
        if (wrapped.type != JSON_STRING)
                return wla_fail_hint(err, WLA_E_INPUT, hint_stranger,
                                     "the answer of KBS holds no key");
        if (json_base64(&wrapped, ret, ENVELOPE_SIZE, err) < 0) {
                err->hint = hint_stranger;
                return wla_wrap(err, "the key in the answer of KBS");
        }
        return 0;
}
