/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include "fail_allocation.h"
#include "sample_image.h"
#include "scratch.h"

/* Made with python3-cryptography: volume key 00..3f, key-encryption key 00..1f, nonce 00..0b. */
static const char wrapped_image_key[] =
        "4703d418c1e0c41c85489d80bde4766293c79527e46e496b207eff9e01741ead21318cdf8be434bf5c8d55c6a4"
        "aa0617de6852be6ee395ed07ae102224decbd1e0cb6cc39779683133738ad4cffa108f";
/* A layer key of 40..7f under the key derived from 00..3f. */
static const char wrapped_layer_key[] =
        "354e307b87a46f30a1480a98fd04feae96c721b1d33fd8b025a004bb91514c0f0babc96c2378ecd7eca9749367"
        "e10f0bfba2006a3903037427ec3876299b7909cd2273dd2fe5ab50817aad5295f1c723";
/* Of the content that fill_content() makes. */
static const char probe_of_content[] =
        "f9593da3dccdf97d567d57d5acc4b100f3e520bd7faa66be94f5f134302da068";

static void from_hex(const char *hex, uint8_t *to, size_t size) {
        ck_assert_uint_eq(strlen(hex), 2 * size);
        for (size_t i = 0; i < size; i++) {
                unsigned value;

                ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &value), 1);
                to[i] = (uint8_t)value;
        }
}

static struct wrapped_volume_key wrapped_from(const char *hex) {
        struct wrapped_volume_key wrapped;

        for (size_t i = 0; i < sizeof(wrapped.nonce); i++)
                wrapped.nonce[i] = (uint8_t)i;
        from_hex(hex, wrapped.bytes, sizeof(wrapped.bytes));
        return wrapped;
}

static struct luks2_header sample_header(void) {
        struct luks2_header header = {
                .kind = LUKS2_IMAGE,
                .uuid = sample_uuid(SAMPLE_UUID),
                .image = sample_image_token(),
        };

        header.image.wrapped = wrapped_from(wrapped_image_key);
        return header;
}

static int unwraps(const struct luks2_header *header, const struct wla_secret *kek) {
        struct wla_secret *key = NULL;
        struct wla_error err = {0};
        int outcome = image_key_unwrap(kek, header, &key, &err);

        ck_assert(outcome == 0 || (err.code == WLA_E_DENIED && !key && err.hint));
        wla_secret_free(key);
        return outcome;
}

static bool is_sequence(const struct wla_secret *key, uint8_t first) {
        struct wla_bytes bytes = wla_secret_view(key);

        for (size_t i = 0; i < bytes.size; i++)
                if (bytes.data[i] != (uint8_t)(first + i))
                        return false;
        return bytes.size == VOLUME_KEY_SIZE;
}

START_TEST(the_vectors_open) {
        _cleanup_secret_ struct wla_secret *kek = sample_key(0, 32);
        _cleanup_secret_ struct wla_secret *key = NULL;
        _cleanup_secret_ struct wla_secret *layer_key = NULL;
        const struct luks2_header header = sample_header();
        struct layer_token layer = sample_layer_token();
        struct wla_error err = {0};

        ck_assert_int_eq(image_key_unwrap(kek, &header, &key, &err), 0);
        ck_assert(is_sequence(key, 0));

        layer.wrapped = wrapped_from(wrapped_layer_key);
        ck_assert_int_eq(layer_key_unwrap(key, &layer, &layer_key, &err), 0);
        ck_assert(is_sequence(layer_key, 64));
}
END_TEST

START_TEST(what_is_wrapped_opens_again) {
        _cleanup_secret_ struct wla_secret *kek = sample_key(7, 32);
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        _cleanup_secret_ struct wla_secret *opened = NULL;
        _cleanup_secret_ struct wla_secret *opened_layer = NULL;
        struct luks2_header header = sample_header();
        struct layer_token layer = sample_layer_token();
        struct wrapped_volume_key first;
        struct wla_error err = {0};

        ck_assert_int_eq(volume_key_generate(&volume_key, &err), 0);
        ck_assert_int_eq(image_key_wrap(kek, &header.uuid, volume_key, &header.image, &err), 0);
        ck_assert_int_eq(image_key_unwrap(kek, &header, &opened, &err), 0);
        ck_assert_mem_eq(wla_secret_view(opened).data, wla_secret_view(volume_key).data, 64);
        first = header.image.wrapped;
        ck_assert_int_eq(image_key_wrap(kek, &header.uuid, volume_key, &header.image, &err), 0);
        ck_assert_mem_ne(first.nonce, header.image.wrapped.nonce, sizeof(first.nonce));

        ck_assert_int_eq(layer_key_wrap(volume_key, opened, &layer, &err), 0);
        ck_assert_int_eq(layer_key_unwrap(volume_key, &layer, &opened_layer, &err), 0);
        ck_assert_mem_eq(wla_secret_view(opened_layer).data, wla_secret_view(opened).data, 64);
}
END_TEST

START_TEST(generated_keys_differ) {
        _cleanup_secret_ struct wla_secret *known = sample_key(0, 64);
        _cleanup_secret_ struct wla_secret *a = NULL;
        _cleanup_secret_ struct wla_secret *b = NULL;
        struct wla_error err = {0};

        ck_assert_int_eq(volume_key_generate(&a, &err), 0);
        ck_assert_mem_ne(wla_secret_view(a).data, wla_secret_view(known).data, 64);
        ck_assert_int_eq(volume_key_generate(&b, &err), 0);
        ck_assert_mem_ne(wla_secret_view(a).data, wla_secret_view(b).data, 64);
        ck_assert_mem_ne(wla_secret_view(a).data, wla_secret_view(a).data + 32, 32);
}
END_TEST

/* Everything that says what the key opens. */
START_TEST(a_token_that_was_changed_does_not_open) {
        _cleanup_secret_ struct wla_secret *kek = sample_key(0, 32);
        _cleanup_secret_ struct wla_secret *other_kek = sample_key(1, 32);
        struct wla_error err = {0};
        struct luks2_header header = sample_header();

        ck_assert_int_eq(unwraps(&header, kek), 0);
        ck_assert_int_eq(unwraps(&header, other_kek), -1);
        header.uuid.text[0] = '4';
        ck_assert_int_eq(unwraps(&header, kek), -1);
        header = sample_header();
        ck_assert_int_eq(key_id_local("wea", &header.image.key_id, &err), 0);
        ck_assert_int_eq(unwraps(&header, kek), -1);
        header = sample_header();
        header.image.content = IMAGE_CONTENT_QCOW2;
        ck_assert_int_eq(unwraps(&header, kek), -1);
        header = sample_header();
        header.image.size += IMAGE_SECTOR_SIZE;
        ck_assert_int_eq(unwraps(&header, kek), -1);
        header = sample_header();
        header.image.virtual_size -= 512;
        ck_assert_int_eq(unwraps(&header, kek), -1);
        header = sample_header();
        header.image.sealed = true;
        ck_assert_int_eq(unwraps(&header, kek), -1);
        for (size_t i = 0; i < VOLUME_KEY_WRAPPED_SIZE; i++) {
                header = sample_header();
                header.image.wrapped.bytes[i] ^= 1;
                ck_assert_int_eq(unwraps(&header, kek), -1);
        }
        header = sample_header();
        header.image.wrapped.nonce[0] ^= 1;
        ck_assert_int_eq(unwraps(&header, kek), -1);
}
END_TEST

START_TEST(a_layer_opens_for_its_vm_disk_and_image_alone) {
        _cleanup_secret_ struct wla_secret *image_key = sample_key(0, 64);
        _cleanup_secret_ struct wla_secret *other_image_key = sample_key(1, 64);
        struct layer_token changed[5];
        struct wla_secret *key = NULL;

        for (size_t i = 0; i < 5; i++) {
                changed[i] = sample_layer_token();
                changed[i].wrapped = wrapped_from(wrapped_layer_key);
        }
        changed[0].vm.text[0] = '2';
        changed[1].image.text[0] = '2';
        changed[2].target[2] = 'b';
        changed[3].wrapped.bytes[79] ^= 128;

        for (size_t i = 0; i < 5; i++) {
                struct wla_error err = {0};

                ck_assert_int_eq(layer_key_unwrap(i == 4 ? other_image_key : image_key, &changed[i],
                                                  &key, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                ck_assert_ptr_null(key);
        }
}
END_TEST

START_TEST(what_is_no_key_for_xts_is_not_wrapped) {
        _cleanup_secret_ struct wla_secret *kek = sample_key(0, 32);
        _cleanup_secret_ struct wla_secret *equal_halves = sample_key(0, 64);
        struct image_token token = sample_image_token();
        const struct uuid header = sample_uuid(SAMPLE_UUID);
        struct wla_error err = {0};

        memcpy(wla_secret_fill(equal_halves) + 32, wla_secret_view(equal_halves).data, 32);
        ck_assert_int_eq(image_key_wrap(kek, &header, equal_halves, &token, &err), -1);
        ck_assert_int_eq(image_key_wrap(kek, &header, kek, &token, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}
END_TEST

static int fill_content(const struct scratch *scratch, size_t size) {
        int fd = open(scratch_file(scratch, "image"), O_RDWR | O_CREAT | O_TRUNC, 0600);
        uint8_t *content = malloc(SAMPLE_CONTENT);

        ck_assert_int_ge(fd, 0);
        for (size_t i = 0; i < SAMPLE_CONTENT; i++)
                content[i] = (uint8_t)(i * 7 + i / 256);
        ck_assert_int_eq(write(fd, content, size), (ssize_t)size);
        free(content);
        return fd;
}

START_TEST(the_probe_knows_its_image) {
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        _cleanup_secret_ struct wla_secret *other_key = sample_key(1, 64);
        struct luks2_header header = sample_header();
        struct wla_error err = {0};
        struct scratch scratch;

        scratch_make(&scratch);
        int fd = fill_content(&scratch, SAMPLE_SIZE);
        from_hex(probe_of_content, header.image.probe, IMAGE_PROBE_SIZE);
        ck_assert_int_eq(image_probe_check(key, &header, fd, &err), 0);
        ck_assert_int_eq(image_probe_check(other_key, &header, fd, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);

        static const off_t inside[] = {0, IMAGE_PROBE_SPAN - 1, SAMPLE_SIZE - IMAGE_PROBE_SPAN,
                                       SAMPLE_SIZE - 1};
        for (size_t i = 0; i < 4; i++) {
                uint8_t kept;

                ck_assert_int_eq(pread(fd, &kept, 1, inside[i]), 1);
                uint8_t changed = kept ^ 1;
                ck_assert_int_eq(pwrite(fd, &changed, 1, inside[i]), 1);
                ck_assert_int_eq(image_probe_check(key, &header, fd, &err), -1);
                ck_assert_int_eq(pwrite(fd, &kept, 1, inside[i]), 1);
        }
        ck_assert_int_eq(image_probe_check(key, &header, fd, &err), 0);

        ck_assert_int_eq(ftruncate(fd, SAMPLE_SIZE - 1), 0);
        ck_assert_int_eq(image_probe_check(key, &header, fd, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_int_eq(image_probe_check(key, &header, -1, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        (void)close(fd);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_small_image_has_a_probe) {
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        struct luks2_header header = sample_header();
        struct wla_error err = {0};
        struct scratch scratch;

        scratch_make(&scratch);
        int fd = fill_content(&scratch, 4096);
        header.image.size = 4096;
        ck_assert_int_eq(image_probe(key, &header.uuid, fd, 4096, header.image.probe, &err), 0);
        ck_assert_int_eq(image_probe_check(key, &header, fd, &err), 0);
        (void)close(fd);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        _cleanup_secret_ struct wla_secret *kek = sample_key(0, 32);
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        struct luks2_header header = sample_header();
        struct layer_token layer = sample_layer_token();
        struct scratch scratch;
        struct wla_error warm_up = {0};

        /* OpenSSL's random generator keeps its state in the secure heap too. */
        ck_assert_int_eq(image_key_wrap(kek, &header.uuid, key, &header.image, &warm_up), 0);
        size_t used = wla_secret_heap_used();

        scratch_make(&scratch);
        int fd = fill_content(&scratch, SAMPLE_SIZE);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct wla_error err = {0};
                struct wla_secret *image_key = NULL;
                struct wla_secret *layer_key = NULL;
                int outcome = image_key_wrap(kek, &header.uuid, key, &header.image, &err);

                if (outcome == 0)
                        outcome = image_key_unwrap(kek, &header, &image_key, &err);
                if (outcome == 0)
                        outcome = layer_key_wrap(image_key, key, &layer, &err);
                if (outcome == 0)
                        outcome = layer_key_unwrap(image_key, &layer, &layer_key, &err);
                if (outcome == 0)
                        outcome = image_probe(key, &header.uuid, fd, SAMPLE_SIZE,
                                              header.image.probe, &err);
                fail_allocation_disarm();
                wla_secret_free(image_key);
                wla_secret_free(layer_key);
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                ck_assert_uint_eq(wla_secret_heap_used(), used);
        }
        (void)close(fd);
        scratch_remove(&scratch);
}
END_TEST

SUITE_MAIN("volume_key", the_vectors_open, what_is_wrapped_opens_again, generated_keys_differ,
           a_token_that_was_changed_does_not_open, a_layer_opens_for_its_vm_disk_and_image_alone,
           what_is_no_key_for_xts_is_not_wrapped, the_probe_knows_its_image,
           a_small_image_has_a_probe, failed_allocations_are_errors)
