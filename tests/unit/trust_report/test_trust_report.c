/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/trust_report.h"

#include <openssl/sha.h>
#include <string.h>

#include "fail_allocation.h"
#include "sample_signer.h"
#include "suite.h"

#define MANIFEST                                                                        \
        "{\"instance_manifest\":{\"instance_info\":{\"instance_id\":\"" SAMPLE_VM "\"," \
        "\"host_hardware_uuid\":\"" SAMPLE_HOST "\",\"image_id\":\"" SAMPLE_IMAGE "\"},"
#define POLICY "\"policy_name\":\"Intel VM Policy\",\"results\":["
#define ENCRYPTION \
        "{\"rule\":{\"rule_name\":\"EncryptionMatches\",\"markers\":[\"IMAGE\"],\"expected\":"
#define INTEGRITY                                                                                \
        "{\"rule\":{\"rule_name\":\"FlavorIntegrityMatches\",\"markers\":[\"flavorIntegrity\"]," \
        "\"expected\":{\"name\":\"flavor_trusted\",\"value\":true}},\"flavor_id\":"              \
        "\"" SAMPLE_FLAVOR "\","
#define REQUIRED(value)                                                                          \
        "{\"name\":\"encryption_required\",\"value\":" value "}},\"flavor_id\":\"" SAMPLE_FLAVOR \
        "\","
#define FAULT(text) "\"faults\":[{\"description\":\"" text "\",\"cause\":null}],"

static const char *written(const struct trust_facts *facts) {
        static char text[TRUST_REPORT_MAX + 1];
        _cleanup_buf_ struct buf report = BUF_WITH_LIMIT(TRUST_REPORT_MAX);
        struct wla_error err = {0};

        ck_assert_int_eq(trust_report_write(facts, &report, &err), 0);
        memcpy(text, report.data, report.size);
        text[report.size] = '\0';
        return text;
}

/* Checked against the encoder of Intel SecL 4.2. */
START_TEST(bytes_of_the_vector) {
        static const char expected[] =
                "f619e23bd259a3055bc99630fd65ab08120560700ac2d6a88b19ca574393f2fe";
        const struct trust_facts facts = sample_facts();
        const char *text = written(&facts);
        unsigned char digest[SHA256_DIGEST_LENGTH];
        char hex[2 * SHA256_DIGEST_LENGTH + 1];

        (void)SHA256((const unsigned char *)text, strlen(text), digest);
        for (size_t i = 0; i < sizeof(digest); i++)
                (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
        ck_assert_str_eq(hex, expected);
        ck_assert(trust_report_trusted(&facts));
}
END_TEST

START_TEST(with_the_signature_of_the_flavor) {
        struct trust_facts facts = sample_facts();

        facts.signature = SIGNATURE_VALID;
        ck_assert_str_eq(written(&facts),
                         MANIFEST "\"image_encrypted\":true}," POLICY ENCRYPTION REQUIRED(
                                 "true") "\"trusted\":true}," INTEGRITY "\"trusted\":true}],"
                                         "\"trusted\":true}");
}
END_TEST

START_TEST(what_is_not_so_is_not_claimed) {
        struct trust_facts facts = sample_facts();

        facts.image_encrypted = false;
        ck_assert_str_eq(written(&facts),
                         MANIFEST "\"image_encrypted\":false}," POLICY ENCRYPTION REQUIRED("true")
                                 FAULT("the image is not encrypted, and its flavor requires "
                                       "it") "\"trusted\":false}],\"trusted\":false}");
        ck_assert(!trust_report_trusted(&facts));

        facts = sample_facts();
        facts.encryption_required = false;
        ck_assert_str_eq(written(&facts),
                         MANIFEST "\"image_encrypted\":true}," POLICY ENCRYPTION REQUIRED("false")
                                 FAULT("the image is encrypted, and its flavor says that it is "
                                       "not") "\"trusted\":false}],\"trusted\":false}");

        facts = sample_facts();
        facts.signature = SIGNATURE_INVALID;
        ck_assert_str_eq(
                written(&facts),
                MANIFEST "\"image_encrypted\":true}," POLICY ENCRYPTION
                        REQUIRED("true") "\"trusted\":true}," INTEGRITY FAULT(
                                "the signature of the flavor is not valid") "\"trusted\":false}],"
                                                                            "\"trusted\":false}");
        ck_assert(!trust_report_trusted(&facts));
}
END_TEST

START_TEST(every_allocation_may_fail) {
        const struct trust_facts facts = sample_facts();

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct buf report = BUF_WITH_LIMIT(TRUST_REPORT_MAX);
                struct wla_error err = {0};
                int outcome = trust_report_write(&facts, &report, &err);

                fail_allocation_disarm();
                buf_clear(&report);
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

SUITE_MAIN("trust_report", bytes_of_the_vector, with_the_signature_of_the_flavor,
           what_is_not_so_is_not_claimed, every_allocation_may_fail)
