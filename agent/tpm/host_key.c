/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/host_key.h"

#include <errno.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"
#include "tpm/host_key_layout.h"

#define FILE_MODE 0640

static const char hint_missing[] =
        "run 'wlagent setup binding-key' and 'wlagent setup signing-key'";
static const char hint_unusable[] =
        "put the file back from a backup, or make and register a new key with 'wlagent setup all "
        "--force'";

const char *host_key_usage_name(enum host_key_usage usage) {
        return usage == HOST_KEY_SIGNING ? "signing key" : "binding key";
}

const uint8_t *host_key_modulus(const struct host_key *key) {
        return key->public + PUBLIC_MODULUS_AT;
}

int host_key_fingerprint(const struct host_key *key, char ret[KEY_FINGERPRINT_SIZE],
                         struct wla_error *err) {
        return rsa_modulus_fingerprint(host_key_modulus(key), ret, err);
}

static int write_member(struct buf *json, const char *name, const uint8_t *data, size_t size,
                        const char *end, struct wla_error *err) {
        if (buf_printf(json, err, "    \"%s\": \"", name) < 0 ||
            base64_append(json, data, size, err) < 0)
                return -1;
        return buf_printf(json, err, "\"%s\n", end);
}

int host_key_format(const struct host_key *key, struct buf *json, struct wla_error *err) {
        if (buf_printf(json, err, "{\n    \"Version\": 2,\n    \"Usage\": %d,\n", (int)key->usage) <
                    0 ||
            write_member(json, "PublicKey", key->public, sizeof(key->public), ",", err) < 0 ||
            write_member(json, "PrivateKey", key->private, key->private_size, ",", err) < 0 ||
            write_member(json, "KeySignature", key->signature, sizeof(key->signature), ",", err) <
                    0 ||
            write_member(json, "KeyAttestation", key->attestation, sizeof(key->attestation), ",",
                         err) < 0 ||
            write_member(json, "KeyName", key->name, sizeof(key->name), "", err) < 0)
                return -1;
        return buf_append_text(json, "}\n", err);
}

static int read_file(const char *path, enum host_key_usage usage, struct host_key *ret,
                     struct stat *ret_stat, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);

        /* Examined first: a file that is replaced meanwhile is then read again, not overlooked. */
        if (lstat(path, ret_stat) < 0) {
                if (errno == ENOENT)
                        return wla_fail(err, WLA_E_NOT_FOUND, "it does not exist");
                return wla_fail_errno(err, errno, "cannot examine it");
        }
        if (file_read_trusted(path, &json, err) < 0 ||
            host_key_parse((const char *)json.data, json.size, ret, err) < 0)
                return -1;
        if (ret->usage != usage)
                return wla_fail(err, WLA_E_INPUT, "it holds a %s, and a %s is needed",
                                host_key_usage_name(ret->usage), host_key_usage_name(usage));
        return 0;
}

int host_key_read(const char *path, enum host_key_usage usage, struct host_key *ret,
                  struct stat *ret_stat, struct wla_error *err) {
        struct host_key key;
        struct stat status;

        if (read_file(path, usage, &key, &status, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_missing,
                                             "this host has no %s of Intel SecL: %s does not exist",
                                             host_key_usage_name(usage), path);
                if (err->code == WLA_E_INPUT) {
                        err->code = WLA_E_TPM;
                        err->hint = hint_unusable;
                }
                return wla_wrap(err, "the %s in %s cannot be used", host_key_usage_name(usage),
                                path);
        }

        *ret = key;
        if (ret_stat)
                *ret_stat = status;
        return 0;
}

int host_key_write(int dir_fd, const char *name, const struct host_key *key,
                   struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);

        if (host_key_format(key, &json, err) < 0)
                return -1;
        return file_write(dir_fd, name, json.data, json.size, FILE_MODE, true, err);
}

void host_key_registration(const struct host_key *key, struct host_key_registration *ret) {
        *ret = (struct host_key_registration){
                .public_key_modulus = {.data = key->public, .size = sizeof(key->public)},
                .tpm_certify_key = {.data = key->attestation + 2,
                                    .size = sizeof(key->attestation) - 2},
                .tpm_certify_key_signature = {.data = key->signature,
                                              .size = sizeof(key->signature)},
        };
        /* The low byte of the size, the name, and zeros. */
        memcpy(ret->name_digest, key->name + 1, sizeof(key->name) - 1);
}
