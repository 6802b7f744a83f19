/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/intel_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define HEX_PREFIX "hex:"

static const char hint_tail[] = "Intel's agent up to 4.2 writes this file anew without shortening "
                                "it, so the end of an older "
                                "text may follow the newer one: delete what does not belong there "
                                "from that line on, and run "
                                "this again";

enum field_kind { FIELD_TEXT, FIELD_ANSWER, FIELD_PASSWORD, FIELD_AUTH };

struct field {
        const char *name_4; /* NULL: release 4 has none */
        const char *name_5;
        enum field_kind kind;
        size_t offset;
};

#define AT(member) offsetof(struct intel_config, member)

static const struct field fields[] = {
        {"bindingkeysecret", "binding-key-secret", FIELD_AUTH, AT(binding_secret)},
        {"signingkeysecret", "signing-key-secret", FIELD_AUTH, AT(signing_secret)},
        {"cmstlscertdigest", "cms.tls-cert-sha384", FIELD_TEXT, AT(cms_digest)},
        {"cms.baseurl", "cms.base-url", FIELD_TEXT, AT(cms_url)},
        {"hvs.apiurl", "hvs.api-url", FIELD_TEXT, AT(hvs_url)},
        {"mtwilson.apiurl", NULL, FIELD_TEXT, AT(hvs_url)}, /* 3.0 */
        {"wls.apiurl", "wls.api-url", FIELD_TEXT, AT(wls_url)},
        {"wla.apiusername", "wla.api-user-name", FIELD_TEXT, AT(user)},
        {"wla.apipassword", "wla.api-password", FIELD_PASSWORD, AT(password)},
        {"trustagent.configdir", "trustagent.config-dir", FIELD_TEXT, AT(agent_directory)},
        {"trustagent.aikpemfile", "trustagent.aik-pem-file", FIELD_TEXT, AT(aik_file)},
        {"trustagent.user", "trustagent.user", FIELD_TEXT, AT(agent_user)},
        {"aas.baseurl", "aas.base-url", FIELD_TEXT, AT(aas_url)},
        {"skipflavorsignatureverification", "skip-flavor-signature-verification", FIELD_ANSWER,
         AT(skip_signatures)},
        {"loglevel", "log.level", FIELD_TEXT, AT(log_level)},
        {"logmaxlength", "log.max-length", FIELD_TEXT, AT(log_length)},
        {"logenablestdout", "log.enable-stdout", FIELD_TEXT, AT(log_stdout)},
        {"configcomplete", NULL, FIELD_ANSWER, AT(complete)},
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

struct parse {
        struct intel_config *config;
        bool filled[FIELDS];
};

static bool is_name(const char *name, const char *path) {
        return name && strcmp(name, path) == 0;
}

static const struct field *find_field(const char *path) {
        for (size_t i = 0; i < FIELDS; i++)
                if (is_name(fields[i].name_4, path) || is_name(fields[i].name_5, path))
                        return &fields[i];
        return NULL;
}

static const char *last_name(const char *path) {
        const char *dot = strrchr(path, '.');

        return dot ? dot + 1 : path;
}

/* Whether a name at the root is the end of one of ours, cut in the middle or out of its map. */
static bool is_tail(const char *path) {
        size_t size = strlen(path);

        if (strchr(path, '.'))
                return false;
        for (size_t i = 0; i < FIELDS; i++) {
                const char *name = fields[i].name_4 ? last_name(fields[i].name_4) : "";
                size_t length = strlen(name);

                if (length >= size && strcmp(name + length - size, path) == 0)
                        return true;
        }
        return false;
}

/* "wls" of "wls.apiurl". */
static bool is_map(const char *path) {
        size_t size = strlen(path);

        for (size_t i = 0; i < FIELDS; i++) {
                const char *names[] = {fields[i].name_4, fields[i].name_5};

                for (size_t j = 0; j < 2; j++)
                        if (names[j] && strncmp(names[j], path, size) == 0 && names[j][size] == '.')
                                return true;
        }
        return false;
}

static int take_unknown(struct intel_config *config, const struct yaml_pair *pair,
                        struct wla_error *err) {
        if (config->dialect != INTEL_DIALECT_5 && is_tail(pair->path))
                return wla_fail_hint(err, WLA_E_INPUT, hint_tail,
                                     "line %u: \"%s\" looks like the rest of an older text",
                                     pair->line, pair->path);
        if (config->unknown_count < INTEL_UNKNOWN_MAX)
                memcpy(config->unknown[config->unknown_count++], pair->path,
                       strlen(pair->path) + 1);
        return 0;
}

static int take_dialect(struct intel_config *config, const struct field *field,
                        const struct yaml_pair *pair, struct wla_error *err) {
        enum intel_dialect dialect = is_name(field->name_4, pair->path) ? INTEL_DIALECT_4
                                                                        : INTEL_DIALECT_5;

        if (is_name(field->name_4, pair->path) && is_name(field->name_5, pair->path))
                return 0;
        if (config->dialect != INTEL_DIALECT_NONE && config->dialect != dialect)
                return wla_fail_hint(
                        err, WLA_E_INPUT,
                        "leave the names of the release that ran last, and run this "
                        "again",
                        "line %u: \"%s\" is a name of release %u, and the lines before "
                        "are of another one",
                        pair->line, pair->path, dialect == INTEL_DIALECT_4 ? 4u : 5u);
        config->dialect = dialect;
        return 0;
}

/* Text that can stand in a line of our own configuration. */
static int take_text(char *to, const struct yaml_pair *pair, struct wla_error *err) {
        size_t size = strlen(pair->value);

        for (size_t i = 0; i < size; i++)
                if (pair->value[i] <= ' ' || pair->value[i] > '~')
                        return wla_fail(err, WLA_E_INPUT,
                                        "line %u: character %zu of \"%s\" is a space or no ASCII",
                                        pair->line, i + 1, pair->path);
        if (size >= INTEL_TEXT_SIZE)
                return wla_fail(err, WLA_E_INPUT, "line %u: \"%s\" is too long", pair->line,
                                pair->path);
        memcpy(to, pair->value, size + 1);
        return 0;
}

static int take_answer(enum intel_answer *to, const struct yaml_pair *pair, struct wla_error *err) {
        if (strcmp(pair->value, "true") == 0)
                *to = INTEL_YES;
        else if (strcmp(pair->value, "false") == 0)
                *to = INTEL_NO;
        else if (pair->value[0] != '\0')
                return wla_fail(err, WLA_E_INPUT, "line %u: \"%s\" is neither true nor false",
                                pair->line, pair->path);
        return 0;
}

static int new_secret(const char *text, size_t size, struct wla_secret **ret,
                      struct wla_error *err) {
        if (wla_secret_new(size, ret, err) < 0)
                return -1;
        memcpy(wla_secret_fill(*ret), text, size);
        return 0;
}

/* A secret that authorises a key, as Intel's agent takes it: 40 hex digits, perhaps behind "hex:".  Other
 * forms, which it never makes, give *ret NULL. */
static int parse_auth(const char *text, struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;

        *ret = NULL;
        if (strncmp(text, HEX_PREFIX, strlen(HEX_PREFIX)) == 0)
                text += strlen(HEX_PREFIX);
        if (strlen(text) != INTEL_AUTH_SIZE ||
            strspn(text, "0123456789abcdefABCDEF") != INTEL_AUTH_SIZE)
                return 0;
        if (new_secret(text, INTEL_AUTH_SIZE, &secret, err) < 0)
                return -1;

        uint8_t *digits = wla_secret_fill(secret);
        for (size_t i = 0; i < INTEL_AUTH_SIZE; i++)
                if (digits[i] >= 'A' && digits[i] <= 'F')
                        digits[i] |= 0x20;
        *ret = TAKE_PTR(secret);
        return 0;
}

static int take_auth(struct intel_config *config, struct wla_secret **to,
                     const struct yaml_pair *pair, struct wla_error *err) {
        if (pair->value[0] == '\0')
                return 0;
        if (parse_auth(pair->value, to, err) < 0)
                return -1;
        if (!*to && to == &config->binding_secret)
                config->odd_binding_secret = true;
        else if (!*to)
                config->odd_signing_secret = true;
        return 0;
}

static int take_value(struct intel_config *config, const struct field *field,
                      const struct yaml_pair *pair, struct wla_error *err) {
        void *to = (char *)config + field->offset;

        switch (field->kind) {
        case FIELD_TEXT:
                return take_text(to, pair, err);
        case FIELD_ANSWER:
                return take_answer(to, pair, err);
        case FIELD_PASSWORD:
                return pair->value[0] == '\0'
                               ? 0
                               : new_secret(pair->value, strlen(pair->value), to, err);
        case FIELD_AUTH:
                return take_auth(config, to, pair, err);
        }
        return 0;
}

static int take(void *userdata, const struct yaml_pair *pair, struct wla_error *err) {
        struct parse *parse = userdata;
        const struct field *field = find_field(pair->path);

        if (!field && pair->kind == YAML_MAP && is_map(pair->path))
                return 0;
        if (!field)
                return take_unknown(parse->config, pair, err);
        if (pair->kind != YAML_VALUE)
                return wla_fail(err, WLA_E_INPUT, "line %u: \"%s\" has to be a text", pair->line,
                                pair->path);
        if (take_dialect(parse->config, field, pair, err) < 0)
                return -1;

        /* hvs and mtwilson. */
        for (size_t i = 0; i < FIELDS; i++)
                if (parse->filled[i] && fields[i].offset == field->offset)
                        return wla_fail(err, WLA_E_INPUT,
                                        "line %u: \"%s\" says what \"%s\" has said already",
                                        pair->line, pair->path, fields[i].name_4);
        parse->filled[field - fields] = true;
        return take_value(parse->config, field, pair, err);
}

int intel_config_parse(const void *text, size_t size, struct intel_config *ret,
                       struct wla_error *err) {
        struct parse parse = {.config = ret};

        if (yaml_pairs_read(text, size, take, &parse, err) == 0)
                return 0;
        if (err->code == WLA_E_INPUT && !err->hint && ret->dialect == INTEL_DIALECT_4)
                err->hint = hint_tail;
        return -1;
}

static int open_config(int dir_fd, const char *name, int *ret, size_t *ret_size,
                       struct wla_error *err) {
        _cleanup_close_ int fd = openat(dir_fd, name,
                                        O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        struct stat facts;

        if (fd < 0 && errno == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "it does not exist");
        if (fd < 0 && errno == ELOOP)
                return wla_fail(err, WLA_E_INPUT, "it is a symbolic link");
        if (fd < 0 || fstat(fd, &facts) < 0)
                return wla_fail_errno(err, errno, "cannot open it");
        if (!S_ISREG(facts.st_mode))
                return wla_fail(err, WLA_E_INPUT, "it is not a regular file");
        if (facts.st_size == 0)
                return wla_fail(err, WLA_E_INPUT, "it is empty");
        if (facts.st_size > (off_t)YAML_TEXT_MAX)
                return wla_fail(err, WLA_E_INPUT, "it is larger than %u bytes", YAML_TEXT_MAX);
        *ret_size = (size_t)facts.st_size;
        *ret = TAKE_FD(fd);
        return 0;
}

/* Exactly that many bytes, and no more. */
static int read_whole(int fd, uint8_t *to, size_t size, struct wla_error *err) {
        uint8_t more;

        for (size_t at = 0; at < size;) {
                ssize_t got = read(fd, to + at, size - at);

                if (got < 0)
                        return wla_fail_errno(err, errno, "cannot read it");
                if (got == 0)
                        return wla_fail(err, WLA_E_INPUT, "it changes while it is read");
                at += (size_t)got;
        }
        ssize_t rest = read(fd, &more, sizeof(more));
        explicit_bzero(&more, sizeof(more));
        if (rest < 0)
                return wla_fail_errno(err, errno, "cannot read it");
        return rest == 0 ? 0 : wla_fail(err, WLA_E_INPUT, "it changes while it is read");
}

int intel_config_read(int dir_fd, const char *name, struct intel_config *ret,
                      struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *text = NULL;
        _cleanup_close_ int fd = -1;
        size_t size;

        if (open_config(dir_fd, name, &fd, &size, err) < 0 ||
            wla_secret_new(size, &text, err) < 0 ||
            read_whole(fd, wla_secret_fill(text), size, err) < 0)
                return -1;
        const struct wla_bytes bytes = wla_secret_view(text);
        return intel_config_parse(bytes.data, bytes.size, ret, err);
}

void intel_config_done(struct intel_config *config) {
        config->password = wla_secret_free(config->password);
        config->binding_secret = wla_secret_free(config->binding_secret);
        config->signing_secret = wla_secret_free(config->signing_secret);
}
