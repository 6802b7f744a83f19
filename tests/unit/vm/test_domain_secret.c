/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "domain_text.h"
#include "vm/domain.h"

static struct domain domain;

static int parse(const char *xml, struct wla_error *err) {
        return domain_parse(xml, strlen(xml), &domain, err);
}

#define SECRET_LINE(attributes) "<w:secret " attributes "/>"
#define SECRET_OF(target, key) \
        SECRET_LINE("target='" target "' uuid='" SECRET_UUID "' key='local:///" key "'")
#define LINES(lines) "<w:protected xmlns:w='urn:wlagent:domain:1'>" lines "</w:protected>"

START_TEST(disks_that_libvirt_encrypts) {
        static const char *const devices[] = {
                ENCRYPTED_DISK(ENCRYPTION, "vda"),
                /* libvirt writes it where it was read */
                "<disk type='file'><source file='/x'/><target dev='vda'/>" ENCRYPTION "</disk>",
                "<disk type='network'><source protocol='rbd' name='p/i'><encryption format='luks2' "
                "engine='librbd'><secret uuid='" SECRET_UUID
                "' type='passphrase'/></encryption></source><target dev='vda'/></disk>",
        };
        struct wla_error err = {0};
        char xml[4096];

        for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
                domain_text(xml, sizeof(xml), LINES(SECRET_OF("vda", "luks")), devices[i]);
                ck_assert_msg(parse(xml, &err) == 0, "%zu: %s", i, wla_error_text(&err));
                ck_assert_uint_eq(domain.disk_count, 1);
                ck_assert_int_eq(domain.disks[0].mode, DISK_SECRET);
                ck_assert_str_eq(domain.disks[0].target, "vda");
                ck_assert_str_eq(domain.disks[0].secret.text, SECRET_UUID);
                ck_assert_str_eq(domain.disks[0].key_id.text, "local:///luks");
                ck_assert_str_eq(domain.disks[0].image, "");
        }

        /* Beside a disk of ours, and one secret for two. */
        domain_text(
                xml, sizeof(xml),
                LINES(SECRET_OF(
                        "vdb",
                        "luks") "<w:disk target='vda' mode='layer' image='/a'/>" SECRET_OF("vdc",
                                                                                           "luks")),
                LAYER_DISK("vda") ENCRYPTED_DISK(ENCRYPTION, "vdb")
                        ENCRYPTED_DISK(ENCRYPTION, "vdc"));
        ck_assert_msg(parse(xml, &err) == 0, "%s", wla_error_text(&err));
        ck_assert_uint_eq(domain.disk_count, 3);
        ck_assert_int_eq(domain.disks[1].mode, DISK_LAYER);
}
END_TEST

/* Whoever looks after it, it is not us. */
START_TEST(encryption_without_a_line_is_not_ours) {
        static const char *const devices[] = {
                ENCRYPTED_DISK(ENCRYPTION, "vda"),
                ENCRYPTED_DISK("<encryption/><encryption><secret uuid='?'/><secret/></encryption>",
                               "vda"),
                ENCRYPTED_DISK("<encryption format='qcow'><secret usage='x'/></encryption>", "vda"),
        };
        struct wla_error err = {0};
        char xml[4096];

        for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
                domain_text(xml, sizeof(xml), "", devices[i]);
                ck_assert_msg(parse(xml, &err) == 0, "%zu: %s", i, wla_error_text(&err));
                ck_assert_uint_eq(domain.disk_count, 0);
        }
}
END_TEST

START_TEST(faulty_definitions) {
        static const struct {
                const char *metadata;
                const char *devices;
                const char *text;
        } rows[] = {
                {LINES(SECRET_OF("vda", "a")), "", "it has no <encryption>"},
                {LINES(SECRET_OF("vda", "a")), ENCRYPTED_DISK(ENCRYPTION, "vdb"),
                 "it has no <encryption>"},
                {LINES(SECRET_OF("vda", "a")), ENCRYPTED_DISK("<encryption/>", "vda"), "not luks"},
                {LINES(SECRET_OF("vda", "a")),
                 ENCRYPTED_DISK("<encryption format='qcow'><secret uuid='" SECRET_UUID
                                "'/></encryption>",
                                "vda"),
                 "not luks"},
                {LINES(SECRET_OF("vda", "a")),
                 ENCRYPTED_DISK("<encryption format='luks'><secret usage='x'/></encryption>",
                                "vda"),
                 "does not name one secret"},
                {LINES(SECRET_OF("vda", "a")),
                 ENCRYPTED_DISK("<encryption format='luks'><secret uuid='" SECRET_UUID
                                "'/><secret uuid='" SECRET_UUID "'/></encryption>",
                                "vda"),
                 "does not name one secret"},
                {LINES(SECRET_OF("vda", "a")), ENCRYPTED_DISK(ENCRYPTION ENCRYPTION, "vda"),
                 "does not name one secret"},
                {LINES(SECRET_OF("vda", "a")),
                 ENCRYPTED_DISK("<encryption format='luks'><secret uuid='" IMAGE_UUID
                                "'/></encryption>",
                                "vda"),
                 "another secret than the metadata"},
                {LINES(SECRET_OF("vda", "a") SECRET_OF("vdb", "b")),
                 ENCRYPTED_DISK(ENCRYPTION, "vda") ENCRYPTED_DISK(ENCRYPTION, "vdb"),
                 "one secret, but two keys"},
                {LINES(SECRET_OF("vda", "a") SECRET_OF("vda", "a")),
                 ENCRYPTED_DISK(ENCRYPTION, "vda"), "protected twice"},
                {LINES(SECRET_OF("vda", "a")), LAYER_DISK("vda"), "it has no <encryption>"},
                {LINES(SECRET_OF("vda", "a")),
                 "<disk type='block'><source dev='" OUR_DEVICE(
                         "vda") "'>" ENCRYPTION "</source><target dev='vda'/></disk>",
                 "the metadata do not protect it"},
                {LINES(SECRET_LINE("target='vda' uuid='" SECRET_UUID "'")),
                 ENCRYPTED_DISK(ENCRYPTION, "vda"), "lacks"},
                {LINES(SECRET_LINE("target='vda' key='local:///a'")),
                 ENCRYPTED_DISK(ENCRYPTION, "vda"), "lacks"},
                {LINES(SECRET_LINE("uuid='" SECRET_UUID "' key='local:///a'")),
                 ENCRYPTED_DISK(ENCRYPTION, "vda"), "lacks"},
                {LINES(SECRET_LINE("target='vda' uuid='../../etc/passwd' key='local:///a'")),
                 ENCRYPTED_DISK(ENCRYPTION, "vda"), "<secret> in our metadata"},
                {LINES(SECRET_LINE("target='vda' uuid='" SECRET_UUID
                                   "' key='local:///a' image='/a'")),
                 ENCRYPTED_DISK(ENCRYPTION, "vda"), "does not know"},
                {LINES("<w:disk target='vda' uuid='" SECRET_UUID "' mode='layer' image='/a'/>"),
                 LAYER_DISK("vda"), "does not know"},
                {LINES("<w:secret target='vda' uuid='" SECRET_UUID
                       "' key='local:///a'>x</w:secret>"),
                 ENCRYPTED_DISK(ENCRYPTION, "vda"), "text in our metadata"},
                {LINES("<w:secret target='vda' uuid='" SECRET_UUID
                       "' key='local:///a'><w:former/></w:secret>"),
                 ENCRYPTED_DISK(ENCRYPTION, "vda"), "does not belong"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct wla_error err = {0};
                char xml[4096];

                domain_text(xml, sizeof(xml), rows[i].metadata, rows[i].devices);
                ck_assert_msg(parse(xml, &err) < 0, "%zu was accepted", i);
                ck_assert_msg(err.code == WLA_E_INPUT, "%zu", i);
                ck_assert_msg(strstr(wla_error_text(&err), rows[i].text), "%zu: %s", i,
                              wla_error_text(&err));
                ck_assert_msg(!strstr(wla_error_text(&err), "passwd"), "%zu", i);
        }
}
END_TEST

SUITE_MAIN("domain_secret", disks_that_libvirt_encrypts, encryption_without_a_line_is_not_ours,
           faulty_definitions)
