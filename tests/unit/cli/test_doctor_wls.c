/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_fixture.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/doctor_wls.h"

/* What needs neither keys nor certificates: integration/test_doctor_wls.py has those. */

static char trust[2 * PATH_MAX];
static char binding_key[2 * PATH_MAX];
static char signing_key[2 * PATH_MAX];
static char none[] = "none";
static char server[] = "https://wls.example:5000/wls/v1";
static char token[] = "https://aas.example:8444/aas/v1";
static char origins[] = "https://kbs.example:9443";
static char user[] = "wla";
static char automatic[] = "auto";
static char uuid[] = "59eed8f0-28c5-4070-91fc-f5e2e5443f6b";
static struct config config;

static void set_up(void) {
        fixture_set_up();
        (void)snprintf(trust, sizeof(trust), "%s", fixture_path("/trust"));
        (void)snprintf(binding_key, sizeof(binding_key), "%s", fixture_path("/bindingkey.json"));
        (void)snprintf(signing_key, sizeof(signing_key), "%s", fixture_path("/signingkey.json"));
        config = (struct config){
                .wls =
                        {
                                .server_url = server,
                                .token_url = token,
                                .service_user = user,
                                .allowed_key_origins = origins,
                                .trust_directory = trust,
                                .hardware_uuid = uuid,
                                .binding_key = binding_key,
                                .signing_key = signing_key,
                                .verify_flavors = true,
                        },
        };
}

static void run(void) {
        fixture_run(doctor_check_wls, &config);
}

START_TEST(nothing_without_a_service) {
        set_up();
        config.wls.server_url = none;
        run();
        ck_assert_uint_eq(fixture_count(FINDING_OK) + fixture_count(FINDING_WARNING) +
                                  fixture_count(FINDING_FAILURE),
                          0);
        fixture_tear_down();
}
END_TEST

START_TEST(options) {
        static char bad[] = "http://wls.example";
        static char spaces[] = "https://kbs.example/x";

        set_up();
        run();
        ck_assert(fixture_found("ok", "wls-config", "the user wla, keys come from"));

        config.wls.token_url = none;
        config.wls.service_user = none;
        config.wls.allowed_key_origins = none;
        config.wls.verify_flavors = false;
        run();
        ck_assert(fixture_found("failure", "wls-config", "TokenURL= is not set"));
        ck_assert(fixture_found("failure", "wls-config", "ServiceUser= is not set"));
        ck_assert(fixture_found("warning", "wls-config", "AllowedKeyOrigins= is not set"));
        ck_assert(fixture_found("warning", "wls-config", "VerifyFlavors=no"));

        config.wls.server_url = bad;
        config.wls.allowed_key_origins = spaces;
        run();
        ck_assert(fixture_found("failure", "wls-config", "ServerURL=: "));
        ck_assert(fixture_found("failure", "wls-config", "AllowedKeyOrigins=: "));
        fixture_tear_down();
}
END_TEST

START_TEST(credentials) {
        set_up();
        run();
        ck_assert(
                fixture_found("failure", "wls-credential", "there is no credential aas-password"));

        fixture_put("/bindingkey.json", 0640, "{}");
        fixture_put("/signingkey.json", 0640, "{}");
        fixture_put("/etc/credstore.encrypted/aas-password", 0600, "sealed");
        run();
        ck_assert(fixture_found("ok", "wls-credential", "aas-password is encrypted for this host"));
        ck_assert(fixture_found("failure", "wls-credential", "no credential binding-key-secret"));
        ck_assert(fixture_found("warning", "wls-credential", "no credential signing-key-secret"));

        fixture_put("/etc/credstore.encrypted/binding-key-secret", 0640, "sealed");
        run();
        ck_assert(
                fixture_found("failure", "wls-credential", "binding-key-secret is open to others"));
        fixture_tear_down();
}
END_TEST

START_TEST(hardware_uuid) {
        static char bad[] = "x";

        set_up();
        run();
        ck_assert(fixture_found("ok", "wls-hardware-uuid", uuid));

        config.wls.hardware_uuid = bad;
        run();
        ck_assert(fixture_found("failure", "wls-hardware-uuid", "HardwareUUID="));

        config.wls.hardware_uuid = automatic;
        run();
        ck_assert(fixture_found("failure", "wls-hardware-uuid",
                                "the firmware of this host tells none"));
        fixture_put("/sys/class/dmi/id/product_uuid", 0400, uuid);
        run();
        ck_assert(fixture_found("failure", "wls-hardware-uuid", "only root may read"));
        ck_assert_int_eq(chmod(fixture_path("/sys/class/dmi/id/product_uuid"), 0444), 0);
        run();
        ck_assert(fixture_found("ok", "wls-hardware-uuid", "/sys/class/dmi/id/product_uuid"));
        fixture_tear_down();
}
END_TEST

START_TEST(the_command) {
        set_up();
        run();
        ck_assert(
                fixture_found("failure", "wls-command", "there is no wlagent where services look"));
        fixture_put("/usr/bin/wlagent", 0755, "#!/bin/sh\n[ \"$1\" = --version ]\n");
        run();
        ck_assert(fixture_found("ok", "wls-command", "/usr/bin/wlagent"));
        /* In front of it, as Intel's was. */
        fixture_put("/usr/local/bin/wlagent", 0755, "#!/bin/sh\nexit 3\n");
        run();
        ck_assert(fixture_found("failure", "wls-command",
                                "/usr/local/bin/wlagent --version ends with 3"));
        fixture_put("/usr/local/bin/wlagent", 0755, "no program");
        run();
        ck_assert(fixture_found("failure", "wls-command", "/usr/local/bin/wlagent"));
        fixture_tear_down();
}
END_TEST

START_TEST(the_trust_directory) {
        set_up();
        run();
        ck_assert(fixture_found("failure", "wls-trust", "No such file"));
        fixture_make_directory("/trust");
        run();
        ck_assert(fixture_found("failure", "wls-trust", "is empty"));
        fixture_put("/trust/x.pem", 0644, "nothing\n");
        fixture_put("/trust/y.pem", 0644,
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        run();
        ck_assert(fixture_found("failure", "wls-trust", "x.pem holds no certificate"));
        ck_assert(fixture_found("failure", "wls-trust",
                                "y.pem holds no certificate, or a damaged one"));
        fixture_tear_down();
}
END_TEST

START_TEST(the_binding_key) {
        set_up();
        run();
        ck_assert(fixture_found("failure", "wls-binding-key", "bindingkey.json does not exist"));
        fixture_put("/bindingkey.json", 0640, "{}");
        run();
        ck_assert(fixture_found("failure", "wls-binding-key", "bindingkey.json cannot be used"));
        fixture_tear_down();
}
END_TEST

SUITE_MAIN("doctor_wls", nothing_without_a_service, options, credentials, hardware_uuid,
           the_command, the_trust_directory, the_binding_key)
