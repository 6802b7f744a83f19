/* SPDX-License-Identifier: Apache-2.0 */
#include "flavor/flavor_sign.h"

#include <stdio.h>
#include <string.h>

#include "signers.h"
#include "suite.h"

static const struct flavor example = {
        .id = "dfa22f83-b6dd-4bf3-9b07-ff1fa01eb69f",
        .author_email = "owner@example",
        .has_description = true,
        .description[FLAVOR_PART] = FLAVOR_PART_IMAGE,
        .description[FLAVOR_LABEL] = "<web> \xe2\x82\xac",
        .encryption_required = true,
        .has_encryption = true,
        .key_url = "https://kbs.example/kbs/v1/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer",
        .digest = {1, 2, 3},
};

static void begin(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(/* allow_unlocked= */ true, &err), 0);
}

START_TEST(a_signed_flavor_is_verified) {
        static const enum signer_fault sound[] = {SIGNER_GOOD, SIGNER_INTERMEDIATE, SIGNER_SECOND};
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct signers signers;

        begin();
        signers_make(&signers, sound[_i]);
        ck_assert_int_eq(flavor_sign(&example, signers.key_pem, &signature, &err), 0);
        ck_assert_uint_eq(signature.size, 256);
        ck_assert_msg(flavor_verify(&example, &signature, &signers.trust, &err) == 0, "%s",
                      wla_error_text(&err));
        signers_remove(&signers);
}
END_TEST

/* Each byte of the document, one after the other, in three ways; but for the case of a hex digit in an
 * escape, which changes nothing of what is read. */
START_TEST(a_changed_byte_is_refused) {
        static const uint8_t changes[] = {0x01, 0x20, 0x80};
        static struct flavor flavor;
        _cleanup_buf_ struct buf document = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct signers signers;
        size_t parsed = 0;

        begin();
        signers_make(&signers, SIGNER_GOOD);
        ck_assert_int_eq(flavor_sign(&example, signers.key_pem, &signature, &err), 0);
        ck_assert_int_eq(flavor_write(&example, &signature, &document, &err), 0);
        for (size_t i = 0; i < 3 * document.size; i++) {
                uint8_t *byte = &document.data[i / 3];

                *byte ^= changes[i % 3];
                if (flavor_parse((char *)document.data, document.size, &flavor, &signature, &err) ==
                            0 &&
                    memcmp(&flavor, &example, sizeof(flavor)) != 0) {
                        ck_assert_msg(flavor_verify(&flavor, &signature, &signers.trust, &err) < 0,
                                      "byte %zu may be changed", i / 3);
                        ck_assert_int_eq(err.code, WLA_E_DENIED);
                        parsed++;
                }
                *byte ^= changes[i % 3];
        }
        ck_assert_uint_gt(parsed, 200);
        ck_assert_int_eq(
                flavor_parse((char *)document.data, document.size, &flavor, &signature, &err), 0);
        ck_assert_int_eq(flavor_verify(&flavor, &signature, &signers.trust, &err), 0);
        signers_remove(&signers);
}
END_TEST

/* And each of the signature. */
START_TEST(a_changed_signature_is_refused) {
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct signers signers;

        begin();
        signers_make(&signers, SIGNER_GOOD);
        ck_assert_int_eq(flavor_sign(&example, signers.key_pem, &signature, &err), 0);
        for (size_t i = 0; i < signature.size; i++) {
                signature.bytes[i] ^= 0x10;
                ck_assert_int_eq(flavor_verify(&example, &signature, &signers.trust, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                signature.bytes[i] ^= 0x10;
        }
        signature.size--;
        ck_assert_int_eq(flavor_verify(&example, &signature, &signers.trust, &err), -1);
        signers_remove(&signers);
}
END_TEST

static const struct {
        enum signer_fault fault;
        const char *text;
} faults[] = {
        {SIGNER_EXPIRED, "it is not trusted: certificate has expired"},
        {SIGNER_NOT_YET_VALID, "it is not trusted: certificate is not yet valid"},
        {SIGNER_OTHER_ROOT, "it is not trusted: certificate signature failure"},
        {SIGNER_CA, "it is not for signing"},
        {SIGNER_FOR_TLS, "it is not for signing"},
        {SIGNER_FOR_EXCHANGE, "it is not for signing"},
        {SIGNER_SHA1, "it is not trusted: CA signature digest algorithm too weak"},
        {SIGNER_INTERMEDIATE_RSA_1024, "it is not trusted: CA certificate key too weak"},
        {SIGNER_SELF_SIGNED, "it is not trusted: self-signed certificate"},
        {SIGNER_NO_INTERMEDIATE, "it is not trusted: unable to get local issuer certificate"},
};

START_TEST(a_signer_who_is_not_trusted_is_refused) {
        static const char context[] = "the certificate that the flavor is signed with: ";
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct signers signers;

        begin();
        signers_make(&signers, faults[_i].fault);
        ck_assert_int_eq(flavor_sign(&example, signers.key_pem, &signature, &err), 0);
        ck_assert_int_eq(flavor_verify(&example, &signature, &signers.trust, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_int_eq(strncmp(wla_error_text(&err), context, strlen(context)), 0);
        ck_assert_str_eq(wla_error_text(&err) + strlen(context), faults[_i].text);
        signers_remove(&signers);
}
END_TEST

/* It is signed by hand, as flavor_sign() would not. */
START_TEST(a_short_key_is_refused) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        struct flavor_signature signature = {.size = sizeof(signature.bytes)};
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        struct wla_error err = {0};
        struct signers signers;

        begin();
        signers_make(&signers, SIGNER_RSA_1024);
        ck_assert_int_eq(flavor_sign(&example, signers.key_pem, &signature, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        signature.size = sizeof(signature.bytes);
        ck_assert_int_eq(flavor_format(&example, &bytes, &err), 0);
        ck_assert_int_eq(EVP_DigestSignInit(context, NULL, EVP_sha384(), NULL, signers.key), 1);
        ck_assert_int_eq(
                EVP_DigestSign(context, signature.bytes, &signature.size, bytes.data, bytes.size),
                1);
        EVP_MD_CTX_free(context);
        ck_assert_int_eq(flavor_verify(&example, &signature, &signers.trust, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "its key has only 1024 bits"));
        signers_remove(&signers);
}
END_TEST

START_TEST(nobody_has_signed_it) {
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct signers signers;
        struct signers others;

        begin();
        signers_make(&signers, SIGNER_GOOD);
        signers_make(&others, SIGNER_GOOD);
        ck_assert_int_eq(flavor_sign(&example, others.key_pem, &signature, &err), 0);
        ck_assert_int_eq(flavor_verify(&example, &signature, &signers.trust, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "is of none of the certificates"));
        signature.size = 0;
        ck_assert_int_eq(flavor_verify(&example, &signature, &signers.trust, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_str_eq(wla_error_text(&err), "the flavor is not signed");
        signers_remove(&others);
        signers_remove(&signers);
}
END_TEST

static void put_file(const struct scratch *directory, const char *content) {
        FILE *file = fopen(scratch_file(directory, "certificate.pem"), "w");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(content, file), 0);
        ck_assert_int_eq(fclose(file), 0);
}

static void expect(const struct signers *signers, const struct flavor_signature *signature,
                   enum wla_code code, const char *text) {
        struct wla_error err = {0};

        ck_assert_int_eq(flavor_verify(&example, signature, &signers->trust, &err), -1);
        ck_assert_int_eq(err.code, code);
        ck_assert_msg(strstr(wla_error_text(&err), text) != NULL, "%s", wla_error_text(&err));
}

START_TEST(directories_have_to_hold_certificates) {
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct signers signers;

        begin();
        signers_make(&signers, SIGNER_GOOD);
        ck_assert_int_eq(flavor_sign(&example, signers.key_pem, &signature, &err), 0);

        put_file(&signers.signers_directory, "");
        expect(&signers, &signature, WLA_E_INPUT, "there is no certificate in it");
        put_file(&signers.signers_directory,
                 "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        expect(&signers, &signature, WLA_E_INPUT, "a certificate in it is damaged");
        ck_assert_int_eq(unlink(scratch_file(&signers.signers_directory, "certificate.pem")), 0);
        expect(&signers, &signature, WLA_E_NOT_FOUND, "FlavorTrustDirectory=");
        ck_assert_int_eq(unlink(scratch_file(&signers.roots_directory, "certificate.pem")), 0);
        expect(&signers, &signature, WLA_E_NOT_FOUND, "/wlagent-test-");
        signers.trust.roots = "/nowhere";
        expect(&signers, &signature, WLA_E_SYSTEM, "TrustDirectory=/nowhere: it cannot be opened");
        signers_remove(&signers);
}
END_TEST

START_TEST(only_rsa_keys_sign) {
        EVP_PKEY *elliptic = EVP_EC_gen("P-256");
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct signers signers;

        begin();
        signers_make(&signers, SIGNER_GOOD);
        struct wla_secret *wrong = signers_key_pem(elliptic, NULL);
        ck_assert_int_eq(flavor_sign(&example, wrong, &signature, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        wla_secret_free(wrong);
        wrong = signers_key_pem(signers.key, "secret");
        ck_assert_int_eq(flavor_sign(&example, wrong, &signature, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "needs a passphrase"));
        wla_secret_free(wrong);
        EVP_PKEY_free(elliptic);
        signers_remove(&signers);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("flavor_sign");
        TCase *tcase = tcase_create("flavor_sign");

        tcase_set_timeout(tcase, 240);
        tcase_add_loop_test(tcase, a_signed_flavor_is_verified, 0, 3);
        tcase_add_test(tcase, a_changed_byte_is_refused);
        tcase_add_test(tcase, a_changed_signature_is_refused);
        tcase_add_loop_test(tcase, a_signer_who_is_not_trusted_is_refused, 0,
                            sizeof(faults) / sizeof(faults[0]));
        tcase_add_test(tcase, a_short_key_is_refused);
        tcase_add_test(tcase, nobody_has_signed_it);
        tcase_add_test(tcase, directories_have_to_hold_certificates);
        tcase_add_test(tcase, only_rsa_keys_sign);
        suite_add_tcase(suite, tcase);

        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
