/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "vm_admin/domain_edit.h"

#define XML_MAX (16u * 1024u)

/* What becomes of discards in a definition: image/layer_room.h. */
struct text {
        char xml[XML_MAX];
};

static const char plain[] =
        "<domain><name>web</name><uuid>6f0b6f6e-1d5e-4f3f-9d53-0123456789ab</uuid><devices>"
        "<disk type=\"file\"><driver name=\"qemu\" type=\"qcow2\"/><source file=\"/x\"/>"
        "<target dev=\"vda\"/></disk></devices></domain>";

static const char read_only[] =
        "<domain><name>web</name><uuid>6f0b6f6e-1d5e-4f3f-9d53-0123456789ab</uuid><devices>"
        "<disk type=\"file\"><driver name=\"qemu\" type=\"qcow2\"/>"
        "<source file=\"/x\"/><target dev=\"vda\"/><readonly/></disk></devices></domain>";

static void write_to(const struct definition *definition, struct text *ret) {
        _cleanup_buf_ struct buf to = BUF_WITH_LIMIT(XML_MAX - 1);
        struct wla_error err = {0};

        ck_assert_int_eq(definition_write(definition, &to, &err), 0);
        memcpy(ret->xml, to.data, to.size);
        ret->xml[to.size] = '\0';
}

static struct text protect(const char *xml, enum disk_mode mode, enum image_content format,
                           bool keeps_places) {
        const struct protected_disk disk = {
                .target = "vda",
                .mode = mode,
                .format = format,
                .keeps_places = keeps_places,
                .image = "/images/web.img",
        };
        _cleanup_definition_ struct definition definition = {0};
        static struct domain domain;
        struct wla_error err = {0};
        struct text after;

        ck_assert_int_eq(definition_read(xml, strlen(xml), &definition, &err), 0);
        ck_assert_int_eq(domain_edit_protect(&definition, &disk, &err), 0);
        write_to(&definition, &after);
        ck_assert_int_eq(domain_parse(after.xml, strlen(after.xml), &domain, &err), 0);
        ck_assert_int_eq(domain.disks[0].keeps_places,
                         keeps_places && format == IMAGE_CONTENT_QCOW2 && xml != read_only);
        return after;
}

static bool devices_have(const struct text *text, const char *part) {
        return strstr(strstr(text->xml, "<devices>"), part) != NULL;
}

START_TEST(a_qcow2_does_not_free_what_is_discarded) {
        static const enum disk_mode modes[] = {DISK_LAYER, DISK_DIRECT, DISK_EPHEMERAL};

        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
                struct text keeps = protect(plain, modes[i], IMAGE_CONTENT_QCOW2, true);

                ck_assert(devices_have(&keeps, "discard=\"unmap\""));
                ck_assert(devices_have(&keeps, "discard_no_unref=\"on\""));

                /* The same domain on a host that cannot say so. */
                struct text frees = protect(keeps.xml, modes[i], IMAGE_CONTENT_QCOW2, false);
                ck_assert(devices_have(&frees, "discard=\"ignore\""));
                ck_assert(!devices_have(&frees, "discard_no_unref"));
        }
}
END_TEST

START_TEST(a_raw_disk_has_nothing_to_keep) {
        for (int i = 0; i < 2; i++) {
                struct text qcow2 = protect(plain, DISK_DIRECT, IMAGE_CONTENT_QCOW2, true);
                struct text raw = protect(qcow2.xml, DISK_DIRECT, IMAGE_CONTENT_RAW, i == 1);

                ck_assert(devices_have(&raw, "discard=\"unmap\""));
                ck_assert(!devices_have(&raw, "discard_no_unref"));
        }
}
END_TEST

START_TEST(what_is_ignored_stays_so) {
        struct text ignores = protect(plain, DISK_LAYER, IMAGE_CONTENT_QCOW2, false);
        struct text after = protect(ignores.xml, DISK_LAYER, IMAGE_CONTENT_QCOW2, true);

        ck_assert(devices_have(&after, "discard=\"ignore\""));
        ck_assert(devices_have(&after, "discard_no_unref=\"on\""));
}
END_TEST

/* libvirt takes no definition that has both: "not compatible with read-only disk". */
START_TEST(a_disk_that_is_only_read_is_told_nothing) {
        static const enum disk_mode modes[] = {DISK_LAYER, DISK_DIRECT, DISK_EPHEMERAL};

        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
                for (int keeps = 0; keeps < 2; keeps++) {
                        struct text after = protect(read_only, modes[i], IMAGE_CONTENT_QCOW2,
                                                    keeps == 1);

                        ck_assert(devices_have(&after, "<readonly/>"));
                        ck_assert(devices_have(&after, "discard=\"unmap\""));
                        ck_assert(!devices_have(&after, "discard_no_unref"));
                }
}
END_TEST

SUITE_MAIN("domain_discard", a_qcow2_does_not_free_what_is_discarded,
           a_raw_disk_has_nothing_to_keep, what_is_ignored_stays_so,
           a_disk_that_is_only_read_is_told_nothing)
