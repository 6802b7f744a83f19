/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls_answer.h"

#include <string.h>

#include "base/json_object.h"

#define UNTRUSTED  "Host is untrusted"
#define NO_KEY_FOR "Failed to retrieve key : " /* and a cause */

struct meaning {
        unsigned status;  /* 0: any */
        const char *part; /* of the body; NULL: any body */
        const char *more; /* another part of it; NULL: none */
        enum wla_code code;
        enum wls_next next;
        const char *text;
        const char *hint;
};

static const char hint_base[] = "ServerURL= must be the base URL of WLS, such as "
                                "https://wls.example:5000/wls/v1";
static const char hint_request[] =
        "something on the way has changed the request, or this WLS is none of versions 3.0 to 5.1: "
        "see its log";
static const char hint_stranger[] = "see the log of WLS; something else may stand at ServerURL=";

/* The first that fits.  Of KBS, 5.x passes on the status of an answer and no body, or the cause why there was
 * none; 4.x says no more than that there is no key. */
static const struct meaning meanings[] = {
        {0, UNTRUSTED, NULL, WLA_E_DENIED, WLS_FINAL, "HVS does not trust this host",
         "look at the host's trust report in HVS: a flavor no longer matches its measurements"},
        {401, "Insufficient privileges", NULL, WLA_E_DENIED, WLS_FINAL,
         "the agent's user may not have keys", "give ServiceUser= the role WLS:KeysCreator in AAS"},
        {401, NULL, NULL, WLA_E_DENIED, WLS_NEW_TOKEN, "WLS does not accept the agent's token",
         "WLS and AAS must share one AAS signing certificate, and their clocks must agree"},
        {500, "Failed to read HVS response", NULL, WLA_E_UNAVAILABLE, WLS_LATER,
         "HVS cannot judge this host now",
         "see that HVS and the host's trust agent run and that HVS lists the host as CONNECTED"},
        {500, "SAML signature or certificate chain verification failed", NULL, WLA_E_UNAVAILABLE,
         WLS_FINAL, "WLS does not accept the reports of HVS",
         "WLS needs the SAML root certificate of HVS: run its task download-saml-ca-cert"},
        {500, NO_KEY_FOR, "HTTP Status :401", WLA_E_DENIED, WLS_FINAL,
         "KBS does not give the key to this host",
         "the key's usage in KBS may ask for asset tags that the host has not; else KBS does not "
         "take the reports of HVS: see its log"},
        {500, NO_KEY_FOR, "HTTP Status :404", WLA_E_NOT_FOUND, WLS_FINAL, "KBS has no such key",
         "the key was deleted, or the image is for another KBS"},
        {500, NO_KEY_FOR, "HTTP Status :", WLA_E_DENIED, WLS_FINAL, "KBS gave no key",
         "see the log of KBS"},
        {500, NO_KEY_FOR, NULL, WLA_E_UNAVAILABLE, WLS_LATER, "WLS does not reach KBS",
         "see that KBS runs at the address that the key's URL has, and that WLS trusts its "
         "certificate; else see the log of WLS"},
        {500, "Failed to retrieve key", NULL, WLA_E_DENIED, WLS_FINAL, "KBS gave no key",
         "see the log of KBS: the key does not exist, its policy refuses this host, or KBS is "
         "down"},
        {0, "KeyUrl is malformed", NULL, WLA_E_INPUT, WLS_FINAL, "WLS does not take the key's URL",
         "the owner has to encrypt the image with the transfer link that KBS gave for the key"},
        {400, "Invalid hardware UUID format", NULL, WLA_E_INPUT, WLS_FINAL,
         "WLS does not take this host's hardware UUID",
         "set HardwareUUID= to the UUID by which HVS knows the host"},
        {400, NULL, NULL, WLA_E_INPUT, WLS_FINAL, "WLS does not take the request", hint_request},
        {403, NULL, NULL, WLA_E_DENIED, WLS_FINAL, "WLS refuses this host",
         "see the log of WLS, or of the proxy that stands before it"},
        {404, NULL, NULL, WLA_E_NOT_FOUND, WLS_FINAL, "WLS does not know the address", hint_base},
        {405, NULL, NULL, WLA_E_NOT_FOUND, WLS_FINAL, "WLS does not know the address", hint_base},
        {415, NULL, NULL, WLA_E_INPUT, WLS_FINAL, "WLS does not speak this agent's dialect",
         "ServerURL= must be the base URL of WLS 4.x or 5.x"},
        {429, NULL, NULL, WLA_E_UNAVAILABLE, WLS_FINAL, "WLS is asked too often",
         "see the log of WLS, or of the proxy that stands before it"},
};

bool wls_answer_says_untrusted(const struct http_answer *answer) {
        return answer->status != 200 && answer->status != 201 &&
               http_answer_says(answer, UNTRUSTED);
}

static bool fits(const struct meaning *meaning, const struct http_answer *answer) {
        if (meaning->status != 0 && meaning->status != answer->status)
                return false;
        if (meaning->part && !http_answer_says(answer, meaning->part))
                return false;
        return !meaning->more || http_answer_says(answer, meaning->more);
}

int wls_answer_refuse(const struct http_answer *answer, enum wls_next *ret_next,
                      struct wla_error *err) {
        for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
                const struct meaning *meaning = &meanings[i];

                if (!fits(meaning, answer))
                        continue;
                *ret_next = meaning->next;
                return wla_fail_hint(err, meaning->code, meaning->hint, "%s (status %u)",
                                     meaning->text, answer->status);
        }
        if (answer->status >= 300 && answer->status < 400) {
                *ret_next = WLS_FINAL;
                return wla_fail_hint(err, WLA_E_DENIED, hint_base,
                                     "WLS sends its client elsewhere (status %u), which is not "
                                     "followed",
                                     answer->status);
        }
        *ret_next = answer->status >= 500 ? WLS_LATER : WLS_FINAL;
        return wla_fail_hint(err, answer->status >= 500 ? WLA_E_UNAVAILABLE : WLA_E_DENIED,
                             "see the log of WLS", "WLS answered with status %u", answer->status);
}

/* The member is named by the wire; WLS v4 leaves it out, or empty, when KBS gave none. */
static int read_key(const struct http_answer *answer, uint8_t ret[RSA_WRAPPED_SIZE],
                    struct wla_error *err) {
        struct json_value object;

        if (json_check((const char *)answer->body.data, answer->body.size, &object, err) < 0) {
                err->hint = hint_stranger;
                return wla_wrap(err, "the answer of WLS");
        }

        const struct json_value key = json_member(&object, "key");
        if (object.type != JSON_OBJECT || key.type == JSON_ABSENT || key.type == JSON_NULL ||
            json_string_is(&key, ""))
                return wla_fail_hint(err, WLA_E_DENIED,
                                     "WLS does so when HVS said nothing on the trust of the host",
                                     "WLS answered without a key");
        if (json_base64(&key, ret, RSA_WRAPPED_SIZE, err) < 0) {
                err->hint = hint_stranger;
                return wla_wrap(err, "the key in the answer of WLS");
        }
        return 0;
}

int wls_answer_read(const struct http_answer *answer, uint8_t ret[RSA_WRAPPED_SIZE],
                    enum wls_next *ret_next, struct wla_error *err) {
        *ret_next = WLS_FINAL;
        if (answer->status != 200 && answer->status != 201)
                return wls_answer_refuse(answer, ret_next, err);
        if (answer->body.size == 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_stranger,
                                     "WLS answered without a key");
        return read_key(answer, ret, err);
}
