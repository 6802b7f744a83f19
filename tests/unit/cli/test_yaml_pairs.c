/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "cli/yaml_pairs.h"

static char told[8192];

static int tell(void *userdata, const struct yaml_pair *pair, struct wla_error *err) {
        size_t length = strlen(told);

        (void)err;
        (void)userdata;
        (void)snprintf(told + length, sizeof(told) - length, "%u:%s%s%s\n", pair->line, pair->path,
                       pair->kind == YAML_VALUE ? "=" : (pair->kind == YAML_MAP ? "{}" : "[]"),
                       pair->value ? pair->value : "");
        return 0;
}

static int read_text(const char *text, struct wla_error *err) {
        told[0] = '\0';
        *err = (struct wla_error){0};
        return yaml_pairs_read(text, strlen(text), tell, NULL, err);
}

static void refused(const char *text, const char *expected) {
        struct wla_error err;

        ck_assert_int_eq(read_text(text, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_msg(strstr(wla_error_text(&err), expected), "'%s' is not in '%s'", expected,
                      wla_error_text(&err));
        ck_assert_ptr_null(strstr(wla_error_text(&err), "s3cret"));
}

START_TEST(maps_of_texts) {
        struct wla_error err;

        ck_assert_int_eq(read_text("# comment\n"
                                   "a: 1\n"
                                   "b-c:\n"
                                   "  d: \"x: y\"\n"
                                   "  e: 'it''s'\n"
                                   "  f: {g: h}\n"
                                   "i:\n"
                                   "j: ~\n",
                                   &err),
                         0);
        ck_assert_str_eq(told, "2:a=1\n3:b-c{}\n4:b-c.d=x: y\n5:b-c.e=it's\n6:b-c.f{}\n"
                               "6:b-c.f.g=h\n7:i=\n8:j=~\n");
        ck_assert_int_eq(read_text("---\na: b\n...\n", &err), 0);
        ck_assert_str_eq(told, "2:a=b\n");
        ck_assert_int_eq(read_text("{}\n", &err), 0);
        ck_assert_str_eq(told, "");
}
END_TEST

START_TEST(lists_are_told_and_skipped) {
        struct wla_error err;

        ck_assert_int_eq(read_text("a: [1, {b: 2}, [3]]\nc:\n- s3cret\n- x: y\nz: 4\n", &err), 0);
        ck_assert_str_eq(told, "1:a[]\n2:c[]\n5:z=4\n");
}
END_TEST

START_TEST(what_nobody_needs_is_refused) {
        refused("a: &x s3cret\nb: *x\n", "line 1: anchors, aliases and tags");
        refused("a: 1\nb: *x\n", "line 2: anchors, aliases and tags");
        refused("a: !!str s3cret\n", "line 1: anchors, aliases and tags");
        refused("a: &m {b: 1}\n", "line 1: anchors, aliases and tags");
        refused("&m {b: 1}\n", "line 1: anchors, aliases and tags");
        refused("a: [&x 1]\n", "line 1: anchors, aliases and tags");
        refused("a: !t [1]\n", "line 1: anchors, aliases and tags");
        refused("<<: *x\n", "line 1:");
        refused("%YAML 1.1\n---\na: 1\n", "directives");
        refused("a: 1\n---\nb: 2\n", "line 2: a second document");
        refused("- a\n", "line 1: names and their values");
        refused("s3cret\n", "line 1: names and their values");
        refused("", "no document");
        refused("? [s3cret]\n: 1\n", "line 1: a name that is no text");
}
END_TEST

START_TEST(names_stand_once) {
        refused("a: 1\nb: s3cret\na: s3cret\n", "line 3: \"a\" stands there again, after line 1");
        refused("m:\n  a: 1\n  b: 2\n  a: 3\n", "line 4: \"m.a\" stands there again, after line 2");
        refused("m: {a: 1}\nn: {a: 1}\nm: {}\n", "line 3: \"m\" stands there again");
        refused("a.b: 1\n", "line 1: a name has 1 to 62");
        refused("\"\": 1\n", "line 1: a name has 1 to 62");
        refused("\"a\\0b\": 1\n", "line 1: a name has 1 to 62");
}
END_TEST

START_TEST(values_are_one_line) {
        refused("a: one\n  two s3cret\n", "line 1: \"a\" runs over several lines");
        refused("b: 1\na: |\n  s3cret\n", "line 2: \"a\" runs over several lines");
        refused("a: \"s3cret\n  x\"\n", "line 1: \"a\" runs over several lines");
        refused("a: \"s3\\0cret\"\n", "line 1: \"a\" holds a zero byte");
}
END_TEST

START_TEST(no_yaml) {
        refused("a: 1\ns3cret\n", "line 2: no YAML");
        refused("a: 1\nb: {c: s3cret\n", "no YAML");
        refused("a: \"s3cret\n", "no YAML");
        refused("a: b: s3cret\n", "line 1: no YAML");
        refused("a: \tb\n\tc: d\n", "no YAML");
        refused("a: \xff\xfe\n", "no YAML");
        refused("a: 1\n}\n", "no YAML");
}
END_TEST

START_TEST(limits) {
        static char text[YAML_TEXT_MAX + 2];
        struct wla_error err;
        size_t length = 0;

        (void)snprintf(text, sizeof(text), "a: %.*s\n", (int)YAML_VALUE_MAX, "");
        memset(text, 'x', sizeof(text));
        text[0] = 'a';
        text[1] = ':';
        text[2] = ' ';
        text[3 + YAML_VALUE_MAX] = '\0';
        ck_assert_int_eq(read_text(text, &err), 0);
        text[3 + YAML_VALUE_MAX] = 'x';
        text[4 + YAML_VALUE_MAX] = '\0';
        refused(text, "line 1: \"a\" has more than 1024 bytes");

        ck_assert_int_eq(read_text("a: {b: {c: {d: 1}}}\n", &err), 0);
        refused("a: {b: {c: {d: {e: 1}}}}\n", "line 1: more than 4 levels");
        refused("a: [[[[[1]]]]]\n", "line 1: more than 4 levels");

        for (unsigned i = 0; i < YAML_PAIRS_MAX; i++)
                length += (size_t)snprintf(text + length, sizeof(text) - length, "n%u: 1\n", i);
        ck_assert_int_eq(read_text(text, &err), 0);
        (void)snprintf(text + length, sizeof(text) - length, "n: 1\n");
        refused(text, "line 129: more than 128 names");

        memset(text, '#', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        refused(text, "more than 65536 bytes");
}
END_TEST

static int refuse(void *userdata, const struct yaml_pair *pair, struct wla_error *err) {
        return strcmp(pair->path, userdata) == 0 ? wla_fail(err, WLA_E_DENIED, "not %s", pair->path)
                                                 : 0;
}

START_TEST(the_caller_may_refuse) {
        static const char text[] = "a: 1\nb: {c: 2}\nz: [1]\n";
        char names[][4] = {"a", "b", "b.c", "z"};

        for (size_t i = 0; i < 4; i++) {
                struct wla_error err = {0};

                ck_assert_int_eq(yaml_pairs_read(text, strlen(text), refuse, names[i], &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
        }
}
END_TEST

SUITE_MAIN("yaml_pairs", maps_of_texts, lists_are_told_and_skipped, what_nobody_needs_is_refused,
           names_stand_once, values_are_one_line, no_yaml, limits, the_caller_may_refuse)
