/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "fail_allocation.h"
#include "keyprovider/provider_request.h"
#include "provider_texts.h"

static int parse(const char *json, struct provider_request *request, struct wla_error *err) {
        return provider_request_parse((struct wla_bytes){(const uint8_t *)json, strlen(json)},
                                      request, err);
}

static void expect_fault(const char *json, enum wla_code code, const char *text) {
        struct provider_request request;
        struct wla_error err = {0};
        char formatted[1024];

        ck_assert_msg(parse(json, &request, &err) == -1, "%s", json);
        wla_error_format(&err, formatted, sizeof(formatted));
        ck_assert_msg(err.code == code, "%s: %s", json, formatted);
        ck_assert_msg(strstr(formatted, text), "%s: %s", json, formatted);
}

static void expect_bytes(const struct buf *buf, const char *text) {
        ck_assert_uint_eq(buf->size, strlen(text));
        if (buf->size > 0)
                ck_assert_mem_eq(buf->data, text, buf->size);
}

START_TEST(annotations_in_every_form) {
        static const char *const requests[] = {
                "{\"op\":\"keyunwrap\",\"keywrapparams\":{\"ec\":null,\"optsdata\":null},"
                "\"keyunwrapparams\":{\"dc\":{\"Parameters\":null},\"annotation\":\"eyJhIjoxfQ==\"}"
                "}",
                "{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":\"{\\\"a\\\":1}\"}}",
                "{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":[123,34,97,34,58,49,125]"
                "}}",
                "{\"OP\":\"keyunwrap\",\"KeyUnwrapParams\":{\"Annotation\":\"eyJhIjoxfQ==\"}}",
                "\n{ \"op\" : \"key\\u0075nwrap\",\"keyunwrapparams\" : {\"annotation\" : "
                "\"eyJhIjoxf\\u0051==\"} }\t",
        };

        for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
                _cleanup_request_ struct provider_request request = {0};
                struct wla_error err = {0};

                ck_assert_msg(parse(requests[i], &request, &err) == 0, "%zu: %s", i,
                              wla_error_text(&err));
                ck_assert_int_eq(request.operation, PROVIDER_UNWRAP);
                expect_bytes(&request.annotation, "{\"a\":1}");
        }
}
END_TEST

/* The node's keys may be anything at all, as long as it is JSON. */
START_TEST(dc_is_not_looked_at) {
        _cleanup_request_ struct provider_request request = {0};
        struct wla_error err = {0};

        ck_assert_int_eq(parse("{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"dc\":{\"Parameters\":"
                               "{\"privkeys\":[\"not base64\",1,{}],\"key\":\"a2V5PWE=\"}},"
                               "\"annotation\":\"eyJhIjoxfQ==\"}}",
                               &request, &err),
                         0);
        expect_bytes(&request.annotation, "{\"a\":1}");
}
END_TEST

START_TEST(wrap_parameters) {
        static const char *const parameters[] = {
                "\"wlagent\":[\"a2V5PWtlay03\"]",
                "\"attestation-agent\":[\"a2V5PWtlay03\"]",
                "\"other\":[\"RW5hYmxlZA==\"],\"isecl\":[\"a2V5PWtlay03\"],\"gpg\":null",
                "\"pubkeys\":[\"LS0tLS1CRUdJTg==\",\"\"],\"wlagent\":[\"YW55\",\"a2V5PWtlay03\"]",
        };

        for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
                _cleanup_request_ struct provider_request request = {0};
                struct wla_error err = {0};

                provider_text_wrap(&json, parameters[i], "options");
                ck_assert_msg(parse(buf_text(&json, &err), &request, &err) == 0, "%zu: %s", i,
                              wla_error_text(&err));
                ck_assert_int_eq(request.operation, PROVIDER_WRAP);
                ck_assert_str_eq(request.key.text, "local:///kek-7");
                expect_bytes(&request.options, "options");
        }
}
END_TEST

/* Certificates of other recipients come along and are passed over. */
START_TEST(large_parameters_are_not_ours) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(1 << 16);
        _cleanup_buf_ struct buf parameters = BUF_WITH_LIMIT(1 << 16);
        _cleanup_request_ struct provider_request request = {0};
        struct wla_error err = {0};

        ck_assert_int_eq(buf_printf(&parameters, &err,
                                    "\"x509s\":[\"a2V5PWE%02000d\"],"
                                    "\"wlagent\":[\"a2V5PWtlay03\"]",
                                    0),
                         0);
        provider_text_wrap(&json, buf_text(&parameters, &err), "options");
        ck_assert_int_eq(parse(buf_text(&json, &err), &request, &err), 0);
        ck_assert_str_eq(request.key.text, "local:///kek-7");
}
END_TEST

START_TEST(wrap_parameters_refused) {
        static const struct {
                const char *parameters;
                const char *text;
        } rows[] = {
                {"", "provider:wlagent:key=NAME"},
                {"\"wlagent\":[]", "no parameter says which key"},
                {"\"wlagent\":[\"RW5hYmxlZA==\"]", "provider:wlagent:key=NAME"},
                {"\"wlagent\":[\"a2V5PQ==\"]", "no parameter says which key"},
                {"\"wlagent\":[\"a2V5PWE=\",\"a2V5PWI=\"]", "more than one"},
                {"\"wlagent\":[\"a2V5PWE=\",\"a2V5PWE=\"]", "more than one"},
                {"\"a\":[\"a2V5PWE=\"],\"b\":[\"a2V5PWI=\"]", "more than one"},
                {"\"wlagent\":[\"a2V5PS4uL2E=\"]", "valid name"}, /* ../a */
                {"\"wlagent\":[\"a2V5PWEAYg==\"]", "not text"},   /* a NUL b */
                {"\"wlagent\":[\"a2V5PWEvYg==\"]", "valid name"}, /* a/b */
                {"\"wlagent\":[\"a2V5\\n\"]", "a parameter"},     /* no base64 */
                {"\"wlagent\":[17]", "a parameter is not text"},
                {"\"a\":[\"a2V5PWE=\"],\"a\":[]", "JSON"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
                struct wla_error err = {0};

                provider_text_wrap(&json, rows[i].parameters, "options");
                expect_fault(buf_text(&json, &err), WLA_E_INPUT, rows[i].text);
        }
}
END_TEST

START_TEST(faults) {
        static const struct {
                const char *json;
                const char *text;
        } rows[] = {
                {"", "proper JSON"},
                {"hello", "proper JSON"},
                {"{}", "no operation"},
                {"[]", "no operation"},
                {"null", "no operation"},
                {"{\"op\":7}", "no operation"},
                {"{\"op\":\"keydelete\"}", "no operation"},
                {"{\"op\":\"keyunwrapkeyunwrapkeyunwrap\"}", "no operation"},
                {"{\"op\":\"keyunwrap\"}", "annotation: it is missing"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":null}", "annotation"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":null}}", "annotation"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":\"\"}}", "annotation"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":[]}}", "annotation"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":{}}}", "annotation"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":[256]}}", "annotation"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":[-1]}}", "annotation"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":[1.5]}}", "annotation"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":\"e yJ\"}}", "base64"},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":\"YQ\"}}", "base64"},
                {"{\"op\":\"keyunwrap\",\"op\":\"keywrap\"}", "twice"},
                {"{\"op\":\"keyunwrap\"} {}", "proper JSON"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                expect_fault(rows[i].json, WLA_E_INPUT, rows[i].text);
}
END_TEST

START_TEST(options_are_required) {
        expect_fault("{\"op\":\"keywrap\",\"keywrapparams\":{\"ec\":{\"Parameters\":{\"wlagent\":"
                     "[\"a2V5PWE=\"]}}}}",
                     WLA_E_INPUT, "optsdata");
}
END_TEST

static char *repeat(const char *text, size_t count, const char *end) {
        size_t size = strlen(text);
        char *all = malloc(count * size + strlen(end) + 1);

        ck_assert_ptr_nonnull(all);
        for (size_t i = 0; i < count; i++)
                memcpy(all + i * size, text, size);
        memcpy(all + count * size, end, strlen(end) + 1);
        return all;
}

START_TEST(deep_and_huge) {
        char *deep = repeat("[", 100000, "");
        char *objects = repeat("{\"a\":", 40000, "");
        char *members = repeat("\"a\":1,", 40000, "");

        expect_fault(deep, WLA_E_INPUT, "proper JSON");
        expect_fault(objects, WLA_E_INPUT, "proper JSON");
        memcpy(members, "{", 1);
        expect_fault(members, WLA_E_INPUT, "proper JSON");
        free(deep);
        free(objects);
        free(members);
}
END_TEST

START_TEST(large_annotations) {
        char *fits = repeat("QUFB", PROVIDER_ANNOTATION_MAX / 3, "");
        char *large = repeat("QUFB", PROVIDER_ANNOTATION_MAX / 3 + 1, "");
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(1 << 18);
        _cleanup_request_ struct provider_request request = {0};
        struct wla_error err = {0};

        ck_assert_int_eq(buf_printf(&json, &err,
                                    "{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":"
                                    "\"%s\"}}",
                                    fits),
                         0);
        ck_assert_int_eq(parse(buf_text(&json, &err), &request, &err), 0);
        buf_reset(&json);
        ck_assert_int_eq(buf_printf(&json, &err,
                                    "{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":"
                                    "\"%s\"}}",
                                    large),
                         0);
        expect_fault(buf_text(&json, &err), WLA_E_BUSY, "annotation");
        free(fits);
        free(large);
}
END_TEST

/* No text of a fault repeats what was sent. */
START_TEST(faults_do_not_quote) {
        static const char *const requests[] = {
                "{\"op\":\"SECRET\"}",
                "{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":\"SECRET\"}}",
                "{\"op\":\"keyunwrap\",\"keyunwrapparams\":{\"annotation\":SECRET}}",
                "{\"SECRET\":1,\"SECRET\":2}",
                "SECRET",
        };

        for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
                struct provider_request request;
                struct wla_error err = {0};

                ck_assert_int_eq(parse(requests[i], &request, &err), -1);
                ck_assert_ptr_null(strstr(wla_error_text(&err), "SECRET"));
        }
}
END_TEST

START_TEST(failed_allocations) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};
        unsigned failures = 0;

        provider_text_wrap(&json, "\"wlagent\":[\"a2V5PWtlay03\"]", "options");
        const char *text = buf_text(&json, &err);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_request_ struct provider_request request = {0};

                int outcome = parse(text, &request, &err);
                fail_allocation_disarm();
                failures += outcome < 0;
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                if (outcome < 0)
                        ck_assert_int_eq(err.code, WLA_E_BUSY);
        }
        ck_assert_uint_ge(failures, 4);
}
END_TEST

static int parse_wrap(const struct buf *json, struct provider_wrap *wrap, struct wla_error *err) {
        return provider_wrap_parse((struct wla_bytes){json->data, json->size}, "isecl", wrap, err);
}

START_TEST(free_parameters) {
        static const struct {
                const char *parameters;
                const char *parameter;
        } rows[] = {
                {"\"isecl\":[\"YW55\"]", "any"},
                {"\"isecl\":[\"\"]", ""},
                {"\"isecl\":[\"RW5hYmxlZA==\"]", "Enabled"},
                {"\"wlagent\":[\"a2V5PWE=\"],\"isecl\":[\"YXNzZXQtdGFnOmE6Yg==\"],\"gpg\":null",
                 "asset-tag:a:b"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
                _cleanup_provider_wrap_ struct provider_wrap wrap = {0};
                struct wla_error err = {0};

                provider_text_wrap(&json, rows[i].parameters, "options");
                ck_assert_msg(parse_wrap(&json, &wrap, &err) == 0, "%zu: %s", i,
                              wla_error_text(&err));
                expect_bytes(&wrap.parameter, rows[i].parameter);
                expect_bytes(&wrap.options, "options");
        }
}
END_TEST

START_TEST(free_parameters_refused) {
        static const struct {
                const char *parameters;
                const char *options;
                const char *text;
        } rows[] = {
                {"", "o", "no parameter for the provider isecl"},
                {"\"isecl\":[]", "o", "no parameter for the provider isecl"},
                {"\"isecl\":null", "o", "no parameter for the provider isecl"},
                {"\"isecl\":\"YW55\"", "o", "no parameter for the provider isecl"},
                {"\"ISECL\":[\"YW55\"]", "o", "no parameter for the provider isecl"},
                {"\"wlagent\":[\"YW55\"]", "o", "no parameter for the provider isecl"},
                {"\"isecl\":[\"YW55\",\"YW55\"]", "o", "more than one parameter"},
                {"\"isecl\":[7]", "o", "not text"},
                {"\"isecl\":[null]", "o", "not text"},
                {"\"isecl\":[\"any\"]", "o", "a parameter"},
                {"\"isecl\":[\"YW55\"]", "", "optsdata"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
                struct provider_wrap wrap = {0};
                struct wla_error err = {0};

                provider_text_wrap(&json, rows[i].parameters, rows[i].options);
                ck_assert_msg(parse_wrap(&json, &wrap, &err) == -1, "%zu", i);
                ck_assert_msg(strstr(wla_error_text(&err), rows[i].text), "%zu: %s", i,
                              wla_error_text(&err));
        }
}
END_TEST

START_TEST(a_parameter_has_a_limit) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(1 << 16);
        _cleanup_buf_ struct buf parameters = BUF_WITH_LIMIT(1 << 16);
        struct provider_wrap wrap = {0};
        struct wla_error err = {0};

        ck_assert_int_eq(buf_printf(&parameters, &err, "\"isecl\":[\"%04000d\"]", 0), 0);
        provider_text_wrap(&json, buf_text(&parameters, &err), "options");
        ck_assert_int_eq(parse_wrap(&json, &wrap, &err), -1);
}
END_TEST

START_TEST(operations) {
        static const struct {
                const char *json;
                int outcome;
                enum provider_operation operation;
        } rows[] = {
                {"{\"op\":\"keywrap\"}", 0, PROVIDER_WRAP},
                {"{\"op\":\"keyunwrap\",\"keyunwrapparams\":7}", 0, PROVIDER_UNWRAP},
                {"{\"op\":\"keywrap \"}", -1, PROVIDER_UNKNOWN},
                {"{\"op\":null}", -1, PROVIDER_UNKNOWN},
                {"{}", -1, PROVIDER_UNKNOWN},
                {"[]", -1, PROVIDER_UNKNOWN},
                {"{\"op\":\"keywrap\"", -1, PROVIDER_UNKNOWN},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct wla_bytes json = {(const uint8_t *)rows[i].json, strlen(rows[i].json)};
                enum provider_operation operation = PROVIDER_UNKNOWN;
                struct provider_wrap wrap = {0};
                struct wla_error err = {0};

                ck_assert_int_eq(provider_operation_read(json, &operation, &err), rows[i].outcome);
                if (rows[i].outcome == 0)
                        ck_assert_int_eq(operation, rows[i].operation);
                ck_assert_int_eq(provider_wrap_parse(json, "isecl", &wrap, &err), -1);
        }
}
END_TEST

START_TEST(free_parameters_without_memory) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};
        unsigned failures = 0;

        provider_text_wrap(&json, "\"isecl\":[\"YW55\"]", "options");
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_provider_wrap_ struct provider_wrap wrap = {0};

                int outcome = parse_wrap(&json, &wrap, &err);
                fail_allocation_disarm();
                failures += outcome < 0;
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
        ck_assert_uint_ge(failures, 3);
}
END_TEST

SUITE_MAIN("provider_request", annotations_in_every_form, dc_is_not_looked_at, wrap_parameters,
           large_parameters_are_not_ours, wrap_parameters_refused, faults, options_are_required,
           deep_and_huge, large_annotations, faults_do_not_quote, failed_allocations,
           free_parameters, free_parameters_refused, a_parameter_has_a_limit, operations,
           free_parameters_without_memory)
