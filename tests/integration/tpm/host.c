/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <check.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

void host_begin_through(struct host *host, const char *tcti) {
        if (!CRYPTO_secure_malloc_initialized())
                ck_assert_int_eq(wla_secret_heap_init(true, &host->err), 0);

        /* OpenSSL keeps the state of its random numbers there, once it has one. */
        uint8_t random = 0;
        ck_assert_int_eq(RAND_priv_bytes(&random, 1), 1);
        ck_assert_int_eq(RAND_bytes(&random, 1), 1);
        host->heap_used = wla_secret_heap_used();

        test_directory(host->state, sizeof(host->state));
        ck_assert_int_eq(tpm_new(tcti, host->state, &host->tpm, &host->err), 0);
}

void host_begin(struct host *host) {
        *host = (struct host){0};
        swtpm_begin(&host->swtpm);
        host_begin_through(host, host->swtpm.tcti);
}

void host_end(struct host *host) {
        host->tpm = tpm_free(host->tpm);
        reap(&host->proxy);
        swtpm_stop(&host->swtpm);
        ck_assert_uint_eq(wla_secret_heap_used(), host->heap_used);
}

void host_setup(struct host *host, uint32_t handle, uint32_t pcrs) {
        const struct tpm_setup_options options = {.handle = handle, .pcrs = pcrs};
        bool created = false;
        int r = tpm_setup(host->tpm, &options, &created, &host->err);

        ck_assert_msg(r == 0, "%s", wla_error_text(&host->err));
        ck_assert(created);
}

struct wla_bytes bytes_of(const struct buf *buf) {
        return (struct wla_bytes){.data = buf->data, .size = buf->size};
}

void host_wrap(struct host *host, const char *key, struct buf *wrapped) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        struct binding_key_info info;
        size_t size = strlen(key);

        ck_assert_int_eq(binding_key_info_read(host->state, &info, &host->err), 0);
        ck_assert_int_eq(wla_secret_new(size, &secret, &host->err), 0);
        memcpy(wla_secret_fill(secret), key, size);

        *wrapped = BUF_WITH_LIMIT(RSA_WRAPPED_SIZE);
        ck_assert_int_eq(rsa_wrap(info.pem, strlen(info.pem), secret, wrapped, &host->err), 0);
}

void host_expect(struct host *host, const struct buf *wrapped, const char *key) {
        _cleanup_secret_ struct wla_secret *opened = NULL;
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        int r = tpm_unbind(host->tpm, bytes_of(wrapped), NULL, &deadline, &opened, &host->err);
        ck_assert_msg(r == 0, "%s", wla_error_text(&host->err));

        struct wla_bytes plain = wla_secret_view(opened);
        ck_assert_uint_eq(plain.size, strlen(key));
        ck_assert_mem_eq(plain.data, key, plain.size);
}

void host_expect_failure(struct host *host, const struct buf *wrapped, enum wla_code code,
                         const char *text) {
        struct wla_secret *opened = NULL;
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        int r = tpm_unbind(host->tpm, bytes_of(wrapped), NULL, &deadline, &opened, &host->err);

        ck_assert_int_eq(r, -1);
        ck_assert_ptr_null(opened);
        ck_assert_msg(strstr(wla_error_text(&host->err), text) != NULL, "'%s' lacks '%s'",
                      wla_error_text(&host->err), text);
        ck_assert_str_eq(wla_code_token(host->err.code), wla_code_token(code));
}

int host_try(struct host *host, const struct buf *wrapped, const char *key) {
        _cleanup_secret_ struct wla_secret *opened = NULL;
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        if (tpm_unbind(host->tpm, bytes_of(wrapped), NULL, &deadline, &opened, &host->err) < 0) {
                ck_assert_ptr_null(opened);
                ck_assert_str_ne(wla_error_text(&host->err), "");
                return -1;
        }

        struct wla_bytes plain = wla_secret_view(opened);
        ck_assert_uint_eq(plain.size, strlen(key));
        ck_assert_mem_eq(plain.data, key, plain.size);
        return 0;
}

void host_behind_proxy(struct host *host, const char *const faults[]) {
        char control[128];
        char capture[96];
        const char *argv[48] = {TPM_FAULT_PROXY, "--listen",         host->proxy_socket,
                                "--tpm",         host->swtpm.socket, "--tpm-control",
                                control,         "--capture",        capture};
        size_t argc = 9;

        reap(&host->proxy);
        host->tpm = tpm_free(host->tpm);
        (void)snprintf(control, sizeof(control), "%s.ctrl", host->swtpm.socket);
        (void)snprintf(capture, sizeof(capture), "%s/capture", host->swtpm.directory);
        (void)snprintf(host->proxy_socket, sizeof(host->proxy_socket), "%s/proxy",
                       host->swtpm.directory);
        for (; *faults && argc < 46; faults++) {
                argv[argc++] = "--fault";
                argv[argc++] = *faults;
        }

        (void)unlink(host->proxy_socket);
        host->proxy = spawn(argv);
        await_socket(host->proxy_socket);

        char tcti[128];
        (void)snprintf(tcti, sizeof(tcti), "swtpm:path=%s", host->proxy_socket);
        ck_assert_int_eq(tpm_new(tcti, host->state, &host->tpm, &host->err), 0);
}

bool host_capture_holds(struct host *host, const void *what, size_t size) {
        char path[96];
        _cleanup_buf_ struct buf capture = BUF_WITH_LIMIT(CAPTURE_MAX);

        (void)snprintf(path, sizeof(path), "%s/capture", host->swtpm.directory);
        ck_assert_int_eq(file_read(AT_FDCWD, path, &capture, &host->err), 0);
        ck_assert_uint_gt(capture.size, 0);
        return memmem(capture.data, capture.size, what, size) != NULL;
}

bool host_capture_holds_part_of(struct host *host, const void *what, size_t size) {
        for (size_t i = 0; i + 8 <= size; i++)
                if (host_capture_holds(host, (const uint8_t *)what + i, 8))
                        return true;
        return false;
}
