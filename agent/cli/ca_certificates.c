/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/ca_certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define DIGITS_OF_NAME 9u

static void free_bio(BIO **bio) {
        BIO_free(*bio);
}

static void free_certificate(X509 **certificate) {
        X509_free(*certificate);
}

#define _cleanup_bio_  __attribute__((cleanup(free_bio)))
#define _cleanup_x509_ __attribute__((cleanup(free_certificate)))

static int fail_memory(struct wla_error *err) {
        return wla_fail(err, WLA_E_BUSY, "out of memory");
}

static int name_file(X509 *certificate, char to[static CA_FILE_NAME_SIZE], struct wla_error *err) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        char hex[2 * EVP_MAX_MD_SIZE + 1] = "";

        if (X509_digest(certificate, EVP_sha1(), digest, &size) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL computes no SHA-1");
        for (unsigned i = 0; i < size; i++)
                (void)snprintf(hex + (size_t)2 * i, 3, "%02x", digest[i]);
        (void)snprintf(to, CA_FILE_NAME_SIZE, "%.*s.pem", (int)DIGITS_OF_NAME, hex);
        return 0;
}

/* Printable characters only. */
static void copy_subject(X509 *certificate, char *to, size_t size) {
        char *line = X509_NAME_oneline(X509_get_subject_name(certificate), NULL, 0);

        (void)snprintf(to, size, "%s", line ? line : "");
        OPENSSL_free(line);
        for (; *to; to++)
                if (*to < ' ' || *to > '~')
                        *to = '?';
}

/* 1 is a CA by its basic constraints; OpenSSL's higher numbers are guesses at old certificates. */
static int check(X509 *certificate, struct wla_error *err) {
        char subject[sizeof(((struct ca_certificates *)0)->subject)];

        copy_subject(certificate, subject, sizeof(subject));
        if (X509_check_ca(certificate) != 1)
                return wla_fail(err, WLA_E_INPUT, "%s is no certification authority", subject);
        if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0)
                return wla_fail_hint(err, WLA_E_INPUT, "look at the clock of this host",
                                     "%s is not valid yet", subject);
        if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "look at the clock of this host, or have CMS make a new root",
                                     "%s has expired", subject);
        return 0;
}

static int add(BIO *pem, const uint8_t *der, long size, struct ca_certificates *to,
               struct wla_error *err) {
        const uint8_t *at = der;
        _cleanup_x509_ X509 *certificate = d2i_X509(NULL, &at, size);

        if (!certificate || at != der + size) {
                ERR_clear_error();
                return wla_fail(err, WLA_E_INPUT, "it is damaged");
        }
        if (check(certificate, err) < 0)
                return -1;
        if (to->count == 0) {
                if (name_file(certificate, to->file_name, err) < 0)
                        return -1;
                copy_subject(certificate, to->subject, sizeof(to->subject));
        }
        if (PEM_write_bio_X509(pem, certificate) != 1)
                return fail_memory(err);
        to->count++;
        return 0;
}

/* false at the end; a block that cannot be decoded has name NULL. */
static bool next_block(BIO *text, char **name, uint8_t **der, long *size) {
        char *header = NULL;
        bool found = PEM_read_bio(text, name, &header, der, size) == 1;
        unsigned long reason = ERR_peek_last_error();

        ERR_clear_error();
        if (found && header[0] != '\0') {
                OPENSSL_free(*name);
                OPENSSL_free(*der);
                *name = NULL;
                *der = NULL;
        }
        OPENSSL_free(header);
        return found || ERR_GET_LIB(reason) != ERR_LIB_PEM ||
               ERR_GET_REASON(reason) != PEM_R_NO_START_LINE;
}

static int add_all(BIO *text, BIO *pem, struct ca_certificates *to, struct wla_error *err) {
        for (;;) {
                char *name = NULL;
                uint8_t *der = NULL;
                long size = 0;

                if (!next_block(text, &name, &der, &size))
                        return 0;
                int outcome = name && strcmp(name, PEM_STRING_X509) == 0
                                      ? add(pem, der, size, to, err)
                                      : wla_fail(err, WLA_E_INPUT, "it is no certificate");
                OPENSSL_free(name);
                OPENSSL_free(der);
                if (outcome < 0)
                        return wla_wrap(err, "certificate %zu", to->count + 1);
        }
}

int ca_certificates_parse(struct wla_bytes text, struct ca_certificates *ret,
                          struct wla_error *err) {
        _cleanup_bio_ BIO *input = NULL;
        _cleanup_bio_ BIO *pem = BIO_new(BIO_s_mem());
        char *data = NULL;

        if (text.size > ret->pem.limit)
                return wla_fail(err, WLA_E_INPUT, "it is too long");
        if (text.size == 0)
                return wla_fail(err, WLA_E_INPUT, "there is no certificate in it");
        input = BIO_new_mem_buf(text.data, (int)text.size);
        if (!input || !pem)
                return fail_memory(err);
        if (add_all(input, pem, ret, err) < 0)
                return -1;
        if (ret->count == 0)
                return wla_fail(err, WLA_E_INPUT, "there is no certificate in it");

        long size = BIO_get_mem_data(pem, &data);
        return buf_append(&ret->pem, data, (size_t)size, err);
}
