/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "cli/doctor_wls.h"
#include "cli/state_directory.h"
#include "tpm/host_key.h"
#include "tpm/tpm.h"

#define TRUST_AGENT_USER "tagent"
#define FILE_SIZE_MAX    65536u
#define SOON_SEC         (30 * 24 * 60 * 60)

static const char remedy_make[] = "'wlagent setup binding-key' makes one, and 'wlagent setup "
                                  "register-binding-key' has HVS certify it";
static const char remedy_register[] = "'wlagent setup register-binding-key --force'";
static const char remedy_readable[] = "chown root:" DAEMON_USER " and chmod 0640 the file";
static const char remedy_owner[] =
        "chown " TRUST_AGENT_USER ":" DAEMON_USER
        " and chmod 0640 the file, so that the Trust Agent can hand it to "
        "HVS";
static const char remedy_passable[] = "chmod 0755 the directory";

static void free_tpm(struct tpm **tpm) {
        *tpm = tpm_free(*tpm);
}

static void free_certificate(X509 **certificate) {
        X509_free(*certificate);
}

static bool may_read(const struct stat *facts, uid_t uid, gid_t gid) {
        if (facts->st_uid == uid)
                return facts->st_mode & S_IRUSR;
        if (facts->st_gid == gid)
                return facts->st_mode & S_IRGRP;
        return facts->st_mode & S_IROTH;
}

static void check_readable(struct doctor *doctor, const char *path) {
        struct stat facts;
        uid_t uid;
        gid_t gid;

        if (state_directory_daemon_ids(&uid, &gid) && stat(path, &facts) == 0 &&
            !may_read(&facts, uid, gid))
                doctor_report(doctor, FINDING_FAILURE, "wls-binding-key", remedy_readable,
                              "wlagentd may not read %s (mode %04o)", path, facts.st_mode & 07777);
}

static void check_tpm(struct doctor *doctor, const struct host_key *key) {
        __attribute__((cleanup(free_tpm))) struct tpm *tpm = NULL;
        const struct config *config = doctor->config;
        struct wla_error err = {0};

        if (tpm_new(config->tpm.device, config->agent.state_directory, &tpm, &err) < 0 ||
            tpm_host_key_try(tpm, key, NULL, &err) < 0) {
                (void)wla_wrap(&err, "%s", config->wls.binding_key);
                doctor_report_error(doctor, FINDING_FAILURE, "wls-binding-key", &err);
                return;
        }
        doctor_report(doctor, FINDING_OK, "wls-binding-key", NULL,
                      "%s is a key of this TPM; its secret was not tried", config->wls.binding_key);
}

static bool has_key(X509 *certificate, const struct host_key *key) {
        uint8_t modulus[RSA_WRAPPED_SIZE];
        BIGNUM *number = NULL;
        EVP_PKEY *public = X509_get0_pubkey(certificate);

        bool same = public && EVP_PKEY_get_bn_param(public, "n", &number) == 1 &&
                    BN_bn2binpad(number, modulus, sizeof(modulus)) == (int)sizeof(modulus) &&
                    memcmp(modulus, host_key_modulus(key), sizeof(modulus)) == 0;
        BN_free(number);
        ERR_clear_error();
        return same;
}

static X509 *read_certificate(struct doctor *doctor, const char *path) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(FILE_SIZE_MAX);
        struct wla_error err = {0};

        if (file_read(AT_FDCWD, path, &text, &err) < 0) {
                doctor_report(doctor, FINDING_FAILURE, "wls-certificate", remedy_register,
                              "%s: without it the Trust Agent's whole report of this host fails",
                              wla_error_text(&err));
                return NULL;
        }
        BIO *pem = BIO_new_mem_buf(text.data, (int)text.size);
        X509 *certificate = pem ? PEM_read_bio_X509(pem, NULL, NULL, NULL) : NULL;
        BIO_free(pem);
        ERR_clear_error();
        if (!certificate)
                doctor_report(doctor, FINDING_FAILURE, "wls-certificate", remedy_register,
                              "%s holds no certificate", path);
        return certificate;
}

static void check_certificate(struct doctor *doctor, const char *path, const struct host_key *key) {
        __attribute__((cleanup(free_certificate)))
        X509 *certificate = read_certificate(doctor, path);
        time_t soon = time(NULL) + SOON_SEC;

        if (!certificate)
                return;
        if (!has_key(certificate, key))
                doctor_report(doctor, FINDING_FAILURE, "wls-certificate", remedy_register,
                              "%s is of another key than %s", path,
                              doctor->config->wls.binding_key);
        else if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
                doctor_report(doctor, FINDING_FAILURE, "wls-certificate", remedy_register,
                              "%s has expired", path);
        else if (X509_cmp_time(X509_get0_notAfter(certificate), &soon) <= 0)
                doctor_report(doctor, FINDING_WARNING, "wls-certificate", remedy_register,
                              "%s expires within 30 days", path);
        else
                doctor_report(doctor, FINDING_OK, "wls-certificate", NULL,
                              "HVS has certified the binding key in %s", path);
}

/* The Trust Agent reads it as its own user, which may be called otherwise where there is no "tagent". */
static void check_owner(struct doctor *doctor, const char *path) {
        const struct passwd *user = getpwnam(TRUST_AGENT_USER);
        struct stat facts;
        struct stat directory;
        char parent[PATH_MAX];

        const char *slash = strrchr(path, '/');
        (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
        if (stat(path, &facts) < 0 || stat(parent, &directory) < 0)
                return;
        uid_t uid = user ? user->pw_uid : facts.st_uid;
        gid_t gid = user ? user->pw_gid : facts.st_gid;

        if (!may_read(&facts, uid, gid) || (!user && uid == 0 && !(facts.st_mode & S_IROTH)))
                doctor_report(
                        doctor, user ? FINDING_FAILURE : FINDING_WARNING, "wls-certificate",
                        remedy_owner,
                        "%s belongs to user %u (mode %04o): the Trust Agent has to be able to "
                        "read it",
                        path, facts.st_uid, facts.st_mode & 07777);
        if (!(directory.st_mode & S_IXOTH) && directory.st_uid != uid)
                doctor_report(doctor, FINDING_FAILURE, "wls-certificate", remedy_passable,
                              "the Trust Agent may not pass %s (mode %04o)", parent,
                              directory.st_mode & 07777);
}

/* bindingkey.pem beside bindingkey.json. */
static bool certificate_path(const char *key, char to[static PATH_MAX]) {
        size_t size = strlen(key);
        const char *end = size > 5 && strcmp(key + size - 5, ".json") == 0 ? key + size - 5
                                                                           : key + size;

        return snprintf(to, PATH_MAX, "%.*s.pem", (int)(end - key), key) < PATH_MAX;
}

void doctor_check_wls_key(struct doctor *doctor) {
        const char *path = doctor->config->wls.binding_key;
        struct wla_error err = {0};
        struct host_key key;
        char certificate[PATH_MAX];

        if (host_key_read(path, HOST_KEY_BINDING, &key, NULL, &err) < 0) {
                doctor_report(doctor, FINDING_FAILURE, "wls-binding-key",
                              err.hint ? err.hint : remedy_make, "%s", wla_error_text(&err));
                return;
        }
        check_readable(doctor, path);
        check_tpm(doctor, &key);
        if (!certificate_path(path, certificate))
                return;
        check_certificate(doctor, certificate, &key);
        check_owner(doctor, certificate);
}
