/* SPDX-License-Identifier: Apache-2.0 */

/* Headers with one thing changed in their JSON and right checksums: each is refused, or it means what
 * libcryptsetup reads from it as well. */

#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "header_bytes.h"
#include "sample_header.h"
#include "sample_image.h"

#define PLACES_MAX 512u
#define TEXT_MAX   16384u

struct mutant {
        struct sample_header original;
        struct sample_header bytes;
        char json[TEXT_MAX];
        size_t refused;
        size_t accepted;
};

static void mutant_begin(struct mutant *mutant, enum sample sample) {
        *mutant = (struct mutant){.original = sample_header_make(sample)};
        mutant->bytes = mutant->original;
        mutant->bytes.bytes = malloc(mutant->bytes.size);
        memcpy(mutant->bytes.bytes, mutant->original.bytes, mutant->bytes.size);
}

static void mutant_end(struct mutant *mutant) {
        sample_header_clear(&mutant->original);
        sample_header_clear(&mutant->bytes);
}

/* Puts text in the place of size bytes at the offset at, and checks the result. */
static int try_text(struct mutant *mutant, size_t at, size_t size, const char *text,
                    struct wla_error *err) {
        const char *json = header_json(mutant->original.bytes);
        struct luks2_header header;
        int length = snprintf(mutant->json, TEXT_MAX, "%.*s%s%s", (int)at, json, text,
                              json + at + size);

        ck_assert(length > 0 && (size_t)length < TEXT_MAX);
        if (!header_set_json(mutant->bytes.bytes, mutant->bytes.size, mutant->json, (size_t)length))
                return -1;
        *err = (struct wla_error){0};
        if (luks2_header_check(mutant->bytes.bytes, mutant->bytes.size, &header, err) < 0) {
                ck_assert(err->code == WLA_E_INPUT || err->code == WLA_E_UNSUPPORTED);
                mutant->refused++;
                return -1;
        }
        mutant->accepted++;
        ck_assert_msg(sample_header_compare(&mutant->bytes, &header) != -1,
                      "libcryptsetup reads something else from %s", mutant->json);
        return 0;
}

/* Replaces the only occurrence of from. */
static int replace(struct mutant *mutant, const char *from, const char *to, struct wla_error *err) {
        const char *json = header_json(mutant->original.bytes);
        const char *at = strstr(json, from);

        ck_assert_msg(at != NULL, "no %s in %s", from, json);
        return try_text(mutant, (size_t)(at - json), strlen(from), to, err);
}

struct attack {
        enum sample sample;
        const char *from;
        const char *to;
        const char *error;
};

static const struct attack attacks[] = {
        {SAMPLE_IMAGE, "\"encryption\":\"aes-xts-plain64\"", "\"encryption\":\"cipher_null-ecb\"",
         "segment 0: the cipher is not aes-xts-plain64"},
        {SAMPLE_IMAGE, "\"encryption\":\"aes-xts-plain64\"", "\"encryption\":\"aes-cbc-plain64\"",
         "segment 0: the cipher is not aes-xts-plain64"},
        {SAMPLE_IMAGE, "\"encryption\":\"aes-xts-plain64\"",
         "\"encryption\":\"aes\\u002dxts-plain64\"",
         "segment 0: the cipher is not aes-xts-plain64"},
        {SAMPLE_IMAGE, "\"type\":\"crypt\"", "\"type\":\"linear\"", "segment 0: not of type crypt"},
        {SAMPLE_IMAGE, "\"sector_size\":4096}}",
         "\"sector_size\":4096},\"1\":{\"type\":\"linear\",\"offset\":\"0\",\"size\":\"4096\"}}",
         "2 segments where there must be one"},
        {SAMPLE_IMAGE, "\"sector_size\":4096}",
         "\"sector_size\":4096,\"integrity\":{\"type\":\"none\",\"journal_encryption\":\"none\","
         "\"journal_integrity\":\"none\"}}",
         "unknown member \"integrity\""},
        {SAMPLE_IMAGE, "\"sector_size\":4096}",
         "\"sector_size\":4096,\"flags\":[\"backup-final\"]}", "unknown member \"flags\""},
        {SAMPLE_IMAGE, "\"sector_size\":4096", "\"sector_size\":512",
         "begins at 0 and has sectors of 4096 bytes"},
        {SAMPLE_IMAGE, "\"sector_size\":4096", "\"sector_size\":4095",
         "sector size or offset is no power or multiple"},
        {SAMPLE_IMAGE, "\"iv_tweak\":\"0\"", "\"iv_tweak\":\"8\"", "not the whole of its file"},
        {SAMPLE_IMAGE, "\"size\":\"dynamic\"", "\"size\":\"4096\"", "not the whole of its file"},
        {SAMPLE_IMAGE, "\"offset\":\"0\"", "\"offset\":\"4096\"", "it begins inside the header"},
        {SAMPLE_IMAGE, "\"offset\":\"0\"", "\"offset\":\"1048576\"",
         "begins at 0 and has sectors of 4096 bytes"},
        {SAMPLE_IMAGE, "\"segments\":{\"0\":{\"type\":\"crypt\"",
         "\"segments\":{\"1\":{\"type\":\"crypt\"", "there is no segment 0"},
        {SAMPLE_IMAGE, "\"config\":{",
         "\"config\":{\"requirements\":{\"mandatory\":[\"online-reencrypt\"]},",
         "the header has requirements"},
        {SAMPLE_IMAGE, "\"config\":{", "\"config\":{\"flags\":[\"same-cpu-crypt\"],",
         "the header has persistent flags"},
        {SAMPLE_IMAGE, "\"json_size\":\"12288\"", "\"json_size\":\"12287\"",
         "json_size is not what the binary header says"},
        {SAMPLE_IMAGE, "\"keyslots_size\":\"4096\"", "\"keyslots_size\":\"8192\"",
         "the area of keyslots ends behind the header"},
        {SAMPLE_IMAGE, "\"keyslots_size\":\"4096\"", "\"keyslots_size\":\"100\"",
         "keyslots_size is no multiple of 4096"},
        {SAMPLE_IMAGE, "\"iterations\":1000", "\"iterations\":999", "fewer than 1000 iterations"},
        {SAMPLE_IMAGE, "\"iterations\":1000", "\"iterations\":20000001", "above 20000000"},
        {SAMPLE_IMAGE, "\"hash\":\"sha256\"", "\"hash\":\"sha1\"",
         "not pbkdf2 with sha256 or sha512"},
        {SAMPLE_IMAGE, "\"keyslots\":{}", "\"keyslots\":{\"0\":{}}",
         "an image of wlagent has no keyslots"},
        {SAMPLE_IMAGE, "\"type\":\"wlagent-image\"", "\"type\":\"luks2-keyring\"",
         "it is of a type that is not known"},
        {SAMPLE_IMAGE, "\"version\":1", "\"version\":2", "the token has version 2, not 1"},
        {SAMPLE_IMAGE, "\"tokens\":{\"0\"", "\"tokens\":{\"1\"", "there is no token 0"},
        {SAMPLE_IMAGE, "\"tokens\":{\"0\"", "\"tokens\":{\"1\":{},\"0\"",
         "2 tokens where there must be one"},
        {SAMPLE_IMAGE, "\"content\":\"raw\"", "\"content\":\"vmdk\"",
         "member \"content\" is neither raw nor qcow2"},
        {SAMPLE_IMAGE, "\"size\":\"1048576\",\"virtual", "\"size\":\"1048577\",\"virtual",
         "member \"size\" is no multiple of 4096"},
        {SAMPLE_IMAGE, "\"size\":\"1048576\",\"virtual", "\"size\":\"0\",\"virtual",
         "member \"size\" is no multiple of 4096"},
        {SAMPLE_IMAGE, "\"virtual_size\":\"1048576\"", "\"virtual_size\":\"1048000\"",
         "no multiple of 512"},
        {SAMPLE_IMAGE, "\"virtual_size\":\"1048576\"", "\"virtual_size\":\"1049088\"",
         "contradict each other"},
        {SAMPLE_IMAGE, "\"virtual_size\":\"1048576\"", "\"virtual_size\":\"1044480\"",
         "contradict each other"},
        {SAMPLE_IMAGE, "local:///web", "local:///../web", "member \"key_id\""},
        {SAMPLE_IMAGE, "local:///web", "http://evil/web", "member \"key_id\""},
        {SAMPLE_IMAGE, "local:///web", "https://HOST.example/v1/key", "not in canonical form"},
        {SAMPLE_LAYER, "\"target\":\"vda\"", "\"target\":\"../vda\"", "no name of a disk"},
        {SAMPLE_LAYER, "\"target\":\"vda\"", "\"target\":\"\"", "no name of a disk"},
        {SAMPLE_LAYER, "\"vm\":\"11111111", "\"vm\":\"zzzzzzzz", "member \"vm\""},
        {SAMPLE_LAYER, "\"image\":\"3d0f1c3e", "\"image\":\"3D0F1C3E", "not in canonical form"},
        {SAMPLE_ARGON2ID, "\"type\":\"luks2\"", "\"type\":\"reencrypt\"",
         "keyslot 0: not of type luks2"},
        {SAMPLE_ARGON2ID, "\"encryption\":\"aes-xts-plain64\",\"key_size\":64}",
         "\"encryption\":\"cipher_null-ecb\",\"key_size\":64}", "area: not raw with"},
        {SAMPLE_ARGON2ID, "\"memory\":64", "\"memory\":4194304", "member \"memory\""},
        {SAMPLE_ARGON2ID, "\"time\":4", "\"time\":4000000000", "member \"time\""},
        {SAMPLE_ARGON2ID, "\"cpus\":1", "\"cpus\":0", "member \"cpus\" is below 1"},
        {SAMPLE_ARGON2ID, "\"stripes\":4000", "\"stripes\":1", "member \"stripes\""},
        {SAMPLE_ARGON2ID, "\"offset\":\"32768\"", "\"offset\":\"0\"",
         "not inside the area of keyslots"},
        {SAMPLE_ARGON2ID, "\"offset\":\"32768\"", "\"offset\":\"16773120\"",
         "not inside the area of keyslots"},
        {SAMPLE_ARGON2ID, "\"digests\":{\"0\":{\"type\":\"pbkdf2\",\"keyslots\":[\"0\"]",
         "\"digests\":{\"0\":{\"type\":\"pbkdf2\",\"keyslots\":[]",
         "keyslot 0 does not hold the volume key"},
        {SAMPLE_ARGON2ID, "\"digests\":{\"0\":{\"type\":\"pbkdf2\",\"keyslots\":[\"0\"]",
         "\"digests\":{\"0\":{\"type\":\"pbkdf2\",\"keyslots\":[\"0\",\"1\"]",
         "the digest names keyslots that are not there"},
        {SAMPLE_ARGON2ID, "\"tokens\":{}",
         "\"tokens\":{\"0\":{\"type\":\"systemd-tpm2\",\"keyslots\":[\"0\"]}}",
         "it is of a type that is not known"},
        {SAMPLE_ARGON2ID, "\"segments\":[\"0\"]", "\"segments\":[\"0\",\"1\"]",
         "not of segment 0 and that alone"},
        {SAMPLE_PBKDF2, "\"offset\":\"", "\"offset\":\"1", "not inside the area of keyslots"},
        {SAMPLE_PBKDF2, "\"priority\":2", "\"priority\":3", "member \"priority\""},
        {SAMPLE_PBKDF2, "\"key_size\":32", "\"key_size\":16", "is none for AES-XTS"},
        {SAMPLE_PBKDF2, "\"keyslots\":{\"0\"", "\"keyslots\":{\"00\"",
         "a keyslot's name is no number below 32"},
        {SAMPLE_PBKDF2, "\"keyslots\":{\"0\"", "\"keyslots\":{\"32\"",
         "a keyslot's name is no number below 32"},
};

START_TEST(known_attacks_are_refused) {
        for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
                struct mutant mutant;
                struct wla_error err = {0};

                mutant_begin(&mutant, attacks[i].sample);
                int outcome = replace(&mutant, attacks[i].from, attacks[i].to, &err);
                ck_assert_msg(outcome == -1 &&
                                      strstr(wla_error_text(&err), attacks[i].error) != NULL,
                              "%s: %s", attacks[i].to, wla_error_text(&err));
                mutant_end(&mutant);
        }
}
END_TEST

/* Two keyslots that overlap: the second is put where the first is. */
START_TEST(keyslots_do_not_share_an_area) {
        struct mutant mutant;
        struct wla_error err = {0};
        char first[64];

        mutant_begin(&mutant, SAMPLE_PBKDF2);
        const char *json = header_json(mutant.original.bytes);
        const char *one = strstr(json, "\"offset\":");
        const char *two = strstr(one + 1, "\"offset\":");
        size_t size = strcspn(one, ",");
        (void)snprintf(first, sizeof(first), "%.*s", (int)size, one);
        ck_assert_int_eq(try_text(&mutant, (size_t)(two - json), strcspn(two, ","), first, &err),
                         -1);
        ck_assert_str_eq(wla_error_text(&err), "LUKS2 header: two keyslots share an area");
        mutant_end(&mutant);
}
END_TEST

struct places {
        struct {
                size_t at;
                size_t size;
                size_t name_at; /* of its member; SIZE_MAX in an array */
                size_t name_size;
                enum json_type type;
        } place[PLACES_MAX];
        size_t count;
};

static void find_places(const char *json, const struct json_value *value, struct places *places) {
        struct json_value name;
        struct json_value inner;
        size_t at = 0;

        while (value->type == JSON_OBJECT && json_next_member(value, &at, &name, &inner)) {
                ck_assert_uint_lt(places->count, PLACES_MAX);
                places->place[places->count].at = (size_t)(inner.text - json);
                places->place[places->count].size = inner.size;
                places->place[places->count].name_at = (size_t)(name.text - json);
                places->place[places->count].name_size = name.size;
                places->place[places->count++].type = inner.type;
                find_places(json, &inner, places);
        }
        while (value->type == JSON_ARRAY && json_next_element(value, &at, &inner)) {
                ck_assert_uint_lt(places->count, PLACES_MAX);
                places->place[places->count].at = (size_t)(inner.text - json);
                places->place[places->count].size = inner.size;
                places->place[places->count].name_at = SIZE_MAX;
                places->place[places->count++].type = inner.type;
                find_places(json, &inner, places);
        }
}

static void change_value(struct mutant *mutant, const struct places *places, size_t i) {
        static const char *const values[] = {
                "null",        "true",
                "false",       "0",
                "1",           "-1",
                "1.0",         "1e3",
                "4294967296",  "18446744073709551616",
                "\"\"",        "\"0\"",
                "\"1\"",       "\"-1\"",
                "\"x\"",       "\"\\u0000\"",
                "\"dynamic\"", "[]",
                "[\"0\"]",     "{}",
                "{\"0\":{}}",  "\"18446744073709551615\"",
                "\"4096\"",    "\"cipher_null-ecb\"",
                "4096",        "[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]",
        };
        const char *json = header_json(mutant->original.bytes);

        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
                struct wla_error err = {0};
                size_t size = places->place[i].size;

                if (size == strlen(values[v]) &&
                    memcmp(json + places->place[i].at, values[v], size) == 0)
                        continue;
                (void)try_text(mutant, places->place[i].at, size, values[v], &err);
        }
}

/* Leaves it out, names it differently, has it twice, and puts a stranger beside it. */
static void change_member(struct mutant *mutant, const struct places *places, size_t i) {
        const char *json = header_json(mutant->original.bytes);
        size_t name_at = places->place[i].name_at;
        size_t name_size = places->place[i].name_size;
        size_t end = places->place[i].at + places->place[i].size;
        size_t whole = end - name_at;
        char text[TEXT_MAX];
        struct wla_error err = {0};

        if (name_at == SIZE_MAX)
                return;

        bool behind = json[end] == ',';
        bool before = json[name_at - 1] == ',';
        (void)try_text(mutant, name_at - (!behind && before), whole + (behind || before), "", &err);
        ck_assert_int_eq(try_text(mutant, name_at, name_size, "\"Type\"", &err), -1);
        (void)snprintf(text, sizeof(text), "%.*s,%.*s", (int)whole, json + name_at, (int)whole,
                       json + name_at);
        ck_assert_int_eq(try_text(mutant, name_at, whole, text, &err), -1);
        (void)snprintf(text, sizeof(text), "\"stranger\":0,%.*s", (int)whole, json + name_at);
        ck_assert_int_eq(try_text(mutant, name_at, whole, text, &err), -1);
}

START_TEST(every_member_counts) {
        struct places *places = calloc(1, sizeof(*places));
        struct mutant mutant;
        struct wla_error err = {0};
        struct json_value root;

        mutant_begin(&mutant, _i == SAMPLE_ARGON2ID ? SAMPLE_PBKDF2 : (enum sample)_i);
        const char *json = header_json(mutant.original.bytes);
        ck_assert_int_eq(json_check(json, strlen(json), &root, &err), 0);
        find_places(json, &root, places);
        ck_assert_uint_gt(places->count, 30);
        for (size_t i = 0; i < places->count; i++) {
                change_value(&mutant, places, i);
                change_member(&mutant, places, i);
        }

        /* Those that are right too: priorities, a seal or a priority left out, another size of token. */
        ck_assert_uint_gt(mutant.refused, 30 * places->count - 120);
        ck_assert_uint_le(mutant.accepted, 12);
        mutant_end(&mutant);
        free(places);
}
END_TEST

static uint64_t next_random(uint64_t *state) {
        *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return *state >> 33;
}

/* What is accepted is what libcryptsetup reads, wherever a byte changes. */
START_TEST(random_bytes_change_nothing_unseen) {
        static const char bytes[] = "\"{}[],:0123456789-eaxs\\ .";
        uint64_t state = 7;
        struct mutant mutant;

        mutant_begin(&mutant, (enum sample)_i);
        const size_t length = strlen(header_json(mutant.original.bytes));
        const unsigned long rounds = suite_rounds(5000);
        for (unsigned long round = 0; round < rounds; round++) {
                char text[2] = {bytes[next_random(&state) % (sizeof(bytes) - 1)], '\0'};
                size_t at = next_random(&state) % length;
                struct wla_error err = {0};

                (void)try_text(&mutant, at, next_random(&state) % 2, text, &err);
        }
        ck_assert_uint_gt(mutant.refused, rounds * 3 / 5);
        printf("%zu refused, %zu accepted as libcryptsetup reads them\n", (size_t)mutant.refused,
               (size_t)mutant.accepted);
        mutant_end(&mutant);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("luks2_mutations");
        TCase *tcase = tcase_create("luks2_mutations");

        tcase_set_timeout(tcase, 120);
        tcase_add_test(tcase, known_attacks_are_refused);
        tcase_add_test(tcase, keyslots_do_not_share_an_area);
        tcase_add_loop_test(tcase, every_member_counts, 0, SAMPLE_ARGON2ID);
        tcase_add_loop_test(tcase, random_bytes_change_nothing_unseen, 0, SAMPLE_ARGON2ID);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
