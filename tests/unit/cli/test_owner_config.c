/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner_config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "scratch.h"
#include "suite.h"

static void begin(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
}

static int parse(const char *text, struct owner_config *config, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;

        *err = (struct wla_error){0};
        ck_assert_int_eq(wla_secret_new(strlen(text), &secret, err), 0);
        memcpy(wla_secret_fill(secret), text, strlen(text));
        return owner_config_parse(secret, "owner.conf", config, err);
}

static void expect_password(const struct owner_config *config, const char *password) {
        ck_assert_ptr_nonnull(config->password);
        ck_assert_uint_eq(wla_secret_view(config->password).size, strlen(password));
        ck_assert_mem_eq(wla_secret_view(config->password).data, password, strlen(password));
}

START_TEST(a_whole_file) {
        struct owner_config config = {0};
        struct wla_error err = {0};

        begin();
        ck_assert_int_eq(parse("# where KBS is\n"
                               "KBS_BASE_URL=https://kbs.example:9443/kbs/v1/\n"
                               "KBS_ENDPOINT_URL=https://keys.example/kbs/v1\n"
                               "\n"
                               "AAS_API_URL=https://aas.example:8444/aas/v1\n"
                               "WPM_SERVICE_USERNAME=owner\n"
                               "WPM_SERVICE_PASSWORD= p=\"a# b \n"
                               "TRUSTED_CA_DIRECTORY=/home/me/ca\n"
                               "ENVELOPE_PRIVATE_KEY=/home/me/envelope.pem\n"
                               "OCICRYPT_KEYPROVIDER_NAME=mine\n"
                               "ALLOW_TLS12=yes",
                               &config, &err),
                         0);
        ck_assert_str_eq(config.values[OWNER_KBS_BASE_URL], "https://kbs.example:9443/kbs/v1/");
        ck_assert_str_eq(config.values[OWNER_KBS_ENDPOINT_URL], "https://keys.example/kbs/v1");
        ck_assert_str_eq(config.values[OWNER_AAS_API_URL], "https://aas.example:8444/aas/v1");
        ck_assert_str_eq(config.values[OWNER_WPM_SERVICE_USERNAME], "owner");
        ck_assert_str_eq(config.values[OWNER_TRUSTED_CA_DIRECTORY], "/home/me/ca");
        ck_assert_str_eq(config.values[OWNER_ENVELOPE_PRIVATE_KEY], "/home/me/envelope.pem");
        ck_assert_str_eq(config.values[OWNER_KEYPROVIDER_NAME], "mine");
        ck_assert_str_eq(config.values[OWNER_ALLOW_TLS12], "yes");
        expect_password(&config, " p=\"a# b ");
        owner_config_done(&config);
}
END_TEST

START_TEST(faults) {
        static const struct {
                const char *text;
                const char *reason;
        } rows[] = {
                {"KBS_BASE_URL\n", "owner.conf:1: this is not NAME=VALUE"},
                {"\n# x\nKBS_URL=x\n", "owner.conf:3: there is no such setting"},
                {" KBS_BASE_URL=x\n", "owner.conf:1: there is no such setting"},
                {"KBS_BASE_URL =x\n", "owner.conf:1: there is no such setting"},
                {"kbs_base_url=x\n", "owner.conf:1: there is no such setting"},
                {"=x\n", "owner.conf:1: there is no such setting"},
                {"KBS_BASE_URL=\n", "owner.conf:1: KBS_BASE_URL has to have 1 to"},
                {"KBS_BASE_URL=x\r\n", "owner.conf:1: KBS_BASE_URL holds a control character"},
                {"KBS_BASE_URL=x\nKBS_BASE_URL=x\n", "owner.conf:2: KBS_BASE_URL is set twice"},
                {"WPM_SERVICE_PASSWORD=x\nWPM_SERVICE_PASSWORD=x\n",
                 "owner.conf:2: WPM_SERVICE_PASSWORD is set twice"},
                {"WPM_SERVICE_PASSWORD=\n", "owner.conf:1: WPM_SERVICE_PASSWORD has to have"},
                {"ALLOW_TLS12=true\n", "owner.conf:1: ALLOW_TLS12 has to be yes or no"},
        };

        begin();
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct owner_config config = {0};
                struct wla_error err;

                ck_assert_msg(parse(rows[i].text, &config, &err) == -1, "%zu", i);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_msg(strstr(wla_error_text(&err), rows[i].reason), "%zu: %s", i,
                              wla_error_text(&err));
                ck_assert_ptr_null(config.password);
        }
}
END_TEST

START_TEST(long_values) {
        char text[OWNER_VALUE_SIZE + 64] = "KBS_BASE_URL=";
        size_t name = strlen(text);
        struct owner_config config = {0};
        struct wla_error err;

        begin();
        memset(text + name, 'x', OWNER_VALUE_SIZE - 1);
        ck_assert_int_eq(parse(text, &config, &err), 0);
        text[name + OWNER_VALUE_SIZE - 1] = 'x';
        ck_assert_int_eq(parse(text, &config, &err), -1);
}
END_TEST

static void write_file(const struct scratch *home, const char *text, mode_t mode) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/wlagent", home->path);
        ck_assert_int_eq(mkdir(path, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/wlagent/owner.conf", home->path);
        FILE *file = fopen(path, "we");
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(chmod(path, mode), 0);
}

static void remove_file(const struct scratch *home) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/wlagent/owner.conf", home->path);
        ck_assert_int_eq(unlink(path), 0);
        (void)snprintf(path, sizeof(path), "%s/wlagent", home->path);
        ck_assert_int_eq(rmdir(path), 0);
        ck_assert_int_eq(rmdir(home->path), 0);
}

START_TEST(the_environment_comes_over_the_file) {
        struct owner_config config = {0};
        struct scratch home;
        struct wla_error err = {0};

        begin();
        scratch_make(&home);
        write_file(&home, "KBS_BASE_URL=file\nAAS_API_URL=file\nWPM_SERVICE_PASSWORD=file\n", 0600);
        ck_assert_int_eq(setenv("XDG_CONFIG_HOME", home.path, 1), 0);
        ck_assert_int_eq(setenv("KBS_BASE_URL", "environment", 1), 0);
        ck_assert_int_eq(setenv("WPM_SERVICE_PASSWORD", "environment", 1), 0);
        ck_assert_int_eq(owner_config_read(&config, &err), 0);
        ck_assert_str_eq(config.values[OWNER_KBS_BASE_URL], "environment");
        ck_assert_str_eq(config.values[OWNER_AAS_API_URL], "file");
        ck_assert_str_eq(config.values[OWNER_KEYPROVIDER_NAME], "isecl");
        expect_password(&config, "environment");
        ck_assert_str_eq(getenv("WPM_SERVICE_PASSWORD"), "");
        owner_config_done(&config);
        remove_file(&home);
}
END_TEST

START_TEST(a_faulty_environment) {
        struct owner_config config = {0};
        struct wla_error err = {0};

        begin();
        ck_assert_int_eq(unsetenv("XDG_CONFIG_HOME"), 0);
        ck_assert_int_eq(unsetenv("HOME"), 0);
        ck_assert_int_eq(setenv("ALLOW_TLS12", "1", 1), 0);
        ck_assert_int_eq(owner_config_read(&config, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "the environment: ALLOW_TLS12 has to be yes or no");
        ck_assert_int_eq(unsetenv("ALLOW_TLS12"), 0);
        ck_assert_int_eq(setenv("WPM_SERVICE_PASSWORD", "", 1), 0);
        ck_assert_int_eq(owner_config_read(&config, &err), -1);
        ck_assert_ptr_null(config.password);
}
END_TEST

START_TEST(a_file_that_others_may_read) {
        struct owner_config config = {0};
        struct scratch home;
        struct wla_error err = {0};

        begin();
        scratch_make(&home);
        write_file(&home, "KBS_BASE_URL=x\n", 0640);
        ck_assert_int_eq(setenv("XDG_CONFIG_HOME", home.path, 1), 0);
        ck_assert_int_eq(owner_config_read(&config, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        remove_file(&home);
}
END_TEST

START_TEST(what_is_needed) {
        struct owner_config config = {0};
        const char *value;
        struct wla_error err = {0};

        begin();
        ck_assert_int_eq(owner_config_need(&config, OWNER_AAS_API_URL, &value, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "AAS_API_URL is not set");
        ck_assert_ptr_nonnull(strstr(err.hint, "owner.conf"));
}
END_TEST

SUITE_MAIN("owner_config", a_whole_file, faults, long_values, the_environment_comes_over_the_file,
           a_faulty_environment, a_file_that_others_may_read, what_is_needed)
