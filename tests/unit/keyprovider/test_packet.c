/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/base64.h"
#include "fail_allocation.h"
#include "keyprovider/packet.h"
#include "keyprovider/provider_request.h"
#include "provider_texts.h"
#include "vectors.h"

#define IV12 "\"AAECAwQFBgcICQoL\""
#define IV16 "\"AAECAwQFBgcICQoLDA0ODw==\""
#define DATA "\"AAECAwQFBgcICQoLDA0ODxAREhM=\"" /* 20 bytes */
#define TAG  "\"AAECAwQFBgcICQoLDA0ODw==\""     /* 16 bytes */

static int parse(const char *json, struct packet *packet, struct wla_error *err) {
        return packet_parse((struct wla_bytes){(const uint8_t *)json, strlen(json)}, packet, err);
}

START_TEST(forms) {
        static const struct {
                const char *json;
                enum packet_cipher cipher;
                size_t iv_size;
                size_t size;
                const char *key;
        } rows[] = {
                {VECTOR_SAMPLE_PACKET, PACKET_AES256_GCM, 12, sizeof(VECTOR_SAMPLE_PLAIN) - 1 + 16,
                 "kbs:///default/key/1"},
                {VECTOR_COUNTED_PACKET, PACKET_AES256_GCM, 12,
                 sizeof(VECTOR_COUNTED_PLAIN) - 1 + 16, "local:///counted"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA ",\"iv\":" IV16
                 ",\"wrap_type\":\"A256CTR\"}",
                 PACKET_AES256_CTR, 16, 20, "local:///a"},
                {"{\"version\":\"0.1.0\",\"provider\":\"kbs\",\"kid\":\"local:///a\","
                 "\"wrapped_data\":" DATA ",\"iv\":" IV12
                 ",\"wrap_type\":\"A256GCM\",\"provider_settings\":{\"a\":{}},"
                 "\"annotations\":null,\"later\":[1,2]}",
                 PACKET_AES256_GCM, 12, 20, "local:///a"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_packet_ struct packet packet = {0};
                struct wla_error err = {0};

                ck_assert_msg(parse(rows[i].json, &packet, &err) == 0, "%zu: %s", i,
                              wla_error_text(&err));
                ck_assert_int_eq(packet.cipher, rows[i].cipher);
                ck_assert_uint_eq(packet.iv_size, rows[i].iv_size);
                ck_assert_msg(packet.wrapped.size == rows[i].size, "%zu: %zu", i,
                              packet.wrapped.size);
                ck_assert_str_eq(packet.key.text, rows[i].key);
        }
}
END_TEST

START_TEST(intel_form) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
        _cleanup_packet_ struct packet packet = {0};
        struct wla_error err = {0};
        uint8_t digest[32];
        char hex[65] = {0};

        provider_text_intel(&json);
        ck_assert_int_eq(EVP_Digest(json.data, json.size, digest, NULL, EVP_sha256(), NULL), 1);
        for (size_t i = 0; i < sizeof(digest); i++)
                (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
        ck_assert_str_eq(hex, VECTOR_INTEL_PACKET_SHA256);

        ck_assert_int_eq(parse(buf_text(&json, &err), &packet, &err), 0);
        ck_assert_int_eq(packet.cipher, PACKET_AES256_GCM);
        ck_assert_uint_eq(packet.iv_size, 12);
        ck_assert_uint_eq(packet.wrapped.size, 73);
        ck_assert_str_eq(packet.key.text, VECTOR_INTEL_KEY_URL);
}
END_TEST

START_TEST(faults) {
        static const struct {
                const char *json;
                enum wla_code code;
                const char *text;
        } rows[] = {
                {"", WLA_E_INPUT, "proper JSON"},
                {"[]", WLA_E_INPUT, "neither kid nor key_url"},
                {"{}", WLA_E_INPUT, "neither kid nor key_url"},
                {"\"text\"", WLA_E_INPUT, "neither kid nor key_url"},
                {"{\"kid\":\"local:///a\",\"key_url\":\"https://a/b\"}", WLA_E_INPUT, "mixes"},
                {"{\"kid\":\"local:///a\",\"wrapped_key\":\"\"}", WLA_E_INPUT, "mixes"},
                {"{\"iv\":" IV12 ",\"wrapped_key\":\"\"}", WLA_E_INPUT, "mixes"},
                {"{\"kid\":\"local:///a\",\"kid\":\"local:///b\"}", WLA_E_INPUT, "twice"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA ",\"iv\":" IV12 "}", WLA_E_INPUT,
                 "wrap_type"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA ",\"iv\":" IV12
                 ",\"wrap_type\":\"a256gcm\"}",
                 WLA_E_INPUT, "wrap_type"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA ",\"iv\":" IV12
                 ",\"wrap_type\":\"AES\"}",
                 WLA_E_INPUT, "wrap_type"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA ",\"iv\":" IV12
                 ",\"wrap_type\":17}",
                 WLA_E_INPUT, "wrap_type"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA ",\"iv\":" IV16
                 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "iv has 16 bytes, not 12"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA ",\"iv\":" IV12
                 ",\"wrap_type\":\"A256CTR\"}",
                 WLA_E_INPUT, "iv has 12 bytes, not 16"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA
                 ",\"iv\":\"\",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "iv has 0 bytes, not 12"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" DATA
                 ",\"iv\":null,\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "iv is missing"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":" TAG ",\"iv\":" IV12
                 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "too short"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":\"\",\"iv\":" IV16
                 ",\"wrap_type\":\"A256CTR\"}",
                 WLA_E_INPUT, "too short"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":\"A\",\"iv\":" IV12
                 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "wrapped_data"},
                {"{\"kid\":\"local:///a\",\"wrapped_data\":[1,2],\"iv\":" IV12
                 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "wrapped_data"},
                {"{\"kid\":\"local:///../a\",\"wrapped_data\":" DATA ",\"iv\":" IV12
                 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "kid"},
                {"{\"kid\":\"/default/image-kek/1\",\"wrapped_data\":" DATA ",\"iv\":" IV12
                 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "kid"},
                {"{\"kid\":\"local:///a\\u0000b\",\"wrapped_data\":" DATA ",\"iv\":" IV12
                 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "kid"},
                {"{\"kid\":\"wls:///images/670f263e-b34e-4e07-a520-40ac9a89f62d\","
                 "\"wrapped_data\":" DATA ",\"iv\":" IV12 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "kid names the key of a VM's image"},
                {"{\"kid\":7,\"wrapped_data\":" DATA ",\"iv\":" IV12 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "kid"},
                {"{\"version\":\"0.2.0\",\"kid\":\"local:///a\",\"wrapped_data\":" DATA
                 ",\"iv\":" IV12 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "version"},
                {"{\"provider\":\"aliyun\",\"kid\":\"local:///a\",\"wrapped_data\":" DATA
                 ",\"iv\":" IV12 ",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_UNSUPPORTED, "key management service"},
                {"{\"key_url\":\"https://a/b\",\"wrapped_key\":\"e30=\",\"wrap_type\":\"A256GCM\"}",
                 WLA_E_INPUT, "wrap_type"},
                {"{\"key_url\":\"https://a/b\",\"wrapped_key\":\"e30=\",\"wrap_type\":\"AES\"}",
                 WLA_E_INPUT, "nonce"},
                {"{\"key_url\":\"https://a/b\",\"wrapped_key\":\"AAAA\",\"wrap_type\":\"AES\"}",
                 WLA_E_INPUT, "wrapped_key"},
                {"{\"key_url\":\"https://a/b\",\"wrap_type\":\"AES\"}", WLA_E_INPUT,
                 "wrapped_key is missing"},
                {"{\"wrapped_key\":\"e30=\",\"wrap_type\":\"AES\"}", WLA_E_INPUT,
                 "key_url is missing"},
                {"{\"key_url\":\"ftp://a/b\",\"wrapped_key\":\"e30=\",\"wrap_type\":\"AES\"}",
                 WLA_E_INPUT, "key_url"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct packet packet;
                struct wla_error err = {0};

                ck_assert_msg(parse(rows[i].json, &packet, &err) == -1, "%s", rows[i].json);
                ck_assert_msg(err.code == rows[i].code, "%s: %s", rows[i].json,
                              wla_error_text(&err));
                ck_assert_msg(strstr(wla_error_text(&err), rows[i].text), "%s: %s", rows[i].json,
                              wla_error_text(&err));
        }
}
END_TEST

START_TEST(written_packets_are_read) {
        for (size_t size = 1; size <= PROVIDER_OPTIONS_MAX; size += 1 + size / 3) {
                _cleanup_packet_ struct packet packet = {
                        .cipher = PACKET_AES256_GCM,
                        .iv_size = AES256_GCM_NONCE,
                        .iv = "0123456789ab",
                        .wrapped.limit = PROVIDER_OPTIONS_MAX + AES256_GCM_TAG,
                };
                _cleanup_packet_ struct packet read = {0};
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(2 * PROVIDER_OPTIONS_MAX);
                struct wla_error err = {0};

                ck_assert_int_eq(key_id_local("kek-7", &packet.key, &err), 0);
                uint8_t *at = buf_extend(&packet.wrapped, size + AES256_GCM_TAG, &err);
                ck_assert_ptr_nonnull(at);
                memset(at, 0xa5, size + AES256_GCM_TAG);
                ck_assert_int_eq(packet_write(&packet, &json, &err), 0);
                ck_assert_int_eq(
                        packet_parse((struct wla_bytes){json.data, json.size}, &read, &err), 0);
                ck_assert_str_eq(read.key.text, "local:///kek-7");
                ck_assert_mem_eq(read.iv, packet.iv, packet.iv_size);
                ck_assert_uint_eq(read.wrapped.size, packet.wrapped.size);
                ck_assert_mem_eq(read.wrapped.data, packet.wrapped.data, read.wrapped.size);
        }
}
END_TEST

START_TEST(failed_allocations) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};

        provider_text_intel(&json);
        const char *texts[] = {VECTOR_COUNTED_PACKET, buf_text(&json, &err)};
        for (size_t i = 0; i < 2; i++) {
                unsigned failures = 0;

                for (size_t n = 1; fail_allocation_arm(n); n++) {
                        _cleanup_packet_ struct packet packet = {0};

                        int outcome = parse(texts[i], &packet, &err);
                        fail_allocation_disarm();
                        failures += outcome < 0;
                        ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                }
                ck_assert_uint_ge(failures, 4);
        }
}
END_TEST

/* The vector, from its parts to the same bytes. */
START_TEST(intel_form_is_written) {
        _cleanup_buf_ struct buf vector = BUF_WITH_LIMIT(4096);
        _cleanup_buf_ struct buf written = BUF_WITH_LIMIT(4096);
        _cleanup_packet_ struct packet packet = {0};
        struct wla_error err = {0};

        provider_text_intel(&vector);
        ck_assert_int_eq(parse(buf_text(&vector, &err), &packet, &err), 0);
        ck_assert_int_eq(packet_write_isecl(&packet, &written, &err), 0);
        ck_assert_uint_eq(written.size, vector.size);
        ck_assert_mem_eq(written.data, vector.data, vector.size);
}
END_TEST

START_TEST(intel_form_without_memory) {
        _cleanup_buf_ struct buf vector = BUF_WITH_LIMIT(4096);
        _cleanup_packet_ struct packet packet = {0};
        struct wla_error err = {0};
        unsigned failures = 0;

        provider_text_intel(&vector);
        ck_assert_int_eq(parse(buf_text(&vector, &err), &packet, &err), 0);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf written = BUF_WITH_LIMIT(4096);

                int outcome = packet_write_isecl(&packet, &written, &err);
                fail_allocation_disarm();
                failures += outcome < 0;
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
        ck_assert_uint_ge(failures, 2);
}
END_TEST

SUITE_MAIN("packet", forms, intel_form, faults, written_packets_are_read, failed_allocations,
           intel_form_is_written, intel_form_without_memory)
