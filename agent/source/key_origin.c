/* SPDX-License-Identifier: Apache-2.0 */
#include "source/key_origin.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SCHEME       "https://"
#define SCHEME_SIZE  (sizeof(SCHEME) - 1)
#define SPACE        " \t\n"
#define HOST_MAX     253u /* RFC 1035 section 2.3.4, as text */
#define LABEL_MAX    63u
#define SEGMENTS_MAX 16u

struct segment {
        const char *text;
        size_t size;
};

static bool is_host_character(char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static bool is_path_character(char c) {
        return isalnum((unsigned char)c) || memchr("-._~", c, 4);
}

static bool label_valid(const char *label, size_t size) {
        return size > 0 && size <= LABEL_MAX && label[0] != '-' && label[size - 1] != '-';
}

/* A name whose last label is a number is an address in one of the forms that resolvers still take
 * (2852039166, 0x7f.1, 127.1); only the one of four decimal numbers is an address here. */
static bool name_valid(const char *host, size_t size) {
        char text[HOST_MAX + 1];
        struct in_addr address;
        size_t start = 0;

        if (size == 0 || size > HOST_MAX)
                return false;
        for (size_t i = 0; i <= size; i++) {
                if (i < size && host[i] != '.') {
                        if (!is_host_character(host[i]))
                                return false;
                        continue;
                }
                if (!label_valid(host + start, i - start))
                        return false;
                if (i < size)
                        start = i + 1;
        }
        if (!isdigit((unsigned char)host[start]))
                return true;
        memcpy(text, host, size);
        text[size] = '\0';
        return inet_pton(AF_INET, text, &address) == 1;
}

static bool address6_valid(const char *host, size_t size) {
        char text[INET6_ADDRSTRLEN];
        struct in6_addr address;

        if (size < 2 || size - 2 >= sizeof(text))
                return false;
        memcpy(text, host + 1, size - 2);
        text[size - 2] = '\0';
        return inet_pton(AF_INET6, text, &address) == 1;
}

static bool parse_port(const char *text, size_t size, unsigned *ret) {
        unsigned port = 0;

        if (size == 0 || size > 5 || text[0] == '0')
                return false;
        for (size_t i = 0; i < size; i++) {
                if (!isdigit((unsigned char)text[i]))
                        return false;
                port = port * 10 + (unsigned)(text[i] - '0');
        }
        *ret = port;
        return port <= UINT16_MAX;
}

static int fail_origin(struct wla_error *err) {
        return wla_fail(err, WLA_E_INPUT, "it does not have the form https://HOST[:PORT]");
}

/* authority: host and perhaps port, lower case. */
static int parse_authority(const char *authority, size_t size, struct key_origin *ret,
                           struct wla_error *err) {
        const char *bracket = size > 0 && authority[0] == '[' ? memchr(authority, ']', size) : NULL;
        const char *from = bracket ? bracket : authority;
        const char *colon = memchr(from, ':', size - (size_t)(from - authority));
        size_t host = colon ? (size_t)(colon - authority) : size;
        unsigned port = HTTPS_PORT;

        if (colon && !parse_port(colon + 1, size - host - 1, &port))
                return fail_origin(err);
        if (bracket ? bracket + 1 != authority + host || !address6_valid(authority, host)
                    : !name_valid(authority, host))
                return fail_origin(err);

        (void)snprintf(ret->text, sizeof(ret->text), SCHEME "%.*s:%u", (int)host, authority, port);
        return 0;
}

int key_origin_parse(const char *text, size_t size, struct key_origin *ret, struct wla_error *err) {
        char authority[KEY_ORIGIN_TEXT_SIZE] = {0};

        if (size <= SCHEME_SIZE || size - SCHEME_SIZE >= sizeof(authority) ||
            memcmp(text, SCHEME, SCHEME_SIZE) != 0)
                return fail_origin(err);
        size -= SCHEME_SIZE;
        for (size_t i = 0; i < size; i++)
                authority[i] = (char)tolower((unsigned char)text[SCHEME_SIZE + i]);
        return parse_authority(authority, size, ret, err);
}

int key_origins_parse(const char *text, struct key_origins *ret, struct wla_error *err) {
        struct key_origins origins = {0};

        for (text += strspn(text, SPACE); *text; text += strspn(text, SPACE)) {
                size_t size = strcspn(text, SPACE);

                if (origins.count == KEY_ORIGINS_MAX)
                        return wla_fail(err, WLA_E_INPUT, "there are more than %u of them",
                                        KEY_ORIGINS_MAX);
                if (key_origin_parse(text, size, &origins.origins[origins.count++], err) < 0)
                        return wla_wrap(err, "origin %zu", origins.count);
                text += size;
        }
        *ret = origins;
        return 0;
}

static bool is_listed(const struct key_origins *allowed, const struct key_origin *origin) {
        for (size_t i = 0; i < allowed->count; i++)
                if (strcmp(allowed->origins[i].text, origin->text) == 0)
                        return true;
        return false;
}

static int fail_path(struct wla_error *err) {
        return wla_fail(err, WLA_E_INPUT,
                        "the key id https://... does not end in keys/UUID/transfer, or its path "
                        "holds what such a link has not");
}

static bool segment_valid(const struct segment *segment) {
        if (segment->size <= 2 && memcmp(segment->text, "..", segment->size) == 0)
                return false;
        for (size_t i = 0; i < segment->size; i++)
                if (!is_path_character(segment->text[i]))
                        return false;
        return true;
}

static bool segment_is(const struct segment *segment, const char *text) {
        return segment->size == strlen(text) && memcmp(segment->text, text, segment->size) == 0;
}

static bool split(const char *path, struct segment segments[SEGMENTS_MAX], size_t *ret) {
        size_t count = 0;

        while (*path) {
                path += strspn(path, "/");

                struct segment segment = {path, strcspn(path, "/")};
                if (segment.size == 0)
                        break;
                if (count == SEGMENTS_MAX || !segment_valid(&segment))
                        return false;
                segments[count++] = segment;
                path += segment.size;
        }
        *ret = count;
        return true;
}

int broker_url_parse(const char *text, char ret[BROKER_URL_SIZE], struct wla_error *err) {
        struct segment segments[SEGMENTS_MAX];
        struct key_origin origin;
        size_t count = 0;
        size_t scheme = 0;

        /* Not strncmp(): with sanitizers gcc 12 takes what is behind for nothing. */
        while (scheme < SCHEME_SIZE && text[scheme] == SCHEME[scheme])
                scheme++;
        size_t authority = scheme + strcspn(text + scheme, "/");

        if (strlen(text) >= BROKER_URL_SIZE - sizeof(":443") ||
            key_origin_parse(text, authority, &origin, err) < 0 ||
            !split(text + authority, segments, &count))
                return wla_fail(err, WLA_E_INPUT,
                                "it does not have the form https://HOST[:PORT][/PATH]");

        size_t used = (size_t)snprintf(ret, BROKER_URL_SIZE, "%s", origin.text);
        for (size_t i = 0; i < count; i++)
                used += (size_t)snprintf(ret + used, BROKER_URL_SIZE - used, "/%.*s",
                                         (int)segments[i].size, segments[i].text);
        return 0;
}

/* WLS takes the first UUID that it finds anywhere in the URL. */
static bool has_uuid(const struct segment *segment) {
        struct wla_error ignored = {0};
        struct uuid uuid;

        for (size_t i = 0; i + UUID_TEXT_SIZE - 1 <= segment->size; i++)
                if (uuid_parse(segment->text + i, UUID_TEXT_SIZE - 1, &uuid, &ignored) == 0)
                        return true;
        return false;
}

static int parse_path(const char *path, const char *origin, struct key_link *ret,
                      struct wla_error *err) {
        struct segment segments[SEGMENTS_MAX];
        size_t count = 0;

        if (!split(path, segments, &count) || count < 3 ||
            !segment_is(&segments[count - 3], "keys") ||
            !segment_is(&segments[count - 1], "transfer") ||
            segments[count - 2].size != UUID_TEXT_SIZE - 1 ||
            uuid_parse(segments[count - 2].text, UUID_TEXT_SIZE - 1, &ret->key, err) < 0 ||
            !uuid_is_version4(&ret->key))
                return fail_path(err);

        size_t used = (size_t)snprintf(ret->url, sizeof(ret->url), "%s", origin);
        for (size_t i = 0; i + 2 < count; i++) {
                if (has_uuid(&segments[i]))
                        return fail_path(err);
                used += (size_t)snprintf(ret->url + used, sizeof(ret->url) - used, "/%.*s",
                                         (int)segments[i].size, segments[i].text);
        }
        (void)snprintf(ret->url + used, sizeof(ret->url) - used, "/%s/transfer", ret->key.text);
        return 0;
}

static int parse_origin(const struct key_id *id, const char **ret_path, struct key_origin *ret,
                        struct wla_error *err) {
        assert(id->scheme == KEY_SCHEME_HTTPS);

        *ret_path = strchr(id->text + SCHEME_SIZE, '/');
        if (!*ret_path || key_origin_parse(id->text, (size_t)(*ret_path - id->text), ret, err) < 0)
                return wla_wrap(err, "the key id");
        return 0;
}

int key_link_read(const struct key_id *id, struct key_link *ret, struct wla_error *err) {
        struct key_link link = {0};
        struct key_origin origin;
        const char *path;

        if (parse_origin(id, &path, &origin, err) < 0 ||
            parse_path(path, origin.text, &link, err) < 0)
                return -1;
        *ret = link;
        return 0;
}

int key_link_parse(const struct key_id *id, const struct key_origins *allowed, struct key_link *ret,
                   struct wla_error *err) {
        struct key_link link = {0};
        struct key_origin origin;
        const char *path;

        if (parse_origin(id, &path, &origin, err) < 0)
                return -1;
        if (!is_listed(allowed, &origin))
                return wla_fail_hint(
                        err, WLA_E_DENIED,
                        "add the key broker to AllowedKeyOrigins= if this host may use "
                        "its keys",
                        "%s is not among AllowedKeyOrigins=", origin.text);
        if (parse_path(path, origin.text, &link, err) < 0)
                return -1;
        *ret = link;
        return 0;
}
