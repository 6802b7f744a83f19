/* SPDX-License-Identifier: Apache-2.0 */
#include "image/layer_room.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/qcow2_backing.h"
#include "image/qcow2_format.h"
#include "image/qcow2_writer.h"
#include "scratch.h"
#include "suite.h"

#define MIB           (UINT64_C(1) << 20)
#define DISK          (24 * MIB)
#define CLUSTERS      (DISK / QCOW2_CLUSTER_SIZE)
#define PATH_MAX_HERE 4200u

/* A layer over an empty base, in a file that QEMU sees as a device of fixed length. */
struct layer {
        struct scratch scratch;
        char base[PATH_MAX_HERE];
        char path[PATH_MAX_HERE];
        char script[PATH_MAX_HERE];
        char answers[PATH_MAX_HERE];
        FILE *commands; /* of qemu-io */
        uint64_t size;
        uint32_t random;
};

static void name_file(struct layer *layer, const char *name, char ret[PATH_MAX_HERE]) {
        (void)snprintf(ret, PATH_MAX_HERE, "%s", scratch_file(&layer->scratch, name));
}

static void layer_make(struct layer *layer, bool version2, uint64_t size) {
        struct wla_error err = {0};
        const struct qcow2_backing_file below = {
                .name = layer->base,
                .format = IMAGE_CONTENT_RAW,
                .version2 = version2,
        };

        *layer = (struct layer){.size = size, .random = 1};
        scratch_make(&layer->scratch);
        name_file(layer, "base", layer->base);
        name_file(layer, "layer", layer->path);
        name_file(layer, "script", layer->script);
        name_file(layer, "answers", layer->answers);
        int fd = open(layer->base, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_eq(ftruncate(fd, (off_t)DISK), 0);
        (void)close(fd);
        fd = open(layer->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
        ck_assert_int_eq(qcow2_write_empty(fd, DISK, &below, &err), 0);
        (void)close(fd);
        layer->commands = fopen(layer->script, "we");
        ck_assert_ptr_nonnull(layer->commands);
}

static void layer_remove(struct layer *layer) {
        (void)fclose(layer->commands);
        scratch_remove(&layer->scratch);
}

static struct layer_room room_of(uint64_t virtual_size) {
        struct layer_room room;
        struct wla_error err = {0};

        ck_assert_int_eq(layer_room_for(virtual_size, &room, &err), 0);
        return room;
}

/* The exit code; what it says is in to. */
static int run(const char *const *command, const char *from, const char *to) {
        pid_t child = fork();
        int status;

        if (child == 0) {
                int in = open(from, O_RDONLY | O_CLOEXEC);
                int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

                (void)dup2(in, STDIN_FILENO);
                (void)dup2(out, STDOUT_FILENO);
                (void)dup2(out, STDERR_FILENO);
                (void)execvp(command[0], (char *const *)(uintptr_t)command);
                _exit(126);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static unsigned count_lines(const char *path, const char *word) {
        FILE *file = fopen(path, "re");
        char line[512];
        unsigned count = 0;

        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof(line), file))
                count += strstr(line, word) != NULL;
        (void)fclose(file);
        return count;
}

/* Runs what was noted, and tells how many writes did not find room.  Any other fault is one of the test. */
static unsigned layer_run(struct layer *layer, bool keeps_places) {
        char image[3 * PATH_MAX_HERE];
        const char *const command[] = {"qemu-io", "-d", "unmap", image, NULL};

        (void)snprintf(image, sizeof(image),
                       "json:{\"driver\":\"qcow2\",\"discard\":\"unmap\",%s%s\"file\":{\"driver\":"
                       "\"raw\",\"size\":%ju,\"file\":{\"driver\":\"file\",\"discard\":\"unmap\","
                       "\"filename\":\"%s\"}}}",
                       keeps_places ? "\"discard-no-unref\":true," : "",
                       "\"cache\":{\"no-flush\":true},", (uintmax_t)layer->size, layer->path);
        (void)fputs("flush\n", layer->commands);
        ck_assert_int_eq(fflush(layer->commands), 0);
        (void)run(command, layer->script, layer->answers);
        layer->commands = freopen(layer->script, "we", layer->commands);
        ck_assert_ptr_nonnull(layer->commands);

        unsigned full = count_lines(layer->answers, "No space left");
        ck_assert_uint_eq(count_lines(layer->answers, "failed"), full);
        ck_assert_uint_eq(count_lines(layer->answers, "rror"), 0);
        ck_assert_uint_gt(count_lines(layer->answers, "wrote"), 0);
        return full;
}

/* Debian 12's QEMU has no such option. */
static bool knows_keeping(void) {
        struct layer layer;
        char image[2 * PATH_MAX_HERE];
        const char *const command[] = {"qemu-io", image, NULL};

        layer_make(&layer, false, room_of(DISK).least);
        (void)snprintf(image, sizeof(image),
                       "json:{\"driver\":\"qcow2\",\"discard-no-unref\":true,\"file\":{\"driver\":"
                       "\"file\",\"filename\":\"%s\"}}",
                       layer.path);
        int outcome = run(command, "/dev/null", layer.answers);
        bool unknown = count_lines(layer.answers, "discard-no-unref") > 0;
        ck_assert(outcome == 0 || unknown);
        layer_remove(&layer);
        return outcome == 0;
}

static uint32_t pick(struct layer *layer, uint32_t below) {
        layer->random = layer->random * 1664525u + 1013904223u;
        return (layer->random >> 8) % below;
}

static void note_write(struct layer *layer, uint64_t at, uint64_t size) {
        if (at + size > DISK)
                size = DISK - at;
        (void)fprintf(layer->commands, "write -P 7 %ju %ju\n", (uintmax_t)at, (uintmax_t)size);
}

static void note_read(struct layer *layer) {
        (void)fprintf(layer->commands, "read -P 7 0 %ju\n", (uintmax_t)DISK);
}

/* All of the disk, in pieces of that many clusters, in no order. */
static void note_writes(struct layer *layer, unsigned clusters) {
        uint64_t piece = clusters * (uint64_t)QCOW2_CLUSTER_SIZE;
        uint32_t count = (uint32_t)((DISK + piece - 1) / piece);
        uint32_t step = 7919; /* prime, and larger than any count */

        for (uint32_t i = 0; i < count; i++)
                note_write(layer, (uint64_t)i * step % count * piece, piece);
}

/* Of every period clusters the first freed ones, by one road or the other; all by itself. */
static void note_frees(struct layer *layer, unsigned freed, unsigned period, const char *how) {
        for (uint64_t i = 0; i < CLUSTERS; i++)
                if (i % period < freed)
                        (void)fprintf(layer->commands, "%s %ju 64k\n", how,
                                      (uintmax_t)i * QCOW2_CLUSTER_SIZE);
}

static void note_random_frees(struct layer *layer, const char *how) {
        for (uint64_t i = 0; i < CLUSTERS / 2; i++)
                (void)fprintf(layer->commands, "%s %ju 64k\n", how,
                              (uintmax_t)pick(layer, CLUSTERS) * QCOW2_CLUSTER_SIZE);
}

#define DISCARD "discard"
#define ZERO    "write -z -u"

/* The disk in a layout that leaves holes wherever something is freed, and then requests that are longer than
 * any hole: again and again, with another length each. */
static void note_hostility(struct layer *layer) {
        static const unsigned lengths[] = {2, 3, 4, 16, 32, 5};
        static const char *const roads[] = {DISCARD, ZERO};

        note_writes(layer, 1);
        for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                const char *how = roads[i % 2];

                note_frees(layer, lengths[i] - 1, lengths[i], how);
                note_writes(layer, lengths[i]);
                note_random_frees(layer, how);
                note_writes(layer, 2 * lengths[i]);
                /* All at once: longer than everything before. */
                (void)fprintf(layer->commands, "%s 0 %ju\n", how, (uintmax_t)DISK / 2);
                note_write(layer, 0, DISK / 4);
                note_writes(layer, 1);
        }
}

static void check_sound(struct layer *layer) {
        const char *const check[] = {"qemu-img", "check", "-q", layer->path, NULL};

        ck_assert_int_eq(run(check, "/dev/null", layer->answers), 0);
}

/* What goes wrong in an image that frees: or else the tests below show nothing. */
START_TEST(freed_clusters_use_up_a_volume) {
        struct layer layer;

        layer_make(&layer, false, room_of(DISK).least);
        note_hostility(&layer);
        ck_assert_uint_gt(layer_run(&layer, false), 0);
        layer_remove(&layer);
}
END_TEST

/* Not more than that is used, of twice as much. */
START_TEST(a_layer_as_it_is_made_needs_the_least_room) {
        struct layer layer;

        layer_make(&layer, true, room_of(DISK).least);
        note_hostility(&layer);
        note_read(&layer);
        ck_assert_uint_eq(layer_run(&layer, false), 0);
        check_sound(&layer);
        layer_remove(&layer);
}
END_TEST

START_TEST(so_does_one_whose_clusters_keep_their_places) {
        struct layer layer;

        if (!knows_keeping())
                return;
        layer_make(&layer, false, room_of(DISK).least);
        note_hostility(&layer);
        note_read(&layer);
        ck_assert_uint_eq(layer_run(&layer, true), 0);
        check_sound(&layer);
        layer_remove(&layer);
}
END_TEST

/* Made before, full of holes that are too short, and then longer. */
START_TEST(a_layer_with_holes_has_enough_when_it_is_twice_as_long) {
        struct layer layer;

        if (!knows_keeping())
                return;
        layer_make(&layer, false, room_of(DISK).least);
        note_writes(&layer, 1);
        note_frees(&layer, 1, 2, DISCARD);
        note_frees(&layer, 15, 16, ZERO);
        ck_assert_uint_eq(layer_run(&layer, false), 0);

        layer.size = room_of(DISK).ample;
        ck_assert_int_eq(truncate(layer.path, (off_t)layer.size), 0);
        note_hostility(&layer);
        note_read(&layer);
        ck_assert_uint_eq(layer_run(&layer, true), 0);
        check_sound(&layer);
        layer_remove(&layer);
}
END_TEST

static void upgrade(struct layer *layer) {
        static uint8_t head[QCOW2_BACKING_SPAN];
        int fd = open(layer->path, O_RDWR | O_CLOEXEC);
        struct qcow2_backing below;
        struct wla_error err = {0};

        ck_assert_int_eq(pread(fd, head, sizeof(head), 0), sizeof(head));
        ck_assert_int_eq(qcow2_backing_read(head, sizeof(head), &below, &err), 0);
        ck_assert_uint_eq(below.version, 2);
        const struct qcow2_backing_file backing = {
                .name = below.name[0] ? below.name : NULL,
                .format = below.format,
        };
        ck_assert_int_eq(qcow2_upgrade(head, &backing, &err), 0);
        ck_assert_int_eq(pwrite(fd, head, QCOW2_UPGRADE_SIZE, 0), QCOW2_UPGRADE_SIZE);
        (void)close(fd);

        struct qcow2_backing after;
        ck_assert_int_eq(qcow2_backing_read(head, sizeof(head), &after, &err), 0);
        ck_assert_uint_eq(after.version, 3);
        ck_assert_str_eq(after.name, below.name);
        ck_assert_uint_eq(after.virtual_size, below.virtual_size);
}

START_TEST(a_layer_of_version_2_becomes_one_of_version_3) {
        struct layer layer;

        layer_make(&layer, true, room_of(DISK).least);
        note_write(&layer, 3 * MIB, MIB);
        (void)fputs("write -P 9 20M 128k\n", layer.commands);
        ck_assert_uint_eq(layer_run(&layer, false), 0);
        upgrade(&layer);
        check_sound(&layer);
        (void)fputs("read -P 7 3M 1M\nread -P 9 20M 128k\nread -P 0 4M 16M\nread -P 0 0 3M\n"
                    "discard 3M 64k\nread -P 0 3M 64k\nwrite -P 1 3M 4k\n",
                    layer.commands);
        ck_assert_uint_eq(layer_run(&layer, knows_keeping()), 0);
        check_sound(&layer);
        layer_remove(&layer);
}
END_TEST

/* As 'virsh blockpull' leaves it. */
START_TEST(an_image_without_a_base_becomes_one_of_version_3) {
        static const char *const create[] = {"qemu-img", "create",      "-q", "-f",  "qcow2",
                                             "-o",       "compat=0.10", NULL, "24M", NULL};
        const char *command[sizeof(create) / sizeof(create[0])];
        struct layer layer;

        layer_make(&layer, true, room_of(DISK).least);
        memcpy(command, create, sizeof(create));
        command[7] = layer.path;
        ck_assert_int_eq(run(command, "/dev/null", layer.answers), 0);
        ck_assert_int_eq(truncate(layer.path, (off_t)layer.size), 0);
        upgrade(&layer);
        check_sound(&layer);
        note_write(&layer, 0, MIB);
        (void)fputs("read -P 7 0 1M\nread -P 0 1M 23M\n", layer.commands);
        ck_assert_uint_eq(layer_run(&layer, false), 0);
        layer_remove(&layer);
}
END_TEST

START_TEST(a_name_that_does_not_fit_upgrades_nothing) {
        uint8_t head[QCOW2_UPGRADE_SIZE] = {1, 2, 3};
        uint8_t before[QCOW2_UPGRADE_SIZE];
        static char name[1100];
        const struct qcow2_backing_file backing = {.name = name, .format = IMAGE_CONTENT_RAW};
        struct wla_error err = {0};

        memset(name, 'a', sizeof(name) - 1);
        memcpy(before, head, sizeof(head));
        ck_assert_int_eq(qcow2_upgrade(head, &backing, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_mem_eq(head, before, sizeof(head));
}
END_TEST

static int check_head(uint64_t own, uint64_t size, uint64_t image) {
        struct wla_error err = {0};
        uint8_t head[512] = {0};

        qcow2_store32(head, QCOW2_AT_MAGIC, QCOW2_MAGIC);
        qcow2_store64(head, QCOW2_AT_VIRTUAL_SIZE, own);
        int outcome = layer_room_check(head, size, image, &err);
        ck_assert_int_eq(err.code, outcome < 0 ? WLA_E_INPUT : WLA_OK);
        ck_assert(outcome == 0 || err.hint);
        return outcome;
}

START_TEST(a_layer_that_was_cut_off_is_refused) {
        const uint64_t least = room_of(DISK).least;

        ck_assert_uint_eq(room_of(DISK).ample, 2 * least);
        ck_assert_int_eq(check_head(DISK, least, DISK), 0);
        ck_assert_int_eq(check_head(DISK, 2 * least, DISK), 0);
        ck_assert_int_eq(check_head(DISK, least - 1, DISK), -1);
        ck_assert_int_eq(check_head(DISK, 65536, DISK), -1);
        /* The disk in it, or the image, was made larger since. */
        ck_assert_int_eq(check_head(3 * DISK, least, DISK), 0);
        ck_assert_int_eq(check_head(DISK, least, 3 * DISK), 0);
        ck_assert_int_eq(check_head(3 * DISK, least, 3 * DISK), -1);
        /* What it says of itself is no size. */
        ck_assert_int_eq(check_head(UINT64_MAX, least, DISK), 0);
        ck_assert_int_eq(check_head(0, least - 1, DISK), -1);
}
END_TEST

START_TEST(an_impossible_disk) {
        const uint8_t head[512] = {0};
        struct wla_error err = {0};
        struct layer_room room;

        ck_assert_int_eq(layer_room_check(head, MIB, 511, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_int_eq(layer_room_for(2 * QCOW2_VIRTUAL_SIZE_MAX, &room, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}
END_TEST

SUITE_MAIN("image/layer_room", freed_clusters_use_up_a_volume,
           a_layer_as_it_is_made_needs_the_least_room, so_does_one_whose_clusters_keep_their_places,
           a_layer_with_holes_has_enough_when_it_is_twice_as_long,
           a_layer_of_version_2_becomes_one_of_version_3,
           an_image_without_a_base_becomes_one_of_version_3,
           a_name_that_does_not_fit_upgrades_nothing, a_layer_that_was_cut_off_is_refused,
           an_impossible_disk)
