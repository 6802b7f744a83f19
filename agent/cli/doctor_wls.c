/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor_wls.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/credential_store.h"
#include "cli/other_program.h"
#include "cli/unit_property.h"
#include "source/hardware_uuid.h"
#include "source/key_origin.h"

#define NONE         "none"
#define FIRMWARE     "/sys/class/dmi/id/product_uuid"
#define VERSION_USEC (UINT64_C(5) * USEC_PER_SEC)

static const char remedy_options[] =
        "set it in section [WLS], see wlagent.conf(5), or run 'wlagent "
        "setup update-service-config'";
static const char remedy_origins[] = "name the brokers (KBS) that keys may come from, as in "
                                     "AllowedKeyOrigins=https://kbs.example:9443";
static const char remedy_password[] = "'wlagent setup update-service-config' stores it";
static const char remedy_secret[] =
        "take it from the setup that made the key, or make and register "
        "the key anew: 'wlagent setup binding-key --force'";
static const char remedy_closed[] = "make it root's, with mode 0600";
static const char remedy_hardware[] = "set HardwareUUID= to what root reads with 'cat " FIRMWARE
                                      "'";
static const char remedy_network[] = "'wlagent setup update-service-config' gives it one, or a "
                                     "drop-in as in wlagentd(8)";
static const char remedy_command[] = "install wlagent where the Trust Agent finds it, as in "
                                     "/usr/bin, and restart the Trust Agent";
static const char remedy_flavors[] = "set VerifyFlavors=yes, and put the certificates that sign "
                                     "flavors into FlavorTrustDirectory=";

static bool is_none(const char *text) {
        return strcmp(text, NONE) == 0;
}

/* Whether it is right; what is not is reported. */
static bool check_url(struct doctor *doctor, const char *option, const char *text) {
        struct wla_error err = {0};
        char url[BROKER_URL_SIZE];

        if (is_none(text)) {
                doctor_report(doctor, FINDING_FAILURE, "wls-config", remedy_options,
                              "%s= is not set", option);
                return false;
        }
        if (broker_url_parse(text, url, &err) == 0)
                return true;
        doctor_report(doctor, FINDING_FAILURE, "wls-config", remedy_options, "%s=: %s", option,
                      wla_error_text(&err));
        return false;
}

static bool check_origins(struct doctor *doctor) {
        const char *text = doctor->config->wls.allowed_key_origins;
        struct key_origins origins;
        struct wla_error err = {0};

        if (is_none(text)) {
                doctor_report(doctor, FINDING_WARNING, "wls-config", remedy_origins,
                              "AllowedKeyOrigins= is not set: no key of a key broker is used");
                return false;
        }
        if (key_origins_parse(text, &origins, &err) == 0)
                return true;
        doctor_report(doctor, FINDING_FAILURE, "wls-config", remedy_origins,
                      "AllowedKeyOrigins=: %s", wla_error_text(&err));
        return false;
}

static void check_options(struct doctor *doctor) {
        const struct config *config = doctor->config;
        bool good = check_url(doctor, "ServerURL", config->wls.server_url);

        good &= check_url(doctor, "TokenURL", config->wls.token_url);
        good &= check_origins(doctor);
        if (is_none(config->wls.service_user)) {
                doctor_report(doctor, FINDING_FAILURE, "wls-config", remedy_options,
                              "ServiceUser= is not set");
                good = false;
        }
        if (!config->wls.verify_flavors)
                doctor_report(doctor, FINDING_WARNING, "wls-config", remedy_flavors,
                              "VerifyFlavors=no: whoever can write to WLS says which image is the "
                              "right one");
        if (good)
                doctor_report(doctor, FINDING_OK, "wls-config", NULL,
                              "WLS is %s, AAS %s, the user %s, keys come from %s",
                              config->wls.server_url, config->wls.token_url,
                              config->wls.service_user, config->wls.allowed_key_origins);
}

/* systemd reads it as root and hands it to the service. */
static void check_credential(struct doctor *doctor, const char *name, enum finding absent,
                             const char *remedy) {
        const char *root = doctor->root[0] != '\0' ? doctor->root : NULL;
        struct credential_place place = {0};
        struct wla_error err = {0};
        struct stat facts;
        struct stat root_facts;

        if (credential_find(root, name, &place, &err) < 0) {
                doctor_report_error(doctor, FINDING_FAILURE, "wls-credential", &err);
                return;
        }
        if (place.kind == CREDENTIAL_NONE) {
                doctor_report(doctor, absent, "wls-credential", remedy,
                              "there is no credential %s for wlagentd.service", name);
                return;
        }
        uid_t owner = root && stat(root, &root_facts) == 0 ? root_facts.st_uid : 0;
        if (lstat(place.path, &facts) < 0 || !S_ISREG(facts.st_mode) || facts.st_uid != owner ||
            (facts.st_mode & (S_IRWXG | S_IRWXO)))
                doctor_report(doctor, FINDING_FAILURE, "wls-credential", remedy_closed,
                              "%s is open to others than root", place.path);
        else
                doctor_report(doctor, FINDING_OK, "wls-credential", NULL, "%s is %s", place.path,
                              place.kind == CREDENTIAL_ENCRYPTED
                                      ? "encrypted for this host"
                                      : "closed to other users, and not encrypted");
}

static void check_credentials(struct doctor *doctor) {
        check_credential(doctor, CREDENTIAL_AAS_PASSWORD, FINDING_FAILURE, remedy_password);
        if (access(doctor->config->wls.binding_key, F_OK) == 0)
                check_credential(doctor, CREDENTIAL_BINDING_KEY_SECRET, FINDING_FAILURE,
                                 remedy_secret);
        if (access(doctor->config->wls.signing_key, F_OK) == 0)
                check_credential(doctor, CREDENTIAL_SIGNING_KEY_SECRET, FINDING_WARNING,
                                 remedy_secret);
}

/* The kernel shows it to root alone, and wlagentd is another user. */
static void check_hardware(struct doctor *doctor) {
        const char *option = doctor->config->wls.hardware_uuid;
        struct wla_error err = {0};
        struct uuid uuid;
        struct stat facts;
        char path[PATH_MAX];

        if (strcmp(option, "auto") != 0) {
                if (hardware_uuid_read(option, &uuid, &err) < 0)
                        doctor_report_error(doctor, FINDING_FAILURE, "wls-hardware-uuid", &err);
                else
                        doctor_report(doctor, FINDING_OK, "wls-hardware-uuid", NULL,
                                      "HVS knows this host as %s", uuid.text);
                return;
        }
        (void)snprintf(path, sizeof(path), "%s" FIRMWARE, doctor->root);
        if (stat(path, &facts) < 0)
                doctor_report(doctor, FINDING_FAILURE, "wls-hardware-uuid", remedy_hardware,
                              "HardwareUUID=auto: the firmware of this host tells none");
        else if (!(facts.st_mode & S_IROTH))
                doctor_report(doctor, FINDING_FAILURE, "wls-hardware-uuid", remedy_hardware,
                              "HardwareUUID=auto: only root may read " FIRMWARE
                              ", and wlagentd is not root");
        else
                doctor_report(doctor, FINDING_OK, "wls-hardware-uuid", NULL,
                              "HVS knows this host by " FIRMWARE);
}

/* Only that there is one: its URL may hold a password. */
static void check_proxy(struct doctor *doctor) {
        static const char *const names[] = {
                "https_proxy=", "HTTPS_PROXY=", "all_proxy=", "ALL_PROXY="};
        char environment[4096];

        unit_property("wlagentd.service", "Environment", environment, sizeof(environment));
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strstr(environment, names[i])) {
                        doctor_report(doctor, FINDING_OK, "wls-proxy", NULL,
                                      "wlagentd.service has %.*s set: it reaches the services by a "
                                      "proxy, but those of no_proxy",
                                      (int)strlen(names[i]) - 1, names[i]);
                        return;
                }
}

static void check_network(struct doctor *doctor) {
        char answer[16];

        unit_property("wlagentd.service", "PrivateNetwork", answer, sizeof(answer));
        if (strcmp(answer, "yes") == 0)
                doctor_report(doctor, FINDING_FAILURE, "wls-network", remedy_network,
                              "wlagentd.service has no network, as it is installed");
        else if (strcmp(answer, "no") == 0)
                doctor_report(doctor, FINDING_OK, "wls-network", NULL,
                              "wlagentd.service has a network");
}

/* Where systemd lets services look by default (systemd.exec(5)): the Trust Agent looks there for wlagent, and
 * asks it for its version. */
static bool find_command(const struct doctor *doctor, char to[static PATH_MAX]) {
        static const char *const directories[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                                  "/usr/bin"};

        for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
                int size = snprintf(to, PATH_MAX, "%s%s/wlagent", doctor->root, directories[i]);

                if (size > 0 && size < PATH_MAX && access(to, X_OK) == 0)
                        return true;
        }
        return false;
}

static void check_command(struct doctor *doctor) {
        char path[PATH_MAX];
        char version[] = "--version";
        char *const argv[] = {path, version, NULL};
        struct wla_error err = {0};
        int code = 1;

        if (!find_command(doctor, path))
                doctor_report(doctor, FINDING_FAILURE, "wls-command", remedy_command,
                              "there is no wlagent where services look for commands: the Trust "
                              "Agent does not tell HVS of it, and KBS gives no keys");
        else if (other_program_run(argv, VERSION_USEC, &code, &err) < 0)
                doctor_report(doctor, FINDING_FAILURE, "wls-command", remedy_command, "%s",
                              wla_error_text(&err));
        else if (code != 0)
                doctor_report(doctor, FINDING_FAILURE, "wls-command", remedy_command,
                              "%s --version ends with %d", path, code);
        else
                doctor_report(doctor, FINDING_OK, "wls-command", NULL,
                              "the Trust Agent finds %s, if it was started after its installation",
                              path);
}

void doctor_check_wls(struct doctor *doctor) {
        if (is_none(doctor->config->wls.server_url)) {
                if (doctor->online)
                        doctor_report(doctor, FINDING_WARNING, "wls-config", remedy_options,
                                      "--online: no service is set up (ServerURL=)");
                return;
        }
        check_options(doctor);
        check_credentials(doctor);
        check_hardware(doctor);
        check_network(doctor);
        check_proxy(doctor);
        check_command(doctor);
        doctor_check_wls_trust(doctor);
        doctor_check_wls_key(doctor);
        if (doctor->online)
                doctor_check_wls_online(doctor);
}
