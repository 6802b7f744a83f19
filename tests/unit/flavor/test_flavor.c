/* SPDX-License-Identifier: Apache-2.0 */
#include "flavor/flavor.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "fail_allocation.h"
#include "suite.h"

#define DIGEST     "lOPONeU0mvyH+nU+FVwrzki6yR486rQ/V0Kx3bYxWcasYAIr9BP0VXWxusZGn7bx"
#define KEY_URL    "https://kbs.example:9443/kbs/v1/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer"
#define ID         "dfa22f83-b6dd-4bf3-9b07-ff1fa01eb69f"
#define ENCRYPTION "\"encryption\":{\"key_url\":\"" KEY_URL "\",\"digest\":\"" DIGEST "\"}"

/* Written by Intel SecL's own encoder. */
#define SIMPLE                                                                                 \
        "{\"flavor\":{\"meta\":{\"id\":\"" ID "\",\"description\":{\"flavor_part\":\"IMAGE\"," \
        "\"label\":\"vm1\"}},\"encryption_required\":true," ENCRYPTION                         \
        ",\"integrity_enforced\":false}}"

static const uint8_t simple_sha384[] = {
        0x00, 0x23, 0x4b, 0x3a, 0xa9, 0x19, 0x20, 0x20, 0x44, 0x7a, 0x0f, 0x3c,
        0x8b, 0x78, 0x06, 0xe9, 0xc4, 0xf3, 0x37, 0xe4, 0x39, 0xff, 0x3c, 0xf9,
        0x74, 0x5c, 0xb4, 0x57, 0xb0, 0xda, 0xd2, 0x6d, 0xd8, 0xc7, 0xa3, 0x5c,
        0xdd, 0x5b, 0x23, 0xb7, 0xd7, 0x50, 0xf5, 0xa0, 0x52, 0x1c, 0x85, 0x8a,
};

#define DOCUMENT(flavor) "{\"flavor\":" flavor ",\"signature\":\"AAAA\"}"
#define META(members)    "{\"meta\":{" members "}}"
#define WITH_ID          "\"id\":\"" ID "\","
#define REST             ",\"encryption_required\":false,\"integrity_enforced\":false}}"

/* What is signed of each document. */
static const struct {
        const char *document;
        const char *is_signed;
} readings[] = {
        {"{\"flavor\":{\"meta\":{\"id\":\"" ID "\",\"description\":{\"flavor_part\":\"IMAGE\","
         "\"label\":\"vm1\"}},\"encryption_required\":true," ENCRYPTION
         ",\"integrity_enforced\":false},\"signature\":\"AAAA\"}",
         SIMPLE},
        /* In another order, and with white space. */
        {"{ \"signature\" : \"AAAA\", \"flavor\" : { \"integrity_enforced\" : false, "
         "\"encryption\" : { \"digest\" : \"" DIGEST "\", \"key_url\" : \"" KEY_URL "\" },\n"
         "\"meta\" : { \"description\" : { \"label\" : \"vm1\", \"source\" : \"\", "
         "\"flavor_part\" : \"IMAGE\" }, \"id\" : \"" ID "\" }, \"encryption_required\" : true } }",
         SIMPLE},
        /* Every member there is. */
        {DOCUMENT("{\"meta\":{\"schema\":{\"uri\":\"u\"},\"id\":\"" ID
                  "\",\"author\":{\"email\":\"e\"},\"realm\":\"r\",\"description\":{"
                  "\"comment\":\"m\",\"hardware_uuid\":\"l\",\"tpm_version\":\"k\","
                  "\"vmm_version\":\"j\",\"vmm_name\":\"i\",\"os_version\":\"h\","
                  "\"os_name\":\"g\",\"bios_version\":\"f\",\"bios_name\":\"e\","
                  "\"ip_address\":\"d\",\"label\":\"c\",\"source\":\"b\","
                  "\"flavor_part\":\"CONTAINER_IMAGE\"}},\"integrity\":{\"notary_url\":\"n\"},"
                  "\"integrity_enforced\":true}"),
         "{\"flavor\":{\"meta\":{\"schema\":{\"uri\":\"u\"},\"id\":\"" ID
         "\",\"author\":{\"email\":\"e\"},\"realm\":\"r\",\"description\":{"
         "\"flavor_part\":\"CONTAINER_IMAGE\",\"source\":\"b\",\"label\":\"c\","
         "\"ip_address\":\"d\",\"bios_name\":\"e\",\"bios_version\":\"f\",\"os_name\":\"g\","
         "\"os_version\":\"h\",\"vmm_name\":\"i\",\"vmm_version\":\"j\",\"tpm_version\":\"k\","
         "\"hardware_uuid\":\"l\",\"comment\":\"m\"}},\"encryption_required\":false,"
         "\"integrity_enforced\":true,\"integrity\":{\"notary_url\":\"n\"}}}"},
        /* What Go escapes, and what it does not. */
        {DOCUMENT(META(WITH_ID "\"realm\":\"a/&<>\\\"\\\\\\u2028\\u2029\\u00e9\\/\xe2\x82\xac\"")),
         "{\"flavor\":{\"meta\":{\"id\":\"" ID
         "\",\"realm\":\"a/\\u0026\\u003c\\u003e\\\"\\\\\\u2028\\u2029\xc3\xa9/\xe2\x82\xac\","
         "\"description\":null}" REST},
        {DOCUMENT(META(WITH_ID "\"description\":null")),
         "{\"flavor\":{\"meta\":{\"id\":\"" ID "\",\"description\":null}" REST},
        {DOCUMENT(META(WITH_ID "\"description\":{}")),
         "{\"flavor\":{\"meta\":{\"id\":\"" ID "\",\"description\":{}}" REST},
        {DOCUMENT("{\"meta\":{\"id\":\"" ID "\",\"schema\":null,\"author\":null},"
                  "\"encryption\":null,\"integrity\":null}"),
         "{\"flavor\":{\"meta\":{\"id\":\"" ID "\",\"description\":null}" REST},
        {DOCUMENT(META("\"id\":\"DFA22F83-b6dd-4bf3-9b07-ff1fa01eb69f\"")),
         "{\"flavor\":{\"meta\":{\"id\":\"DFA22F83-b6dd-4bf3-9b07-ff1fa01eb69f\","
         "\"description\":null}" REST},
};

START_TEST(what_is_signed_is_written_as_go_writes_it) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        const char *document = readings[_i].document;
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct flavor flavor;

        ck_assert_msg(flavor_parse(document, strlen(document), &flavor, &signature, &err) == 0,
                      "%s", wla_error_text(&err));
        ck_assert_int_eq(flavor_format(&flavor, &bytes, &err), 0);
        ck_assert_str_eq(buf_text(&bytes, &err), readings[_i].is_signed);
        ck_assert_uint_eq(signature.size, 3);
}
END_TEST

START_TEST(the_vector_has_its_digest) {
        uint8_t digest[EVP_MAX_MD_SIZE];

        ck_assert_int_eq(EVP_Digest(SIMPLE, strlen(SIMPLE), digest, NULL, EVP_sha384(), NULL), 1);
        ck_assert_mem_eq(digest, simple_sha384, sizeof(simple_sha384));
}
END_TEST

START_TEST(a_document_is_read_as_it_was_written) {
        _cleanup_buf_ struct buf first = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        _cleanup_buf_ struct buf second = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        struct flavor_signature signature = {.size = 3, .bytes = {1, 2, 3}};
        struct flavor_signature read;
        struct wla_error err = {0};
        struct flavor flavor = {
                .id = ID,
                .has_description = true,
                .description[FLAVOR_PART] = FLAVOR_PART_IMAGE,
                .description[FLAVOR_LABEL] = "<label> & more",
                .encryption_required = true,
                .has_encryption = true,
                .key_url = KEY_URL,
        };

        ck_assert_int_eq(flavor_write(&flavor, &signature, &first, &err), 0);
        ck_assert_int_eq(flavor_parse((char *)first.data, first.size, &flavor, &read, &err), 0);
        ck_assert_uint_eq(read.size, signature.size);
        ck_assert_mem_eq(read.bytes, signature.bytes, signature.size);
        ck_assert_int_eq(flavor_write(&flavor, &read, &second, &err), 0);
        ck_assert_uint_eq(first.size, second.size);
        ck_assert_mem_eq(first.data, second.data, first.size);
}
END_TEST

static const struct {
        const char *document;
        const char *text;
} refusals[] = {
        {"", "the flavor: "},
        {"[]", "the flavor: JSON: an object is expected"},
        {"{\"flavor\":{},\"signature\":\"\",\"key\":\"\"}", "the flavor: unknown member \"key\""},
        {"{\"flavor\":{}}", "the flavor: member \"signature\" is missing"},
        {"{\"flavor\":[],\"signature\":\"\"}", "the flavor: member \"flavor\" has the wrong type"},
        {DOCUMENT("{}"), "the flavor: member \"meta\": JSON: an object is expected"},
        {DOCUMENT("{\"Meta\":{}}"), "the flavor: there is a member that is not known"},
        {DOCUMENT(META("")), "the flavor: member \"meta\": member \"id\" is no UUID of version 4"},
        {DOCUMENT(META("\"id\":\"dfa22f83-b6dd-1bf3-9b07-ff1fa01eb69f\"")),
         "the flavor: member \"meta\": member \"id\" is no UUID of version 4"},
        {DOCUMENT(META("\"id\":1")),
         "the flavor: member \"meta\": member \"id\" is no UUID of version 4"},
        {DOCUMENT(META(WITH_ID "\"vendor\":\"x\"")),
         "the flavor: member \"meta\": there is a member that is not known"},
        {DOCUMENT(META(WITH_ID "\"realm\":null")),
         "the flavor: member \"meta\": member \"realm\": JSON: a string is expected"},
        {DOCUMENT(META(WITH_ID "\"realm\":\"a\\nb\"")),
         "the flavor: member \"meta\": member \"realm\": JSON: a control character in a string"},
        {DOCUMENT(META(WITH_ID "\"schema\":{}")),
         "the flavor: member \"meta\": member \"schema\": member \"uri\" is missing"},
        {DOCUMENT(META(WITH_ID "\"schema\":{\"uri\":\"\"}")),
         "the flavor: member \"meta\": member \"schema\": member \"uri\" is empty"},
        {DOCUMENT(META(WITH_ID "\"author\":{\"name\":\"x\"}")),
         "the flavor: member \"meta\": member \"author\": unknown member \"name\""},
        {DOCUMENT(META(WITH_ID "\"description\":\"x\"")),
         "the flavor: member \"meta\": member \"description\": JSON: an object is expected"},
        {DOCUMENT(META(WITH_ID "\"description\":{\"Label\":\"x\"}")),
         "the flavor: member \"meta\": member \"description\": unknown member \"Label\""},
        {DOCUMENT(META(WITH_ID "\"description\":{\"label\":\"x\",\"label\":\"x\"}")),
         "the flavor: JSON"},
        {DOCUMENT("{\"meta\":{\"id\":\"" ID "\"},\"encryption_required\":1}"),
         "the flavor: member \"encryption_required\" is neither true nor false"},
        {DOCUMENT("{\"meta\":{\"id\":\"" ID "\"},\"integrity_enforced\":null}"),
         "the flavor: member \"integrity_enforced\" is neither true nor false"},
        {DOCUMENT("{\"meta\":{\"id\":\"" ID "\"},\"encryption\":{\"key_url\":\"k\"}}"),
         "the flavor: member \"encryption\": member \"digest\" is missing"},
        {DOCUMENT("{\"meta\":{\"id\":\"" ID "\"},\"encryption\":{\"digest\":\"" DIGEST "\"}}"),
         "the flavor: member \"encryption\": member \"key_url\" is missing"},
        {DOCUMENT("{\"meta\":{\"id\":\"" ID "\"},\"encryption\":{\"key_url\":\"\","
                  "\"digest\":\"" DIGEST "\"}}"),
         "the flavor: member \"encryption\": member \"key_url\" is empty"},
        {DOCUMENT("{\"meta\":{\"id\":\"" ID "\"},\"encryption\":{\"key_url\":\"k\","
                  "\"digest\":\"AAAA\"}}"),
         "the flavor: member \"encryption\": member \"digest\": JSON: base64 of 48 bytes"},
        {DOCUMENT("{\"meta\":{\"id\":\"" ID "\"},\"integrity\":{\"notary_url\":\"\"}}"),
         "the flavor: member \"integrity\": member \"notary_url\" is empty"},
        {"{\"flavor\":{\"meta\":{\"id\":\"" ID "\"}},\"signature\":\"AAA\"}",
         "the flavor: member \"signature\": "},
};

START_TEST(other_documents_are_refused) {
        const char *document = refusals[_i].document;
        const char *text = refusals[_i].text;
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct flavor flavor;

        ck_assert_int_eq(flavor_parse(document, strlen(document), &flavor, &signature, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_msg(strncmp(wla_error_text(&err), text, strlen(text)) == 0, "%s, not %s",
                      wla_error_text(&err), text);
}
END_TEST

START_TEST(what_is_too_large_is_refused) {
        static char document[FLAVOR_DOCUMENT_MAX + 2];
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct flavor flavor;

        memset(document, ' ', sizeof(document) - 1);
        ck_assert_int_eq(flavor_parse(document, sizeof(document) - 1, &flavor, &signature, &err),
                         -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        (void)snprintf(document, sizeof(document),
                       "{\"flavor\":" META(WITH_ID "\"realm\":\"%0512d\"") ",\"signature\":\"\"}",
                       0);
        ck_assert_int_eq(flavor_parse(document, strlen(document), &flavor, &signature, &err), -1);
        (void)snprintf(document, sizeof(document),
                       "{\"flavor\":" META(WITH_ID "\"realm\":\"%0511d\"") ",\"signature\":\"\"}",
                       0);
        ck_assert_int_eq(flavor_parse(document, strlen(document), &flavor, &signature, &err), 0);
        ck_assert_uint_eq(signature.size, 0);
}
END_TEST

START_TEST(what_no_reader_would_take_is_not_written) {
        static const char *const texts[] = {"a\nb", "\x7f", "\xff", "\xc3", "\xe2\x80"};
        struct wla_error err = {0};
        struct flavor flavor = {.id = ID};

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);

                (void)snprintf(flavor.realm, sizeof(flavor.realm), "%s", texts[i]);
                ck_assert_int_eq(flavor_format(&flavor, &bytes, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }

        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
        struct flavor nameless = {.id = "dfa22f83-b6dd-1bf3-9b07-ff1fa01eb69f"};
        struct flavor keyless = {.id = ID, .has_encryption = true};
        ck_assert_int_eq(flavor_format(&nameless, &bytes, &err), -1);
        ck_assert_int_eq(flavor_format(&keyless, &bytes, &err), -1);
        ck_assert_uint_eq(bytes.size, 0);
}
END_TEST

START_TEST(without_memory_there_is_no_half_of_it) {
        const char *document = readings[2].document;
        struct flavor_signature signature;
        struct wla_error err = {0};
        struct flavor flavor;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(FLAVOR_DOCUMENT_MAX);
                int outcome = flavor_parse(document, strlen(document), &flavor, &signature, &err);

                if (outcome == 0)
                        outcome = flavor_write(&flavor, &signature, &bytes, &err);
                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("flavor");
        TCase *tcase = tcase_create("flavor");

        tcase_set_timeout(tcase, 240);
        tcase_add_loop_test(tcase, what_is_signed_is_written_as_go_writes_it, 0,
                            sizeof(readings) / sizeof(readings[0]));
        tcase_add_test(tcase, the_vector_has_its_digest);
        tcase_add_test(tcase, a_document_is_read_as_it_was_written);
        tcase_add_loop_test(tcase, other_documents_are_refused, 0,
                            sizeof(refusals) / sizeof(refusals[0]));
        tcase_add_test(tcase, what_is_too_large_is_refused);
        tcase_add_test(tcase, what_no_reader_would_take_is_not_written);
        tcase_add_test(tcase, without_memory_there_is_no_half_of_it);
        suite_add_tcase(suite, tcase);

        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
