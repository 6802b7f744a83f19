/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/binding_key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <tss2/tss2_mu.h>
#include <unistd.h>

#include "base/file.h"
#include "tpm/templates.h"
#include "tpm/tpm.h"

#define PEM_MAX (sizeof(((struct binding_key_info *)0)->pem))

static const char hint_missing[] = "run 'wlagent setup'";
static const char hint_unusable[] =
        "put the file back from a backup, or run 'wlagent setup --replace' and have owners wrap "
        "their keys again";

bool tpm_name_equal(const TPM2B_NAME *a, const TPM2B_NAME *b) {
        return a->size == b->size && memcmp(a->name, b->name, a->size) == 0;
}

void pcr_list_format(uint32_t pcrs, char *to, size_t size) {
        size_t at = 0;

        to[0] = '\0';
        for (unsigned i = 0; i < PCR_COUNT && at < size; i++) {
                if (!(pcrs >> i & 1))
                        continue;

                bool last = pcrs >> i == 1;
                const char *separator = at == 0 ? "" : last ? " and " : ", ";
                int written = snprintf(to + at, size - at, "%s%u", separator, i);
                at += written > 0 ? (size_t)written : 0;
        }
}

int binding_key_pem(const struct binding_key *key, struct buf *pem, struct wla_error *err) {
        return rsa_public_pem(key->public.publicArea.unique.rsa.buffer, pem, err);
}

/* A Name is the algorithm followed by the digest of the public area: Part 1, section 16. */
int tpm_name_compute(const TPM2B_PUBLIC *public, TPM2B_NAME *ret, struct wla_error *err) {
        uint8_t area[sizeof(*public)];
        size_t area_size = 0;
        unsigned digest_size = 0;

        if (Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, area, sizeof(area), &area_size) !=
                    TSS2_RC_SUCCESS ||
            EVP_Digest(area, area_size, ret->name + 2, &digest_size, EVP_sha256(), NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "cannot compute the name of a key");

        ret->name[0] = TPM2_ALG_SHA256 >> 8;
        ret->name[1] = TPM2_ALG_SHA256 & 0xff;
        ret->size = (uint16_t)(2 + digest_size);
        return 0;
}

int binding_key_identify(struct binding_key *key, struct wla_error *err) {
        if (!is_binding_key(&key->public))
                return wla_fail(err, WLA_E_INPUT, "this is no binding key");

        if (tpm_name_compute(&key->public, &key->name, err) < 0)
                return -1;
        return rsa_modulus_fingerprint(key->public.publicArea.unique.rsa.buffer, key->fingerprint,
                                       err);
}

static int examine(int dir_fd, struct stat *ret, struct wla_error *err) {
        if (fstatat(dir_fd, BINDING_KEY_FILE, ret, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        if (errno == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "%s does not exist", BINDING_KEY_FILE);
        return wla_fail_errno(err, errno, "cannot examine %s", BINDING_KEY_FILE);
}

int binding_key_read(const char *state_directory, struct binding_key *ret, struct stat *ret_stat,
                     struct wla_error *err) {
        _cleanup_close_ int dir_fd = -1;
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(BINDING_KEY_FILE_MAX);
        struct stat status = {0};

        /* Examined first: a file that is replaced meanwhile is then read again, not overlooked. */
        if (file_open_directory(state_directory, false, 0, &dir_fd, err) < 0 ||
            examine(dir_fd, &status, err) < 0 ||
            file_read(dir_fd, BINDING_KEY_FILE, &json, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_missing,
                                             "this host has no binding key: %s/%s does not exist",
                                             state_directory, BINDING_KEY_FILE);
                return wla_wrap(err, "reading the binding key in %s", state_directory);
        }

        if (binding_key_parse((const char *)json.data, json.size, ret, err) < 0) {
                if (err->code == WLA_E_INPUT) {
                        err->code = WLA_E_TPM;
                        err->hint = hint_unusable;
                }
                return wla_wrap(err, "%s/%s cannot be used", state_directory, BINDING_KEY_FILE);
        }

        if (ret_stat)
                *ret_stat = status;
        return 0;
}

int binding_key_write(int dir_fd, const struct binding_key *key, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(BINDING_KEY_FILE_MAX);
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(PEM_MAX);

        if (binding_key_format(key, &json, err) < 0 || binding_key_pem(key, &pem, err) < 0)
                return -1;

        if (file_write(dir_fd, BINDING_KEY_FILE, json.data, json.size, 0600, true, err) < 0)
                return -1;
        return file_write(dir_fd, BINDING_KEY_PEM_FILE, pem.data, pem.size, 0644, true, err);
}

int binding_key_info_read(const char *state_directory, struct binding_key_info *ret,
                          struct wla_error *err) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(PEM_MAX - 1);
        struct binding_key key;

        if (binding_key_read(state_directory, &key, NULL, err) < 0 ||
            binding_key_pem(&key, &pem, err) < 0)
                return -1;

        *ret = (struct binding_key_info){.handle = key.handle, .pcrs = key.pcrs};
        memcpy(ret->fingerprint, key.fingerprint, sizeof(ret->fingerprint));
        memcpy(ret->pem, pem.data, pem.size);
        return 0;
}
