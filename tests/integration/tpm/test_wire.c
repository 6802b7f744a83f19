/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "host.h"
#include "tests.h"
#include "tpm/templates.h"

static const char *const no_faults[] = {NULL};

static void expect_no_key_on_the_wire(uint32_t handle, uint32_t pcrs) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, handle, pcrs);
        host_wrap(&host, KEY, &wrapped);
        host_behind_proxy(&host, no_faults);
        for (int i = 0; i < 3; i++)
                host_expect(&host, &wrapped, KEY);

        /* The capture is a real one: what goes in clear is in it. */
        ck_assert(host_capture_holds(&host, wrapped.data, wrapped.size));
        ck_assert(!host_capture_holds_part_of(&host, KEY, strlen(KEY)));
        host_end(&host);
}

START_TEST(the_key_does_not_cross_the_wire) {
        expect_no_key_on_the_wire(0, 0);
        expect_no_key_on_the_wire(0x81010010, 0);
        expect_no_key_on_the_wire(0, 1u << 7);
}
END_TEST

/* What an agent without a session would do. */
static int plain_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct buf *wrapped = arg;
        TPM2B_PUBLIC_KEY_RSA ciphertext = {.size = RSA_WRAPPED_SIZE};
        _cleanup_esys_ TPM2B_PUBLIC_KEY_RSA *message = NULL;

        memcpy(ciphertext.buffer, wrapped->data, RSA_WRAPPED_SIZE);
        TSS2_RC rc = Esys_RSA_Decrypt(tpm->esys, tpm->binding, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                      ESYS_TR_NONE, &ciphertext, &unbind_scheme, &unbind_label,
                                      &message);
        return tpm_check(tpm, rc, "decrypting", err);
}

START_TEST(without_a_session_it_would_be_seen) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        host_behind_proxy(&host, no_faults);
        host_expect(&host, &wrapped, KEY);
        ck_assert(!host_capture_holds(&host, KEY, strlen(KEY)));
        ck_assert_int_eq(tpm_run(host.tpm, NULL, plain_step, &wrapped, &host.err), 0);
        ck_assert(host_capture_holds(&host, KEY, strlen(KEY)));
        host_end(&host);
}
END_TEST

START_TEST(one_session_serves_many_requests) {
        static const uint8_t start_session[] = {0, 0, 1, 0x76};
        struct host host;
        char path[96];
        unsigned sessions = 0;
        _cleanup_buf_ struct buf wrapped = {0};
        _cleanup_buf_ struct buf capture = BUF_WITH_LIMIT(CAPTURE_MAX);

        host_begin(&host);
        host_setup(&host, 0, 0);
        host_wrap(&host, KEY, &wrapped);
        host_behind_proxy(&host, no_faults);
        for (int i = 0; i < 5; i++)
                host_expect(&host, &wrapped, KEY);

        (void)snprintf(path, sizeof(path), "%s/capture", host.swtpm.directory);
        ck_assert_int_eq(file_read(AT_FDCWD, path, &capture, &host.err), 0);
        for (const uint8_t *at = capture.data;
             (at = memmem(at, capture.size - (size_t)(at - capture.data), start_session,
                          sizeof(start_session))) != NULL;
             at++)
                sessions++;
        ck_assert_uint_eq(sessions, 1);
        host_end(&host);
}
END_TEST

struct range {
        uintptr_t first;
        uintptr_t end;
};

/* How often the key is in writable memory of this process. */
static unsigned count_in_memory(const char *key, size_t size) {
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];
        unsigned found = 0;

        ck_assert_ptr_nonnull(maps);
        while (fgets(line, sizeof(line), maps)) {
                struct range range = {0};
                char mode[8] = "";

                if (sscanf(line, "%lx-%lx %7s", &range.first, &range.end, mode) != 3 ||
                    strncmp(mode, "rw", 2) != 0)
                        continue;
                const uint8_t *at = (const uint8_t *)range.first;
                const uint8_t *end = (const uint8_t *)range.end;
                while (at && (at = memmem(at, (size_t)(end - at), key, size)) != NULL) {
                        found++;
                        at++;
                }
        }
        (void)fclose(maps);
        return found;
}

START_TEST(nothing_of_the_key_stays_in_memory) {
        struct host host;
        struct deadline deadline;
        _cleanup_buf_ struct buf wrapped = {0};
        struct wla_secret *opened = NULL;

        host_begin(&host);
        host_setup(&host, 0, 0);

        /* Made at run time, so that no literal of it is found. */
        char key[33];
        uint32_t seed = (uint32_t)getpid() * 2654435761u + 1;
        for (size_t i = 0; i < 32; i++) {
                seed = seed * 1664525u + 1013904223u;
                key[i] = (char)('!' + (seed >> 24) % 90);
        }
        key[32] = '\0';

        host_wrap(&host, key, &wrapped);
        unsigned before = count_in_memory(key + 20, 12);
        deadline_init(&deadline, clock_now_usec() + 10 * USEC_PER_SEC);
        ck_assert_int_eq(
                tpm_unbind(host.tpm, bytes_of(&wrapped), NULL, &deadline, &opened, &host.err), 0);
        ck_assert_uint_eq(count_in_memory(key + 20, 12), before + 1);
        opened = wla_secret_free(opened);
        ck_assert_uint_eq(count_in_memory(key + 20, 12), before);
        host_end(&host);
}
END_TEST

/* Their shadow memory must not be read, and they keep what was freed. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

void add_wire_tests(TCase *tcase) {
        tcase_add_test(tcase, the_key_does_not_cross_the_wire);
        tcase_add_test(tcase, without_a_session_it_would_be_seen);
        tcase_add_test(tcase, one_session_serves_many_requests);
        if (!&__asan_init && !&__tsan_init)
                tcase_add_test(tcase, nothing_of_the_key_stays_in_memory);
}
