/* SPDX-License-Identifier: Apache-2.0 */
#include <tss2/tss2_mu.h>

#include "base/base64.h"
#include "tpm/binding_key.h"

static int write_hex(struct buf *json, const uint8_t *data, size_t size, struct wla_error *err) {
        for (size_t i = 0; i < size; i++)
                if (buf_printf(json, err, "%02x", data[i]) < 0)
                        return -1;
        return 0;
}

static int write_base64_member(struct buf *json, const char *name, const uint8_t *data, size_t size,
                               struct wla_error *err) {
        if (buf_printf(json, err, "  \"%s\": \"", name) < 0 ||
            base64_append(json, data, size, err) < 0)
                return -1;
        return buf_append_text(json, "\",\n", err);
}

static int write_hex_member(struct buf *json, const char *name, const uint8_t *data, size_t size,
                            struct wla_error *err) {
        if (buf_printf(json, err, "  \"%s\": \"", name) < 0 || write_hex(json, data, size, err) < 0)
                return -1;
        return buf_append_text(json, "\",\n", err);
}

static int write_key(struct buf *json, const struct binding_key *key, struct wla_error *err) {
        uint8_t bytes[sizeof(key->public) + sizeof(key->private)];
        size_t size = 0;

        if (Tss2_MU_TPM2B_PUBLIC_Marshal(&key->public, bytes, sizeof(bytes), &size) !=
            TSS2_RC_SUCCESS)
                return wla_fail(err, WLA_E_SYSTEM, "cannot write the public area");
        if (write_base64_member(json, "public", bytes, size, err) < 0)
                return -1;

        if (key->handle != 0)
                return buf_printf(json, err, "  \"handle\": \"0x%08x\",\n", key->handle);

        size = 0;
        if (Tss2_MU_TPM2B_PRIVATE_Marshal(&key->private, bytes, sizeof(bytes), &size) !=
            TSS2_RC_SUCCESS)
                return wla_fail(err, WLA_E_SYSTEM, "cannot write the private area");
        return write_base64_member(json, "private", bytes, size, err);
}

static int write_pcrs(struct buf *json, const struct binding_key *key, struct wla_error *err) {
        const char *separator = "";

        if (buf_append_text(json, "  \"pcrs\": [", err) < 0)
                return -1;
        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (key->pcrs >> i & 1) {
                        if (buf_printf(json, err, "%s%u", separator, i) < 0)
                                return -1;
                        separator = ", ";
                }

        if (buf_append_text(json, "],\n  \"pcr_values\": [", err) < 0)
                return -1;
        separator = "";
        for (unsigned i = 0; i < PCR_COUNT; i++)
                if (key->pcrs >> i & 1) {
                        if (buf_printf(json, err, "%s\"", separator) < 0 ||
                            write_hex(json, key->pcr_values[i], PCR_SHA256_SIZE, err) < 0 ||
                            buf_append_text(json, "\"", err) < 0)
                                return -1;
                        separator = ", ";
                }
        return buf_append_text(json, "],\n", err);
}

int binding_key_format(const struct binding_key *key, struct buf *json, struct wla_error *err) {
        if (buf_printf(json, err, "{\n  \"version\": %u,\n  \"storage_handle\": \"0x%08x\",\n",
                       BINDING_KEY_VERSION, key->storage_handle) < 0 ||
            write_hex_member(json, "storage_name", key->storage_name.name, key->storage_name.size,
                             err) < 0 ||
            write_key(json, key, err) < 0 ||
            write_hex_member(json, "name", key->name.name, key->name.size, err) < 0 ||
            write_pcrs(json, key, err) < 0 ||
            write_hex_member(json, "pcr_policy", key->pcr_policy.buffer, key->pcr_policy.size,
                             err) < 0)
                return -1;
        return buf_printf(json, err, "  \"fingerprint\": \"%s\"\n}\n", key->fingerprint);
}
