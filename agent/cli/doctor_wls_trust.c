/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "cli/daemon_access.h"
#include "cli/directory_path.h"
#include "cli/doctor_wls.h"

#define FILE_SIZE_MAX (1024u * 1024u)
#define SOON_SEC      (30 * 24 * 60 * 60)

static const char check_name[] = "wls-trust";
static const char check_owner_name[] = "wls-trust-owner";
static const char check_access_name[] = "wls-trust-access";
static const char remedy_root[] =
        "'wlagent setup download-ca-cert' gets the root certificate of CMS";
static const char remedy_as_root[] = "run 'wlagent doctor' as root";
static const char remedy_remove[] =
        "replace or remove it: wlagentd does not start with a file there "
        "that is no certificate";
static const char remedy_renew[] = "get the new certificate before that day: 'wlagent setup "
                                   "download-ca-cert --force'";

struct trust_count {
        unsigned good;
};

static void check_certificate(struct doctor *doctor, const char *name, X509 *certificate,
                              struct trust_count *count) {
        time_t soon = time(NULL) + SOON_SEC;

        if (X509_check_ca(certificate) != 1)
                doctor_report(doctor, FINDING_WARNING, check_name, remedy_remove,
                              "%s holds a certificate that is no certification authority's", name);
        else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0)
                doctor_report(doctor, FINDING_FAILURE, check_name, "look at the clock of this host",
                              "%s is not valid yet", name);
        else if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
                doctor_report(doctor, FINDING_FAILURE, check_name, remedy_root, "%s has expired",
                              name);
        else if (X509_cmp_time(X509_get0_notAfter(certificate), &soon) <= 0)
                doctor_report(doctor, FINDING_WARNING, check_name, remedy_renew,
                              "%s expires within 30 days", name);
        else
                count->good++;
}

/* The end of the text, or what is no certificate. */
static bool ended_well(void) {
        unsigned long reason = ERR_peek_last_error();

        ERR_clear_error();
        return ERR_GET_LIB(reason) == ERR_LIB_PEM && ERR_GET_REASON(reason) == PEM_R_NO_START_LINE;
}

static void check_file(struct doctor *doctor, int dir_fd, const char *name,
                       struct trust_count *count) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(FILE_SIZE_MAX);
        struct wla_error err = {0};
        unsigned found = 0;
        X509 *certificate;

        if (file_read(dir_fd, name, &text, &err) < 0) {
                doctor_report(doctor, FINDING_FAILURE, check_name, remedy_remove, "%s",
                              wla_error_text(&err));
                return;
        }
        BIO *pem = BIO_new_mem_buf(text.data, (int)text.size);
        if (!pem)
                return;
        while ((certificate = PEM_read_bio_X509(pem, NULL, NULL, NULL))) {
                check_certificate(doctor, name, certificate, count);
                X509_free(certificate);
                found++;
        }
        BIO_free(pem);
        if (!ended_well() || found == 0)
                doctor_report(doctor, FINDING_FAILURE, check_name, remedy_remove,
                              "%s holds no certificate, or a damaged one", name);
}

/* Whoever could change it would choose whom this host trusts. */
static void check_owner(struct doctor *doctor, const char *path) {
        struct wla_error err = {0};

        if (directory_path_check(path, &err) == 0)
                doctor_report(doctor, FINDING_OK, check_owner_name, NULL,
                              "only root can change what is in %s", path);
        else
                doctor_report(doctor, FINDING_FAILURE, check_owner_name, err.hint,
                              "TrustDirectory=%s: %s", path, wla_error_text(&err));
}

/* It would not start, or know none of the services. */
static void check_access(struct doctor *doctor, const char *path) {
        struct wla_error err = {0};

        if (daemon_access_check(path, &err) < 0)
                doctor_report(doctor, FINDING_FAILURE, check_access_name, err.hint,
                              "TrustDirectory=%s: %s", path, wla_error_text(&err));
}

void doctor_check_wls_trust(struct doctor *doctor) {
        const char *path = doctor->config->wls.trust_directory;
        struct trust_count count = {0};
        const struct dirent *entry;
        unsigned files = 0;
        DIR *directory = opendir(path);

        if (!directory) {
                doctor_report(doctor, FINDING_FAILURE, check_name,
                              errno == EACCES ? remedy_as_root : remedy_root,
                              "TrustDirectory=%s: %s", path, strerrordesc_np(errno));
                return;
        }
        check_owner(doctor, path);
        check_access(doctor, path);
        while ((entry = readdir(directory))) {
                if (entry->d_name[0] == '.')
                        continue;
                files++;
                check_file(doctor, dirfd(directory), entry->d_name, &count);
        }
        (void)closedir(directory);

        if (files == 0)
                doctor_report(doctor, FINDING_FAILURE, check_name, remedy_root,
                              "TrustDirectory=%s is empty", path);
        if (count.good > 0)
                doctor_report(doctor, FINDING_OK, check_name, NULL,
                              "%u root certificates of services are in %s", count.good, path);
}
