/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "vm_admin/domain_edit.h"

#define UUID    "6f0b6f6e-1d5e-4f3f-9d53-0123456789ab"
#define VOLUME  "/dev/mapper/wlagent-" UUID "-vda"
#define XML_MAX (256u * 1024u)

#define HEAD                      \
        "<domain type=\"kvm\">\n" \
        "  <name>web</name>\n"    \
        "  <uuid>" UUID "</uuid>\n"

/* What a real definition has around the disk, with all that has to survive. */
#define METADATA_OF_OTHERS                                                   \
        "    <app:tag xmlns:app=\"http://example.org/a\" b=\"1\"><!-- c -->" \
        "<app:sub> </app:sub>t &amp; u</app:tag>\n"
#define DISK_FILE                                                                         \
        "    <disk type=\"file\" device=\"disk\">\n"                                      \
        "      <driver name=\"qemu\" type=\"qcow2\" cache=\"writeback\" queues=\"4\"/>\n" \
        "      <source file=\"/srv/web.qcow2\"><seclabel model=\"dac\" "                  \
        "relabel=\"no\"/></source>\n"                                                     \
        "      <backingStore/>\n"                                                         \
        "      <target dev=\"vda\" bus=\"virtio\"/>\n"                                    \
        "      <serial>x</serial>\n"                                                      \
        "      <boot order=\"1\"/>\n"                                                     \
        "    </disk>\n"
#define DISK_OTHER                                                            \
        "    <!-- a comment -->\n"                                            \
        "    <disk type=\"block\" device=\"disk\"><source dev=\"/dev/sdq\"/>" \
        "<target dev=\"vdb\"/></disk>\n"
#define TAIL "</domain>"

static const char plain[] = HEAD "  <devices>\n" DISK_FILE DISK_OTHER "  </devices>\n" TAIL;

static const char with_metadata[] = HEAD "  <metadata>\n" METADATA_OF_OTHERS "  </metadata>\n"
                                         "  <devices>\n" DISK_FILE DISK_OTHER "  </devices>\n" TAIL;

static const struct protected_disk layer = {
        .target = "vda",
        .mode = DISK_LAYER,
        .format = IMAGE_CONTENT_QCOW2,
        .image = "/var/lib/libvirt/images/web.img",
};

struct text {
        char xml[XML_MAX];
};

static void read_definition(const char *xml, struct definition *ret) {
        struct wla_error err = {0};

        ck_assert_msg(definition_read(xml, strlen(xml), ret, &err) == 0, "%s",
                      wla_error_text(&err));
}

static void write_definition(const struct definition *definition, struct text *ret) {
        _cleanup_buf_ struct buf to = BUF_WITH_LIMIT(XML_MAX - 1);
        struct wla_error err = {0};

        ck_assert_int_eq(definition_write(definition, &to, &err), 0);
        memcpy(ret->xml, to.data, to.size);
        ret->xml[to.size] = '\0';
}

/* As it is written without an edit: what else differs is the edit's. */
static void normal(const char *xml, struct text *ret) {
        _cleanup_definition_ struct definition definition = {0};

        read_definition(xml, &definition);
        write_definition(&definition, ret);
}

static int protect(const char *xml, const struct protected_disk *disk, struct text *ret,
                   struct wla_error *err) {
        _cleanup_definition_ struct definition definition = {0};

        *err = (struct wla_error){0};
        read_definition(xml, &definition);
        if (domain_edit_protect(&definition, disk, err) < 0)
                return -1;
        write_definition(&definition, ret);
        return 0;
}

static void must_protect(const char *xml, const struct protected_disk *disk, struct text *ret) {
        struct wla_error err;

        ck_assert_msg(protect(xml, disk, ret, &err) == 0, "%s", wla_error_text(&err));
}

static size_t unprotect(const char *xml, const char *target, struct text *ret) {
        _cleanup_definition_ struct definition definition = {0};
        struct unprotected_disks disks;
        struct wla_error err = {0};

        read_definition(xml, &definition);
        ck_assert_msg(domain_edit_unprotect(&definition, target, &disks, &err) == 0, "%s",
                      wla_error_text(&err));
        write_definition(&definition, ret);
        return disks.count;
}

static bool has(const struct text *text, const char *part) {
        return strstr(text->xml, part) != NULL;
}

#define ck_assert_has(text, part) \
        ck_assert_msg(has(text, part), "%s is not in %s", part, (text)->xml)

static bool devices_have(const struct text *text, const char *part) {
        const char *devices = strstr(text->xml, "<devices>");
        const char *found = strstr(devices, part);

        return found && found < strstr(devices, "</devices>");
}

static void assert_parsed(const struct text *text, const struct protected_disk *disk) {
        static struct domain domain;
        struct wla_error err = {0};

        ck_assert_msg(domain_parse(text->xml, strlen(text->xml), &domain, &err) == 0, "%s",
                      wla_error_text(&err));
        ck_assert_uint_eq(domain.disk_count, 1);
        ck_assert_str_eq(domain.disks[0].target, disk->target);
        ck_assert_int_eq(domain.disks[0].mode, disk->mode);
        ck_assert_int_eq(domain.disks[0].format, disk->format);
        ck_assert_int_eq(domain.disks[0].keeps_places, disk->keeps_places);
        ck_assert_str_eq(domain.disks[0].image, disk->image);
        ck_assert_str_eq(domain.disks[0].header, disk->header);
        ck_assert_int_eq(domain.disks[0].has_key_id, disk->has_key_id);
        if (disk->has_key_id)
                ck_assert_str_eq(domain.disks[0].key_id.text, disk->key_id.text);
}

START_TEST(protects_a_disk_as_wlagentd_reads_it) {
        struct text after;

        must_protect(plain, &layer, &after);
        assert_parsed(&after, &layer);
        ck_assert_has(&after, "<source dev=\"" VOLUME "\"/>");
        ck_assert_has(&after, "cache=\"none\"");
        ck_assert_has(&after, "discard=\"ignore\"");
        ck_assert_has(&after, "queues=\"4\"");
        ck_assert_has(&after, "<boot order=\"1\"/>");
        ck_assert_has(&after, "<serial>x</serial>");
}
END_TEST

START_TEST(direct_disks_have_the_content_of_the_image_and_nothing_below) {
        struct protected_disk disk = layer;
        struct text after;

        disk.mode = DISK_DIRECT;
        disk.format = IMAGE_CONTENT_RAW;
        must_protect(plain, &disk, &after);
        assert_parsed(&after, &disk);
        ck_assert_has(&after, "type=\"raw\"");
        ck_assert_has(&after, "<source dev=\"" VOLUME "\"/></disk>");
        ck_assert(devices_have(&after, "<backingStore/>"));

        disk.format = IMAGE_CONTENT_QCOW2;
        must_protect(plain, &disk, &after);
        assert_parsed(&after, &disk);
}
END_TEST

START_TEST(header_and_key_are_in_the_line) {
        struct protected_disk disk = layer;
        struct wla_error err = {0};
        struct text after;
        struct text again;

        (void)snprintf(disk.header, sizeof(disk.header), "/var/lib/libvirt/images/h&<\"'.header");
        disk.has_key_id = true;
        ck_assert_int_eq(key_id_local("web", &disk.key_id, &err), 0);
        must_protect(plain, &disk, &after);
        assert_parsed(&after, &disk);

        /* And go when they are not said any more. */
        must_protect(after.xml, &layer, &again);
        assert_parsed(&again, &layer);
}
END_TEST

START_TEST(the_rest_stays_byte_for_byte) {
        struct text before;
        struct text after;
        struct text back;

        must_protect(with_metadata, &layer, &after);
        ck_assert_has(&after, METADATA_OF_OTHERS);
        ck_assert_has(&after, DISK_OTHER);
        ck_assert_int_eq(strncmp(after.xml, HEAD, strlen(HEAD)), 0);

        normal(with_metadata, &before);
        ck_assert_uint_eq(unprotect(after.xml, NULL, &back), 1);
        ck_assert_has(&back, METADATA_OF_OTHERS);
        ck_assert_has(&back, DISK_OTHER);
        ck_assert(!has(&back, "wlagent"));
        ck_assert_has(&back, "<disk type=\"file\" device=\"disk\">");
        ck_assert_has(&back,
                      "<driver name=\"qemu\" type=\"qcow2\" cache=\"writeback\" queues=\"4\"/>"
                      "<source file=\"/srv/web.qcow2\"><seclabel model=\"dac\" "
                      "relabel=\"no\"/></source><backingStore/></disk>");
        ck_assert_uint_eq(strlen(back.xml), strlen(before.xml));
}
END_TEST

START_TEST(metadata_that_held_nothing_else_goes) {
        struct text after;
        struct text back;

        must_protect(plain, &layer, &after);
        ck_assert_has(&after, "<metadata>");
        ck_assert_uint_eq(unprotect(after.xml, "vda", &back), 1);
        ck_assert(!has(&back, "metadata"));
        ck_assert_uint_eq(unprotect(back.xml, NULL, &after), 0);
        ck_assert_str_eq(after.xml, back.xml);
}
END_TEST

START_TEST(protecting_again_changes_only_what_was_said) {
        struct protected_disk disk = layer;
        struct text once;
        struct text twice;
        struct text back;

        must_protect(plain, &layer, &once);
        must_protect(once.xml, &layer, &twice);
        ck_assert_str_eq(twice.xml, once.xml);

        disk.mode = DISK_EPHEMERAL;
        (void)snprintf(disk.image, sizeof(disk.image), "/var/lib/libvirt/images/other.img");
        must_protect(once.xml, &disk, &twice);
        assert_parsed(&twice, &disk);
        ck_assert_uint_eq(unprotect(twice.xml, "vda", &back), 1);
        ck_assert_has(&back, "<source file=\"/srv/web.qcow2\">");
}
END_TEST

START_TEST(mode_changes_take_the_end_of_the_chain_along) {
        struct protected_disk direct = layer;
        struct text after;

        direct.mode = DISK_DIRECT;
        must_protect(plain, &direct, &after);
        must_protect(after.xml, &direct, &after);
        must_protect(after.xml, &layer, &after);
        assert_parsed(&after, &layer);
        ck_assert(!devices_have(&after, "<backingStore"));
        must_protect(after.xml, &direct, &after);
        assert_parsed(&after, &direct);
        ck_assert(devices_have(&after, "<backingStore/>"));
}
END_TEST

START_TEST(several_disks) {
        struct protected_disk other = layer;
        static struct domain domain;
        struct wla_error err = {0};
        struct text after;

        (void)snprintf(other.target, sizeof(other.target), "vdb");
        must_protect(plain, &layer, &after);
        must_protect(after.xml, &other, &after);
        ck_assert_int_eq(domain_parse(after.xml, strlen(after.xml), &domain, &err), 0);
        ck_assert_uint_eq(domain.disk_count, 2);

        ck_assert_uint_eq(unprotect(after.xml, "vda", &after), 1);
        assert_parsed(&after, &other);
        ck_assert_uint_eq(unprotect(after.xml, "vda", &after), 0);
        ck_assert_uint_eq(unprotect(after.xml, NULL, &after), 1);
        ck_assert(!has(&after, "wlagent"));
        ck_assert_has(&after, "<source dev=\"/dev/sdq\"/>");
}
END_TEST

/* As virt-clone leaves it: another UUID, the volume of the first domain. */
START_TEST(a_copied_domain_gets_its_own_volume) {
        struct text after;
        struct text copy;
        char *at;

        must_protect(plain, &layer, &after);
        memcpy(&copy, &after, sizeof(copy));
        at = strstr(copy.xml, "<uuid>6f");
        memcpy(at, "<uuid>7a", 8);

        must_protect(copy.xml, &layer, &after);
        assert_parsed(&after, &layer);
        ck_assert(!has(&after, VOLUME));
        ck_assert_uint_eq(unprotect(after.xml, NULL, &after), 1);
        ck_assert_has(&after, "<source file=\"/srv/web.qcow2\">");
}
END_TEST

START_TEST(a_source_that_was_changed_by_hand_is_the_former_one_from_then_on) {
        struct text after;
        struct text changed;
        char *at;

        must_protect(plain, &layer, &after);
        memcpy(&changed, &after, sizeof(changed));
        at = strstr(changed.xml, VOLUME);
        memcpy(at, "/dev/mapper/another", strlen("/dev/mapper/another"));

        ck_assert_uint_eq(unprotect(changed.xml, NULL, &after), 1);
        ck_assert_has(&after, "\"/dev/mapper/another");
        ck_assert(!has(&after, "urn:wlagent"));

        must_protect(changed.xml, &layer, &after);
        assert_parsed(&after, &layer);
        ck_assert_uint_eq(unprotect(after.xml, NULL, &after), 1);
        ck_assert_has(&after, "\"/dev/mapper/another");
        ck_assert(!has(&after, "/srv/web.qcow2"));
}
END_TEST

START_TEST(without_the_former_source_nothing_is_taken_back) {
        static const char xml[] = HEAD
                "<metadata><protected xmlns=\"urn:wlagent:domain:1\">"
                "<disk target=\"vda\" mode=\"layer\" image=\"/x\"/></protected></metadata>"
                "<devices><disk type=\"block\"><driver name=\"qemu\" type=\"qcow2\"/>"
                "<source dev=\"" VOLUME "\"/><target dev=\"vda\"/></disk></devices>" TAIL;
        _cleanup_definition_ struct definition definition = {0};
        struct unprotected_disks disks;
        struct wla_error err = {0};
        struct text after;

        read_definition(xml, &definition);
        ck_assert_int_eq(domain_edit_unprotect(&definition, NULL, &disks, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_str_eq(wla_error_text(&err),
                         "disk vda: the definition does not say what it was before");
        ck_assert_ptr_nonnull(err.hint);

        /* A default namespace is as good, and does not swallow what a line keeps. */
        must_protect(xml, &layer, &after);
        assert_parsed(&after, &layer);
        ck_assert_has(&after, "<wlagent:protected xmlns:wlagent=");
}
END_TEST

static const struct {
        const char *disk;
        const char *text;
} unsuitable[] = {
        {"<disk type=\"file\" device=\"cdrom\"><source file=\"/x\"/><target dev=\"vda\"/></disk>",
         "vda is no disk but another kind of drive"},
        {"<disk type=\"file\" device=\"lun\"><source file=\"/x\"/><target dev=\"vda\"/></disk>",
         "vda is no disk but another kind of drive"},
        {"<disk type=\"file\"><source file=\"/x\"/><target dev=\"vda\"/><shareable/></disk>",
         "disk vda is shared with other domains"},
        {"<disk type=\"file\"><source file=\"/x\"/><target dev=\"vda\"/><transient/></disk>",
         "libvirt itself throws away what is written to disk vda"},
        {"<disk type=\"file\"><source file=\"/x\"/><target dev=\"vda\"/><encryption/></disk>",
         "libvirt itself encrypts disk vda"},
        {"<disk type=\"file\"><source file=\"/x\"><encryption/></source><target "
         "dev=\"vda\"/></disk>",
         "libvirt itself encrypts disk vda"},
        {"<disk type=\"vhostuser\"><source/><target dev=\"vda\"/></disk>",
         "disk vda is of a type that cannot be protected"},
        {"<disk type=\"file\"><target dev=\"sdc\"/></disk><disk><target dev=\"sda\"/></disk>",
         "it has no disk vda; its disks are sdc, sda"},
        {"<disk type=\"file\"><target dev=\"a\x1b[2J\"/></disk>", NULL},
        {"<disk/><disk><target/></disk>", "it has no disks"},
        {"", "it has no disks"},
};

START_TEST(unsuitable_disks_are_refused) {
        struct wla_error err = {0};
        struct text text;
        char xml[2048];

        (void)snprintf(xml, sizeof(xml), HEAD "<devices>%s</devices>" TAIL, unsuitable[_i].disk);

        if (!unsuitable[_i].text) {
                struct definition definition = {0};
                ck_assert_int_eq(definition_read(xml, strlen(xml), &definition, &err), -1);
                return;
        }
        ck_assert_int_eq(protect(xml, &layer, &text, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), unsuitable[_i].text);
}
END_TEST

#define SECRET_UUID "5d0c2b8e-52a4-4d0e-9a11-6d6c0f1b7a20"
#define ENCRYPTED(attributes)                                                \
        HEAD "<devices><disk type=\"file\"><source file=\"/x\"><encryption " \
             "format=\"luks\"><secret type=\"passphrase\" " attributes       \
             "/></encryption></source><target dev=\"vda\"/></disk></devices>" TAIL

static int give_secret(const char *xml, const char *key, struct text *ret, struct wla_error *err) {
        _cleanup_definition_ struct definition definition = {0};
        struct protected_disk disk = {.target = "vda"};

        *err = (struct wla_error){0};
        ck_assert_int_eq(key_id_parse(key, strlen(key), &disk.key_id, err), 0);
        read_definition(xml, &definition);
        if (domain_edit_give_secret(&definition, &disk, err) < 0)
                return -1;
        ck_assert_int_eq(disk.mode, DISK_SECRET);
        ck_assert_str_eq(disk.secret.text, SECRET_UUID);
        write_definition(&definition, ret);
        return 0;
}

START_TEST(a_secret_gets_a_key_and_loses_it) {
        static const char encrypted[] = ENCRYPTED("uuid=\"" SECRET_UUID "\"");
        struct protected_disk expected = {.target = "vda", .mode = DISK_SECRET, .has_key_id = true};
        struct wla_error err = {0};
        struct text before;
        struct text once;
        struct text after;

        ck_assert_int_eq(key_id_parse("local:///b", 10, &expected.key_id, &err), 0);
        normal(encrypted, &before);
        ck_assert_int_eq(give_secret(encrypted, "local:///a", &once, &err), 0);
        ck_assert_has(&once, "<wlagent:secret target=\"vda\" uuid=\"" SECRET_UUID
                             "\" key=\"local:///a\"/>");
        ck_assert_int_eq(give_secret(once.xml, "local:///b", &after, &err), 0);
        assert_parsed(&after, &expected);
        ck_assert(devices_have(&after, "<encryption format=\"luks\">"));

        ck_assert_uint_eq(unprotect(after.xml, "vdb", &once), 0);
        ck_assert_uint_eq(unprotect(after.xml, "vda", &after), 1);
        ck_assert_str_eq(after.xml, before.xml);
}
END_TEST

START_TEST(a_secret_that_cannot_get_a_key) {
        struct wla_error err;
        struct text after;

        ck_assert_int_eq(give_secret(plain, "local:///a", &after, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "disk vda has no element <encryption>");
        ck_assert_int_eq(give_secret(ENCRYPTED("usage=\"x\""), "local:///a", &after, &err), -1);
        ck_assert_str_eq(wla_error_text(&err),
                         "the <encryption> of disk vda names no secret by UUID");
        ck_assert_int_eq(give_secret(ENCRYPTED("uuid=\"x\""), "local:///a", &after, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}
END_TEST

START_TEST(network_disks_keep_how_they_were_reached) {
        static const char disk[] =
                "<disk type=\"network\"><driver name=\"qemu\"/><auth username=\"u\">"
                "<secret type=\"ceph\" usage=\"x\"/></auth><source protocol=\"rbd\" name=\"p/i\">"
                "<host name=\"h\"/></source><target dev=\"vda\"/></disk>";
        struct text after;
        char xml[2048];

        (void)snprintf(xml, sizeof(xml), HEAD "<devices>%s</devices>" TAIL, disk);
        must_protect(xml, &layer, &after);
        assert_parsed(&after, &layer);
        ck_assert(!devices_have(&after, "<auth"));
        ck_assert_uint_eq(unprotect(after.xml, NULL, &after), 1);
        ck_assert_has(&after, "<disk type=\"network\"><target dev=\"vda\"/><driver name=\"qemu\"/>"
                              "<auth username=\"u\"><secret type=\"ceph\" usage=\"x\"/></auth>"
                              "<source protocol=\"rbd\" name=\"p/i\"><host name=\"h\"/></source>");
}
END_TEST

START_TEST(choices_of_the_operator_stay) {
        static const char disk[] =
                "<disk><driver cache=\"directsync\" discard=\"ignore\" iothread=\"2\">"
                "<metadata_cache><max_size>1</max_size></metadata_cache></driver>"
                "<source file=\"/x\"/><target dev=\"vda\"/></disk>";
        struct protected_disk direct = layer;
        struct text after;
        char xml[2048];

        (void)snprintf(xml, sizeof(xml), HEAD "<devices>%s</devices>" TAIL, disk);
        must_protect(xml, &layer, &after);
        ck_assert_has(&after, "<driver cache=\"directsync\" discard=\"ignore\" iothread=\"2\" "
                              "name=\"qemu\" type=\"qcow2\"><metadata_cache>");

        direct.mode = DISK_DIRECT;
        direct.format = IMAGE_CONTENT_RAW;
        must_protect(after.xml, &direct, &after);
        ck_assert(!devices_have(&after, "metadata_cache"));
        ck_assert_uint_eq(unprotect(after.xml, NULL, &after), 1);
        ck_assert_has(&after, "<disk><target dev=\"vda\"/><driver cache=\"directsync\" "
                              "discard=\"ignore\" iothread=\"2\"><metadata_cache>");
}
END_TEST

START_TEST(what_is_no_definition_is_refused) {
        static const char *const texts[] = {
                "",
                "x",
                "<domain>",
                "<pool><uuid>" UUID "</uuid></pool>",
                "<domain/>",
                "<domain><uuid/></domain>",
                "<domain><uuid>../x</uuid></domain>",
                "<!DOCTYPE domain [<!ENTITY e \"x\">]><domain><uuid>" UUID "</uuid>&e;</domain>",
                "<domain xmlns=\"urn:x\"><uuid>" UUID "</uuid></domain>",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct definition definition = {0};
                struct wla_error err = {0};

                ck_assert_int_eq(definition_read(texts[i], strlen(texts[i]), &definition, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                definition_clear(&definition);
        }

        static char large[DOMAIN_XML_MAX + 1];
        struct definition definition = {0};
        struct wla_error err = {0};

        memset(large, ' ', sizeof(large));
        ck_assert_int_eq(definition_read(large, sizeof(large), &definition, &err), -1);
}
END_TEST

/* libxml2's own parser does not survive all of them, so they begin behind it. */
START_TEST(allocation_failures) {
        for (size_t n = 1;; n++) {
                _cleanup_definition_ struct definition definition = {0};
                _cleanup_buf_ struct buf to = BUF_WITH_LIMIT(XML_MAX);
                struct unprotected_disks disks;
                struct wla_error err = {0};

                read_definition(with_metadata, &definition);
                if (!fail_allocation_arm(n))
                        break;

                int outcome = domain_edit_protect(&definition, &layer, &err);
                if (outcome == 0)
                        outcome = domain_edit_unprotect(&definition, NULL, &disks, &err);
                if (outcome == 0)
                        outcome = definition_write(&definition, &to, &err);

                fail_allocation_disarm();
                ck_assert_msg(outcome == (fail_allocation_hit() ? -1 : 0), "%zu", n);
                ck_assert_msg(outcome == 0 || err.code == WLA_E_BUSY, "%zu: %s", n,
                              wla_error_text(&err));
        }
}
END_TEST

START_TEST(indentation_is_libvirts) {
        _cleanup_buf_ struct buf xml = BUF_WITH_LIMIT(4096);
        _cleanup_buf_ struct buf to = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};

        ck_assert_int_eq(buf_append_text(&xml, "<domain><a>\n   <b/></a></domain>", &err), 0);
        ck_assert_int_eq(definition_indent(&xml, &to, &err), 0);
        ck_assert_str_eq(buf_text(&to, &err), "<domain>\n  <a>\n    <b/>\n  </a>\n</domain>");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("domain_edit");
        TCase *tcase = tcase_create("domain_edit");

        tcase_add_test(tcase, protects_a_disk_as_wlagentd_reads_it);
        tcase_add_test(tcase, direct_disks_have_the_content_of_the_image_and_nothing_below);
        tcase_add_test(tcase, header_and_key_are_in_the_line);
        tcase_add_test(tcase, the_rest_stays_byte_for_byte);
        tcase_add_test(tcase, metadata_that_held_nothing_else_goes);
        tcase_add_test(tcase, protecting_again_changes_only_what_was_said);
        tcase_add_test(tcase, mode_changes_take_the_end_of_the_chain_along);
        tcase_add_test(tcase, several_disks);
        tcase_add_test(tcase, a_copied_domain_gets_its_own_volume);
        tcase_add_test(tcase, a_source_that_was_changed_by_hand_is_the_former_one_from_then_on);
        tcase_add_test(tcase, without_the_former_source_nothing_is_taken_back);
        tcase_add_loop_test(tcase, unsuitable_disks_are_refused, 0,
                            sizeof(unsuitable) / sizeof(unsuitable[0]));
        tcase_add_test(tcase, a_secret_gets_a_key_and_loses_it);
        tcase_add_test(tcase, a_secret_that_cannot_get_a_key);
        tcase_add_test(tcase, network_disks_keep_how_they_were_reached);
        tcase_add_test(tcase, choices_of_the_operator_stay);
        tcase_add_test(tcase, what_is_no_definition_is_refused);
        tcase_add_test(tcase, allocation_failures);
        tcase_add_test(tcase, indentation_is_libvirts);
        suite_add_tcase(suite, tcase);

        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
