/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "sample_key_file.h"
#include "suite.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/base64.h"

#define HINT_DAMAGED                                                                              \
        "the file is damaged: import it again from its owner's copy, or have the owner wrap the " \
        "key again"
#define HINT_VERSION "update wlagent, or have the key's owner wrap it with this version"

START_TEST(what_is_written_is_read) {
        struct wla_error err = {0};
        const struct key_file file = sample_key_file("web-1");
        struct key_file again;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);

        ck_assert_int_eq(key_file_format(&file, &text, &err), 0);
        ck_assert_int_eq(key_file_parse((char *)text.data, text.size, &again, &err), 0);
        ck_assert_mem_eq(&file, &again, sizeof(file));
}
END_TEST

START_TEST(the_text_is_the_documented_format) {
        struct wla_error err = {0};
        const struct key_file file = sample_key_file("web-1");
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);
        static const char start[] = "{\n"
                                    "  \"version\": 1,\n"
                                    "  \"name\": \"web-1\",\n"
                                    "  \"algorithm\": \"RSA-OAEP-SHA256\",\n"
                                    "  \"binding_key\": \"" SAMPLE_FINGERPRINT "\",\n"
                                    "  \"created\": \"2026-01-31T23:59:59Z\",\n"
                                    "  \"wrapped_key\": \"AQgPFh0kKzI5";

        ck_assert_int_eq(key_file_format(&file, &text, &err), 0);
        ck_assert_uint_gt(text.size, strlen(start));
        ck_assert_mem_eq(text.data, start, strlen(start));
        ck_assert_mem_eq(text.data + text.size - 4, "\"\n}\n", 4);
}
END_TEST

static void expect_refusal(const struct buf *text, const char *expected, const char *hint) {
        struct wla_error err = {0};
        struct key_file file;

        ck_assert_int_eq(key_file_parse((char *)text->data, text->size, &file, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_str_eq(wla_error_text(&err), expected);
        ck_assert_str_eq(err.hint, hint);
}

/* One change to the sample each, and what the operator is told. */
static const struct {
        const char *old;
        const char *new;
        const char *text;
        const char *hint;
} refusals[] = {
        {"\"version\": 1", "\"version\": 2", "version 2 is not known, only version 1",
         HINT_VERSION},
        {"\"version\": 1", "\"version\": \"1\"", "member \"version\" is not a version number",
         HINT_DAMAGED},
        {"\"version\": 1", "\"version\": -1", "member \"version\" is not a version number",
         HINT_DAMAGED},
        {"\"version\": 1,", "", "member \"version\" is missing", HINT_DAMAGED},
        {"\"name\": \"web-1\",", "", "member \"name\" is missing", HINT_DAMAGED},
        {"\"name\": \"web-1\"", "\"name\": \"../web-1\"", "member \"name\" is not a key name",
         HINT_DAMAGED},
        {"\"name\": \"web-1\"", "\"name\": \"\"", "member \"name\" is not a key name",
         HINT_DAMAGED},
        {"\"name\": \"web-1\"", "\"name\": \"web\\u00001\"", "member \"name\" is not a key name",
         HINT_DAMAGED},
        {"\"name\": \"web-1\"", "\"name\": 7", "member \"name\" is not a key name", HINT_DAMAGED},
        {"RSA-OAEP-SHA256", "RSA-OAEP", "algorithm RSA-OAEP is not known, only RSA-OAEP-SHA256",
         HINT_VERSION},
        {"\"RSA-OAEP-SHA256\"", "null", "member \"algorithm\" is not the name of an algorithm",
         HINT_DAMAGED},
        {"00112233", "0011223",
         "member \"binding_key\" is not a fingerprint of 64 lower-case hex digits", HINT_DAMAGED},
        {"aabb", "AABB", "member \"binding_key\" is not a fingerprint of 64 lower-case hex digits",
         HINT_DAMAGED},
        {"2026-01-31T", "2026-13-31T", "member \"created\" is not a time like 2026-01-31T23:59:59Z",
         HINT_DAMAGED},
        {"59Z", "59", "member \"created\" is not a time like 2026-01-31T23:59:59Z", HINT_DAMAGED},
        {"01-31T", " 1-31T", "member \"created\" is not a time like 2026-01-31T23:59:59Z",
         HINT_DAMAGED},
        {"23:59", "24:59", "member \"created\" is not a time like 2026-01-31T23:59:59Z",
         HINT_DAMAGED},
        {"59Z", "59+", "member \"created\" is not a time like 2026-01-31T23:59:59Z", HINT_DAMAGED},
        {"\"AQgPFh0k", "\"AQgP Fh0k", "member \"wrapped_key\" is not base64", HINT_DAMAGED},
        {"\"AQgPFh0k", "\"AQgP", "member \"wrapped_key\" holds 253 bytes, not 256", HINT_DAMAGED},
        {"\"AQgPFh0k", "\"AQgPFh0kAAAA", "member \"wrapped_key\" holds 259 bytes, not 256",
         HINT_DAMAGED},
        {"\"created\"", "\"comment\": \"\", \"created\"", "unknown member \"comment\"",
         HINT_DAMAGED},
        {"\"created\"", "\"plain_key_of_the_image_with_a_long_name\": \"\", \"created\"",
         "unknown member \"plain_key_of_the_image_with_a_long_name", HINT_DAMAGED},
        {"{", "[{", "", HINT_DAMAGED},
        {"{", "{\"name\": \"web-1\",", "", HINT_DAMAGED},
        {"}\n", "", "", HINT_DAMAGED},
        {"}\n", "} x", "", HINT_DAMAGED},
};

START_TEST(each_fault_has_its_text) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);
        struct wla_error err = {0};
        struct key_file file;

        (void)sample_text("web-1", refusals[_i].old, refusals[_i].new, &text);
        if (refusals[_i].text[0] != '\0') {
                expect_refusal(&text, refusals[_i].text, refusals[_i].hint);
                return;
        }

        ck_assert_int_eq(key_file_parse((char *)text.data, text.size, &file, &err), -1);
        ck_assert_ptr_eq(strstr(wla_error_text(&err), "not a whole JSON text: "),
                         wla_error_text(&err));
        ck_assert_str_eq(err.hint, refusals[_i].hint);
}
END_TEST

START_TEST(what_is_no_object_is_refused) {
        struct buf empty = {0};
        struct buf array = {.data = (uint8_t[]){'[', ']'}, .size = 2};

        expect_refusal(&empty, "empty", HINT_DAMAGED);
        expect_refusal(&array, "not a JSON object", HINT_DAMAGED);
}
END_TEST

START_TEST(too_large_is_refused) {
        static uint8_t spaces[KEY_FILE_SIZE_MAX + 1];
        struct buf large = {.data = spaces, .size = sizeof(spaces)};

        memset(spaces, ' ', sizeof(spaces));
        expect_refusal(&large, "larger than 16 KiB, which no key file is", HINT_DAMAGED);
}
END_TEST

/* Whatever the bytes are, they are a key file or they are refused. */
START_TEST(any_changed_byte_is_harmless) {
        static const char values[] = {'\0', '"', '\\', '{', '}', '9', (char)0x80, (char)0xff};
        struct wla_error err = {0};
        const struct key_file file = sample_key_file("web-1");
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);

        ck_assert_int_eq(key_file_format(&file, &text, &err), 0);
        for (size_t at = 0; at < text.size; at++) {
                uint8_t before = text.data[at];

                for (size_t i = 0; i < sizeof(values); i++) {
                        struct key_file again = {0};

                        text.data[at] = (uint8_t)values[i];
                        if (key_file_parse((char *)text.data, text.size, &again, &err) == 0)
                                ck_assert(key_name_valid(again.name, strlen(again.name)));
                        else
                                ck_assert_int_eq(err.code, WLA_E_INPUT);
                }
                text.data[at] = before;
        }
}
END_TEST

START_TEST(every_truncation_is_refused) {
        struct wla_error err = {0};
        const struct key_file file = sample_key_file("web-1");
        struct key_file again;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);

        ck_assert_int_eq(key_file_format(&file, &text, &err), 0);
        for (size_t size = 0; size < text.size - 1; size++)
                ck_assert_int_eq(key_file_parse((char *)text.data, size, &again, &err), -1);
}
END_TEST

static void make_pem(EVP_PKEY *key, struct buf *pem) {
        struct wla_error err = {0};
        char *data = NULL;
        BIO *bio = BIO_new(BIO_s_mem());

        ck_assert_int_eq(PEM_write_bio_PUBKEY(bio, key), 1);
        long size = BIO_get_mem_data(bio, &data);
        ck_assert_int_eq(buf_append(pem, data, (size_t)size, &err), 0);
        BIO_free(bio);
}

static void expect_opens(EVP_PKEY *key, const uint8_t *wrapped, const uint8_t *expected) {
        uint8_t plain[256];
        size_t size = sizeof(plain);
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        unsigned char *label = (unsigned char *)OPENSSL_memdup("TPM2", 5);

        ck_assert_int_eq(EVP_PKEY_decrypt_init(context), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set0_rsa_oaep_label(context, label, 5), 1);
        ck_assert_int_eq(EVP_PKEY_decrypt(context, plain, &size, wrapped, 256), 1);
        ck_assert_uint_eq(size, 32);
        ck_assert_mem_eq(plain, expected, 32);
        EVP_PKEY_CTX_free(context);
}

START_TEST(wrapping_is_for_the_pem) {
        struct wla_error err = {0};
        struct key_file file;
        struct wla_secret *secret = NULL;
        char fingerprint[KEY_FINGERPRINT_SIZE];
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(4096);
        EVP_PKEY *key = EVP_RSA_gen(2048);

        make_pem(key, &pem);
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(32, &secret, &err), 0);
        memset(wla_secret_fill(secret), 0x5a, 32);

        const char *text = buf_text(&pem, &err);
        ck_assert_int_eq(key_file_wrap("web-1", text, pem.size, secret, &file, &err), 0);
        ck_assert_int_eq(rsa_public_fingerprint(text, pem.size, fingerprint, &err), 0);
        ck_assert_str_eq(file.binding_key, fingerprint);
        ck_assert_str_eq(file.name, "web-1");
        ck_assert_uint_eq(strlen(file.created), 20);
        expect_opens(key, file.wrapped, wla_secret_view(secret).data);

        ck_assert_int_eq(key_file_wrap("web-1", "no PEM", 6, secret, &file, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);

        (void)wla_secret_free(secret);
        EVP_PKEY_free(key);
}
END_TEST

START_TEST(allocations_may_fail) {
        const struct key_file file = sample_key_file("web-1");

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct wla_error err = {0};
                struct key_file again;
                _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);

                int outcome = key_file_format(&file, &text, &err);
                if (outcome == 0)
                        outcome = key_file_parse((char *)text.data, text.size, &again, &err);
                fail_allocation_disarm();
                ck_assert(outcome < 0 || !fail_allocation_hit());
                ck_assert(outcome == 0 || err.code == WLA_E_BUSY);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("key_file");
        TCase *tcase = tcase_create("key_file");

        tcase_add_test(tcase, what_is_written_is_read);
        tcase_add_test(tcase, the_text_is_the_documented_format);
        tcase_add_loop_test(tcase, each_fault_has_its_text, 0,
                            sizeof(refusals) / sizeof(refusals[0]));
        tcase_add_test(tcase, what_is_no_object_is_refused);
        tcase_add_test(tcase, too_large_is_refused);
        tcase_add_test(tcase, any_changed_byte_is_harmless);
        tcase_add_test(tcase, every_truncation_is_refused);
        tcase_add_test(tcase, wrapping_is_for_the_pem);
        tcase_add_test(tcase, allocations_may_fail);
        suite_add_tcase(suite, tcase);

        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
