/* SPDX-License-Identifier: Apache-2.0 */
#include "source/key_origin.h"

#include <stdio.h>
#include <string.h>

#include "suite.h"

#define KEY  "eb61b2e9-c7cd-4476-ac5f-71582c892112"
#define GOOD "https://kbs.example:9443/kbs/v1/keys/" KEY "/transfer"

static struct key_origins origins(const char *text) {
        struct key_origins parsed;
        struct wla_error err = {0};

        ck_assert_msg(key_origins_parse(text, &parsed, &err) == 0, "%s", wla_error_text(&err));
        return parsed;
}

/* As a request comes: the text of an annotation, then its origin and path. */
static int parse(const char *text, const char *allowed, struct key_link *ret,
                 struct wla_error *err) {
        const struct key_origins list = origins(allowed);
        struct key_id id;

        return key_id_parse(text, strlen(text), &id, err) < 0
                       ? -1
                       : key_link_parse(&id, &list, ret, err);
}

START_TEST(a_link_is_rebuilt) {
        static const struct {
                const char *text;
                const char *url;
        } links[] = {
                {GOOD, GOOD},
                {"https://KBS.Example:9443/kbs/v1/keys/" KEY "/transfer", GOOD},
                {"https://kbs.example:9443/kbs/v1//keys/" KEY "/transfer", GOOD},
                {"https://kbs.example:9443//kbs//v1//keys//" KEY "//transfer/", GOOD},
                {"https://kbs.example:9443/kbs/v1/keys/EB61B2E9-C7CD-4476-AC5F-71582C892112/"
                 "transfer",
                 GOOD},
                {"https://kbs.example:9443/keys/" KEY "/transfer",
                 "https://kbs.example:9443/keys/" KEY "/transfer"},
                {"https://other.example/v1/keys/" KEY "/transfer",
                 "https://other.example:443/v1/keys/" KEY "/transfer"},
                {"https://[2001:db8::1]:9443/v1/keys/" KEY "/transfer",
                 "https://[2001:db8::1]:9443/v1/keys/" KEY "/transfer"},
        };

        for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
                struct key_link link;
                struct wla_error err = {0};

                ck_assert_msg(parse(links[i].text,
                                    "https://kbs.example:9443\nhttps://OTHER.example:443 "
                                    "https://[2001:db8::1]:9443",
                                    &link, &err) == 0,
                              "%s: %s", links[i].text, wla_error_text(&err));
                ck_assert_str_eq(link.url, links[i].url);
                ck_assert_str_eq(link.key.text, KEY);
        }
}
END_TEST

/* Each is refused before anything is asked; those of the listed broker for their path. */
static const char *const hostile[] = {
        "https://evil.example/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:9444/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:09443/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:99443/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:9443:9443/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example.:9443/kbs/v1/keys/" KEY "/transfer",
        "https://.kbs.example:9443/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example.evil:9443/kbs/v1/keys/" KEY "/transfer",
        "https://evil.kbs.example:9443/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example@evil:9443/kbs/v1/keys/" KEY "/transfer",
        "https://evil#@kbs.example:9443/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:9443#@evil/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:9443?x=/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:9443\\@evil/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:9443/kbs/v1/keys/" KEY "/transfer?url=https://evil",
        "https://kbs.example:9443/kbs/v1/keys/" KEY "/transfer#",
        "https://kbs.example:9443/kbs/v1/../keys/" KEY "/transfer",
        "https://kbs.example:9443/./keys/" KEY "/transfer",
        "https://kbs.example:9443/kbs/%2e%2e/keys/" KEY "/transfer",
        "https://kbs.example:9443/kbs/v1/keys/%65b61b2e9-c7cd-4476-ac5f-71582c892112/transfer",
        "https://kbs.example:9443/kbs/v1/keys/" KEY,
        "https://kbs.example:9443/kbs/v1/keys/" KEY "/transfer/x",
        "https://kbs.example:9443/kbs/v1/keys/" KEY "x/transfer",
        "https://kbs.example:9443/kbs/v1/keys/transfer",
        "https://kbs.example:9443/kbs/v1/" KEY "/transfer",
        "https://kbs.example:9443/" KEY "/keys/" KEY "/transfer",
        "https://kbs.example:9443/x" KEY "y/keys/" KEY "/transfer",
        "https://kbs.example:9443/kbs/v1/keys/eb61b2e9-c7cd-1476-ac5f-71582c892112/transfer",
        "https://kbs.example:9443/kbs/v1/keys/eb61b2e9-c7cd-4476-cc5f-71582c892112/transfer",
        "https://kbs.example:9443/kbs/v1/keys/eb61b2e9c7cd4476ac5f71582c892112/transfer",
        "https://kbs.example:9443/kbs/v1/keys/00000000-0000-0000-0000-000000000000/transfer",
        "https://kbs.example:9443",
        "https:///kbs/v1/keys/" KEY "/transfer",
        "https:/kbs.example:9443/kbs/v1/keys/" KEY "/transfer",
        "https//kbs.example:9443/kbs/v1/keys/" KEY "/transfer",
        "HTTPS://kbs.example:9443/kbs/v1/keys/" KEY "/transfer",
        "http://kbs.example:9443/kbs/v1/keys/" KEY "/transfer",
        "//kbs.example:9443/kbs/v1/keys/" KEY "/transfer",
        "file:///etc/shadow",
        "unix:/run/workload-agent/control.sock",
        "gopher://kbs.example:9443/_x",
        "https://2852039166/kbs/v1/keys/" KEY "/transfer",
        "https://0xa9fea9fe/kbs/v1/keys/" KEY "/transfer",
        "https://0251.0376.0251.0376/kbs/v1/keys/" KEY "/transfer",
        "https://169.254.169.254/kbs/v1/keys/" KEY "/transfer",
        "https://127.1/kbs/v1/keys/" KEY "/transfer",
        "https://[::ffff:169.254.169.254]/kbs/v1/keys/" KEY "/transfer",
        "https://[fe80::1%25eth0]/kbs/v1/keys/" KEY "/transfer",
        "https://[::1/kbs/v1/keys/" KEY "/transfer",
        "https://[]:9443/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:9443]/kbs/v1/keys/" KEY "/transfer",
        "https://xn--kbs-example-:9443/kbs/v1/keys/" KEY "/transfer",
        "https://kbs.example:9443 /kbs/v1/keys/" KEY "/transfer",
        " " GOOD,
        GOOD " ",
        GOOD "\r\nHost: evil",
        "",
};

START_TEST(hostile_links_are_refused) {
        struct key_link link = {0};
        struct wla_error err = {0};

        ck_assert_msg(parse(hostile[_i], "https://kbs.example:9443", &link, &err) == -1,
                      "\"%s\" became %s", hostile[_i], link.url);
        ck_assert_str_eq(link.url, "");
        ck_assert(err.code == WLA_E_INPUT || err.code == WLA_E_DENIED);
}
END_TEST

START_TEST(nothing_is_allowed_unless_listed) {
        struct key_link link;
        struct wla_error err = {0};

        ck_assert_int_eq(parse(GOOD, "", &link, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_str_eq(wla_error_text(&err),
                         "https://kbs.example:9443 is not among AllowedKeyOrigins=");
}
END_TEST

/* Every single byte of a good link changed to every other: the origin stays the listed one, or nothing
 * comes out. */
START_TEST(mutations_never_leave_the_broker) {
        char text[sizeof(GOOD)];

        for (size_t at = 0; at < sizeof(GOOD) - 1; at++)
                for (int byte = 1; byte < 256; byte++) {
                        struct key_link link;
                        struct wla_error err = {0};

                        memcpy(text, GOOD, sizeof(text));
                        text[at] = (char)byte;
                        if (parse(text, "https://kbs.example:9443", &link, &err) == 0)
                                ck_assert_msg(strncmp(link.url, "https://kbs.example:9443/", 25) ==
                                                      0,
                                              "%s became %s", text, link.url);
                }
}
END_TEST

START_TEST(base_urls) {
        static const struct {
                const char *text;
                const char *url; /* NULL: refused */
        } urls[] = {
                {"https://wls.example:5000/wls/v1", "https://wls.example:5000/wls/v1"},
                {"https://wls.example:5000/wls/v1/", "https://wls.example:5000/wls/v1"},
                {"https://wls.example:5000//wls//v1//", "https://wls.example:5000/wls/v1"},
                {"https://wls.example", "https://wls.example:443"},
                {"https://WLS.example/", "https://wls.example:443"},
                {"http://wls.example/wls", NULL},
                {"wls.example/wls", NULL},
                {"https://", NULL},
                {"https:///wls", NULL},
                {"https://user@wls.example/wls", NULL},
                {"https://wls.example/wls?x=y", NULL},
                {"https://wls.example/wls/../x", NULL},
                {"", NULL},
        };

        for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
                char url[BROKER_URL_SIZE] = "";
                struct wla_error err = {0};
                int outcome = broker_url_parse(urls[i].text, url, &err);

                ck_assert_msg((outcome == 0) == (urls[i].url != NULL), "%s", urls[i].text);
                ck_assert_str_eq(url, urls[i].url ? urls[i].url : "");
        }
}
END_TEST

START_TEST(lists_of_origins) {
        struct key_origins list = origins(" https://a\thttps://b:1 \n");
        struct wla_error err = {0};
        char many[2048] = "";

        ck_assert_uint_eq(list.count, 2);
        ck_assert_str_eq(list.origins[0].text, "https://a:443");
        ck_assert_str_eq(list.origins[1].text, "https://b:1");
        ck_assert_uint_eq(origins("").count, 0);
        ck_assert_int_eq(key_origins_parse("https://a https://b/x", &list, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "origin 2: "));
        ck_assert_uint_eq(list.count, 2);
        for (int i = 0; i < 17; i++)
                (void)snprintf(many + strlen(many), sizeof(many) - strlen(many), "https://k%d ", i);
        ck_assert_int_eq(key_origins_parse(many, &list, &err), -1);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("key_origin");
        TCase *tcase = tcase_create("key_origin");

        tcase_add_test(tcase, a_link_is_rebuilt);
        tcase_add_loop_test(tcase, hostile_links_are_refused, 0,
                            sizeof(hostile) / sizeof(hostile[0]));
        tcase_add_test(tcase, nothing_is_allowed_unless_listed);
        tcase_add_test(tcase, mutations_never_leave_the_broker);
        tcase_add_test(tcase, base_urls);
        tcase_add_test(tcase, lists_of_origins);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
