/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/provider_request.h"

#include <string.h>

#include "base/base64.h"
#include "base/json.h"

/* A parameter above this size cannot be ours; other recipients' certificates are skipped by it. */
#define PARAMETER_MAX PROVIDER_PARAMETER_MAX

static const char hint_wrap[] = "write --encryption-key provider:wlagent:key=NAME, once; 'wlagent "
                                "key list' shows the names";
static const char parameter_prefix[] = "key=";

const char *provider_operation_name(enum provider_operation operation) {
        switch (operation) {
        case PROVIDER_WRAP:
                return "wrap";
        case PROVIDER_UNWRAP:
                return "unwrap";
        default:
                return "unknown";
        }
}

void provider_request_clear(struct provider_request *request) {
        buf_clear(&request->annotation);
        buf_clear(&request->options);
}

static int take_text(const struct json_value *value, struct buf *to, struct wla_error *err) {
        /* Four characters of base64 for three bytes. */
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(base64_encoded_size(to->limit));

        if (json_string(value, &text, err) < 0)
                return -1;

        /* No base64 text begins with a brace. */
        if (text.size > 0 && text.data[0] == '{')
                return buf_append(to, text.data, text.size, err);

        return base64_decode((const char *)text.data, text.size, to, err);
}

static int take_bytes(const struct json_value *value, const char *name, struct buf *to,
                      struct wla_error *err) {
        int outcome = 0;

        switch (value->type) {
        case JSON_STRING:
                outcome = take_text(value, to, err);
                break;
        case JSON_ARRAY:
                outcome = json_byte_array(value, to, err);
                break;
        case JSON_ABSENT:
        case JSON_NULL:
                break;
        default:
                outcome = wla_fail(err, WLA_E_INPUT, "neither text nor an array of bytes");
        }

        if (outcome == 0 && to->size == 0)
                outcome = wla_fail(err, WLA_E_INPUT, "it is missing or empty");
        return outcome < 0 ? wla_wrap(err, "the request's %s", name) : 0;
}

/* Whether value is base64 of "key=...": then name gets the rest. */
static int take_parameter(const struct json_value *value, struct buf *name, struct wla_error *err) {
        _cleanup_buf_ struct buf parameter = BUF_WITH_LIMIT(PARAMETER_MAX);
        const size_t prefix_size = sizeof(parameter_prefix) - 1;

        if (value->type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "a parameter is not text");
        if (value->size > base64_encoded_size(PARAMETER_MAX))
                return 0;

        if (take_text(value, &parameter, err) < 0)
                return wla_wrap(err, "a parameter");
        if (parameter.size < prefix_size ||
            memcmp(parameter.data, parameter_prefix, prefix_size) != 0)
                return 0;

        if (name->size > 0)
                return wla_fail_hint(err, WLA_E_INPUT, hint_wrap,
                                     "more than one parameter key=NAME");
        return buf_append(name, parameter.data + prefix_size, parameter.size - prefix_size, err);
}

static int find_key_name(const struct json_value *parameters, struct buf *name,
                         struct wla_error *err) {
        struct json_value provider;
        struct json_value list;
        size_t at = 0;

        while (json_next_member(parameters, &at, &provider, &list)) {
                struct json_value value;
                size_t list_at = 0;

                while (json_next_element(&list, &list_at, &value))
                        if (take_parameter(&value, name, err) < 0)
                                return -1;
        }

        if (name->size == 0)
                return wla_fail_hint(err, WLA_E_INPUT, hint_wrap,
                                     "no parameter says which key to wrap with");
        return 0;
}

static int parse_wrap(const struct json_value *params, struct provider_request *request,
                      struct wla_error *err) {
        _cleanup_buf_ struct buf name = BUF_WITH_LIMIT(PARAMETER_MAX);
        struct json_value ec = json_member_nocase(params, "ec");
        struct json_value parameters = json_member_nocase(&ec, "parameters");
        struct json_value options = json_member_nocase(params, "optsdata");

        if (find_key_name(&parameters, &name, err) < 0)
                return -1;

        const char *text = buf_text(&name, err);
        if (!text)
                return -1;
        if (strlen(text) != name.size)
                return wla_fail_hint(err, WLA_E_INPUT, hint_wrap, "the key's name is not text");
        if (key_id_local(text, &request->key, err) < 0)
                return -1;

        return take_bytes(&options, "optsdata", &request->options, err);
}

static int parse_unwrap(const struct json_value *params, struct provider_request *request,
                        struct wla_error *err) {
        struct json_value annotation = json_member_nocase(params, "annotation");

        return take_bytes(&annotation, "annotation", &request->annotation, err);
}

static int read_operation(const struct json_value *root, enum provider_operation *ret,
                          struct wla_error *err) {
        struct json_value op = json_member_nocase(root, "op");
        char name[16];

        if (op.type != JSON_STRING || json_string_copy(&op, name, sizeof(name), err) < 0)
                return wla_fail(err, WLA_E_INPUT, "the request names no operation that is known");

        if (strcmp(name, "keywrap") == 0)
                *ret = PROVIDER_WRAP;
        else if (strcmp(name, "keyunwrap") == 0)
                *ret = PROVIDER_UNWRAP;
        else
                return wla_fail(err, WLA_E_INPUT, "the request names no operation that is known");
        return 0;
}

static int parse_operation(const struct json_value *root, struct provider_request *request,
                           struct wla_error *err) {
        struct json_value params;

        if (read_operation(root, &request->operation, err) < 0)
                return -1;
        if (request->operation == PROVIDER_WRAP) {
                params = json_member_nocase(root, "keywrapparams");
                return parse_wrap(&params, request, err);
        }
        params = json_member_nocase(root, "keyunwrapparams");
        return parse_unwrap(&params, request, err);
}

static int check_request(struct wla_bytes json, struct json_value *ret, struct wla_error *err) {
        if (json_check((const char *)json.data, json.size, ret, err) < 0)
                return wla_wrap(err, "the request is not proper JSON");
        return 0;
}

int provider_request_parse(struct wla_bytes json, struct provider_request *ret,
                           struct wla_error *err) {
        _cleanup_request_ struct provider_request request = {
                .annotation.limit = PROVIDER_ANNOTATION_MAX,
                .options.limit = PROVIDER_OPTIONS_MAX,
        };
        struct json_value root;

        if (check_request(json, &root, err) < 0 || parse_operation(&root, &request, err) < 0)
                return -1;

        *ret = request;
        request = (struct provider_request){0};
        return 0;
}

int provider_operation_read(struct wla_bytes json, enum provider_operation *ret,
                            struct wla_error *err) {
        struct json_value root;

        return check_request(json, &root, err) < 0 ? -1 : read_operation(&root, ret, err);
}

void provider_wrap_clear(struct provider_wrap *wrap) {
        buf_clear(&wrap->parameter);
        buf_clear(&wrap->options);
}

static int take_only_parameter(const struct json_value *parameters, const char *name,
                               struct buf *to, struct wla_error *err) {
        struct json_value list = json_member(parameters, name);
        struct json_value value;
        struct json_value second;
        size_t at = 0;

        if (list.type != JSON_ARRAY || !json_next_element(&list, &at, &value))
                return wla_fail(err, WLA_E_INPUT, "it has no parameter for the provider %s", name);
        if (json_next_element(&list, &at, &second))
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "name the provider once; its first parameter alone would "
                                     "count for the original",
                                     "it has more than one parameter for the provider %s", name);
        if (value.type != JSON_STRING)
                return wla_fail(err, WLA_E_INPUT, "a parameter is not text");
        return take_text(&value, to, err) < 0 ? wla_wrap(err, "a parameter") : 0;
}

static int read_wrap(struct wla_bytes json, const char *name, struct provider_wrap *wrap,
                     struct wla_error *err) {
        enum provider_operation operation;
        struct json_value root;

        if (check_request(json, &root, err) < 0 || read_operation(&root, &operation, err) < 0)
                return -1;
        if (operation != PROVIDER_WRAP)
                return wla_fail(err, WLA_E_INPUT, "the request's op is not keywrap");

        struct json_value params = json_member_nocase(&root, "keywrapparams");
        struct json_value ec = json_member_nocase(&params, "ec");
        struct json_value parameters = json_member_nocase(&ec, "parameters");
        struct json_value options = json_member_nocase(&params, "optsdata");
        if (take_only_parameter(&parameters, name, &wrap->parameter, err) < 0)
                return wla_wrap(err, "the request");
        return take_bytes(&options, "optsdata", &wrap->options, err);
}

int provider_wrap_parse(struct wla_bytes json, const char *name, struct provider_wrap *ret,
                        struct wla_error *err) {
        struct provider_wrap wrap = {
                .parameter.limit = PARAMETER_MAX,
                .options.limit = PROVIDER_OPTIONS_MAX,
        };

        if (read_wrap(json, name, &wrap, err) < 0) {
                provider_wrap_clear(&wrap);
                return -1;
        }
        *ret = wrap;
        return 0;
}
