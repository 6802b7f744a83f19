/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <tss2/tss2_mu.h>

#include "base/base64.h"
#include "base/json.h"
#include "tpm/binding_key.h"
#include "tpm/pcr.h"
#include "tpm/rc.h"

#define TEXT_MAX 4096u /* of a value in base64 */

static const char *const members[] = {
        "version", "storage_handle", "storage_name", "public",     "private",     "handle",
        "name",    "pcrs",           "pcr_values",   "pcr_policy", "fingerprint",
};

static bool is_member(const struct json_value *quoted_name) {
        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
                if (quoted_name->size == strlen(members[i]) + 2 &&
                    strncmp(quoted_name->text + 1, members[i], quoted_name->size - 2) == 0)
                        return true;
        return false;
}

static int refuse_unknown(const struct json_value *object, struct wla_error *err) {
        struct json_value name;
        struct json_value value;
        size_t at = 0;

        if (object->type != JSON_OBJECT)
                return wla_fail(err, WLA_E_INPUT, "it is no JSON object");

        while (json_next_member(object, &at, &name, &value))
                if (!is_member(&name))
                        return wla_fail(err, WLA_E_INPUT, "it holds a member that is not known");
        return 0;
}

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

/* Lower-case hex of at most max bytes. */
static int read_hex(const struct json_value *value, const char *name, uint8_t *to, size_t max,
                    size_t *ret_size, struct wla_error *err) {
        char text[2 * sizeof(TPM2B_NAME) + 1];

        if (json_string_copy(value, text, sizeof(text), err) < 0)
                return wla_wrap(err, "%s", name);

        size_t length = strlen(text);
        if (length % 2 != 0 || length / 2 > max)
                return wla_fail(err, WLA_E_INPUT, "%s has the wrong length", name);

        for (size_t i = 0; i < length / 2; i++) {
                int high = hex_digit(text[2 * i]);
                int low = hex_digit(text[2 * i + 1]);

                if (high < 0 || low < 0)
                        return wla_fail(err, WLA_E_INPUT, "%s is not lower-case hex", name);
                to[i] = (uint8_t)(high << 4 | low);
        }
        *ret_size = length / 2;
        return 0;
}

static int read_name(const struct json_value *object, const char *member, TPM2B_NAME *ret,
                     struct wla_error *err) {
        struct json_value value = json_member(object, member);
        size_t size = 0;

        if (read_hex(&value, member, ret->name, sizeof(ret->name), &size, err) < 0)
                return -1;
        if (size != 2 + TPM2_SHA256_DIGEST_SIZE)
                return wla_fail(err, WLA_E_INPUT, "%s has the wrong length", member);

        ret->size = (uint16_t)size;
        return 0;
}

/* "0x81000001" */
static int read_handle(const struct json_value *value, const char *name, uint32_t *ret,
                       struct wla_error *err) {
        char text[16];
        uint32_t handle = 0;

        if (json_string_copy(value, text, sizeof(text), err) < 0)
                return wla_wrap(err, "%s", name);
        if (strlen(text) != 10 || strncmp(text, "0x", 2) != 0)
                return wla_fail(err, WLA_E_INPUT, "%s is no handle", name);

        for (const char *at = text + 2; *at != '\0'; at++) {
                int digit = hex_digit(*at);

                if (digit < 0)
                        return wla_fail(err, WLA_E_INPUT, "%s is no handle", name);
                handle = handle << 4 | (uint32_t)digit;
        }

        if (handle < OWNER_HANDLE_FIRST || handle > OWNER_HANDLE_LAST)
                return wla_fail(err, WLA_E_INPUT, "%s is no persistent handle of the owner", name);
        *ret = handle;
        return 0;
}

static int read_base64(const struct json_value *object, const char *member, struct buf *to,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(TEXT_MAX);
        struct json_value value = json_member(object, member);

        if (value.size > TEXT_MAX)
                return wla_fail(err, WLA_E_INPUT, "%s is too long", member);
        if (json_string(&value, &text, err) < 0 ||
            base64_decode((const char *)text.data, text.size, to, err) < 0)
                return wla_wrap(err, "%s", member);
        return 0;
}

/* The library reads past a size that does not fit its content, so what it has read is written again. */
static int read_public(const struct json_value *object, TPM2B_PUBLIC *ret, struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(TEXT_MAX);
        TPM2B_PUBLIC public = {0};
        uint8_t again[sizeof(public)];
        size_t size = 0;

        if (read_base64(object, "public", &bytes, err) < 0)
                return -1;
        if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(bytes.data, bytes.size, NULL, &public) !=
                    TSS2_RC_SUCCESS ||
            Tss2_MU_TPM2B_PUBLIC_Marshal(&public, again, sizeof(again), &size) != TSS2_RC_SUCCESS ||
            size != bytes.size || memcmp(again, bytes.data, size) != 0)
                return wla_fail(err, WLA_E_INPUT, "public is no public area of a TPM key");

        *ret = public;
        return 0;
}

static int read_private(const struct json_value *object, TPM2B_PRIVATE *ret,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(TEXT_MAX);
        TPM2B_PRIVATE private = {0};
        size_t used = 0;

        if (read_base64(object, "private", &bytes, err) < 0)
                return -1;
        if (Tss2_MU_TPM2B_PRIVATE_Unmarshal(bytes.data, bytes.size, &used, &private) !=
                    TSS2_RC_SUCCESS ||
            used != bytes.size || private.size == 0)
                return wla_fail(err, WLA_E_INPUT, "private is no private area of a TPM key");

        *ret = private;
        return 0;
}

/* Exactly one of them. */
static int read_private_or_handle(const struct json_value *object, struct binding_key *key,
                                  struct wla_error *err) {
        struct json_value handle = json_member(object, "handle");
        bool has_private = json_member(object, "private").type != JSON_ABSENT;

        if (has_private == (handle.type != JSON_ABSENT))
                return wla_fail(err, WLA_E_INPUT, "it needs either private or handle");

        if (has_private)
                return read_private(object, &key->private, err);
        return read_handle(&handle, "handle", &key->handle, err);
}

static int read_pcrs(const struct json_value *object, struct binding_key *key,
                     struct wla_error *err) {
        struct json_value numbers = json_member(object, "pcrs");
        struct json_value values = json_member(object, "pcr_values");
        struct json_value number;
        struct json_value value;
        size_t number_at = 0;
        size_t value_at = 0;

        if (numbers.type != JSON_ARRAY || values.type != JSON_ARRAY)
                return wla_fail(err, WLA_E_INPUT, "pcrs and pcr_values have to be lists");

        while (json_next_element(&numbers, &number_at, &number)) {
                uint64_t pcr = 0;
                size_t size = 0;

                if (json_unsigned(&number, PCR_COUNT - 1, &pcr, err) < 0)
                        return wla_wrap(err, "pcrs");
                if (key->pcrs >> pcr != 0)
                        return wla_fail(err, WLA_E_INPUT, "pcrs is not ascending");
                if (!json_next_element(&values, &value_at, &value) ||
                    read_hex(&value, "pcr_values", key->pcr_values[pcr], PCR_SHA256_SIZE, &size,
                             err) < 0 ||
                    size != PCR_SHA256_SIZE)
                        return wla_fail(err, WLA_E_INPUT, "pcr_values does not match pcrs");
                key->pcrs |= UINT32_C(1) << pcr;
        }

        if (json_next_element(&values, &value_at, &value))
                return wla_fail(err, WLA_E_INPUT, "pcr_values does not match pcrs");
        return 0;
}

static int read_policy(const struct json_value *object, struct binding_key *key,
                       struct wla_error *err) {
        struct json_value value = json_member(object, "pcr_policy");
        size_t size = 0;

        if (read_hex(&value, "pcr_policy", key->pcr_policy.buffer, TPM2_SHA256_DIGEST_SIZE, &size,
                     err) < 0)
                return -1;

        key->pcr_policy.size = (uint16_t)size;
        return 0;
}

static bool digests_equal(const TPM2B_DIGEST *a, const TPM2B_DIGEST *b) {
        return a->size == b->size && memcmp(a->buffer, b->buffer, a->size) == 0;
}

/* What the file says about the key has to be what the public area says. */
static int check_agreement(const struct json_value *object, struct binding_key *key,
                           struct wla_error *err) {
        char fingerprint[KEY_FINGERPRINT_SIZE];
        struct json_value value = json_member(object, "fingerprint");
        TPM2B_DIGEST policy = {0};
        TPM2B_NAME name = {0};

        if (binding_key_identify(key, err) < 0 || read_name(object, "name", &name, err) < 0)
                return -1;
        if (json_string_copy(&value, fingerprint, sizeof(fingerprint), err) < 0)
                return wla_wrap(err, "fingerprint");

        if (!tpm_name_equal(&name, &key->name))
                return wla_fail(err, WLA_E_INPUT, "name is not that of the public key");
        if (strcmp(fingerprint, key->fingerprint) != 0)
                return wla_fail(err, WLA_E_INPUT, "fingerprint is not that of the public key");
        if (!digests_equal(&key->pcr_policy, &key->public.publicArea.authPolicy))
                return wla_fail(err, WLA_E_INPUT, "pcr_policy is not that of the public key");
        if (key->pcrs != 0 && pcr_policy_compute(key->pcrs, key->pcr_values, &policy, err) < 0)
                return -1;
        if (!digests_equal(&key->pcr_policy, &policy))
                return wla_fail(err, WLA_E_INPUT, "pcr_policy is not that of pcrs and pcr_values");
        return 0;
}

int binding_key_parse(const char *text, size_t size, struct binding_key *ret,
                      struct wla_error *err) {
        struct binding_key key = {0};
        struct json_value object;
        uint64_t version = 0;

        tpm_rc_silence_library();
        if (json_check(text, size, &object, err) < 0 || refuse_unknown(&object, err) < 0)
                return -1;

        struct json_value value = json_member(&object, "version");
        if (json_unsigned(&value, UINT32_MAX, &version, err) < 0)
                return wla_wrap(err, "version");
        if (version != BINDING_KEY_VERSION)
                return wla_fail(err, WLA_E_INPUT, "its version is %ju, and this agent reads %u",
                                (uintmax_t)version, BINDING_KEY_VERSION);

        value = json_member(&object, "storage_handle");
        if (read_handle(&value, "storage_handle", &key.storage_handle, err) < 0 ||
            read_name(&object, "storage_name", &key.storage_name, err) < 0 ||
            read_public(&object, &key.public, err) < 0 ||
            read_private_or_handle(&object, &key, err) < 0 || read_pcrs(&object, &key, err) < 0 ||
            read_policy(&object, &key, err) < 0 || check_agreement(&object, &key, err) < 0)
                return -1;

        *ret = key;
        return 0;
}
