/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/intel_config.h"

#define SECRET_1 "0123456789abcdef0123456789ABCDEF01234567"
#define LOWER_1  "0123456789abcdef0123456789abcdef01234567"
#define SECRET_2 "89abcdef0123456789abcdef0123456789abcdef"

static const char release_4[] = "bindingkeysecret: " SECRET_1 "\n"
                                "signingkeysecret: " SECRET_2 "\n"
                                "cmstlscertdigest: 00ff\n"
                                "hvs:\n  apiurl: https://hvs.example:8443/hvs/v2\n"
                                "wls:\n  apiurl: https://wls.example:5000/wls/v1\n"
                                "wla:\n  apiusername: wla\n  apipassword: pass word\n"
                                "trustagent:\n"
                                "  configdir: /opt/trustagent/configuration\n"
                                "  aikpemfile: /opt/trustagent/configuration/aik.pem\n"
                                "  user: tagent\n"
                                "aas:\n  baseurl: https://aas.example:8444/aas/v1\n"
                                "cms:\n  baseurl: https://cms.example:8445/cms/v1\n"
                                "skipflavorsignatureverification: true\n"
                                "loglevel: info\n"
                                "logmaxlength: 300\n"
                                "logenablestdout: false\n"
                                "configcomplete: true\n";

static const char release_5[] =
        "aas:\n  base-url: https://aas.example:8444/aas/v1\n"
        "binding-key-secret: " SECRET_1 "\n"
        "cms:\n  base-url: https://cms.example:8445/cms/v1\n  tls-cert-sha384: 00ff\n"
        "hvs:\n  api-url: https://hvs.example:8443/hvs/v2\n"
        "log:\n  enable-stdout: true\n  level: debug\n  max-length: 3000\n"
        "signing-key-secret: " SECRET_2 "\n"
        "skip-flavor-signature-verification: false\n"
        "trustagent:\n"
        "  aik-pem-file: /etc/trustagent/aik.pem\n"
        "  config-dir: /etc/trustagent\n"
        "  user: tagent\n"
        "wla:\n  api-password: pass word\n  api-user-name: wla\n"
        "wls:\n  api-url: https://wls.example:5000/wls/v2\n";

static struct intel_config config;

static int parse(const char *text, struct wla_error *err) {
        static bool ready;

        if (!ready)
                ck_assert_int_eq(wla_secret_heap_init(true, err), 0);
        ready = true;
        intel_config_done(&config);
        config = (struct intel_config){0};
        *err = (struct wla_error){0};
        return intel_config_parse(text, strlen(text), &config, err);
}

static void holds(const struct wla_secret *secret, const char *text) {
        ck_assert_ptr_nonnull(secret);
        const struct wla_bytes bytes = wla_secret_view(secret);

        ck_assert_uint_eq(bytes.size, strlen(text));
        ck_assert_mem_eq(bytes.data, text, bytes.size);
}

static void refused(const char *text, const char *expected, bool with_tail_hint) {
        struct wla_error err;

        ck_assert_int_eq(parse(text, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_msg(strstr(wla_error_text(&err), expected), "'%s' is not in '%s'", expected,
                      wla_error_text(&err));
        bool told = err.hint && strstr(err.hint, "without shortening it");
        ck_assert_int_eq(told, with_tail_hint);
}

static void check_both(void) {
        holds(config.binding_secret, LOWER_1);
        holds(config.signing_secret, SECRET_2);
        holds(config.password, "pass word");
        ck_assert_str_eq(config.user, "wla");
        ck_assert_str_eq(config.aas_url, "https://aas.example:8444/aas/v1");
        ck_assert_str_eq(config.hvs_url, "https://hvs.example:8443/hvs/v2");
        ck_assert_str_eq(config.cms_url, "https://cms.example:8445/cms/v1");
        ck_assert_str_eq(config.cms_digest, "00ff");
        ck_assert_str_eq(config.agent_user, "tagent");
        ck_assert_uint_eq(config.unknown_count, 0);
}

START_TEST(both_dialects) {
        struct wla_error err;

        ck_assert_int_eq(parse(release_4, &err), 0);
        ck_assert_int_eq(config.dialect, INTEL_DIALECT_4);
        check_both();
        ck_assert_str_eq(config.wls_url, "https://wls.example:5000/wls/v1");
        ck_assert_str_eq(config.log_level, "info");
        ck_assert_int_eq(config.skip_signatures, INTEL_YES);
        ck_assert_int_eq(config.complete, INTEL_YES);

        ck_assert_int_eq(parse(release_5, &err), 0);
        ck_assert_int_eq(config.dialect, INTEL_DIALECT_5);
        check_both();
        ck_assert_str_eq(config.wls_url, "https://wls.example:5000/wls/v2");
        ck_assert_str_eq(config.agent_directory, "/etc/trustagent");
        ck_assert_str_eq(config.aik_file, "/etc/trustagent/aik.pem");
        ck_assert_str_eq(config.log_level, "debug");
        ck_assert_int_eq(config.skip_signatures, INTEL_NO);
        ck_assert_int_eq(config.complete, INTEL_UNSET);
}
END_TEST

START_TEST(release_3_0) {
        struct wla_error err;

        ck_assert_int_eq(parse("mtwilson:\n  apiurl: https://hvs:8443/mtwilson/v2\n", &err), 0);
        ck_assert_str_eq(config.hvs_url, "https://hvs:8443/mtwilson/v2");
        refused("hvs: {apiurl: x}\nmtwilson: {apiurl: y}\n", "says what \"hvs.apiurl\" has said",
                true);
}
END_TEST

START_TEST(unknown_names_without_values) {
        struct wla_error err;

        ck_assert_int_eq(parse("loglevel: info\nsite: s3cret\nwls:\n  colour: s3cret\n"
                               "nest: {in: s3cret}\nmany: [s3cret]\n",
                               &err),
                         0);
        ck_assert_uint_eq(config.unknown_count, 5);
        ck_assert_str_eq(config.unknown[0], "site");
        ck_assert_str_eq(config.unknown[1], "wls.colour");
        ck_assert_str_eq(config.unknown[2], "nest");
        ck_assert_str_eq(config.unknown[3], "nest.in");
        ck_assert_str_eq(config.unknown[4], "many");
}
END_TEST

/* Whatever the end of an older text is, from any of its bytes on: it is refused, and where it begins is
 * told, or it changes nothing. */
START_TEST(the_end_of_an_older_text) {
        const unsigned lines = 23;
        char text[2 * sizeof(release_4)];
        unsigned harmless = 0;

        for (size_t cut = 1; cut < sizeof(release_4) - 1; cut++) {
                struct wla_error err;
                unsigned line = 0;

                (void)snprintf(text, sizeof(text), "%s%s", release_4, release_4 + cut);
                if (parse(text, &err) == 0) {
                        ck_assert_uint_eq(strspn(release_4 + cut, " \n"), strlen(release_4 + cut));
                        harmless++;
                        continue;
                }
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_ptr_nonnull(strstr(err.hint, "without shortening it"));
                ck_assert_int_eq(sscanf(wla_error_text(&err), "line %u:", &line), 1);
                ck_assert_uint_ge(line, lines);
        }
        ck_assert_uint_eq(harmless, 1);
}
END_TEST

START_TEST(tails_by_name) {
        refused("loglevel: info\nconfigcomplete: true\nplete: true\n",
                "line 3: \"plete\" looks like the rest of an older text", true);
        refused("loglevel: info\nconfigcomplete: true\napiurl: x\n",
                "line 3: \"apiurl\" looks like the rest", true);
        refused("loglevel: info\nconfigcomplete: true\nrue\n", "line 3: no YAML", true);
        refused("loglevel: info\nconfigcomplete: true\nconfigcomplete: true\n",
                "line 3: \"configcomplete\" stands there again, after line 2", true);
        refused("loglevel: info\nconfigcomplete: true\n true\n",
                "line 2: \"configcomplete\" runs over several lines", true);
}
END_TEST

START_TEST(mixed_dialects) {
        refused("bindingkeysecret: x\nlog: {level: info}\n",
                "line 2: \"log.level\" is a name of release 5", false);
        refused("log: {level: info}\nbindingkeysecret: x\n",
                "line 2: \"bindingkeysecret\" is a name of release 4", false);
}
END_TEST

START_TEST(shapes) {
        refused("wls: {apiurl: [x]}\n", "\"wls.apiurl\" has to be a text", false);
        refused("wls:\n  apiurl: {x: y}\n", "\"wls.apiurl\" has to be a text", false);
        refused("loglevel: in fo\n", "character 3 of \"loglevel\" is a space or no ASCII", true);
        refused("loglevel: \"in\\tfo\"\n", "character 3 of \"loglevel\"", true);
        refused("configcomplete: yes\n", "\"configcomplete\" is neither true nor false", true);
}
END_TEST

START_TEST(secrets_of_keys) {
        struct wla_error err;
        static const char *const odd[] = {"abcd", "hex:abcd", LOWER_1 "0",
                                          "x123456789abcdef0123456789abcdef01234567"};

        ck_assert_int_eq(
                parse("bindingkeysecret: hex:" SECRET_1 "\nsigningkeysecret: \"\"\n", &err), 0);
        holds(config.binding_secret, LOWER_1);
        ck_assert_ptr_null(config.signing_secret);
        ck_assert(!config.odd_signing_secret && !config.odd_binding_secret);

        for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
                char text[128];

                (void)snprintf(text, sizeof(text), "signingkeysecret: %s\n", odd[i]);
                ck_assert_int_eq(parse(text, &err), 0);
                ck_assert_ptr_null(config.signing_secret);
                ck_assert(config.odd_signing_secret && !config.odd_binding_secret);
        }
}
END_TEST

static int read_file(const char *name, struct wla_error *err) {
        intel_config_done(&config);
        config = (struct intel_config){0};
        *err = (struct wla_error){0};
        return intel_config_read(AT_FDCWD, name, &config, err);
}

/* Its text is in the heap of secrets and nowhere else: where that has no room for it, nothing is read. */
START_TEST(read_into_locked_memory) {
        char name[] = "/tmp/intel-config.XXXXXX";
        struct wla_secret *rest[4096];
        unsigned count = 0;
        struct wla_error err;

        ck_assert_int_eq(parse("", &err), -1);
        int fd = mkstemp(name);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, release_4, strlen(release_4)), strlen(release_4));
        (void)close(fd);
        ck_assert_int_eq(read_file(name, &err), 0);
        check_both();
        intel_config_done(&config);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);

        /* What is left has room for the secrets of the file, but not for the file. */
        while (count < 4096 && wla_secret_new(256, &rest[count], &err) == 0)
                count++;
        ck_assert(count > 8 && count < 4096);
        for (unsigned i = 0; i < 3; i++)
                rest[2 * i] = wla_secret_free(rest[2 * i]);
        ck_assert_int_eq(parse(release_4, &err), 0);
        ck_assert_int_eq(read_file(name, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        while (count-- > 0)
                (void)wla_secret_free(rest[count]);
        ck_assert_int_eq(unlink(name), 0);
}
END_TEST

SUITE_MAIN("intel_config", read_into_locked_memory, both_dialects, release_3_0,
           unknown_names_without_values, the_end_of_an_older_text, tails_by_name, mixed_dialects,
           shapes, secrets_of_keys)
