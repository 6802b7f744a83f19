/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/evp.h>
#include <string.h>

#include "base/base64.h"
#include "base/json_object.h"
#include "tpm/host_key.h"
#include "tpm/host_key_layout.h"

#define FILE_VERSION 2u /* of a TPM 2.0: Intel SecL 4.4 */

static bool begins_with(const uint8_t *data, const uint8_t *head, size_t size) {
        return memcmp(data, head, size) == 0;
}

static uint32_t attributes_of(const struct host_key *key) {
        const uint8_t *at = key->public + PUBLIC_ATTRIBUTES_AT;

        return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int check_public(const struct host_key *key, struct wla_error *err) {
        static const uint8_t head[] = {PUBLIC_HEAD};
        static const uint8_t parameters[] = {PUBLIC_PARAMETERS};
        uint32_t wanted = key->usage == HOST_KEY_SIGNING ? HOST_KEY_SIGNING_ATTRIBUTES
                                                         : HOST_KEY_BINDING_ATTRIBUTES;

        if (!begins_with(key->public, head, sizeof(head)) ||
            !begins_with(key->public + PUBLIC_PARAMETERS_AT, parameters, sizeof(parameters)))
                return wla_fail(err, WLA_E_INPUT,
                                "PublicKey is no public area of an RSA-2048 key with exponent "
                                "65537 that is used without a policy");
        if (attributes_of(key) != wanted)
                return wla_fail(err, WLA_E_INPUT,
                                "PublicKey has the attributes 0x%08x, and a %s has 0x%08x",
                                attributes_of(key), host_key_usage_name(key->usage), wanted);
        return 0;
}

/* A Name is the algorithm followed by the digest of the public area: Part 1, section 16. */
int host_key_compute_name(const struct host_key *key, uint8_t ret[HOST_KEY_NAME_SIZE],
                          struct wla_error *err) {
        static const uint8_t head[] = {NAME_HEAD};
        unsigned size = 0;

        memcpy(ret, head, sizeof(head));
        if (EVP_Digest(key->public + 2, sizeof(key->public) - 2, ret + NAME_DIGEST_AT, &size,
                       EVP_sha256(), NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "cannot compute the name of the %s",
                                host_key_usage_name(key->usage));
        return 0;
}

static int check_names(const struct host_key *key, struct wla_error *err) {
        uint8_t name[HOST_KEY_NAME_SIZE];

        if (host_key_compute_name(key, name, err) < 0)
                return -1;
        if (memcmp(key->name, name, sizeof(name)) != 0)
                return wla_fail(err, WLA_E_INPUT, "KeyName is not that of PublicKey");
        if (memcmp(key->attestation + ATTEST_NAME_AT, name, sizeof(name)) != 0)
                return wla_fail(err, WLA_E_INPUT, "KeyAttestation is of another key");
        return 0;
}

static int check_attestation(const struct host_key *key, struct wla_error *err) {
        static const uint8_t head[] = {ATTEST_HEAD};
        static const uint8_t extra[] = {ATTEST_EXTRA};
        static const uint8_t name[] = {NAME_HEAD};
        const uint8_t *attest = key->attestation;

        if (!begins_with(attest, head, sizeof(head)) ||
            !begins_with(attest + ATTEST_SIGNER_AT, name, sizeof(name)) ||
            !begins_with(attest + ATTEST_EXTRA_AT, extra, sizeof(extra)) ||
            attest[ATTEST_SAFE_AT] > 1 ||
            !begins_with(attest + ATTEST_NAME_AT, name, sizeof(name)) ||
            !begins_with(attest + ATTEST_QUALIFIED_NAME_AT, name, sizeof(name)))
                return wla_fail(err, WLA_E_INPUT, "KeyAttestation does not certify a key");
        return 0;
}

static int check_private(const struct host_key *key, struct wla_error *err) {
        if (key->private_size < 3 || key->private_size > sizeof(key->private) ||
            (size_t)(key->private[0] << 8 | key->private[1]) != key->private_size - 2)
                return wla_fail(err, WLA_E_INPUT, "PrivateKey is no private area of a TPM key");
        return 0;
}

int host_key_check(const struct host_key *key, struct wla_error *err) {
        static const uint8_t signature[] = {SIGNATURE_HEAD};

        if (check_public(key, err) < 0 || check_private(key, err) < 0)
                return -1;
        if (!begins_with(key->signature, signature, sizeof(signature)))
                return wla_fail(err, WLA_E_INPUT,
                                "KeySignature is no RSASSA signature with SHA-256");
        if (check_attestation(key, err) < 0)
                return -1;
        return check_names(key, err);
}

static int read_private(const struct json_value *value, struct host_key *key,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);

        if (json_string(value, &text, err) < 0 ||
            base64_decode((const char *)text.data, text.size, &bytes, err) < 0)
                return -1;
        if (bytes.size == 0 || bytes.size > sizeof(key->private))
                return wla_fail(err, WLA_E_INPUT, "a private area has no %zu bytes", bytes.size);
        memcpy(key->private, bytes.data, bytes.size);
        key->private_size = bytes.size;
        return 0;
}

static int read_numbers(const struct json_value *version_value,
                        const struct json_value *usage_value, struct host_key *key,
                        struct wla_error *err) {
        uint64_t version = 0;
        uint64_t usage = 0;

        if (json_unsigned(version_value, UINT32_MAX, &version, err) < 0)
                return wla_wrap(err, "Version");
        if (version != FILE_VERSION)
                return wla_fail(err, WLA_E_INPUT,
                                "its Version is %ju, and only %u, of a TPM 2.0, is known",
                                (uintmax_t)version, FILE_VERSION);
        if (json_unsigned(usage_value, _HOST_KEY_USAGE_MAX - 1, &usage, err) < 0)
                return wla_wrap(err, "Usage");
        key->usage = (enum host_key_usage)usage;
        return 0;
}

int host_key_parse(const char *text, size_t size, struct host_key *ret, struct wla_error *err) {
        struct json_value object;
        struct json_value version;
        struct json_value usage;
        struct json_value public;
        struct json_value private;
        struct json_value signature;
        struct json_value attestation;
        struct json_value name;
        const struct json_field fields[] = {
                {"Version", &version, JSON_NUMBER, false},
                {"Usage", &usage, JSON_NUMBER, false},
                {"PublicKey", &public, JSON_STRING, false},
                {"PrivateKey", &private, JSON_STRING, false},
                {"KeySignature", &signature, JSON_STRING, false},
                {"KeyAttestation", &attestation, JSON_STRING, false},
                {"KeyName", &name, JSON_STRING, false},
        };
        struct host_key key = {0};

        if (size > HOST_KEY_FILE_MAX)
                return wla_fail(err, WLA_E_INPUT, "%zu bytes are too many for a key file", size);
        if (json_check(text, size, &object, err) < 0 ||
            json_read_object(&object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            read_numbers(&version, &usage, &key, err) < 0)
                return -1;

        if (json_base64(&public, key.public, sizeof(key.public), err) < 0)
                return wla_wrap(err, "PublicKey");
        if (read_private(&private, &key, err) < 0)
                return wla_wrap(err, "PrivateKey");
        if (json_base64(&signature, key.signature, sizeof(key.signature), err) < 0)
                return wla_wrap(err, "KeySignature");
        if (json_base64(&attestation, key.attestation, sizeof(key.attestation), err) < 0)
                return wla_wrap(err, "KeyAttestation");
        if (json_base64(&name, key.name, sizeof(key.name), err) < 0)
                return wla_wrap(err, "KeyName");
        if (host_key_check(&key, err) < 0)
                return -1;

        *ret = key;
        return 0;
}
