/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/signed_report.h"

#include <string.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/json_object.h"
#include "sample_signer.h"
#include "suite.h"

static void decode(const struct json_value *value, struct buf *to) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        struct wla_error err = {0};

        ck_assert_int_eq(json_string(value, &text, &err), 0);
        ck_assert_int_eq(base64_decode((const char *)text.data, text.size, to, &err), 0);
}

static void read_file(const char *path, char *to, size_t size) {
        FILE *file = fopen(path, "re");

        ck_assert_ptr_nonnull(file);
        to[fread(to, 1, size - 1, file)] = '\0';
        ck_assert_int_eq(fclose(file), 0);
}

START_TEST(it_can_be_verified_with_what_it_brings_along) {
        static const char names[][12] = {"\"data\"", "\"hash_alg\"", "\"cert\"", "\"signature\""};
        _cleanup_buf_ struct buf report = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        _cleanup_buf_ struct buf data = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        _cleanup_buf_ struct buf expected = BUF_WITH_LIMIT(TRUST_REPORT_MAX);
        _cleanup_buf_ struct buf signature = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        _cleanup_buf_ struct buf certificate = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        const struct trust_facts facts = sample_facts();
        struct sample_signer sample;
        struct json_value object;
        struct json_value members[4];
        struct json_value name;
        struct wla_error err = {0};
        char pem[4096];
        size_t at = 0;

        sample_signer_open(&sample);
        sample_report(&sample, &report);
        ck_assert_int_eq(json_check((const char *)report.data, report.size, &object, &err), 0);
        for (size_t i = 0; i < 4; i++) {
                ck_assert(json_next_member(&object, &at, &name, &members[i]));
                ck_assert_uint_eq(name.size, strlen(names[i]));
                ck_assert_mem_eq(name.text, names[i], name.size);
        }
        ck_assert(!json_next_member(&object, &at, &name, &members[0]));

        decode(&members[0], &data);
        ck_assert_int_eq(trust_report_write(&facts, &expected, &err), 0);
        ck_assert_uint_eq(data.size, expected.size);
        ck_assert_mem_eq(data.data, expected.data, data.size);
        ck_assert(json_string_is(&members[1], "SHA-256"));
        ck_assert_int_eq(json_string(&members[2], &certificate, &err), 0);
        read_file(sample.certificate, pem, sizeof(pem));
        ck_assert_str_eq(buf_text(&certificate, &err), pem);

        decode(&members[3], &signature);
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        ck_assert_int_eq(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, sample.key), 1);
        ck_assert_int_eq(
                EVP_DigestVerify(context, signature.data, signature.size, data.data, data.size), 1);
        EVP_MD_CTX_free(context);
        ck_assert_uint_eq(sample.calls, 1);
        sample_signer_close(&sample);
}
END_TEST

static void refused(struct sample_signer *sample, enum wla_code code, const char *text) {
        _cleanup_buf_ struct buf report = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        const struct trust_facts facts = sample_facts();
        struct deadline deadline;
        struct wla_error err = {0};

        deadline_init(&deadline, UINT64_MAX);
        ck_assert_int_eq(signed_report_make(&sample->signer, &facts, &deadline, &report, &err), -1);
        ck_assert_int_eq(err.code, code);
        ck_assert_msg(strstr(wla_error_text(&err), text), "%s", wla_error_text(&err));
        ck_assert_uint_eq(report.size, 0);
}

static void write_certificate(const struct sample_signer *sample, const char *text, size_t size) {
        FILE *file = fopen(sample->certificate, "we");

        ck_assert_uint_eq(fwrite(text, 1, size, file), size);
        ck_assert_int_eq(fclose(file), 0);
}

START_TEST(without_a_certificate_nothing_is_signed) {
        static const char no_pem[] =
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        static const char behind[] = "\0";
        struct sample_signer sample;
        char pem[4096];
        size_t size;

        sample_signer_open(&sample);
        read_file(sample.certificate, pem, sizeof(pem));
        size = strlen(pem);

        write_certificate(&sample, no_pem, strlen(no_pem));
        refused(&sample, WLA_E_INPUT, "holds no certificate in PEM");
        write_certificate(&sample, "", 0);
        refused(&sample, WLA_E_INPUT, "holds no certificate in PEM");
        memcpy(pem + size, behind, 1);
        write_certificate(&sample, pem, size + 1);
        refused(&sample, WLA_E_INPUT, "holds no certificate in PEM");
        write_certificate(&sample, pem, size);
        ck_assert_int_eq(chmod(sample.certificate, 0622), 0);
        refused(&sample, WLA_E_DENIED, "may be changed by others");
        ck_assert_int_eq(unlink(sample.certificate), 0);
        refused(&sample, WLA_E_NOT_FOUND, "this host has no certified signing key");
        ck_assert_uint_eq(sample.calls, 0);
        sample_signer_close(&sample);
}
END_TEST

START_TEST(a_certificate_of_another_key_is_noticed) {
        struct sample_signer sample;

        sample_signer_open(&sample);
        EVP_PKEY *other = EVP_RSA_gen(2048);
        sample_certify(sample.certificate, other);
        refused(&sample, WLA_E_INPUT, "is not the certificate of this host's signing key");
        EVP_PKEY_free(other);
        sample_signer_close(&sample);
}
END_TEST

START_TEST(a_signer_that_fails) {
        struct sample_signer sample;

        sample_signer_open(&sample);
        sample.fails = true;
        refused(&sample, WLA_E_TIMEOUT, "the TPM sleeps");
        sample_signer_close(&sample);
}
END_TEST

START_TEST(what_it_is_about) {
        _cleanup_buf_ struct buf report = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        struct sample_signer sample;
        struct signed_report about;
        struct wla_error err = {0};

        sample_signer_open(&sample);
        sample_report(&sample, &report);
        ck_assert_int_eq(signed_report_parse((const char *)report.data, report.size, &about, &err),
                         0);
        ck_assert_str_eq(about.vm.text, SAMPLE_VM);
        ck_assert_str_eq(about.image.text, SAMPLE_IMAGE);
        /* Cut off anywhere it is none. */
        for (size_t size = 0; size < report.size; size++)
                ck_assert_int_eq(signed_report_parse((const char *)report.data, size, &about, &err),
                                 -1);
        sample_signer_close(&sample);
}
END_TEST

#define REST   ",\"hash_alg\":\"SHA-256\",\"cert\":\"x\",\"signature\":\"" SIGNED "\"}"
#define A64    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define SIGNED A64 A64 A64 A64 A64 "AAAAAAAAAAAAAAAAAAAAAA=="
/* {"instance_manifest":{"instance_info":{"instance_id":"7b28...","image_id":"670f..."}}} */
#define DATA                                                                               \
        "eyJpbnN0YW5jZV9tYW5pZmVzdCI6eyJpbnN0YW5jZV9pbmZvIjp7Imluc3RhbmNlX2lkIjoiN2IyODA5" \
        "MjEtODNmNy00ZjQ0LTlmOGQtMmRjZjM2ZTdhZjMzIiwiaW1hZ2VfaWQiOiI2NzBmMjYzZS1iMzRlLTRl" \
        "MDctYTUyMC00MGFjOWE4OWY2MmQifX19"

START_TEST(other_texts_are_none) {
        static const char *const texts[] = {
                "",
                "null",
                "[]",
                "{}",
                "{\"data\":\"\"" REST,
                "{\"data\":\"e30=\"" REST,
                "{\"data\":\"e30\"" REST,
                "{\"data\":1" REST,
                "{\"data\":\"" DATA "\",\"data\":\"\"" REST,
                "{\"data\":\"" DATA "\",\"more\":\"\"" REST,
                "{\"data\":\"" DATA "\"" REST "x",
                "{\"data\":\"" DATA
                "\",\"hash_alg\":\"SHA-384\",\"cert\":\"x\",\"signature\":\"" SIGNED "\"}",
                "{\"data\":\"" DATA
                "\",\"hash_alg\":\"SHA-256\",\"cert\":\"\",\"signature\":\"" SIGNED "\"}",
                "{\"data\":\"" DATA
                "\",\"hash_alg\":\"SHA-256\",\"cert\":\"x\",\"signature\":\"AAAA\"}",
                "{\"data\":\"" DATA "\",\"hash_alg\":\"SHA-256\",\"cert\":\"x\"}",
        };
        static const char good[] = "{\"data\":\"" DATA "\"" REST;
        struct signed_report about;
        struct wla_error err = {0};

        ck_assert_msg(signed_report_parse(good, strlen(good), &about, &err) == 0, "%s",
                      wla_error_text(&err));
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                ck_assert_msg(signed_report_parse(texts[i], strlen(texts[i]), &about, &err) < 0,
                              "%s", texts[i]);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

SUITE_MAIN("signed_report", it_can_be_verified_with_what_it_brings_along,
           without_a_certificate_nothing_is_signed, a_certificate_of_another_key_is_noticed,
           a_signer_that_fails, what_it_is_about, other_texts_are_none)
