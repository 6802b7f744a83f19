/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/trust_report.h"

/* All that is written here is ASCII without the characters that Go's encoder escapes: UUIDs and literals. */

static const char *truth(bool value) {
        return value ? "true" : "false";
}

static bool encryption_matches(const struct trust_facts *facts) {
        return facts->encryption_required == facts->image_encrypted;
}

static bool flavor_integrity_matches(const struct trust_facts *facts) {
        return facts->signature == SIGNATURE_VALID;
}

bool trust_report_trusted(const struct trust_facts *facts) {
        return encryption_matches(facts) &&
               (facts->signature == SIGNATURE_SKIPPED || flavor_integrity_matches(facts));
}

static int write_manifest(const struct trust_facts *facts, struct buf *to, struct wla_error *err) {
        return buf_printf(to, err,
                          "{\"instance_manifest\":{\"instance_info\":{\"instance_id\":\"%s\","
                          "\"host_hardware_uuid\":\"%s\",\"image_id\":\"%s\"},"
                          "\"image_encrypted\":%s},\"policy_name\":\"Intel VM Policy\",",
                          facts->vm.text, facts->host.text, facts->image.text,
                          truth(facts->image_encrypted));
}

struct rule {
        const char *name;
        const char *marker;
        const char *expected;
        bool value;
        const char *fault; /* NULL when it is met */
};

static int write_result(const struct trust_facts *facts, const struct rule *rule, struct buf *to,
                        struct wla_error *err) {
        if (buf_printf(to, err,
                       "{\"rule\":{\"rule_name\":\"%s\",\"markers\":[\"%s\"],\"expected\":{"
                       "\"name\":\"%s\",\"value\":%s}},\"flavor_id\":\"%s\",",
                       rule->name, rule->marker, rule->expected, truth(rule->value),
                       facts->flavor) < 0 ||
            (rule->fault &&
             buf_printf(to, err, "\"faults\":[{\"description\":\"%s\",\"cause\":null}],",
                        rule->fault) < 0))
                return -1;
        return buf_printf(to, err, "\"trusted\":%s}", truth(!rule->fault));
}

static int write_results(const struct trust_facts *facts, struct buf *to, struct wla_error *err) {
        const struct rule encryption = {
                .name = "EncryptionMatches",
                .marker = "IMAGE",
                .expected = "encryption_required",
                .value = facts->encryption_required,
                .fault = encryption_matches(facts) ? NULL
                         : facts->image_encrypted  ? "the image is encrypted, and its flavor says "
                                                     "that it is not"
                                                   : "the image is not encrypted, and its flavor "
                                                     "requires it",
        };
        const struct rule integrity = {
                .name = "FlavorIntegrityMatches",
                .marker = "flavorIntegrity",
                .expected = "flavor_trusted",
                .value = true,
                .fault = flavor_integrity_matches(facts)
                                 ? NULL
                                 : "the signature of the flavor is not valid",
        };

        if (write_result(facts, &encryption, to, err) < 0)
                return -1;
        if (facts->signature == SIGNATURE_SKIPPED)
                return 0;
        if (buf_append_text(to, ",", err) < 0)
                return -1;
        return write_result(facts, &integrity, to, err);
}

int trust_report_write(const struct trust_facts *facts, struct buf *to, struct wla_error *err) {
        if (write_manifest(facts, to, err) < 0 || buf_append_text(to, "\"results\":[", err) < 0 ||
            write_results(facts, to, err) < 0 ||
            buf_printf(to, err, "],\"trusted\":%s}", truth(trust_report_trusted(facts))) < 0)
                return wla_wrap(err, "the trust report of VM %s", facts->vm.text);
        return 0;
}
