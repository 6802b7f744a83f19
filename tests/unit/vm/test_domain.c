/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "domain_text.h"
#include "fail_allocation.h"
#include "vm/domain.h"

static struct domain domain;

static int parse(const char *xml, struct wla_error *err) {
        return domain_parse(xml, strlen(xml), &domain, err);
}

static void read_fixture(const char *name, struct buf *xml) {
        struct wla_error err = {0};
        char path[512];

        *xml = BUF_WITH_LIMIT(DOMAIN_XML_MAX);
        (void)snprintf(path, sizeof(path), "%s/%s.xml", DOMAINS_DIRECTORY, name);
        ck_assert_msg(file_read(AT_FDCWD, path, xml, &err) == 0, "%s", wla_error_text(&err));
}

static void check_protected(const char *name) {
        const struct protected_disk *layer = &domain.disks[0];
        const struct protected_disk *direct = &domain.disks[1];

        ck_assert_str_eq(domain.uuid.text, DOMAIN_UUID);
        ck_assert_str_eq(domain.name, "web-1");
        ck_assert_msg(domain.disk_count == 2, "%s", name);
        ck_assert_str_eq(layer->target, "vda");
        ck_assert_int_eq(layer->mode, DISK_LAYER);
        ck_assert_int_eq(layer->format, IMAGE_CONTENT_QCOW2);
        ck_assert_str_eq(layer->image, "/var/lib/libvirt/images/web.img");
        ck_assert_str_eq(layer->header, "");
        ck_assert(!layer->has_key_id);
        ck_assert_str_eq(direct->target, "vdb");
        ck_assert_int_eq(direct->mode, DISK_DIRECT);
        ck_assert_int_eq(direct->format, IMAGE_CONTENT_RAW);
        ck_assert_str_eq(direct->image, "/var/lib/libvirt/images/web data.img");
        ck_assert_str_eq(direct->header, "/var/lib/libvirt/images/headers/data.header");
        ck_assert(direct->has_key_id);
        ck_assert_str_eq(direct->key_id.text, "local:///data");
        ck_assert(!domain.nova.present);
}

START_TEST(every_operation_of_the_hook) {
        static const char *const names[] = {"prepare", "start",   "started", "stopped",
                                            "release", "migrate", "restore", "reconnect"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                _cleanup_buf_ struct buf xml = {0};
                struct wla_error err = {0};

                read_fixture(names[i], &xml);
                memset(&domain, 0xff, sizeof(domain));
                ck_assert_msg(domain_parse((char *)xml.data, xml.size, &domain, &err) == 0,
                              "%s: %s", names[i], wla_error_text(&err));
                check_protected(names[i]);

                ck_assert_int_eq(domain_identify((char *)xml.data, xml.size, &domain, &err), 0);
                ck_assert_str_eq(domain.uuid.text, DOMAIN_UUID);
                ck_assert_str_eq(domain.name, "web-1");
                ck_assert_uint_eq(domain.disk_count, 0);
        }
}
END_TEST

START_TEST(a_domain_without_protection) {
        _cleanup_buf_ struct buf xml = {0};
        struct wla_error err = {0};

        read_fixture("plain", &xml);
        ck_assert_int_eq(domain_parse((char *)xml.data, xml.size, &domain, &err), 0);
        ck_assert_uint_eq(domain.disk_count, 0);
        ck_assert(!domain.nova.present);
}
END_TEST

START_TEST(a_domain_of_nova) {
        _cleanup_buf_ struct buf xml = {0};
        struct wla_error err = {0};

        read_fixture("nova", &xml);
        ck_assert_int_eq(domain_parse((char *)xml.data, xml.size, &domain, &err), 0);
        ck_assert_uint_eq(domain.disk_count, 0);
        ck_assert(domain.nova.present);
        ck_assert_str_eq(domain.nova.image.text, "aa7c1d52-8f3e-4c1a-b1b5-0c2d3e4f5a61");
        ck_assert_str_eq(domain.nova.disk, "/var/lib/nova/instances/" DOMAIN_UUID "/disk");
        ck_assert_str_eq(domain.nova.target, "vda");
}
END_TEST

START_TEST(nova_without_an_image_of_its_own) {
        struct wla_error err = {0};
        char xml[4096];

        /* Booted from a volume: no root image, and no disk of its own. */
        domain_text(xml, sizeof(xml), NOVA_METADATA("<n:root type=\"volume\"/>"), "");
        ck_assert_int_eq(parse(xml, &err), 0);
        ck_assert(domain.nova.present);
        ck_assert_str_eq(domain.nova.image.text, "");
        ck_assert_str_eq(domain.nova.disk, "");

        /* A disk of that name in another instance's directory is not this one's. */
        domain_text(xml, sizeof(xml),
                    NOVA_METADATA("<n:root type=\"image\" uuid=\"" IMAGE_UUID "\"/>"),
                    "<disk type='file' device='disk'><source file='/i/" IMAGE_UUID "/disk'/>"
                    "<target dev='vda'/></disk>");
        ck_assert_int_eq(parse(xml, &err), 0);
        ck_assert_str_eq(domain.nova.image.text, IMAGE_UUID);
        ck_assert_str_eq(domain.nova.disk, "");
}
END_TEST

#define OVER_OUR_IMAGE(file)                                                                    \
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='" file \
        "'/>"                                                                                   \
        "<backingStore type='block'><format type='raw'/>"                                       \
        "<source dev='/dev/mapper/wlagent-image-" IMAGE_UUID "'/></backingStore>"               \
        "<target dev='vda'/></disk>"

/* What libvirt found below it before "start". */
START_TEST(nova_over_an_image_of_ours) {
        static const char metadata[] = NOVA_METADATA("<n:root type='image' uuid='" IMAGE_UUID
                                                     "'/>");
        struct wla_error err = {0};
        char xml[4096];

        domain_text(xml, sizeof(xml), metadata, OVER_OUR_IMAGE("/i/" DOMAIN_UUID "/disk"));
        ck_assert_msg(parse(xml, &err) == 0, "%s", wla_error_text(&err));
        ck_assert(domain.nova.image_below);
        ck_assert_str_eq(domain.nova.below.text, IMAGE_UUID);
        ck_assert_uint_eq(domain.disk_count, 0);

        domain_text(xml, sizeof(xml), metadata, OVER_OUR_IMAGE("/i/" DOMAIN_UUID "/disk.eph0"));
        ck_assert_int_eq(parse(xml, &err), -1);
        domain_text(xml, sizeof(xml), metadata, OVER_OUR_IMAGE("/i/" IMAGE_UUID "/disk"));
        ck_assert_int_eq(parse(xml, &err), -1);
        domain_text(xml, sizeof(xml), "", OVER_OUR_IMAGE("/i/" DOMAIN_UUID "/disk"));
        ck_assert_int_eq(parse(xml, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "is below a disk that is not"));
}
END_TEST

/* Only the registry makes a disk one of Nova's. */
START_TEST(no_definition_asks_for_mode_nova) {
        enum disk_mode mode;
        struct wla_error err = {0};

        ck_assert_int_eq(disk_mode_parse("nova", &mode, &err), -1);
        ck_assert_int_eq(disk_mode_parse("secret", &mode, &err), -1);
}
END_TEST

START_TEST(prefixes_do_not_matter) {
        static const char *const metadata[] = {
                "<w:protected xmlns:w='urn:wlagent:domain:1'>"
                "<w:disk target='vda' mode='layer' image='/a'/></w:protected>",
                "<protected xmlns='urn:wlagent:domain:1'>"
                "<disk target='vda' mode='layer' image='/a'/></protected>",
                "<w:protected xmlns:w='urn:wlagent:domain:1'>"
                "<x:disk xmlns:x='urn:wlagent:domain:1' target='vda' mode='layer' image='/a'/>"
                "</w:protected>",
                "<w:protected xmlns:w='urn:wlagent:domain&#58;1'>"
                "<w:disk target='&#118;da' mode='layer' image='/a'/></w:protected>",
                "<protected/><w:protected xmlns:w='urn:wlagent:domain:1'> <!-- here -->\n"
                "<w:disk target='vda' mode='layer' image='/a'></w:disk></w:protected>",
        };
        struct wla_error err = {0};
        char xml[4096];

        for (size_t i = 0; i < sizeof(metadata) / sizeof(metadata[0]); i++) {
                domain_text(xml, sizeof(xml), metadata[i], LAYER_DISK("vda"));
                ck_assert_msg(parse(xml, &err) == 0, "%zu: %s", i, wla_error_text(&err));
                ck_assert_uint_eq(domain.disk_count, 1);
                ck_assert_str_eq(domain.disks[0].image, "/a");
        }
}
END_TEST

#define LINE_OF(attributes) \
        "<w:protected xmlns:w='urn:wlagent:domain:1'><w:disk " attributes "/></w:protected>"
#define GOOD_LINE LINE_OF("target='vda' mode='layer' image='/a'")

START_TEST(faulty_definitions) {
        static const struct {
                const char *metadata;
                const char *devices;
                const char *text;
        } rows[] = {
                /* a line without its disk, a disk without its line */
                {GOOD_LINE, "", "disk vda is protected, but its source is not"},
                {GOOD_LINE, LAYER_DISK("vdb"), "disk vda is protected, but its source is not"},
                {"", LAYER_DISK("vda"), "the metadata do not protect it"},
                {GOOD_LINE, LAYER_DISK("vda") LAYER_DISK("vdb"), "disk vdb"},
                {GOOD_LINE, LAYER_DISK("vda") LAYER_DISK("vda"), "disk vda is there twice"},
                {"<w:protected xmlns:w='urn:wlagent:domain:1'/>", "", "protect no disk"},
                {"<w:protected xmlns:w='urn:wlagent:domain:1'>"
                 "<w:disk target='vda' mode='layer' image='/a'/>"
                 "<w:disk target='vda' mode='direct' image='/b'/></w:protected>",
                 LAYER_DISK("vda"), "disk vda is protected twice"},
                /* another VM's volume, another disk's, an image, a strange name */
                {GOOD_LINE,
                 DISK("block", "qcow2", "dev", "/dev/mapper/wlagent-" IMAGE_UUID "-vda", "vda"),
                 "its source is not"},
                {GOOD_LINE,
                 DISK("block", "qcow2", "dev", "/dev/mapper/wlagent-" DOMAIN_UUID "-vdb", "vda"),
                 "its source is not"},
                {GOOD_LINE,
                 DISK("block", "qcow2", "dev", "/dev/mapper/wlagent-image-" IMAGE_UUID, "vda"),
                 "for another purpose"},
                {"", DISK("block", "raw", "dev", "/dev/mapper/wlagent-image-" IMAGE_UUID, "vda"),
                 "for another purpose"},
                {"", DISK("block", "raw", "dev", "/dev/mapper/wlagent-", "vda"), "a disk's source"},
                {"", DISK("block", "raw", "dev", "/dev/mapper/wlagent-../sda", "vda"),
                 "a disk's source"},
                /* the wrong type of disk */
                {GOOD_LINE, DISK("file", "qcow2", "file", OUR_DEVICE("vda"), "vda"),
                 "names a device"},
                {GOOD_LINE, DISK("file", "qcow2", "dev", OUR_DEVICE("vda"), "vda"),
                 "has to be block"},
                {GOOD_LINE, DISK("block", "raw", "dev", OUR_DEVICE("vda"), "vda"),
                 "has to be qcow2"},
                {GOOD_LINE, DISK("block", "vmdk", "dev", OUR_DEVICE("vda"), "vda"),
                 "neither raw nor qcow2"},
                {GOOD_LINE,
                 DISK("block", "qcow2-and-then-some-more", "dev", OUR_DEVICE("vda"), "vda"),
                 "neither raw nor qcow2"},
                {GOOD_LINE, "<disk type='block'><source dev='" OUR_DEVICE("vda") "'/></disk>",
                 "no target"},
                {GOOD_LINE,
                 "<disk type='block'><source dev='" OUR_DEVICE(
                         "vda") "'/><target dev='../a'/></disk>",
                 "no target"},
                /* devices of ours in other places */
                {"", "<filesystem><source dir='/dev/mapper/wlagent-x'/></filesystem>",
                 "names a device of wlagent"},
                {"", "<hostdev><a><b c='" OUR_DEVICE("vda") "'/></a></hostdev>",
                 "names a device of wlagent"},
                {"",
                 "<disk type='file'><source file='/a'/><backingStore type='block'>"
                 "<source dev='/dev/mapper/wlagent-image-" IMAGE_UUID "'/></backingStore>"
                 "<target dev='vda'/></disk>",
                 "below a disk that is not"},
                {"",
                 "<disk type='file'><source file='/a'/><mirror type='block'>"
                 "<source dev='" OUR_DEVICE("vda") "'/></mirror><target dev='vda'/></disk>",
                 "names a device of wlagent"},
                {"",
                 "<disk type='file'><source file='/a'/><backingStore type='block'>"
                 "<source dev='" OUR_DEVICE("vda") "'/></backingStore><target dev='vda'/></disk>",
                 "for another purpose"},
                {LINE_OF("target='vda' mode='direct' image='/a'"),
                 "<disk type='block'><source dev='" OUR_DEVICE(
                         "vda") "'/><backingStore type='block'>"
                                "<source dev='/dev/mapper/wlagent-image-" IMAGE_UUID
                                "'/></backingStore>"
                                "<target dev='vda'/></disk>",
                 "no image below it"},
                /* attributes of a line */
                {LINE_OF("target='vda' mode='layer'"), LAYER_DISK("vda"), "lacks"},
                {LINE_OF("target='vda' image='/a'"), LAYER_DISK("vda"), "lacks"},
                {LINE_OF("mode='layer' image='/a'"), LAYER_DISK("vda"), "lacks"},
                {LINE_OF("target='vda' mode='layer' image='/a' more='1'"), LAYER_DISK("vda"),
                 "does not know"},
                {LINE_OF("w:target='vda' mode='layer' image='/a'"), LAYER_DISK("vda"),
                 "does not know"},
                {LINE_OF("target='vda' mode='Layer' image='/a'"), LAYER_DISK("vda"), "mode"},
                {LINE_OF("target='' mode='layer' image='/a'"), LAYER_DISK("vda"), "target"},
                {LINE_OF("target='../vda' mode='layer' image='/a'"), LAYER_DISK("vda"), "target"},
                {LINE_OF("target='abcdefghijklmnop' mode='layer' image='/a'"), LAYER_DISK("vda"),
                 "target"},
                {LINE_OF("target='vda' mode='layer' image='/a' key='file:///etc/shadow'"),
                 LAYER_DISK("vda"), "<disk> in our metadata"},
                {LINE_OF("target='vda' mode='layer' image='/a' key=''"), LAYER_DISK("vda"),
                 "<disk> in our metadata"},
                {LINE_OF("target='vda' mode='layer' image='/a' header='b'"), LAYER_DISK("vda"),
                 "header="},
                {LINE_OF("target='vda' mode='layer' image=''"), LAYER_DISK("vda"), "image="},
                {LINE_OF("target='vda' mode='layer' image='a'"), LAYER_DISK("vda"), "image="},
                {LINE_OF("target='vda' mode='layer' image='/'"), LAYER_DISK("vda"), "image="},
                {LINE_OF("target='vda' mode='layer' image='/a/../b'"), LAYER_DISK("vda"), "image="},
                {LINE_OF("target='vda' mode='layer' image='/a/.'"), LAYER_DISK("vda"), "image="},
                {LINE_OF("target='vda' mode='layer' image='/a//b'"), LAYER_DISK("vda"), "image="},
                {LINE_OF("target='vda' mode='layer' image='/a/'"), LAYER_DISK("vda"), "image="},
                {LINE_OF("target='vda' mode='layer' image='/a&#10;b'"), LAYER_DISK("vda"),
                 "image="},
                {LINE_OF("target='vda' mode='layer' image='/a&#127;'"), LAYER_DISK("vda"),
                 "image="},
                {LINE_OF("target='vda' target='vda' mode='layer' image='/a'"), LAYER_DISK("vda"),
                 "not well-formed"},
                /* our element in strange places and shapes */
                {GOOD_LINE GOOD_LINE, LAYER_DISK("vda"), "<protected> is there twice"},
                {"<x xmlns='urn:x'>" GOOD_LINE "</x>", LAYER_DISK("vda"), "does not belong"},
                {"", GOOD_LINE LAYER_DISK("vda"), "does not belong"},
                {"<w:other xmlns:w='urn:wlagent:domain:1'/>", "", "does not belong"},
                {"<w:protected xmlns:w='urn:wlagent:domain:1'><w:line/></w:protected>", "",
                 "does not belong"},
                {"<w:protected xmlns:w='urn:wlagent:domain:1'><disk/></w:protected>", "",
                 "unknown element in ours"},
                {"<w:protected xmlns:w='urn:wlagent:domain:1'>text</w:protected>", "",
                 "text in our metadata"},
                {"<w:protected xmlns:w='urn:wlagent:domain:1'><![CDATA[x]]></w:protected>", "",
                 "text in our metadata"},
                {"<w:protected xmlns:w='urn:wlagent:domain:2'/>", "", "urn:wlagent:domain:1"},
                {"</metadata><metadata>", "", "<metadata> is there twice"},
                /* Nova */
                {NOVA_METADATA("<n:root type='image' uuid='../../etc/passwd'/>"), "", "UUID"},
                {NOVA_METADATA("") NOVA_METADATA(""), "", "<instance> is there twice"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct wla_error err = {0};
                char xml[4096];

                domain_text(xml, sizeof(xml), rows[i].metadata, rows[i].devices);
                ck_assert_msg(parse(xml, &err) < 0, "%zu was accepted", i);
                ck_assert_msg(err.code == WLA_E_INPUT || err.code == WLA_E_UNSUPPORTED, "%zu", i);
                ck_assert_msg(strstr(wla_error_text(&err), rows[i].text), "%zu: %s", i,
                              wla_error_text(&err));
                ck_assert_msg(!strstr(wla_error_text(&err), "passwd"), "%zu", i);
        }
}
END_TEST

START_TEST(hostile_texts) {
        static const struct {
                const char *xml;
                const char *text;
        } rows[] = {
                {"", "no domain definition"},
                {"text", "not well-formed"},
                {"<domain>", "not well-formed"},
                {"<domain><name>a</name></domain>", "<uuid> is missing"},
                {"<domain><uuid/></domain>", "<uuid> is missing"},
                {"<domain><uuid>../../x</uuid></domain>", "<uuid>"},
                {"<domain><uuid>00000000-0000-0000-0000-000000000000</uuid></domain>", "<uuid>"},
                {"<domain><uuid>" DOMAIN_UUID "</uuid><uuid>" DOMAIN_UUID "</uuid></domain>",
                 "<uuid> is there twice"},
                {"<domain><uuid>" DOMAIN_UUID "<!-- -->" DOMAIN_UUID "</uuid></domain>", "pieces"},
                {"<domain><uuid> " DOMAIN_UUID " </uuid></domain>", "<uuid>"},
                {"<domain xmlns='urn:x'><uuid>" DOMAIN_UUID "</uuid></domain>", "its root"},
                {"<x:domain xmlns:x='urn:x'><uuid>" DOMAIN_UUID "</uuid></x:domain>", "its root"},
                {"<network><uuid>" DOMAIN_UUID "</uuid></network>", "its root"},
                {"<domain><uuid>" DOMAIN_UUID "</uuid></domain><domain/>", "not well-formed"},
                {"<domain><uuid>" DOMAIN_UUID "</uuid>&amp &lt;</domain>", "not well-formed"},
                {"<domain><uuid>" DOMAIN_UUID "</uuid>\xff</domain>", "not well-formed"},
                {"<domain><uuid>" DOMAIN_UUID "</uuid><a b='<'/></domain>", "not well-formed"},
                {"<domain><uuid>" DOMAIN_UUID "</uuid>&who;</domain>", "not well-formed"},
                {"<domain><uuid>" DOMAIN_UUID "</uuid><a b='&who;'/></domain>", "not well-formed"},
                {"<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]>"
                 "<domain><uuid>&b;</uuid></domain>",
                 "document type"},
                {"<!DOCTYPE d SYSTEM 'http://192.0.2.1/d.dtd'><domain/>", "document type"},
                {"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
                 "<domain><uuid>&x;</uuid></domain>",
                 "document type"},
                {"<?xml version='1.0'?><!-- a --><!DOCTYPE d><domain/>", "document type"},
                {"<domain><!ENTITY x 'y'></domain>", "document type"},
                {"<domain><!-- </domain>", "does not end"},
                {"<domain><![CDATA[ </domain>", "does not end"},
                {"<domain><? </domain>", "does not end"},
                {"<domain a='", "does not end"},
                {"<domain a=", "does not end"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct wla_error err = {0};

                ck_assert_msg(parse(rows[i].xml, &err) < 0, "%zu was accepted", i);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_msg(strstr(wla_error_text(&err), rows[i].text), "%zu: %s", i,
                              wla_error_text(&err));
                ck_assert_int_lt(domain_identify(rows[i].xml, strlen(rows[i].xml), &domain, &err),
                                 0);
        }

        struct wla_error err = {0};
        static const char zero[] = "<domain>\0</domain>";
        ck_assert_int_lt(domain_parse(zero, sizeof(zero) - 1, &domain, &err), 0);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "zero byte"));
}
END_TEST

/* Encodings in which other bytes than ours mean markup. */
START_TEST(other_encodings) {
        static const char wide[] = "\xff\xfe<\0d\0o\0m\0a\0i\0n\0/\0>\0";
        struct wla_error err = {0};
        char xml[4096];

        ck_assert_int_lt(domain_parse(wide, sizeof(wide) - 1, &domain, &err), 0);

        (void)snprintf(xml, sizeof(xml),
                       "<?xml version='1.0' encoding='UTF-7'?><domain><uuid>%s"
                       "</uuid><name>+ADw-</name></domain>",
                       DOMAIN_UUID);
        if (parse(xml, &err) == 0)
                ck_assert_str_eq(domain.name, "+ADw-");
}
END_TEST

/* A text of one piece repeated, with a number inside when it has a tail; what it costs must not be more
 * than linear. */
struct repeated {
        const char *before;
        const char *piece;
        const char *tail;
        const char *after;
        const char *fault; /* NULL: it is good */
};

static void check_repeated(const struct repeated *row, size_t size) {
        _cleanup_buf_ struct buf xml = BUF_WITH_LIMIT(2 * DOMAIN_XML_MAX);
        struct wla_error err = {0};

        ck_assert_int_eq(buf_append_text(&xml, row->before, &err), 0);
        int outcome = 0;
        for (size_t i = 0; outcome == 0 && xml.size + strlen(row->after) + 64 <= size; i++) {
                outcome = buf_append_text(&xml, row->piece, &err);
                if (outcome == 0 && row->tail)
                        outcome = buf_printf(&xml, &err, "%zu%s", i, row->tail);
        }
        ck_assert_int_eq(outcome, 0);
        ck_assert_int_eq(buf_append_text(&xml, row->after, &err), 0);

        uint64_t start_usec = clock_now_usec();
        outcome = domain_parse((char *)xml.data, xml.size, &domain, &err);
        ck_assert_uint_lt(clock_now_usec() - start_usec, 5 * USEC_PER_SEC);
        ck_assert_msg((outcome == 0) == !row->fault, "%s: %s", row->piece, wla_error_text(&err));
        if (row->fault)
                ck_assert_msg(strstr(wla_error_text(&err), row->fault), "%s", wla_error_text(&err));
}

#define OPENING "<domain><uuid>" DOMAIN_UUID "</uuid>"

START_TEST(large_texts) {
        static const struct repeated rows[] = {
                {OPENING, "<a b='c'/>", NULL, "</domain>", NULL},
                {OPENING, "<x:a xmlns:x='u", "'/>", "</domain>", NULL},
                {OPENING "<a>", "text ", NULL, "</a></domain>", NULL},
                {OPENING, "<!-- -->", NULL, "</domain>", NULL},
                {OPENING, " &#60;", NULL, "</domain>", NULL},
                {OPENING, "<a>", NULL, "", "nested deeper than 64"},
                {OPENING "<a ", "b", "='' ", "/></domain>", "more than 64 attributes"},
                {OPENING "<a ", "xmlns:b", "='u' ", "/></domain>", "more than 64 attributes"},
                {OPENING, "<!-- ", NULL, "", "does not end"},
                {OPENING, "<a x='", NULL, "", ""},
                {OPENING "<name>", "n", NULL, "</name></domain>", NULL},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                check_repeated(&rows[i], DOMAIN_XML_MAX);
        ck_assert_uint_eq(strlen(domain.name), DOMAIN_NAME_SIZE - 1);

        const struct repeated too_large = {OPENING, " ", NULL, "</domain>", "no domain definition"};
        check_repeated(&too_large, DOMAIN_XML_MAX + 128);
}
END_TEST

START_TEST(many_disks) {
        for (unsigned count = DOMAIN_DISKS_MAX; count <= DOMAIN_DISKS_MAX + 1; count++) {
                _cleanup_buf_ struct buf xml = BUF_WITH_LIMIT(65536);
                struct wla_error err = {0};

                ck_assert_int_eq(buf_append_text(&xml,
                                                 OPENING "<metadata><w:protected "
                                                         "xmlns:w='urn:wlagent:domain:1'>",
                                                 &err),
                                 0);
                for (unsigned i = 0; i < count; i++)
                        ck_assert_int_eq(buf_printf(&xml, &err,
                                                    "<w:disk target='vd%u' mode='ephemeral' "
                                                    "image='/%u'/>",
                                                    i, i),
                                         0);
                ck_assert_int_eq(buf_append_text(&xml, "</w:protected></metadata><devices>", &err),
                                 0);
                for (unsigned i = 0; i < count; i++)
                        ck_assert_int_eq(
                                buf_printf(&xml, &err,
                                           "<disk type='block'><driver type='qcow2'/><source "
                                           "dev='/dev/mapper/wlagent-" DOMAIN_UUID
                                           "-vd%u'/><target dev='vd%u'/></disk>",
                                           i, i),
                                0);
                ck_assert_int_eq(buf_append_text(&xml, "</devices></domain>", &err), 0);

                int outcome = domain_parse((char *)xml.data, xml.size, &domain, &err);
                ck_assert_int_eq(outcome, count > DOMAIN_DISKS_MAX ? -1 : 0);
        }
}
END_TEST

START_TEST(a_name_is_made_printable) {
        struct wla_error err = {0};

        ck_assert_int_eq(parse(OPENING "<name>a&#10;b&#127;\xc3\xa9</name></domain>", &err), 0);
        ck_assert_str_eq(domain.name, "a?b?\xc3\xa9");
}
END_TEST

/* What a stopping domain looks like is nobody's business. */
START_TEST(identity_of_a_faulty_domain) {
        struct wla_error err = {0};
        char xml[4096];

        domain_text(xml, sizeof(xml), GOOD_LINE GOOD_LINE, "");
        ck_assert_int_lt(parse(xml, &err), 0);
        domain_text(xml, sizeof(xml), LINE_OF("target='..'"), LAYER_DISK("vdb"));
        ck_assert_int_eq(domain_identify(xml, strlen(xml), &domain, &err), 0);
        ck_assert_str_eq(domain.uuid.text, DOMAIN_UUID);
        ck_assert_uint_eq(domain.disk_count, 0);
}
END_TEST

START_TEST(paths) {
        static const char *const good[] = {"/a", "/a/b", "/...", "/.a/b.", "/a b/\xc3\xa9"};
        static const char *const bad[] = {"",        "/",     "a",   "a/b",  "//",
                                          "/a//b",   "/a/",   "/.",  "/..",  "/a/./b",
                                          "/a/../b", "/../a", "./a", "/a\n", "/\x1f"};
        char path[VOLUMED_PATH_SIZE + 1];

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                ck_assert_msg(disk_path_valid(good[i], strlen(good[i])), "%s", good[i]);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ck_assert_msg(!disk_path_valid(bad[i], strlen(bad[i])), "%s", bad[i]);

        memset(path, 'a', sizeof(path));
        path[0] = '/';
        ck_assert(disk_path_valid(path, VOLUMED_PATH_SIZE - 1));
        ck_assert(!disk_path_valid(path, VOLUMED_PATH_SIZE));
}
END_TEST

START_TEST(allocation_failures) {
        _cleanup_buf_ struct buf xml = {0};

        read_fixture("start", &xml);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct wla_error err = {0};
                int outcome = domain_parse((char *)xml.data, xml.size, &domain, &err);

                fail_allocation_disarm();
                ck_assert_msg(outcome == (fail_allocation_hit() ? -1 : 0), "%zu", n);
                ck_assert_msg(outcome == 0 || err.code == WLA_E_BUSY, "%zu: %s", n,
                              wla_error_text(&err));
        }
}
END_TEST

SUITE_MAIN("domain", every_operation_of_the_hook, a_domain_without_protection, a_domain_of_nova,
           nova_without_an_image_of_its_own, nova_over_an_image_of_ours,
           no_definition_asks_for_mode_nova, prefixes_do_not_matter, faulty_definitions,
           hostile_texts, other_encodings, large_texts, many_disks, a_name_is_made_printable,
           identity_of_a_faulty_domain, paths, allocation_failures)
