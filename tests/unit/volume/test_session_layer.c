/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail_allocation.h"
#include "fail_call.h"
#include "image/qcow2_format.h"
#include "image/volume_key.h"
#include "layer_fixture.h"
#include "suite.h"

static void check_nothing_half_made(const struct layer_fixture *fixture) {
        DIR *directory = opendir(fixture_path(fixture, "."));

        if (!directory)
                return;
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                ck_assert_msg(entry->d_name[0] == '.' || strcmp(entry->d_name, "vda") == 0, "%s",
                              entry->d_name);
        (void)closedir(directory);
}

/* Whether there is one now; one that is there is whole. */
static bool check_layer(struct layer_fixture *fixture) {
        check_nothing_half_made(fixture);
        fixture_begin(fixture);
        ck_assert_msg(fixture_take(fixture, session_inspect_layer) == 0, "%s",
                      wla_error_text(&fixture->err));
        bool exists = fixture->session.state == SESSION_LAYER;
        ck_assert(exists || access(fixture_path(fixture, "vda"), F_OK) < 0);
        fixture_end(fixture);
        if (exists)
                fixture_succeed(fixture, session_open_layer);
        return exists;
}

/* A layer is longer than it has to be where that can be. */
static bool is_no_harm(const char *call) {
        return strcmp(call, "ftruncate64") == 0;
}

static void fail_making(struct layer_fixture *fixture, bool ephemeral) {
        unsigned made = 0;

        for (size_t n = 1; fail_call_arm(n); n++) {
                fixture_begin(fixture);
                fixture->request.layer.ephemeral = ephemeral;
                int outcome = fixture_inspect_and(fixture, session_create_layer);
                fail_call_disarm();
                const char *call = fail_call_hit();
                if (outcome < 0)
                        fixture_check_refusal(fixture, call);
                else
                        ck_assert_msg(!call || is_no_harm(call), "%s", call);
                fixture_end(fixture);
                if (check_layer(fixture)) {
                        made++;
                        fixture_remove_layer(fixture);
                }
        }
        /* Two that came to their end; and one whose directory may not be on the disk yet. */
        ck_assert_uint_eq(made, ephemeral ? 0 : 3);
}

START_TEST(every_call_may_fail_while_a_layer_is_made) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fail_making(&fixture, false);
        fail_making(&fixture, true);
        fixture_tear_down(&fixture);
}
END_TEST

START_TEST(every_allocation_may_fail_while_a_layer_is_made) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_begin(&fixture);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int outcome = fixture_inspect_and(&fixture, session_create_layer);
                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                if (outcome < 0)
                        fixture_check_refusal(&fixture, "allocation");
                fixture_end(&fixture);
                if (check_layer(&fixture))
                        fixture_remove_layer(&fixture);
                fixture_begin(&fixture);
        }
        fixture_end(&fixture);
        fixture_tear_down(&fixture);
}
END_TEST

START_TEST(every_call_may_fail_while_an_older_layer_is_opened) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        for (size_t n = 1; fail_call_arm(n); n++) {
                fixture_begin(&fixture);
                int outcome = fixture_inspect_and(&fixture, fixture_open_keeping);
                fail_call_disarm();
                const char *call = fail_call_hit();
                if (outcome < 0)
                        fixture_check_refusal(&fixture, call);
                else
                        ck_assert_msg(!call || is_no_harm(call), "%s", call);
                fixture_end(&fixture);
                check_nothing_half_made(&fixture);
                ck_assert(fixture_length(&fixture) == (off_t)fixture_room().least ||
                          fixture_length(&fixture) == (off_t)fixture_room().ample);
                fixture_check_whole(&fixture, 0);
                fixture_succeed(&fixture, fixture_open_keeping);
                ck_assert_int_eq(fixture_length(&fixture), (off_t)fixture_room().ample);
                fixture_check_whole(&fixture, 3);
                fixture_remove_layer(&fixture);
                fixture_make_older(&fixture);
        }
        fixture_tear_down(&fixture);
}
END_TEST

START_TEST(every_allocation_may_fail_while_an_older_layer_is_opened) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        fixture_begin(&fixture);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int outcome = fixture_inspect_and(&fixture, fixture_open_keeping);
                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                if (outcome < 0)
                        fixture_check_refusal(&fixture, "allocation");
                fixture_end(&fixture);
                fixture_begin(&fixture);
        }
        fixture_end(&fixture);
        fixture_check_whole(&fixture, 3);
        fixture_tear_down(&fixture);
}
END_TEST

START_TEST(every_call_may_fail_while_a_layer_is_removed) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        for (size_t n = 1; fail_call_arm(n); n++) {
                fixture_begin(&fixture);
                int outcome = fixture_take(&fixture, session_remove_layer);
                fail_call_disarm();
                if (outcome < 0)
                        fixture_check_refusal(&fixture, fail_call_hit());
                fixture_end(&fixture);
                fixture_begin(&fixture);
                ck_assert_int_eq(fixture_take(&fixture, session_inspect_layer), 0);
                bool exists = fixture.session.state == SESSION_LAYER;
                fixture_end(&fixture);
                if (exists) {
                        ck_assert_int_lt(outcome, 0);
                        fixture_check_whole(&fixture, 2);
                        fixture_remove_layer(&fixture);
                }
                fixture_make_older(&fixture);
        }
        fixture_tear_down(&fixture);
}
END_TEST

/* With what is wrong only from the inspection on. */
static int open_inspected(struct layer_fixture *fixture, const char *call) {
        fixture_begin(fixture);
        ck_assert_msg(fixture_take(fixture, session_inspect_layer) == 0, "%s",
                      wla_error_text(&fixture->err));
        fail_call_named(call);
        int outcome = fixture_take(fixture, fixture_open_keeping);
        fail_call_named(NULL);
        return outcome;
}

static void refuse_to_open(struct layer_fixture *fixture, const char *call, enum wla_code code,
                           const char *text) {
        ck_assert_int_eq(open_inspected(fixture, call), -1);
        ck_assert_msg(strstr(wla_error_text(&fixture->err), text) != NULL, "%s",
                      wla_error_text(&fixture->err));
        ck_assert_int_eq(fixture->err.code, code);
        fixture_check_refusal(fixture, text);
        ck_assert_int_eq(fixture_device.disk_fd, -1);
        fixture_end(fixture);
}

START_TEST(what_cannot_be_read_is_not_lengthened) {
        static const struct {
                const char *call;
                const char *text;
        } cases[] = {
                {"crypt_load", "libcryptsetup cannot read the header"},
                {"pread64", "reading what is in it: Input/output error"},
                {"EVP_CipherInit_ex", "OpenSSL cannot run AES-XTS"},
                {"EVP_CipherUpdate", "OpenSSL cannot run AES-XTS"},
        };
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                refuse_to_open(&fixture, cases[i].call, WLA_E_SYSTEM, cases[i].text);
                ck_assert_int_eq(fixture_length(&fixture), (off_t)fixture_room().least);
        }
        fixture_check_whole(&fixture, 2);
        fixture_tear_down(&fixture);
}
END_TEST

/* The length has to be on the disk before a guest's data are; it costs nothing, and the next attempt finds it. */
START_TEST(what_is_not_durable_is_not_mapped) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        refuse_to_open(&fixture, "fsync", WLA_E_SYSTEM, "making the length of a layer durable");
        fixture_check_whole(&fixture, 2);
        fixture_tear_down(&fixture);
}
END_TEST

START_TEST(another_key_changes_nothing) {
        _cleanup_secret_ struct wla_secret *other = NULL;
        _cleanup_secret_ struct wla_secret *none = NULL;
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        struct wla_secret *own = fixture.key;
        ck_assert_int_eq(volume_key_generate(&other, &fixture.err), 0);
        ck_assert_int_eq(wla_secret_new(16, &none, &fixture.err), 0);
        fixture.key = other;
        refuse_to_open(&fixture, NULL, WLA_E_DENIED, "the key does not open the header");
        fixture.key = none;
        refuse_to_open(&fixture, NULL, WLA_E_INPUT, "a key of 16 bytes is none for AES-XTS");
        fixture.key = own;
        ck_assert_int_eq(fixture_length(&fixture), (off_t)fixture_room().least);
        fixture_check_whole(&fixture, 2);
        fixture_tear_down(&fixture);
}
END_TEST

/* Longer it would look as if all of it were there. */
START_TEST(what_was_cut_off_stays_as_it_is) {
        const off_t lengths[] = {(off_t)fixture_room().least - 1, IMAGE_SECTOR_SIZE,
                                 IMAGE_SECTOR_SIZE - 1, 0};
        struct layer_fixture fixture;
        char text[64];

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                ck_assert_int_eq(truncate(fixture_path(&fixture, "vda/disk"), lengths[i]), 0);
                (void)snprintf(text, sizeof(text), "its file has %jd bytes", (intmax_t)lengths[i]);
                refuse_to_open(&fixture, NULL, WLA_E_INPUT, text);
                ck_assert_int_eq(fixture_length(&fixture), lengths[i]);
        }
        fixture_tear_down(&fixture);
}
END_TEST

START_TEST(calls_that_are_cut_short_go_on) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        fixture_begin(&fixture);
        ck_assert_int_eq(fixture_take(&fixture, session_inspect_layer), 0);
        fail_call_interrupt();
        ck_assert_int_eq(fixture_take(&fixture, fixture_open_keeping), 0);
        fixture_end(&fixture);
        fixture_remove_layer(&fixture);
        static const char *const calls[] = {"pread64", "write"};
        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
                fixture_make_older(&fixture);
                fixture_begin(&fixture);
                fail_call_shorten(calls[i], 100);
                int outcome = fixture_inspect_and(&fixture, fixture_open_keeping);
                fail_call_named(NULL);
                ck_assert_msg(outcome == 0, "%s", wla_error_text(&fixture.err));
                fixture_end(&fixture);
                fixture_check_whole(&fixture, 3);
                ck_assert_int_eq(fixture_length(&fixture), (off_t)fixture_room().ample);
                fixture_remove_layer(&fixture);
        }
        fixture_tear_down(&fixture);
}
END_TEST

static void refuse_to_inspect(struct layer_fixture *fixture, enum wla_code code, const char *text) {
        fixture_begin(fixture);
        ck_assert_int_eq(fixture_take(fixture, session_inspect_layer), -1);
        ck_assert_msg(strstr(wla_error_text(&fixture->err), text) != NULL, "%s",
                      wla_error_text(&fixture->err));
        ck_assert_int_eq(fixture->err.code, code);
        fixture_check_refusal(fixture, text);
        ck_assert_int_eq(fixture->session.state, SESSION_NEW);
        fixture_end(fixture);
}

static void refuse_foreign(struct layer_fixture *fixture, const char *vm, const char *target) {
        fixture_begin(fixture);
        ck_assert_int_eq(uuid_parse(vm, strlen(vm), &fixture->request.vm, &fixture->err), 0);
        (void)snprintf(fixture->request.target, sizeof(fixture->request.target), "%s", target);
        ck_assert_int_eq(fixture_take(fixture, session_inspect_layer), -1);
        ck_assert_int_eq(fixture->err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(fixture->err.hint);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&fixture->err), "is that of another disk"));
        fixture_end(fixture);
}

START_TEST(what_is_no_layer_of_this_disk) {
        struct layer_store other = LAYER_STORE_NONE;
        struct layer_fixture fixture;
        char other_vm[256];
        char own[256];

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        ck_assert_int_eq(chmod(fixture.layers, 0750), 0);
        refuse_to_inspect(&fixture, WLA_E_DENIED, "is open to others than root");
        ck_assert_int_eq(chmod(fixture.layers, 0700), 0);

        ck_assert_int_eq(layer_store_open(fixture.layers, &other, &fixture.err), 0);
        ck_assert_int_eq(layer_store_lock(&other, FIXTURE_VM, "vda", false, &fixture.err), 0);
        refuse_to_inspect(&fixture, WLA_E_BUSY, "another session works on this disk");
        layer_store_close(&other);
        fixture_check_whole(&fixture, 2);

        (void)snprintf(own, sizeof(own), "%s", fixture_path(&fixture, "vda"));
        ck_assert_int_eq(rename(own, fixture_path(&fixture, "vdb")), 0);
        refuse_foreign(&fixture, FIXTURE_VM, "vdb");
        ck_assert_int_eq(rename(fixture_path(&fixture, "vdb"), own), 0);
        (void)snprintf(own, sizeof(own), "%s", fixture_path(&fixture, "."));
        own[strlen(own) - 2] = '\0';
        (void)snprintf(other_vm, sizeof(other_vm), "%s/" FIXTURE_IMAGE, fixture.layers);
        ck_assert_int_eq(rename(own, other_vm), 0);
        refuse_foreign(&fixture, FIXTURE_IMAGE, "vda");
        ck_assert_int_eq(rename(other_vm, own), 0);

        int fd = open(fixture_path(&fixture, "vda/header"), O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(pwrite(fd, "~", 1, 4200), 1);
        (void)close(fd);
        refuse_to_inspect(&fixture, WLA_E_INPUT, "header");
        ck_assert_int_eq(truncate(fixture_path(&fixture, "vda/header"), 100), 0);
        refuse_to_inspect(&fixture, WLA_E_INPUT, "a header does not have 100 bytes");
        ck_assert_int_eq(unlink(fixture_path(&fixture, "vda/header")), 0);
        refuse_to_inspect(&fixture, WLA_E_SYSTEM, "opening the header of a layer");
        fixture_tear_down(&fixture);
}
END_TEST

static void rewrite(struct layer_fixture *fixture, off_t at, const void *bytes, size_t size) {
        fixture_begin(fixture);
        ck_assert_int_eq(fixture_inspect_and(fixture, session_open_layer), 0);
        ck_assert_int_eq(pwrite(fixture_device.shown_fd, bytes, size, at), (ssize_t)size);
        fixture_end(fixture);
}

/* It is looked at when it is mapped: then the mapping goes again. */
static void refuse_content(struct layer_fixture *fixture, enum image_content content,
                           enum wla_code code, const char *text) {
        fixture_begin(fixture);
        fixture->request.layer.backing_content = content;
        ck_assert_int_eq(fixture_inspect_and(fixture, fixture_open_keeping), -1);
        ck_assert_int_eq(fixture->err.code, code);
        ck_assert_msg(strstr(wla_error_text(&fixture->err), text) != NULL, "%s",
                      wla_error_text(&fixture->err));
        fixture_check_refusal(fixture, text);
        fixture_end(fixture);
}

START_TEST(what_qemu_has_left_is_judged) {
        static const char name[] = VOLUME_DEVICE_ROOT "wlagent-image-" FIXTURE_IMAGE;
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        refuse_content(&fixture, IMAGE_CONTENT_QCOW2, WLA_E_DENIED, "in another format than its");
        fixture_check_whole(&fixture, 2);
        rewrite(&fixture, FIXTURE_BACKING_AT + (off_t)strlen(name) - 1, "7", 1);
        refuse_content(&fixture, IMAGE_CONTENT_RAW, WLA_E_DENIED, "which is not its image");
        fixture_remove_layer(&fixture);

        fixture_make_older(&fixture);
        rewrite(&fixture, 0, "XXXX", 4);
        refuse_content(&fixture, IMAGE_CONTENT_RAW, WLA_E_DENIED, "qcow2");
        ck_assert_int_eq(truncate(fixture_path(&fixture, "vda/disk"), 2 * IMAGE_SECTOR_SIZE), 0);
        refuse_content(&fixture, IMAGE_CONTENT_RAW, WLA_E_INPUT, "it is too short for a layer");
        fixture_tear_down(&fixture);
}
END_TEST

/* As blockpull leaves it. */
START_TEST(nothing_may_be_below) {
        static const uint8_t none[12] = {0};
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        rewrite(&fixture, QCOW2_AT_BACKING_OFFSET, none, sizeof(none));
        fixture_succeed(&fixture, fixture_open_keeping);
        fixture_tear_down(&fixture);
}
END_TEST

START_TEST(a_layer_in_use_is_not_removed) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_make_older(&fixture);
        fixture_device.exists = true;
        fixture_begin(&fixture);
        ck_assert_int_eq(fixture_take(&fixture, session_remove_layer), -1);
        ck_assert_int_eq(fixture.err.code, WLA_E_BUSY);
        fixture_check_refusal(&fixture, "remove");
        fixture_end(&fixture);
        fixture_device.exists = false;
        fixture_check_whole(&fixture, 2);
        fixture_tear_down(&fixture);
}
END_TEST

START_TEST(a_disk_that_no_layer_can_have) {
        struct layer_fixture fixture;

        fixture_set_up(&fixture);
        fixture_begin(&fixture);
        fixture.request.layer.virtual_size = 1;
        ck_assert_int_eq(fixture_inspect_and(&fixture, session_create_layer), -1);
        ck_assert_int_eq(fixture.err.code, WLA_E_INPUT);
        fixture_check_refusal(&fixture, "create");
        fixture_end(&fixture);
        ck_assert(!check_layer(&fixture));
        fixture_make_older(&fixture);
        fixture_begin(&fixture);
        fixture.request.layer.virtual_size = 1;
        ck_assert_int_eq(fixture_inspect_and(&fixture, session_open_layer), -1);
        ck_assert_int_eq(fixture.err.code, WLA_E_INPUT);
        fixture_end(&fixture);
        fixture_check_whole(&fixture, 2);
        fixture_tear_down(&fixture);
}
END_TEST

SUITE_MAIN("volume/session_layer", every_call_may_fail_while_a_layer_is_made,
           every_allocation_may_fail_while_a_layer_is_made,
           every_call_may_fail_while_an_older_layer_is_opened,
           every_allocation_may_fail_while_an_older_layer_is_opened,
           every_call_may_fail_while_a_layer_is_removed, what_cannot_be_read_is_not_lengthened,
           what_is_not_durable_is_not_mapped, another_key_changes_nothing,
           what_was_cut_off_stays_as_it_is, calls_that_are_cut_short_go_on,
           what_is_no_layer_of_this_disk, what_qemu_has_left_is_judged, nothing_may_be_below,
           a_layer_in_use_is_not_removed, a_disk_that_no_layer_can_have)
