/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/signed_report.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/json_object.h"

#define HASH_ALGORITHM "SHA-256"

static const char hint_certificate[] = "have HVS certify the signing key again: 'wlagent setup "
                                       "register-signing-key --force'";

static const char hint_make[] = "make them with 'wlagent setup signing-key' and 'wlagent setup "
                                "register-signing-key', or set Reports=no";

static void free_certificate(X509 **certificate) {
        X509_free(*certificate);
}

static void free_digest(EVP_MD_CTX **context) {
        EVP_MD_CTX_free(*context);
}

#define _cleanup_x509_   __attribute__((cleanup(free_certificate)))
#define _cleanup_digest_ __attribute__((cleanup(free_digest)))

/* What goes to WLS as text has to be one. */
static bool is_plain_text(const struct buf *text) {
        for (size_t i = 0; i < text->size; i++) {
                uint8_t byte = text->data[i];

                if (byte > 0x7e || (byte < 0x20 && !memchr("\t\r\n", byte, 3)))
                        return false;
        }
        return text->size > 0;
}

static X509 *parse_certificate(const struct buf *pem) {
        BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->size);
        X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

        BIO_free(bio);
        ERR_clear_error();
        return certificate;
}

static int read_certificate(const char *path, struct buf *pem, X509 **ret, struct wla_error *err) {
        if (file_read_trusted(path, pem, err) < 0)
                return err->code == WLA_E_NOT_FOUND
                               ? wla_fail_hint(err, WLA_E_NOT_FOUND, hint_make,
                                               "this host has no certified signing key: %s does "
                                               "not exist",
                                               path)
                               : wla_wrap(err, "the certificate of the signing key");
        X509 *certificate = is_plain_text(pem) ? parse_certificate(pem) : NULL;
        if (!certificate)
                return wla_fail_hint(err, WLA_E_INPUT, hint_certificate,
                                     "%s holds no certificate in PEM", path);
        *ret = certificate;
        return 0;
}

/* A certificate of an earlier signing key would make reports that nobody can verify. */
static int confirm(const char *path, X509 *certificate, const struct buf *data,
                   const uint8_t signature[REPORT_SIGNATURE_SIZE], struct wla_error *err) {
        _cleanup_digest_ EVP_MD_CTX *context = EVP_MD_CTX_new();

        if (!context)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        bool good = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL,
                                         X509_get0_pubkey(certificate)) == 1 &&
                    EVP_DigestVerify(context, signature, REPORT_SIGNATURE_SIZE, data->data,
                                     data->size) == 1;
        ERR_clear_error();
        if (good)
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, hint_certificate,
                             "%s is not the certificate of this host's signing key", path);
}

static int write_envelope(const struct buf *data, const struct buf *pem,
                          const uint8_t signature[REPORT_SIGNATURE_SIZE], struct buf *to,
                          struct wla_error *err) {
        if (buf_append_text(to, "{\"data\":\"", err) < 0 ||
            base64_append(to, data->data, data->size, err) < 0 ||
            buf_append_text(to, "\",\"hash_alg\":\"" HASH_ALGORITHM "\",\"cert\":", err) < 0 ||
            json_write_string(to, (const char *)pem->data, pem->size, err) < 0 ||
            buf_append_text(to, ",\"signature\":\"", err) < 0 ||
            base64_append(to, signature, REPORT_SIGNATURE_SIZE, err) < 0)
                return -1;
        return buf_append_text(to, "\"}", err);
}

int signed_report_make(const struct report_signer *signer, const struct trust_facts *facts,
                       const struct deadline *deadline, struct buf *to, struct wla_error *err) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(REPORT_CERTIFICATE_MAX);
        _cleanup_buf_ struct buf data = BUF_WITH_LIMIT(TRUST_REPORT_MAX);
        _cleanup_x509_ X509 *certificate = NULL;
        uint8_t digest[REPORT_DIGEST_SIZE];
        uint8_t signature[REPORT_SIGNATURE_SIZE];

        if (read_certificate(signer->certificate, &pem, &certificate, err) < 0 ||
            trust_report_write(facts, &data, err) < 0)
                return -1;
        (void)SHA256(data.data, data.size, digest);
        if (signer->sign(signer->self, digest, deadline, signature, err) < 0 ||
            confirm(signer->certificate, certificate, &data, signature, err) < 0)
                return -1;
        return write_envelope(&data, &pem, signature, to, err);
}

static int read_uuid(const struct json_value *object, const char *name, struct uuid *ret,
                     struct wla_error *err) {
        const struct json_value value = json_member(object, name);
        char text[UUID_TEXT_SIZE];

        if (json_string_copy(&value, text, sizeof(text), err) < 0 ||
            uuid_parse(text, strlen(text), ret, err) < 0)
                return wla_wrap(err, "member \"%s\"", name);
        return 0;
}

static int read_data(const struct buf *data, struct signed_report *ret, struct wla_error *err) {
        struct json_value report;

        if (json_check((const char *)data->data, data->size, &report, err) < 0)
                return -1;

        const struct json_value manifest = json_member(&report, "instance_manifest");
        const struct json_value info = json_member(&manifest, "instance_info");
        if (read_uuid(&info, "instance_id", &ret->vm, err) < 0 ||
            read_uuid(&info, "image_id", &ret->image, err) < 0)
                return -1;
        return 0;
}

int signed_report_parse(const char *text, size_t size, struct signed_report *ret,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf base64 = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        _cleanup_buf_ struct buf data = BUF_WITH_LIMIT(TRUST_REPORT_MAX);
        uint8_t signature_bytes[REPORT_SIGNATURE_SIZE];
        struct json_value object;
        struct json_value report;
        struct json_value algorithm;
        struct json_value certificate;
        struct json_value signature;
        const struct json_field fields[] = {
                {"data", &report, JSON_STRING, false},
                {"hash_alg", &algorithm, JSON_STRING, false},
                {"cert", &certificate, JSON_STRING, false},
                {"signature", &signature, JSON_STRING, false},
        };

        if (json_check(text, size, &object, err) < 0 ||
            json_read_object(&object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            json_string(&report, &base64, err) < 0 ||
            base64_decode((const char *)base64.data, base64.size, &data, err) < 0 ||
            json_base64(&signature, signature_bytes, sizeof(signature_bytes), err) < 0)
                return wla_wrap(err, "a signed report");
        if (!json_string_is(&algorithm, HASH_ALGORITHM) || json_string_is(&certificate, ""))
                return wla_fail(err, WLA_E_INPUT,
                                "a signed report: its digest or certificate is none");
        if (read_data(&data, ret, err) < 0)
                return wla_wrap(err, "a signed report: \"data\"");
        return 0;
}
