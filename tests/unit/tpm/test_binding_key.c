/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/binding_key.h"

#include <stdio.h>
#include <string.h>

#include "fail_allocation.h"
#include "sample_binding_key.h"
#include "suite.h"
#include "tpm/tpm.h"

static struct binding_key sample(void) {
        struct binding_key key;
        struct wla_error err = {0};

        int r = binding_key_parse(sample_binding_key, strlen(sample_binding_key), &key, &err);
        ck_assert_msg(r == 0, "%s", wla_error_text(&err));
        return key;
}

/* The sample with the first from replaced by to. */
static void edit(const char *from, const char *to, char *edited, size_t size) {
        const char *at = strstr(sample_binding_key, from);

        ck_assert_msg(at != NULL, "%s", from);
        int written = snprintf(edited, size, "%.*s%s%s", (int)(at - sample_binding_key),
                               sample_binding_key, to, at + strlen(from));
        ck_assert_uint_lt((size_t)written, size);
}

START_TEST(the_sample_is_understood) {
        struct binding_key key = sample();

        ck_assert_uint_eq(key.storage_handle, 0x81000001);
        ck_assert_uint_eq(key.storage_name.size, 34);
        ck_assert_uint_eq(key.handle, 0);
        ck_assert_uint_gt(key.private.size, 0);
        ck_assert_uint_eq(key.pcrs, 1u << 7 | 1u << 11);
        ck_assert_str_eq(key.fingerprint, SAMPLE_FINGERPRINT);
}
END_TEST

START_TEST(writing_gives_back_what_was_read) {
        struct binding_key key = sample();
        struct wla_error err = {0};
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(BINDING_KEY_FILE_MAX);

        ck_assert_int_eq(binding_key_format(&key, &json, &err), 0);
        ck_assert_uint_eq(json.size, strlen(sample_binding_key));
        ck_assert_mem_eq(json.data, sample_binding_key, json.size);
}
END_TEST

START_TEST(a_persistent_key_has_a_handle_and_no_private_part) {
        struct binding_key key = sample();
        struct binding_key again;
        struct wla_error err = {0};
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(BINDING_KEY_FILE_MAX);

        key.handle = 0x81010010;
        key.private.size = 0;
        ck_assert_int_eq(binding_key_format(&key, &json, &err), 0);
        ck_assert_int_eq(binding_key_parse((const char *)json.data, json.size, &again, &err), 0);
        ck_assert_uint_eq(again.handle, 0x81010010);
        ck_assert_uint_eq(again.private.size, 0);
}
END_TEST

START_TEST(edited_files_are_refused) {
        static const struct {
                const char *from;
                const char *to;
                const char *text;
        } edits[] = {
                {"{", "[", ""},
                {"\"version\": 1", "\"version\": 2", "its version is 2, and this agent reads 1"},
                {"\"version\": 1,", "", "version"},
                {"\"version\": 1", "\"version\": 1, \"comment\": \"x\"", "not known"},
                {"\"version\": 1", "\"version\": 1, \"handle\": \"0x81010010\"",
                 "either private or handle"},
                {"\"private\"", "\"privat\"", "not known"},
                {"0x81000001", "0x01000001", "no persistent handle of the owner"},
                {"0x81000001", "0x8100001", "no handle"},
                {"0x81000001", "0x8100000G", "no handle"},
                {"000bcac1", "000BCAC1", "storage_name is not lower-case hex"},
                {"000bcac1", "000bca", "storage_name has the wrong length"},
                {"ATYAAQAL", "ATUAAQAL", "public is no public area"},
                {"ATYAAQAL", "A", "public"},
                {"ATYAAQALAAIEMg", "ATYAAQALAAYEMg", "this is no binding key"},
                {"AN4AIM", "AN8AIM", "private is no private area"},
                {"\"private\": \"AN4", "\"private\": \"%%", "private"},
                {"000b2348", "000b2349", "name is not that of the public key"},
                {"88ebbcc3", "88ebbcc4", "fingerprint is not that of the public key"},
                {"[7, 11]", "[11, 7]", "pcrs is not ascending"},
                {"[7, 11]", "[7, 7]", "pcrs is not ascending"},
                {"[7, 11]", "[7, 24]", "pcrs"},
                {"[7, 11]", "[7]", "pcr_values does not match pcrs"},
                {"[7, 11]", "[7, 11, 12]", "pcr_values does not match pcrs"},
                {"[7, 11]", "7", "have to be lists"},
                {"384378ca", "384378cb", "pcr_policy is not that of the public key"},
                {"[7, 11]", "[3, 11]", "pcr_policy is not that of pcrs and pcr_values"},
                {"[\"00", "[\"01", "pcr_policy is not that of pcrs and pcr_values"},
                {"384378caed", "384378ca", "pcr_policy is not that of the public key"},
                {"\"fingerprint\"", "\"name\"", ""},
                {"541152cb484\"\n}", "541152cb484\"\n}{", ""},
        };

        for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
                char edited[sizeof(sample_binding_key) + 128];
                struct binding_key key;
                struct wla_error err = {0};

                edit(edits[i].from, edits[i].to, edited, sizeof(edited));
                ck_assert_msg(binding_key_parse(edited, strlen(edited), &key, &err) < 0, "%s",
                              edits[i].to);
                ck_assert_msg(strstr(wla_error_text(&err), edits[i].text) != NULL, "%s: %s",
                              edits[i].to, wla_error_text(&err));
        }
}
END_TEST

START_TEST(every_cut_is_refused) {
        for (size_t size = 0; size + 1 < strlen(sample_binding_key); size++) {
                struct binding_key key;
                struct wla_error err = {0};

                ck_assert_int_eq(binding_key_parse(sample_binding_key, size, &key, &err), -1);
        }
}
END_TEST

/* Whether the offset is in the line of that member. */
static bool is_in(size_t at, const char *member) {
        const char *line = strstr(sample_binding_key, member);
        size_t first = (size_t)(line - sample_binding_key);

        return at >= first && at < first + strcspn(line, "\n");
}

START_TEST(a_flipped_bit_is_refused_unless_the_tpm_has_to_judge) {
        char edited[sizeof(sample_binding_key)];
        size_t size = strlen(sample_binding_key);

        for (size_t at = 0; at < size; at++) {
                struct binding_key key;
                struct wla_error err = {0};

                if (is_in(at, "\"storage_handle\"") || is_in(at, "\"storage_name\"") ||
                    is_in(at, "\"private\""))
                        continue;

                memcpy(edited, sample_binding_key, size);
                edited[at] ^= (char)(1 << at % 7);
                ck_assert_msg(binding_key_parse(edited, size, &key, &err) < 0 ||
                                      strchr(" \n\r\t", edited[at]) != NULL,
                              "offset %zu: %c", at, edited[at]);
        }
}
END_TEST

START_TEST(allocations_that_fail_are_errors) {
        struct binding_key key = sample();
        bool clean = true;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct binding_key again;
                struct wla_error err = {0};
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(BINDING_KEY_FILE_MAX);

                int r = binding_key_parse(sample_binding_key, strlen(sample_binding_key), &again,
                                          &err);
                if (r == 0)
                        r = binding_key_format(&key, &json, &err);
                clean = clean && (r == 0 || fail_allocation_hit()) &&
                        (r < 0) == (err.code != WLA_OK);
        }
        fail_allocation_disarm();
        ck_assert(clean);
}
END_TEST

START_TEST(a_missing_file_says_what_to_do) {
        struct binding_key_info info;
        struct wla_error err = {0};

        ck_assert_int_eq(binding_key_info_read("/nowhere", &info, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_str_eq(err.hint, "run 'wlagent setup'");
}
END_TEST

SUITE_MAIN("binding_key", the_sample_is_understood, writing_gives_back_what_was_read,
           a_persistent_key_has_a_handle_and_no_private_part, edited_files_are_refused,
           every_cut_is_refused, a_flipped_bit_is_refused_unless_the_tpm_has_to_judge,
           allocations_that_fail_are_errors, a_missing_file_says_what_to_do)
