/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/answers.h"

static struct scratch scratch;

static const char *make_file_of(const void *data, size_t size, mode_t mode) {
        const char *path = scratch_file(&scratch, "answers.env");
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
        ck_assert_int_eq(fchmod(fd, mode), 0);
        (void)close(fd);
        return path;
}

static const char *make_file(const char *text) {
        return make_file_of(text, strlen(text), 0600);
}

static void set_up(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(clearenv(), 0);
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        scratch_make(&scratch);
}

static void tear_down(void) {
        scratch_remove(&scratch);
}

static void read_ok(const char *path, struct answers *answers) {
        struct wla_error err = {0};

        int outcome = answers_read(path, answers, &err);
        ck_assert_msg(outcome == 0, "%s", wla_error_text(&err));
        ck_assert_ptr_nonnull(buf_text(&answers->notes, &err));
}

START_TEST(as_such_files_are_written) {
        static const char text[] =
                "# a comment\n"
                "\n"
                "   # another\n"
                "CMS_BASE_URL=https://cms.example:8445/cms/v1\n"
                "export HVS_URL='https://hvs.example:8443/hvs/v2'\n"
                "\texport\tAAS_API_URL=\"https://aas.example:8444/aas/v1\"   # here\n"
                "WLA_SERVICE_PASSWORD='pass word$`\\\"#;'\n"
                "BEARER_TOKEN=eyJ0.aB-_c.d==\n"
                "WLS_API_URL=\n"
                "TRUSTAGENT_USERNAME=''\n"
                "LOG_LEVEL=debug";
        _cleanup_answers_ struct answers answers = ANSWERS;

        set_up();
        read_ok(make_file(text), &answers);
        ck_assert_str_eq(answers_text(&answers, ANSWER_CMS_BASE_URL),
                         "https://cms.example:8445/cms/v1");
        ck_assert_str_eq(answers_text(&answers, ANSWER_HVS_URL), "https://hvs.example:8443/hvs/v2");
        ck_assert_str_eq(answers_text(&answers, ANSWER_AAS_API_URL),
                         "https://aas.example:8444/aas/v1");
        ck_assert_str_eq(answers_text(&answers, ANSWER_WLA_SERVICE_PASSWORD), "pass word$`\\\"#;");
        ck_assert_str_eq(answers_text(&answers, ANSWER_BEARER_TOKEN), "eyJ0.aB-_c.d==");
        ck_assert_ptr_null(answers_text(&answers, ANSWER_WLS_API_URL));
        ck_assert_ptr_null(answers_text(&answers, ANSWER_TRUSTAGENT_USERNAME));
        ck_assert_str_eq(answers_text(&answers, ANSWER_LOG_LEVEL), "debug");
        ck_assert_str_eq((char *)answers.notes.data, "");
        tear_down();
}
END_TEST

START_TEST(faulty_lines) {
        static const struct {
                const char *line;
                const char *told;
        } faults[] = {
                {"HVS_URL", "this is not NAME=VALUE"},
                {"HVS_URL = x", "this is not NAME=VALUE"},
                {"=x", "this is not NAME=VALUE"},
                {"1A=x", "this is not NAME=VALUE"},
                {"A.B=x", "this is not NAME=VALUE"},
                {"exportHVS_URL", "this is not NAME=VALUE"},
                {"[section]", "this is not NAME=VALUE"},
                {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=x",
                 "this is not NAME=VALUE"},
                {"HVS_URL=a b", "HVS_URL: a shell would not take the value as it is"},
                {"HVS_URL=a#b", "HVS_URL: a shell would not take the value as it is"},
                {"HVS_URL= a", "HVS_URL: a shell would not take the value as it is"},
                {"HVS_URL=$HOME", "HVS_URL: a shell would not take the value as it is"},
                {"HVS_URL='a'b", "HVS_URL: a shell would not take the value as it is"},
                {"HVS_URL='a'#b", "HVS_URL: a shell would not take the value as it is"},
                {"HVS_URL=a;b", "HVS_URL: a shell would not take the value as it is"},
                {"HVS_URL='a", "HVS_URL: the closing quote is missing"},
                {"HVS_URL=\"a", "HVS_URL: the closing quote is missing"},
                {"HVS_URL=\"$a\"", "HVS_URL: '$' in double quotes is not what it looks like"},
                {"HVS_URL=\"a\\n\"", "HVS_URL: '\\' in double quotes is not what it looks like"},
                {"HVS_URL=x\r", "the line holds the control character 13"},
                {"# \x7f", "the line holds the control character 127"},
                {"HVS_URL=one\nHVS_URL=two", "HVS_URL is set in line 1 already"},
                {"HVS_URL=\nHVS_URL=two", "HVS_URL is set in line 1 already"},
        };

        set_up();
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
                _cleanup_answers_ struct answers answers = ANSWERS;
                struct wla_error err = {0};
                char expected[256];
                const char *path = make_file(faults[i].line);

                ck_assert_int_eq(answers_read(path, &answers, &err), -1);
                (void)snprintf(expected, sizeof(expected), "%s:%d: %s", path,
                               strchr(faults[i].line, '\n') ? 2 : 1, faults[i].told);
                ck_assert_str_eq(wla_error_text(&err), expected);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }

        struct answers answers = ANSWERS;
        struct wla_error err = {0};
        ck_assert_int_eq(answers_read(make_file_of("HVS_URL=a\0b", 11, 0600), &answers, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "the control character 0"));
        answers_clear(&answers);
        tear_down();
}
END_TEST

START_TEST(unused_and_unknown_names_are_told_of) {
        static const char text[] = "TPM_OWNER_SECRET=$(openssl rand -hex 20)\n"
                                   "GRUB_FILE=/boot/grub.cfg; true\n"
                                   "WLA_SERVICE_PASWORD=hunter2\n"
                                   "TPM_OWNER_SECRET=twice\n"
                                   "HTTPS_PROXY=http://user:hunter2@proxy:3128\n";
        _cleanup_answers_ struct answers answers = ANSWERS;
        char expected[1024];

        set_up();
        const char *path = make_file(text);
        read_ok(path, &answers);
        (void)snprintf(expected, sizeof(expected),
                       "%s:3: WLA_SERVICE_PASWORD is no setting of Intel SecL's agents; it is "
                       "ignored\n"
                       "%s:5: HTTPS_PROXY counts in the environment only: export it, and for "
                       "wlagentd.service see wlagentd(8)\n"
                       "%s: these have no use here and are ignored: TPM_OWNER_SECRET, GRUB_FILE, "
                       "TPM_OWNER_SECRET\n",
                       path, path, path);
        ck_assert_str_eq((char *)answers.notes.data, expected);
        tear_down();
}
END_TEST

START_TEST(the_file_says_otherwise_than_the_environment) {
        _cleanup_answers_ struct answers answers = ANSWERS;

        set_up();
        ck_assert_int_eq(setenv("HVS_URL", "from environment", 1), 0);
        ck_assert_int_eq(setenv("CMS_BASE_URL", "from environment", 1), 0);
        ck_assert_int_eq(setenv("AAS_API_URL", "", 1), 0);
        ck_assert_int_eq(setenv("LOG_LEVEL", "info", 1), 0);
        read_ok(make_file("HVS_URL=file\nLOG_LEVEL=\n"), &answers);
        ck_assert_str_eq(answers_text(&answers, ANSWER_HVS_URL), "file");
        ck_assert_str_eq(answers_text(&answers, ANSWER_CMS_BASE_URL), "from environment");
        ck_assert_ptr_null(answers_text(&answers, ANSWER_AAS_API_URL));
        ck_assert_str_eq(answers_text(&answers, ANSWER_LOG_LEVEL), "info");
        tear_down();
}
END_TEST

START_TEST(secrets_leave_the_environment) {
        static char password[] = "WLA_SERVICE_PASSWORD=hunter2";
        static char token[] = "BEARER_TOKEN=eyJ";
        static char url[] = "HVS_URL=https://hvs";
        _cleanup_answers_ struct answers answers = ANSWERS;
        _cleanup_secret_ struct wla_secret *secret = NULL;
        struct wla_error err = {0};
        const char *text;

        set_up();
        ck_assert_int_eq(putenv(password) + putenv(token) + putenv(url), 0);
        read_ok(NULL, &answers);
        ck_assert_ptr_null(getenv("WLA_SERVICE_PASSWORD"));
        ck_assert_ptr_null(getenv("BEARER_TOKEN"));
        ck_assert_ptr_nonnull(getenv("HVS_URL"));
        ck_assert_mem_eq(password, "WLA_SERVICE_PASSWORD=\0\0\0\0\0\0\0", sizeof(password));
        ck_assert_mem_eq(token, "BEARER_TOKEN=\0\0\0", sizeof(token));

        ck_assert_int_eq(
                answers_require_secret(&answers, ANSWER_WLA_SERVICE_PASSWORD, &secret, &err), 0);
        ck_assert_uint_eq(wla_secret_view(secret).size, 7);
        ck_assert_mem_eq(wla_secret_view(secret).data, "hunter2", 7);
        ck_assert_int_eq(answers_require(&answers, ANSWER_HVS_URL, &text, &err), 0);
        ck_assert_str_eq(text, "https://hvs");
        ck_assert_int_eq(answers_require(&answers, ANSWER_CMS_BASE_URL, &text, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_str_eq(wla_error_text(&err), "CMS_BASE_URL is not set");
        tear_down();
}
END_TEST

START_TEST(files_that_are_not_taken) {
        static char large[ANSWERS_FILE_MAX + 1];
        struct answers answers = ANSWERS;
        struct wla_error err = {0};

        set_up();
        memset(large, '\n', sizeof(large));
        ck_assert_int_eq(answers_read(make_file_of(large, sizeof(large) - 1, 0600), &answers, &err),
                         0);
        ck_assert_int_eq(answers_read(make_file_of(large, sizeof(large), 0600), &answers, &err),
                         -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "is larger than 16384 bytes"));
        ck_assert_int_eq(answers_read(make_file_of("", 0, 0620), &answers, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "may be changed by others"));
        ck_assert_int_eq(answers_read("/nonexistent/answers", &answers, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        answers_clear(&answers);
        tear_down();
}
END_TEST

START_TEST(who_else_may_read_a_password) {
        static const char text[] = "WLA_SERVICE_PASSWORD=hunter2\n";
        struct wla_error err = {0};
        char expected[256];

        set_up();
        for (int i = 0; i < 3; i++) {
                _cleanup_answers_ struct answers answers = ANSWERS;
                const char *path = i == 2 ? make_file_of("HVS_URL=x\n", 10, 0644)
                                          : make_file_of(text, sizeof(text) - 1,
                                                         i == 0 ? 0640 : 0600);

                ck_assert_int_eq(answers_read(path, &answers, &err), 0);
                ck_assert_ptr_nonnull(buf_text(&answers.notes, &err));
                (void)snprintf(expected, sizeof(expected),
                               "%s holds a password, and others may read it (mode 0640): run "
                               "'chmod 600' on it\n",
                               path);
                ck_assert_str_eq((char *)answers.notes.data, i == 0 ? expected : "");
        }
        tear_down();
}
END_TEST

START_TEST(without_memory) {
        set_up();
        const char *path = make_file("HVS_URL=x\nGRUB_FILE=x\nUNKNOWN=x\n");

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct answers answers = ANSWERS;
                struct wla_error err = {0};
                int outcome = answers_read(path, &answers, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                answers_clear(&answers);
        }
        tear_down();
}
END_TEST

SUITE_MAIN("answers", as_such_files_are_written, faulty_lines, unused_and_unknown_names_are_told_of,
           the_file_says_otherwise_than_the_environment, secrets_leave_the_environment,
           files_that_are_not_taken, who_else_may_read_a_password, without_memory)
