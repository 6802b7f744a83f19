/* SPDX-License-Identifier: Apache-2.0 */
#include "base/certificate_files.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/file.h"

#define FILE_MAX_SIZE (1024u * 1024u)

static void free_stack(STACK_OF(X509) * *stack) {
        sk_X509_pop_free(*stack, X509_free);
}

static void free_bio(BIO **bio) {
        BIO_free(*bio);
}

static void close_directory(DIR **directory) {
        if (*directory)
                (void)closedir(*directory);
}

static int fail_memory(struct wla_error *err) {
        return wla_fail(err, WLA_E_BUSY, "out of memory");
}

static int read_all(BIO *pem, STACK_OF(X509) * stack, struct wla_error *err) {
        X509 *certificate;

        while ((certificate = PEM_read_bio_X509(pem, NULL, NULL, NULL)))
                if (sk_X509_push(stack, certificate) == 0) {
                        X509_free(certificate);
                        return fail_memory(err);
                }

        unsigned long reason = ERR_peek_last_error();
        ERR_clear_error();
        if (ERR_GET_LIB(reason) != ERR_LIB_PEM || ERR_GET_REASON(reason) != PEM_R_NO_START_LINE)
                return wla_fail(err, WLA_E_INPUT, "a certificate in it is damaged");
        if (sk_X509_num(stack) == 0)
                return wla_fail(err, WLA_E_INPUT, "there is no certificate in it");
        return 0;
}

static int read_file(int dir_fd, const char *name, STACK_OF(X509) * stack, struct wla_error *err) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(FILE_MAX_SIZE);

        if (file_read(dir_fd, name, &content, err) < 0)
                return -1;
        if (content.size == 0)
                return wla_fail(err, WLA_E_INPUT, "%s: there is no certificate in it", name);

        __attribute__((cleanup(free_bio)))
        BIO *pem = BIO_new_mem_buf(content.data, (int)content.size);
        if (!pem)
                return fail_memory(err);
        if (read_all(pem, stack, err) < 0)
                return wla_wrap(err, "%s", name);
        return 0;
}

int certificate_files_read(const char *directory,
                           int (*each)(void *userdata, const STACK_OF(X509) * certificates,
                                       struct wla_error *err),
                           void *userdata, size_t *ret, struct wla_error *err) {
        __attribute__((cleanup(close_directory))) DIR *list = opendir(directory);
        const struct dirent *entry;

        *ret = 0;
        if (!list)
                return wla_fail_errno(err, errno, "it cannot be opened");
        for (errno = 0; (entry = readdir(list)); errno = 0) {
                __attribute__((cleanup(free_stack))) STACK_OF(X509) *stack = NULL;

                if (entry->d_name[0] == '.')
                        continue;
                stack = sk_X509_new_null();
                if (!stack)
                        return fail_memory(err);
                if (read_file(dirfd(list), entry->d_name, stack, err) < 0 ||
                    each(userdata, stack, err) < 0)
                        return -1;
                (*ret)++;
        }
        return errno != 0 ? wla_fail_errno(err, errno, "it cannot be read") : 0;
}
