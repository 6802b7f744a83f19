/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/host_key.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/base64.h"
#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"
#include "tpm/host_key_layout.h"

#define JSON_MAX (HOST_KEY_FILE_MAX + 1)

/* As tests/integration/intel-host/make has written it with tpm2-tools. */
static size_t read_sample(const char *name, char to[JSON_MAX]) {
        char path[512];

        (void)snprintf(path, sizeof(path), INTEL_HOST "/%s", name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = read(fd, to, JSON_MAX - 1);

        ck_assert_int_gt(size, 0);
        ck_assert_int_eq(close(fd), 0);
        to[size] = '\0';
        return (size_t)size;
}

static struct host_key sample(const char *name) {
        char text[JSON_MAX];
        size_t size = read_sample(name, text);
        struct host_key key;
        struct wla_error err = {0};

        int r = host_key_parse(text, size, &key, &err);
        ck_assert_msg(r == 0, "%s: %s", name, wla_error_text(&err));
        return key;
}

START_TEST(what_others_wrote_is_understood) {
        struct host_key binding = sample("bindingkey.json");
        struct host_key signing = sample("signingkey.json");

        ck_assert_int_eq(binding.usage, HOST_KEY_BINDING);
        ck_assert_int_eq(signing.usage, HOST_KEY_SIGNING);
        ck_assert_uint_gt(binding.private_size, 200);
        ck_assert_mem_ne(binding.name, signing.name, sizeof(binding.name));
}
END_TEST

START_TEST(writing_gives_back_every_byte) {
        static const char *const names[] = {"bindingkey.json", "signingkey.json"};

        for (size_t i = 0; i < 2; i++) {
                char text[JSON_MAX];
                size_t size = read_sample(names[i], text);
                struct host_key key = sample(names[i]);
                struct wla_error err = {0};
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);

                ck_assert_int_eq(host_key_format(&key, &json, &err), 0);
                ck_assert_uint_eq(json.size, size);
                ck_assert_mem_eq(json.data, text, size);
        }
}
END_TEST

START_TEST(edited_files_are_refused) {
        static const struct {
                const char *from;
                const char *to;
                const char *text;
        } edits[] = {
                {"{", "[", ""},
                {"\"Version\": 2", "\"Version\": 1", "Version is 1, and only 2"},
                {"\"Version\": 2", "\"Version\": \"2\"", "\"Version\" has the wrong type"},
                {"\"Version\": 2,", "", "\"Version\" is missing"},
                {"\"Version\"", "\"version\"", "unknown member"},
                {"\"Version\": 2", "\"Version\": 2, \"Comment\": 1", "unknown member \"Comment\""},
                {"\"Version\": 2", "\"Version\": 2, \"Version\": 2", "JSON"},
                {"\"Usage\": 0", "\"Usage\": 1",
                 "attributes 0x00020072, and a signing key has 0x0004"},
                {"\"Usage\": 0", "\"Usage\": 2", "Usage"},
                {"\"Usage\": 0", "\"Usage\": -1", "Usage"},
                {"ARYAAQAL", "ARUAAQAL", "PublicKey is no public area"},
                {"ARYAAQAL", "ARYAAQAM", "PublicKey is no public area"},
                {"ARYAAQALAAIAcg", "ARYAAQALAAYAcg", "attributes 0x00060072, and a binding key"},
                {"ARYAAQAL", "ARYA", "PublicKey"},
                {"\"PublicKey\": \"", "\"PublicKey\": \"%%", "PublicKey"},
                {"\"PrivateKey\": \"A", "\"PrivateKey\": \"B", "PrivateKey is no private area"},
                {"\"PrivateKey\": \"", "\"PrivateKey\": \"\", \"x\": \"", "unknown member"},
                {"ABQACwEA", "ABYACwEA", "KeySignature is no RSASSA"},
                {"ABQACwEA", "ABQACw", "KeySignature"},
                {"AJH/VENHgBc", "AJH/VENHgBg", "KeyAttestation does not certify"},
                {"AJH/VENHgBc", "AJL/VENHgBc", "KeyAttestation does not certify"},
                {"\"KeyName\": \"ACIAC", "\"KeyName\": \"ACIAD",
                 "KeyName is not that of PublicKey"},
                {"\"KeyName\": \"ACIAC", "\"KeyName\": \"ACIA", "KeyName"},
                {"\n}\n", "\n}\n}", "JSON"},
                {"\n}\n", "\n", "JSON"},
        };
        char whole[JSON_MAX];

        (void)read_sample("bindingkey.json", whole);
        for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
                char edited[JSON_MAX + 64];
                const char *at = strstr(whole, edits[i].from);
                struct host_key key;
                struct wla_error err = {0};

                ck_assert_msg(at != NULL, "%s", edits[i].from);
                (void)snprintf(edited, sizeof(edited), "%.*s%s%s", (int)(at - whole), whole,
                               edits[i].to, at + strlen(edits[i].from));
                ck_assert_msg(host_key_parse(edited, strlen(edited), &key, &err) < 0, "%s",
                              edits[i].to);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_msg(strstr(wla_error_text(&err), edits[i].text) != NULL, "%s: %s",
                              edits[i].to, wla_error_text(&err));
        }
}
END_TEST

START_TEST(every_cut_is_refused) {
        char text[JSON_MAX];
        size_t whole = read_sample("bindingkey.json", text);

        for (size_t size = 0; size + 1 < whole; size++) {
                struct host_key key;
                struct wla_error err = {0};

                ck_assert_int_eq(host_key_parse(text, size, &key, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

START_TEST(a_file_that_is_too_long_is_refused) {
        char text[HOST_KEY_FILE_MAX + 1];
        struct host_key key;
        struct wla_error err = {0};

        memset(text, ' ', sizeof(text));
        ck_assert_int_eq(host_key_parse(text, sizeof(text), &key, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}
END_TEST

/* What neither the file nor the TPM checks is left to HVS and to what checks the signature. */
static bool is_checked_elsewhere(const struct host_key *key, const uint8_t *at) {
        const uint8_t *attest = key->attestation;

        return (at >= key->private + 2 && at < key->private + sizeof(key->private)) ||
               (at >= key->signature + SIGNATURE_RSA_AT &&
                at < key->signature + sizeof(key->signature)) ||
               (at >= attest + ATTEST_SIGNER_AT + NAME_DIGEST_AT &&
                at < attest + ATTEST_EXTRA_AT) ||
               (at >= attest + ATTEST_EXTRA_AT + 6 && at < attest + ATTEST_NAME_AT &&
                at != attest + ATTEST_SAFE_AT) ||
               at >= attest + ATTEST_QUALIFIED_NAME_AT + NAME_DIGEST_AT;
}

START_TEST(a_changed_byte_is_noticed_in_all_that_is_said_twice) {
        struct host_key good = sample("bindingkey.json");
        const struct {
                uint8_t *bytes;
                size_t size;
        } parts[] = {{good.public, sizeof(good.public)},
                     {good.private, good.private_size},
                     {good.signature, sizeof(good.signature)},
                     {good.name, sizeof(good.name)},
                     {good.attestation, sizeof(good.attestation)}};
        size_t tried = 0;

        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
                for (size_t at = 0; at < parts[i].size; at++) {
                        struct wla_error err = {0};

                        if (parts[i].bytes != good.name &&
                            is_checked_elsewhere(&good, parts[i].bytes + at))
                                continue;
                        parts[i].bytes[at] ^= 2;
                        ck_assert_msg(host_key_check(&good, &err) < 0, "part %zu, byte %zu", i, at);
                        parts[i].bytes[at] ^= 2;
                        tried++;
                }
        ck_assert_uint_eq(tried, HOST_KEY_PUBLIC_SIZE + 2 + SIGNATURE_RSA_AT + HOST_KEY_NAME_SIZE +
                                         12 + 6 + 1 + 36 + 4);
}
END_TEST

static void read_aik(uint8_t modulus[256]) {
        char pem[JSON_MAX];
        size_t size = read_sample("aik.pem", pem);

        /* SubjectPublicKeyInfo of an RSA-2048 key has its modulus 33 bytes from the beginning. */
        _cleanup_buf_ struct buf der = BUF_WITH_LIMIT(1024);
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(2048);
        struct wla_error err = {0};
        const char *at = strchr(pem, '\n') + 1;

        ck_assert_uint_gt(size, 400);
        for (; *at != '-'; at++)
                if (*at != '\n')
                        ck_assert_int_eq(buf_append(&text, at, 1, &err), 0);
        ck_assert_int_eq(base64_decode((const char *)text.data, text.size, &der, &err), 0);
        ck_assert_uint_eq(der.size, 294);
        memcpy(modulus, der.data + 33, 256);
}

START_TEST(the_signature_is_checked) {
        struct host_key key = sample("bindingkey.json");
        struct wla_error err = {0};
        uint8_t aik[256];

        read_aik(aik);
        int r = host_key_check_signature(&key, aik, &err);
        ck_assert_msg(r == 0, "%s", wla_error_text(&err));

        key.attestation[ATTEST_SAFE_AT - 1] ^= 1;
        ck_assert_int_eq(host_key_check_signature(&key, aik, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        key.attestation[ATTEST_SAFE_AT - 1] ^= 1;
        key.signature[SIGNATURE_RSA_AT] ^= 1;
        ck_assert_int_eq(host_key_check_signature(&key, aik, &err), -1);
        key.signature[SIGNATURE_RSA_AT] ^= 1;
        aik[255] ^= 2;
        ck_assert_int_eq(host_key_check_signature(&key, aik, &err), -1);
}
END_TEST

START_TEST(the_registration_is_as_hvs_wants_it) {
        struct host_key key = sample("bindingkey.json");
        struct host_key_registration registration;
        static const uint8_t zeros[34];

        host_key_registration(&key, &registration);
        ck_assert_uint_eq(registration.public_key_modulus.size, 280);
        ck_assert_ptr_eq(registration.public_key_modulus.data, key.public);
        ck_assert_uint_eq(registration.tpm_certify_key.size, 145);
        ck_assert_mem_eq(registration.tpm_certify_key.data, "\xffTCG\x80\x17", 6);
        ck_assert_uint_eq(registration.tpm_certify_key_signature.size, 262);
        ck_assert_uint_eq(sizeof(registration.name_digest), 69);
        ck_assert_mem_eq(registration.name_digest, "\x22\x00\x0b", 3);
        ck_assert_mem_eq(registration.name_digest + 3, key.name + 4, 32);
        ck_assert_mem_eq(registration.name_digest + 35, zeros, 34);
}
END_TEST

/* Of a key that Intel SecL 4.2 has registered. */
START_TEST(the_name_digest_of_the_vector) {
        static const char expected[] = "IgAL2HH53y05JGHsqBcxWQqRUWlqim73QNfm7kMi989TIosAAAAA"
                                       "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        static const uint8_t name[HOST_KEY_NAME_SIZE] = {
                NAME_HEAD, 0xd8, 0x71, 0xf9, 0xdf, 0x2d, 0x39, 0x24, 0x61, 0xec, 0xa8,
                0x17,      0x31, 0x59, 0x0a, 0x91, 0x51, 0x69, 0x6a, 0x8a, 0x6e, 0xf7,
                0x40,      0xd7, 0xe6, 0xee, 0x43, 0x22, 0xf7, 0xcf, 0x53, 0x22, 0x8b};
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(128);
        struct host_key key = sample("bindingkey.json");
        struct host_key_registration registration;
        struct wla_error err = {0};

        memcpy(key.name, name, sizeof(name));
        host_key_registration(&key, &registration);
        ck_assert_int_eq(base64_append(&text, registration.name_digest,
                                       sizeof(registration.name_digest), &err),
                         0);
        ck_assert_str_eq(buf_text(&text, &err), expected);
}
END_TEST

START_TEST(files_are_read_and_written) {
        struct host_key key = sample("signingkey.json");
        struct host_key again;
        struct stat status;
        struct scratch scratch;
        struct wla_error err = {0};

        scratch_make(&scratch);
        _cleanup_close_ int dir_fd = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char *path = strdup(scratch_file(&scratch, HOST_SIGNING_KEY_FILE));

        ck_assert_int_eq(host_key_read(path, HOST_KEY_SIGNING, &again, NULL, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_ptr_nonnull(strstr(err.hint, "wlagent setup"));

        ck_assert_int_eq(host_key_write(dir_fd, HOST_SIGNING_KEY_FILE, &key, &err), 0);
        ck_assert_int_eq(host_key_read(path, HOST_KEY_SIGNING, &again, &status, &err), 0);
        ck_assert_int_eq(status.st_mode & 07777, 0640);
        ck_assert_mem_eq(&again.attestation, &key.attestation, sizeof(key.attestation));

        ck_assert_int_eq(host_key_read(path, HOST_KEY_BINDING, &again, NULL, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TPM);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err),
                                     "it holds a signing key, and a binding key is needed"));

        ck_assert_int_eq(chmod(path, 0666), 0);
        ck_assert_int_eq(host_key_read(path, HOST_KEY_SIGNING, &again, NULL, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(symlink("/dev/zero", path), 0);
        ck_assert_int_eq(host_key_read(path, HOST_KEY_SIGNING, &again, NULL, &err), -1);
        free(path);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_failed_allocation_is_an_error) {
        char text[JSON_MAX];
        size_t size = read_sample("bindingkey.json", text);
        struct host_key good = sample("bindingkey.json");
        bool clean = true;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct host_key key;
                struct wla_error err = {0};
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);

                int r = host_key_parse(text, size, &key, &err);
                if (r == 0)
                        r = host_key_format(&good, &json, &err);
                clean = clean && (r < 0) == fail_allocation_hit();
        }
        fail_allocation_disarm();
        ck_assert(clean);
}
END_TEST

SUITE_MAIN("host_key", what_others_wrote_is_understood, writing_gives_back_every_byte,
           edited_files_are_refused, every_cut_is_refused, a_file_that_is_too_long_is_refused,
           a_changed_byte_is_noticed_in_all_that_is_said_twice, the_signature_is_checked,
           the_registration_is_as_hvs_wants_it, the_name_digest_of_the_vector,
           files_are_read_and_written, a_failed_allocation_is_an_error)
