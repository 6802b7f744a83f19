/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls_image_answer.h"

#include "base/json_object.h"

static const char hint_role[] = "give ServiceUser= the role WLS:FlavorsImageRetrieval in AAS";
static const char hint_flavor[] = "post the image's flavor to WLS, and the image under its UUID "
                                  "with that flavor; if both are "
                                  "there, see the log of WLS";
static const char hint_dialect[] = "ServerURL= must be the base URL of WLS, such as "
                                   "https://wls.example:5000/wls/v1; WLS 5.x does "
                                   "not know images, so give the image a key https://...";
static const char hint_stranger[] = "see the log of WLS; something else may stand at ServerURL=";

struct meaning {
        unsigned status;
        const char *part; /* of the body; NULL: any body */
        enum wla_code code;
        bool ambiguous;
        const char *text;
        const char *hint;
};

/* The first that fits; then those that all answers of WLS share. */
static const struct meaning meanings[] = {
        {401, "Insufficient privileges", WLA_E_DENIED, false,
         "the agent's user may not have flavors of images", hint_role},
        {404, "Failed to retrieve Flavor and Key", WLA_E_NOT_FOUND, true,
         "WLS has no flavor for the image, or cannot read its database", hint_flavor},
        {404, NULL, WLA_E_NOT_FOUND, false, "WLS does not know the address of images",
         hint_dialect},
        {405, NULL, WLA_E_NOT_FOUND, false, "WLS does not know the address of images",
         hint_dialect},
        {400, "Invalid UUID", WLA_E_INPUT, false, "WLS does not take the image's UUID",
         "WLS knows images by UUIDs of version 4"},
        {400, "Invalid hardware uuid", WLA_E_INPUT, false,
         "WLS does not take this host's hardware UUID",
         "set HardwareUUID= to the UUID by which HVS knows the host"},
};

/* A flavor without encryption makes the handler of WLS 4.x panic, which ends in a status alone.  What names
 * the task and no cause is taken for the same. */
static bool is_bare_failure(const struct http_answer *answer) {
        return answer->status == 500 &&
               (answer->body.size == 0 ||
                (http_answer_says(answer, "Failed to retrieve Flavor and Key for Image") &&
                 !http_answer_says(answer, "Image - ")));
}

static int refuse(const struct http_answer *answer, struct wls_image_answer *ret,
                  enum wls_next *ret_next, struct wla_error *err) {
        /* Whatever the status. */
        bool untrusted = http_answer_says(answer, "Host is untrusted");

        for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]) && !untrusted; i++) {
                const struct meaning *meaning = &meanings[i];

                if (meaning->status != answer->status ||
                    (meaning->part && !http_answer_says(answer, meaning->part)))
                        continue;
                ret->ambiguous = meaning->ambiguous;
                return wla_fail_hint(err, meaning->code, meaning->hint, "%s (status %u)",
                                     meaning->text, answer->status);
        }
        ret->ambiguous = !untrusted && is_bare_failure(answer);
        return wls_answer_refuse(answer, ret_next, err);
}

static int read_flavor(const struct http_answer *answer, struct json_value *ret_object,
                       struct wls_image_answer *ret, struct wla_error *err) {
        if (json_check((const char *)answer->body.data, answer->body.size, ret_object, err) < 0)
                return -1;
        if (ret_object->type != JSON_OBJECT)
                return wla_fail(err, WLA_E_INPUT, "JSON: an object is expected");

        const struct json_value flavor = json_member(ret_object, "flavor");
        const struct json_value signature = json_member(ret_object, "signature");
        return flavor_read(&flavor, &signature, &ret->flavor, &ret->signature, err);
}

static int read_key(const struct json_value *object, struct wls_image_answer *ret,
                    struct wla_error *err) {
        const struct json_value key = json_member(object, "key");

        if (!ret->flavor.encryption_required || !ret->flavor.has_encryption)
                return wla_fail_hint(err, WLA_E_DENIED, "the image is protected on this host",
                                     "the flavor says that the image is not encrypted");
        if (key.type == JSON_ABSENT || key.type == JSON_NULL || json_string_is(&key, ""))
                return wla_fail_hint(err, WLA_E_DENIED,
                                     "WLS does so when HVS said nothing on the trust of the host",
                                     "WLS answered without a key");
        if (json_base64(&key, ret->wrapped, sizeof(ret->wrapped), err) < 0) {
                err->hint = hint_stranger;
                return wla_wrap(err, "the key in the answer of WLS");
        }
        return 0;
}

int wls_image_answer_read(const struct http_answer *answer, struct wls_image_answer *ret,
                          enum wls_next *ret_next, struct wla_error *err) {
        struct json_value object;

        *ret_next = WLS_FINAL;
        ret->ambiguous = false;
        if (answer->status != 200 && answer->status != 201)
                return refuse(answer, ret, ret_next, err);
        if (answer->body.size == 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_stranger,
                                     "WLS answered without a flavor");
        if (read_flavor(answer, &object, ret, err) < 0) {
                err->hint = err->hint ? err->hint : hint_stranger;
                return wla_wrap(err, "the answer of WLS");
        }
        return read_key(&object, ret, err);
}

enum wls_flavor_state wls_flavor_answer_read(const struct http_answer *answer) {
        struct wls_image_answer read = {0};
        struct wla_error ignored = {0};
        struct json_value object;

        if (answer->status == 404 && http_answer_says(answer, "No flavor found"))
                return WLS_FLAVOR_MISSING;
        if (answer->status != 200 || answer->body.size == 0 ||
            read_flavor(answer, &object, &read, &ignored) < 0)
                return WLS_FLAVOR_UNKNOWN;
        return read.flavor.encryption_required ? WLS_FLAVOR_THERE : WLS_FLAVOR_UNENCRYPTED;
}
