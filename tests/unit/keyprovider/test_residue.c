/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/aead.h"
#include "base/base64.h"
#include "base/log.h"
#include "fake_access.h"
#include "h2_client.h"
#include "h2_raw.h"
#include "keyprovider/packet.h"
#include "keyprovider/service.h"
#include "provider_texts.h"

/* After a call nothing of its request and its reply is left anywhere in the process: neither the
 * plaintext, nor the reply's array of integers, nor the keys of the node that came along. */

#define MARK_SIZE 24u
#define MASK      0x5a

#define PAGE_SIZE 4096u

/* Mappings above this size are the sanitizer's shadow. */
#define MAPPING_MAX (UINT64_C(1) << 30)

/* Marks are kept masked, so that the search does not find itself. */
struct mark {
        uint8_t masked[4 * MARK_SIZE];
        size_t size;
};

static void mark_set(struct mark *mark, const uint8_t *text, size_t size) {
        ck_assert_uint_le(size, sizeof(mark->masked));
        mark->size = size;
        for (size_t i = 0; i < size; i++)
                mark->masked[i] = text[i] ^ MASK;
}

static void mark_append(const struct mark *mark, struct buf *to) {
        struct wla_error err = {0};
        uint8_t *at = buf_extend(to, mark->size, &err);

        ck_assert_ptr_nonnull(at);
        for (size_t i = 0; i < mark->size; i++)
                at[i] = mark->masked[i] ^ MASK;
}

__attribute__((no_sanitize_address)) static size_t count_in(const volatile uint8_t *from,
                                                            size_t size, const struct mark *mark) {
        size_t found = 0;

        for (size_t i = 0; i + mark->size <= size; i++) {
                size_t same = 0;

                while (same < mark->size && (from[i + same] ^ MASK) == mark->masked[same])
                        same++;
                found += same == mark->size;
        }
        return found;
}

/* Pages that were never touched hold nothing; a sanitizer maps terabytes of them. */
static bool is_resident(uint64_t page) {
        unsigned char state = 0;

        return mincore((void *)(uintptr_t)page, PAGE_SIZE, &state) == 0 && (state & 1);
}

static size_t count_in_mapping(uint64_t from, uint64_t to, const struct mark *mark) {
        size_t found = 0;

        for (uint64_t page = from; page < to; page += PAGE_SIZE) {
                uint64_t end = page;

                while (end < to && is_resident(end))
                        end += PAGE_SIZE;
                if (end == page)
                        continue;
                found += count_in((const volatile uint8_t *)(uintptr_t)page, (size_t)(end - page),
                                  mark);
                page = end;
        }
        return found;
}

/* How often mark is in the writable memory of this process. */
static size_t count_mark(const struct mark *mark) {
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];
        size_t found = 0;

        ck_assert_ptr_nonnull(maps);
        while (fgets(line, sizeof(line), maps)) {
                uint64_t from;
                uint64_t to;
                char modes[5];

                if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, modes) != 3 ||
                    strncmp(modes, "rw", 2) != 0 || to - from > MAPPING_MAX)
                        continue;
                found += count_in_mapping(from, to, mark);
        }
        (void)fclose(maps);
        return found;
}

static void append(struct buf *to, const char *text) {
        struct wla_error err = {0};

        ck_assert_int_eq(buf_append_text(to, text, &err), 0);
}

/* A mark of letters, and the same as the reply writes it: "97,98,...". */
static void make_marks(struct mark *mark, struct mark *array) {
        uint8_t letters[MARK_SIZE];
        uint8_t digits[4 * MARK_SIZE];
        size_t size = 0;

        ck_assert_int_eq(RAND_bytes(letters, sizeof(letters)), 1);
        for (size_t i = 0; i < sizeof(letters); i++) {
                letters[i] = (uint8_t)('A' + letters[i] % 26);
                digits[size++] = (uint8_t)('0' + letters[i] / 10);
                digits[size++] = (uint8_t)('0' + letters[i] % 10);
                digits[size++] = ',';
        }
        mark_set(mark, letters, sizeof(letters));
        mark_set(array, digits, size);
        explicit_bzero(letters, sizeof(letters));
        explicit_bzero(digits, sizeof(digits));
}

/* {"symkey":"MARK"}, sealed. */
static void make_packet(const struct mark *mark, struct buf *json) {
        _cleanup_packet_ struct packet packet = {
                .iv_size = AES256_GCM_NONCE,
                .iv = "0123456789ab",
                .wrapped.limit = 256,
        };
        _cleanup_buf_ struct buf plain = BUF_WITH_LIMIT(256);
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct wla_error err = {0};

        append(&plain, "{\"symkey\":\"");
        mark_append(mark, &plain);
        append(&plain, "\"}");
        ck_assert_int_eq(wla_secret_new(AES256_KEY_SIZE, &key, &err), 0);
        memcpy(wla_secret_fill(key), fake_access.key, AES256_KEY_SIZE);
        ck_assert_int_eq(key_id_local("marked", &packet.key, &err), 0);
        ck_assert_int_eq(aes256_gcm_seal(key, (struct wla_bytes){packet.iv, packet.iv_size},
                                         (struct wla_bytes){plain.data, plain.size},
                                         &packet.wrapped, &err),
                         0);
        ck_assert_int_eq(packet_write(&packet, json, &err), 0);
}

/* Preface, HEADERS and the whole message; node_key goes into dc. */
static void make_request(const struct mark *mark, const struct mark *node_key,
                         struct buf *request) {
        _cleanup_buf_ struct buf packet = BUF_WITH_LIMIT(4096);
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(8192);
        _cleanup_buf_ struct buf message = BUF_WITH_LIMIT(8192);

        make_packet(mark, &packet);
        append(&json, "{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"dc\":{\"Parameters\":"
                      "{\"privkeys\":[\"");
        mark_append(node_key, &json);
        append(&json, "\"]}},\"annotation\":\"");
        provider_text_base64(&json, packet.data, packet.size);
        append(&json, "\"}}");
        provider_text_message(&message, &json);
        raw_preface(request);
        raw_headers(request, 1, 0);
        raw_frame(request, (struct raw_frame){NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1,
                                              message.data, message.size});
}

START_TEST(nothing_is_left) {
        const struct keyprovider_settings settings = {0};
        _cleanup_buf_ struct buf request = BUF_WITH_LIMIT(16384);
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(65536);
        struct keyprovider_service *service;
        struct wla_error err = {0};
        struct mark mark;
        struct mark array;
        struct mark node_key;
        struct mark ignored;

        log_open(LOG_INFO);
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(RAND_bytes(fake_access.key, AES256_KEY_SIZE), 1);
        fake_access.key_size = AES256_KEY_SIZE;
        make_marks(&mark, &array);
        make_marks(&node_key, &ignored);
        ck_assert_int_eq(keyprovider_service_new(fake_access_handle(), &settings, &service, &err),
                         0);
        struct h2_connection *connection = raw_connection(keyprovider_service_handler(service),
                                                          NULL, clock_now_usec());

        make_request(&mark, &node_key, &request);
        ck_assert_uint_eq(count_mark(&mark), 0);
        ck_assert_uint_ge(count_mark(&node_key), 1);
        ck_assert_int_eq(
                h2_connection_feed(connection, request.data, request.size, clock_now_usec(), &err),
                0);
        buf_clear(&request);
        ck_assert_uint_eq(count_mark(&node_key), 0);

        /* Until it is sent, the reply is in locked memory, and only there. */
        ck_assert_uint_eq(count_mark(&mark), 0);
        ck_assert_uint_eq(count_mark(&array), 1);
        ck_assert_int_eq(h2_connection_drain(connection, &out, &err), 0);
        ck_assert_uint_ge(count_mark(&array), 1);
        buf_clear(&out);
        ck_assert_uint_eq(count_mark(&array), 0);

        connection = h2_connection_free(connection);
        service = keyprovider_service_free(service);
        ck_assert_uint_eq(count_mark(&mark), 0);
        ck_assert_uint_eq(count_mark(&array), 0);
        ck_assert_uint_eq(count_mark(&node_key), 0);
}
END_TEST

SUITE_MAIN("residue", nothing_is_left)
