/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/option.h"
#include "scratch.h"
#include "suite.h"

/* What a writer wrote; freed by the caller. */
static char *written(int (*write)(FILE *to)) {
        char *text = NULL;
        size_t size = 0;
        FILE *to = open_memstream(&text, &size);

        ck_assert_ptr_nonnull(to);
        ck_assert_int_eq(write(to), 0);
        ck_assert_int_eq(fclose(to), 0);
        return text;
}

static char *dump_of(const struct config *config) {
        char *text = NULL;
        size_t size = 0;
        FILE *to = open_memstream(&text, &size);

        ck_assert_ptr_nonnull(to);
        ck_assert_int_eq(config_dump(config, to), 0);
        ck_assert_int_eq(fclose(to), 0);
        return text;
}

static struct config *read_text(const char *text) {
        _cleanup_buf_ struct buf faults = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};
        struct scratch scratch;
        struct config *config = NULL;

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "wlagent.conf");
        FILE *file = fopen(path, "we");
        ck_assert_ptr_nonnull(file);
        (void)fputs(text, file);
        (void)fclose(file);
        ck_assert_int_eq(chmod(path, 0600), 0);
        int r = config_read(path, &config, &faults, &err);
        ck_assert_msg(r == 0, "%s", buf_text(&faults, &err));
        scratch_remove(&scratch);
        return config;
}

START_TEST(the_dump_reads_back_as_it_was) {
        static const char text[] = "[Agent]\nStateDirectory=/s\nLogLevel=warning\n"
                                   "RuntimeDirectory=/r\nAllowUnlockedMemory=yes\n"
                                   "[KeyProvider]\nAllowUsers=3 4\nMaxMessageBytes=5000\n"
                                   "[TPM]\nBindingKeyHandle=0x81010001\n"
                                   "[Volumes]\nImageRoots=/a  /b\n";
        struct config *first = read_text(text);
        char *dump = dump_of(first);
        struct config *second = read_text(dump);
        char *again = dump_of(second);

        ck_assert_str_eq(dump, again);
        ck_assert_ptr_nonnull(strstr(dump, "[Agent]\nStateDirectory=/s\n"));
        ck_assert_ptr_nonnull(strstr(dump, "\nLogLevel=warning\n"));
        ck_assert_ptr_nonnull(strstr(dump, "\nSocket=/r/wlagent.sock\n"));
        ck_assert_ptr_nonnull(strstr(dump, "\nMaxMessageBytes=5000\n"));
        ck_assert_ptr_nonnull(strstr(dump, "\nBindingKeyHandle=0x81010001\n"));
        ck_assert_ptr_nonnull(strstr(dump, "\nImageRoots=/a  /b\n"));
        free(again);
        free(dump);
        (void)config_free(first);
        (void)config_free(second);
}
END_TEST

/* Lines such as "#CacheSeconds=60" become options. */
static void uncomment(char *sample) {
        for (char *at = strstr(sample, "\n#"); at; at = strstr(at + 1, "\n#"))
                if (at[2] != ' ')
                        at[1] = ' ';
}

START_TEST(the_sample_says_what_holds_anyway) {
        _cleanup_buf_ struct buf faults = BUF_WITH_LIMIT(4096);
        _cleanup_config_ struct config *defaults = NULL;
        struct wla_error err = {0};
        char *sample = written(config_write_sample);

        ck_assert_int_eq(config_read(NULL, &defaults, &faults, &err), 0);
        char *expected = dump_of(defaults);

        for (int round = 0; round < 2; round++) {
                struct config *config = read_text(sample);
                char *dump = dump_of(config);

                ck_assert_str_eq(dump, expected);
                free(dump);
                (void)config_free(config);
                uncomment(sample);
        }
        free(expected);
        free(sample);
}
END_TEST

START_TEST(every_option_is_described) {
        char *sample = written(config_write_sample);
        char *manual = written(config_write_manual);

        for (size_t i = 0; i < config_option_count; i++) {
                char text[128];

                (void)snprintf(text, sizeof(text), "\n#%s=", config_options[i].key);
                ck_assert_ptr_nonnull(strstr(sample, text));
                (void)snprintf(text, sizeof(text), "\n*%s=*", config_options[i].key);
                ck_assert_ptr_nonnull(strstr(manual, text));
        }
        for (const char *line = sample; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                ck_assert_uint_le(strcspn(line, "\n"), 80);
        }
        free(sample);
        free(manual);
}
END_TEST

START_TEST(a_full_disk_is_noticed) {
        _cleanup_buf_ struct buf faults = BUF_WITH_LIMIT(4096);
        _cleanup_config_ struct config *config = NULL;
        struct wla_error err = {0};
        FILE *full = fopen("/dev/full", "we");

        ck_assert_ptr_nonnull(full);
        ck_assert_int_eq(config_read(NULL, &config, &faults, &err), 0);
        ck_assert_int_eq(config_dump(config, full), -1);
        ck_assert_int_eq(config_write_sample(full), -1);
        ck_assert_int_eq(config_write_manual(full), -1);
        (void)fclose(full);
}
END_TEST

SUITE_MAIN("config/write", the_dump_reads_back_as_it_was, the_sample_says_what_holds_anyway,
           every_option_is_described, a_full_disk_is_noticed)
