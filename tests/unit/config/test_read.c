/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

/* A configuration in a directory of its own, and what reading it gave. */
struct fixture {
        struct scratch scratch;
        char path[128];
        struct scratch drop_ins;
        struct config *config;
        struct buf faults;
        struct wla_error err;
};

static void start(struct fixture *fixture) {
        *fixture = (struct fixture){.faults.limit = 64 * 1024};
        scratch_make(&fixture->scratch);
        (void)snprintf(fixture->path, sizeof(fixture->path), "%s/wlagent.conf",
                       fixture->scratch.path);
        ck_assert_int_lt(snprintf(fixture->drop_ins.path, sizeof(fixture->drop_ins.path), "%s.d",
                                  fixture->path),
                         (int)sizeof(fixture->drop_ins.path));
}

static void forget(struct fixture *fixture) {
        fixture->config = config_free(fixture->config);
        buf_clear(&fixture->faults);
}

static void stop(struct fixture *fixture) {
        forget(fixture);
        if (access(fixture->drop_ins.path, F_OK) == 0)
                scratch_remove(&fixture->drop_ins);
        scratch_remove(&fixture->scratch);
}

static void write_file(const char *path, const char *text, size_t size) {
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fwrite(text, 1, size, file), size);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(chmod(path, 0644), 0);
}

static void add_drop_in(struct fixture *fixture, const char *name, const char *text) {
        (void)mkdir(fixture->drop_ins.path, 0755);
        write_file(scratch_file(&fixture->drop_ins, name), text, strlen(text));
}

static int read_again(struct fixture *fixture) {
        forget(fixture);
        return config_read(fixture->path, &fixture->config, &fixture->faults, &fixture->err);
}

static int read_text(struct fixture *fixture, const char *text) {
        write_file(fixture->path, text, strlen(text));
        return read_again(fixture);
}

/* What was found, with the path of the file taken off. */
static const char *faults_of(struct fixture *fixture) {
        static char found[8192];
        struct wla_error err = {0};
        const char *text = buf_text(&fixture->faults, &err);
        size_t length = strlen(fixture->path);
        char *to = found;

        ck_assert_ptr_nonnull(text);
        while (*text) {
                if (strncmp(text, fixture->path, length) == 0)
                        text += length;
                else
                        *to++ = *text++;
        }
        *to = '\0';
        return found;
}

static void check_faults(struct fixture *fixture, const char *text, const char *expected) {
        ck_assert_int_eq(read_text(fixture, text), -1);
        ck_assert_int_eq(fixture->err.code, WLA_E_INPUT);
        ck_assert_ptr_null(fixture->config);
        ck_assert_str_eq(faults_of(fixture), expected);
}

static void check_volume_defaults(const struct config *config) {
        ck_assert_str_eq(config->volumes.socket, "/run/workload-agent/volumed.sock");
        ck_assert_str_eq(config->volumes.agent_user, "wlagent");
        ck_assert_uint_eq(config->volumes.image_roots.count, 2);
        ck_assert_str_eq(config->volumes.image_roots.paths[0], "/var/lib/libvirt/images");
        ck_assert_str_eq(config->volumes.image_roots.paths[1], "/var/lib/nova/instances");
        ck_assert_str_eq(config->volumes.layer_directory, "/var/lib/workload-agent-volumes");
        ck_assert(config->volumes.discard);
        ck_assert_uint_eq(config->libvirt.launch_timeout_usec, 20 * USEC_PER_SEC);
        ck_assert_uint_eq(config->libvirt.lease_usec, 120 * USEC_PER_SEC);
        ck_assert_uint_eq(config->libvirt.migrate_lease_usec, 60 * USEC_PER_SEC);
        ck_assert_uint_eq(config->libvirt.orphan_usec, 86400 * USEC_PER_SEC);
}

START_TEST(an_empty_file_gives_the_defaults) {
        struct fixture fixture;

        start(&fixture);
        ck_assert_int_eq(read_text(&fixture, ""), 0);
        const struct config *config = fixture.config;
        ck_assert_str_eq(config->path, fixture.path);
        ck_assert_str_eq(config->agent.state_directory, "/var/lib/workload-agent");
        ck_assert_str_eq(config->agent.runtime_directory, "/run/workload-agent");
        ck_assert_str_eq(config->agent.control_socket, "/run/workload-agent/control.sock");
        ck_assert(!config->agent.allow_unlocked_memory);
        ck_assert_uint_eq(config->agent.worker_threads, 4);
        ck_assert_uint_eq(config->agent.stop_timeout_usec, 10 * USEC_PER_SEC);
        ck_assert_uint_eq(config->agent.log_level, LOG_INFO);
        ck_assert_str_eq(config->keyprovider.socket, "/run/workload-agent/wlagent.sock");
        ck_assert_uint_eq(config->keyprovider.allow_users.count, 1);
        ck_assert_uint_eq(config->keyprovider.allow_users.uids[0], 0);
        ck_assert(!config->keyprovider.allow_wrap);
        ck_assert(!config->keyprovider.allow_unauthenticated_wrap);
        ck_assert_uint_eq(config->keyprovider.max_message_bytes, 256 * 1024);
        ck_assert_uint_eq(config->keyprovider.call_timeout_usec, 30 * USEC_PER_SEC);
        ck_assert_uint_eq(config->keyprovider.idle_timeout_usec, 60 * USEC_PER_SEC);
        ck_assert_uint_eq(config->keyprovider.max_connections, 64);
        ck_assert_uint_eq(config->keyprovider.max_streams, 32);
        ck_assert_str_eq(config->tpm.device, "device:/dev/tpmrm0");
        ck_assert_uint_eq(config->tpm.binding_key_handle, 0);
        ck_assert_uint_eq(config->keys.cache_usec, 60 * USEC_PER_SEC);
        check_volume_defaults(config);
        ck_assert_uint_eq(fixture.faults.size, 0);
        stop(&fixture);
}
END_TEST

START_TEST(without_a_file_the_defaults_hold) {
        struct fixture fixture;

        start(&fixture);
        ck_assert_int_eq(config_read(NULL, &fixture.config, &fixture.faults, &fixture.err), 0);
        ck_assert_ptr_null(fixture.config->path);
        ck_assert_str_eq(fixture.config->tpm.device, "device:/dev/tpmrm0");
        stop(&fixture);
}
END_TEST

START_TEST(every_option_can_be_set) {
        static const char text[] = "# comment\r\n"
                                   "; comment\n"
                                   "\n"
                                   "[Agent]\n"
                                   "StateDirectory = /s t\n"
                                   "\tRuntimeDirectory=/r ; comment\n"
                                   "AllowUnlockedMemory=true\n"
                                   "WorkerThreads=64\n"
                                   "StopTimeoutSeconds=0\n"
                                   "LogLevel=debug\n"
                                   "[KeyProvider]\n"
                                   "Socket=kp\n"
                                   "AllowUsers=0, 1000 root\n"
                                   "AllowWrap=on\n"
                                   "AllowUnauthenticatedWrap=yes\n"
                                   "MaxMessageBytes=1M\n"
                                   "CallTimeoutSeconds=7\n"
                                   "IdleTimeoutSeconds=8\n"
                                   "MaxConnections=9\n"
                                   "MaxStreams=10\n"
                                   "[TPM]\n"
                                   "Device=swtpm:path=/x\n"
                                   "BindingKeyHandle=0x81010AbC\n"
                                   "[Keys]\n"
                                   "CacheSeconds=0\n"
                                   "[Volumes]\n"
                                   "VolumeSocket=vs\n"
                                   "AgentUser=1234\n"
                                   "ImageRoots= /a\t/b.c/...  /d/.e\n"
                                   "LayerDirectory=/l\n"
                                   "Discard=no\n"
                                   "[Libvirt]\n"
                                   "LaunchTimeoutSeconds=11\n"
                                   "LeaseSeconds=12\n"
                                   "MigrateLeaseSeconds=13\n"
                                   "OrphanSeconds=0\n"
                                   "[Agent]\n"
                                   "ControlSocket=/c";
        struct fixture fixture;

        start(&fixture);
        ck_assert_int_eq(read_text(&fixture, text), 0);
        const struct config *config = fixture.config;
        ck_assert_str_eq(config->agent.state_directory, "/s t");
        ck_assert_str_eq(config->agent.control_socket, "/c");
        ck_assert(config->agent.allow_unlocked_memory);
        ck_assert_uint_eq(config->agent.worker_threads, 64);
        ck_assert_uint_eq(config->agent.stop_timeout_usec, 0);
        ck_assert_uint_eq(config->agent.log_level, LOG_DEBUG);
        ck_assert_str_eq(config->keyprovider.socket, "/r/kp");
        ck_assert_uint_eq(config->keyprovider.allow_users.count, 2);
        ck_assert_uint_eq(config->keyprovider.allow_users.uids[1], 1000);
        ck_assert_str_eq(config->keyprovider.allow_users.text, "0, 1000 root");
        ck_assert(config->keyprovider.allow_wrap);
        ck_assert(config->keyprovider.allow_unauthenticated_wrap);
        ck_assert_uint_eq(config->keyprovider.max_message_bytes, 1024 * 1024);
        ck_assert_uint_eq(config->keyprovider.call_timeout_usec, 7 * USEC_PER_SEC);
        ck_assert_uint_eq(config->keyprovider.idle_timeout_usec, 8 * USEC_PER_SEC);
        ck_assert_uint_eq(config->keyprovider.max_connections, 9);
        ck_assert_uint_eq(config->keyprovider.max_streams, 10);
        ck_assert_str_eq(config->tpm.device, "swtpm:path=/x");
        ck_assert_uint_eq(config->tpm.binding_key_handle, 0x81010abc);
        ck_assert_uint_eq(config->keys.cache_usec, 0);
        ck_assert_str_eq(config->volumes.socket, "/r/vs");
        ck_assert_str_eq(config->volumes.agent_user, "1234");
        ck_assert_uint_eq(config->volumes.image_roots.count, 3);
        ck_assert_str_eq(config->volumes.image_roots.paths[1], "/b.c/...");
        ck_assert_str_eq(config->volumes.image_roots.paths[2], "/d/.e");
        ck_assert_str_eq(config->volumes.layer_directory, "/l");
        ck_assert(!config->volumes.discard);
        ck_assert_uint_eq(config->libvirt.launch_timeout_usec, 11 * USEC_PER_SEC);
        ck_assert_uint_eq(config->libvirt.lease_usec, 12 * USEC_PER_SEC);
        ck_assert_uint_eq(config->libvirt.migrate_lease_usec, 13 * USEC_PER_SEC);
        ck_assert_uint_eq(config->libvirt.orphan_usec, 0);
        stop(&fixture);
}
END_TEST

START_TEST(all_faults_are_told_at_once) {
        struct fixture fixture;

        start(&fixture);
        check_faults(&fixture,
                     "Device=x\n"
                     "[Agent]\n"
                     "WorkerThreads=many\n"
                     "LogLevel=loud\n"
                     "Colour=red\n"
                     "CacheSeconds=1\n"
                     "nonsense\n"
                     "StopTimeoutSeconds=1\n"
                     "StopTimeoutSeconds=2\n"
                     "[Agents]\n"
                     "WorkerThreads=many\n"
                     "[Agent\n"
                     "WorkerThreads=many\n"
                     "[KeyProvider]\n"
                     "AllowWrap=maybe\n",
                     ":1: Device= stands before the first section\n"
                     ":3: WorkerThreads=: \"many\" is not a whole number\n"
                     ":4: LogLevel=: \"loud\" is none of err, warning, notice, info, debug\n"
                     ":5: there is no option Colour= in section [Agent]\n"
                     ":6: CacheSeconds= belongs in section [Keys]\n"
                     ":7: this is not Key=Value (wlagent.conf(5) describes the format)\n"
                     ":9: StopTimeoutSeconds= is already set in line 8\n"
                     ":10: there is no section [Agents]\n"
                     ":12: a section ends with ] (wlagent.conf(5) describes the format)\n"
                     ":15: AllowWrap=: \"maybe\" is neither yes nor no\n");
        ck_assert_ptr_nonnull(strstr(wla_error_text(&fixture.err), "/wlagent.conf has 10 faults"));
        ck_assert_ptr_nonnull(fixture.err.hint);
        stop(&fixture);
}
END_TEST

static const char sixty_x[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

START_TEST(values_out_of_place_are_named) {
        static const struct {
                const char *section;
                const char *line;
                const char *fault;
        } cases[] = {
                {"Agent", "StateDirectory=rel", "\"rel\" is not an absolute path"},
                {"Agent", "StateDirectory=", "a value is missing"},
                {"Agent", "StateDirectory=/\xc3\xa4", "character 2 is not printable ASCII"},
                {"TPM", "Device=a\tb", "character 2 is not printable ASCII"},
                {"TPM", "Device=", "a value is missing"},
                {"Agent", "WorkerThreads=0", "0 is not between 1 and 64"},
                {"Agent", "WorkerThreads=65", "65 is not between 1 and 64"},
                {"Agent", "WorkerThreads=010", "\"010\" is not a whole number"},
                {"Agent", "WorkerThreads=-1", "\"-1\" is not a whole number"},
                {"Agent", "WorkerThreads=0x10", "\"0x10\" is not a whole number"},
                {"Agent", "WorkerThreads=18446744073709551617",
                 "\"18446744073709551617\" is not a whole number"},
                {"Keys", "CacheSeconds=1m", "\"1m\" is not a whole number of seconds"},
                {"Keys", "CacheSeconds=86401", "86401 is not between 0 and 86400"},
                {"KeyProvider", "MaxMessageBytes=1G",
                 "\"1G\" is not a size in bytes, such as 4096, 256K or 1M"},
                {"KeyProvider", "MaxMessageBytes=1Mi",
                 "\"1Mi\" is not a size in bytes, such as 4096, 256K or 1M"},
                {"KeyProvider", "MaxMessageBytes=18014398509481984K",
                 "\"18014398509481984K\" is not a size in bytes, such as 4096, 256K or 1M"},
                {"KeyProvider", "MaxMessageBytes=1", "1 is not between 4096 and 16777216"},
                {"KeyProvider", "AllowUsers=root no-such-user",
                 "there is no user \"no-such-user\""},
                {"KeyProvider", "AllowUsers=4294967295", "there is no user \"4294967295\""},
                {"KeyProvider",
                 "AllowUsers=1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 "
                 "26 27 28 29 30 31 32 33",
                 "more than 32 users"},
                {"TPM", "BindingKeyHandle=81010001",
                 "\"81010001\" is neither none nor a handle between 0x81000000 and 0x817fffff"},
                {"TPM", "BindingKeyHandle=0x40000001",
                 "\"0x40000001\" is neither none nor a handle between 0x81000000 and 0x817fffff"},
                {"TPM", "BindingKeyHandle=0x81000001", "0x81000001 is where the storage key is"},
                {"Volumes", "ImageRoots=/a b", "\"b\" is not an absolute path"},
                {"Volumes", "ImageRoots=/a /", "\"/\" would allow every file"},
                {"Volumes", "ImageRoots=/a/",
                 "\"/a/\" holds \".\", \"..\", \"//\" or a \"/\" at "
                 "its end"},
                {"Volumes", "ImageRoots=/a//b",
                 "\"/a//b\" holds \".\", \"..\", \"//\" or a \"/\" "
                 "at its end"},
                {"Volumes", "ImageRoots=/a/../b",
                 "\"/a/../b\" holds \".\", \"..\", \"//\" or a \"/\" "
                 "at its end"},
                {"Volumes", "ImageRoots=/.",
                 "\"/.\" holds \".\", \"..\", \"//\" or a \"/\" at its "
                 "end"},
                {"Volumes", "ImageRoots=/\xc3\xa4", "character 2 is not printable ASCII"},
                {"Volumes", "ImageRoots=/1 /2 /3 /4 /5 /6 /7 /8 /9 /a /b /c /d /e /f /g /h",
                 "more than 16 paths"},
                {"Volumes", "AgentUser=", "a value is missing"},
                {"Libvirt", "LeaseSeconds=4", "4 is not between 5 and 3600"},
        };
        struct fixture fixture;
        char text[256];
        char fault[256];

        start(&fixture);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                int key = (int)strcspn(cases[i].line, "=");

                (void)snprintf(text, sizeof(text), "[%s]\n%s\n", cases[i].section, cases[i].line);
                (void)snprintf(fault, sizeof(fault), ":2: %.*s=: %s\n", key, cases[i].line,
                               cases[i].fault);
                check_faults(&fixture, text, fault);
        }
        (void)snprintf(text, sizeof(text), "[KeyProvider]\nAllowUsers=%s%s\n", sixty_x, sixty_x);
        check_faults(&fixture, text, ":2: AllowUsers=: the name of a user has 120 characters\n");
        stop(&fixture);
}
END_TEST

START_TEST(lines_that_are_no_lines_are_named) {
        struct fixture fixture;

        start(&fixture);
        check_faults(&fixture, "Device : x",
                     ":1: this is not Key=Value (wlagent.conf(5) describes the format)\n");
        check_faults(&fixture, "[TPM]\nDevice : x=y",
                     ":2: this is not Key=Value (wlagent.conf(5) describes the format)\n");
        check_faults(&fixture, "[TPM]\nDevice ;=x",
                     ":2: this is not Key=Value (wlagent.conf(5) describes the format)\n");
        check_faults(&fixture, "= x",
                     ":1: this is not Key=Value (wlagent.conf(5) describes the format)\n");
        check_faults(&fixture, "[]", ":1: there is no section []\n");
        check_faults(&fixture, "[",
                     ":1: a section ends with ] (wlagent.conf(5) describes the format)\n");
        check_faults(&fixture, "[KeyProvider]\nSocket=/a\n[Agent]\nControlSocket=/a",
                     ": Socket= and ControlSocket= are the same path\n");
        check_faults(&fixture, "[KeyProvider]\nSocket=/a\n[Volumes]\nVolumeSocket=/a",
                     ": VolumeSocket= and Socket= are the same path\n");
        stop(&fixture);
}
END_TEST

START_TEST(socket_paths_must_fit) {
        struct fixture fixture;
        char text[256];

        start(&fixture);
        (void)snprintf(text, sizeof(text), "[KeyProvider]\nSocket=/%s%.47s\n", sixty_x, sixty_x);
        check_faults(&fixture, text,
                     ":2: Socket=: the path of a socket has at most 107 characters, not 108\n");
        (void)snprintf(text, sizeof(text), "[KeyProvider]\nSocket=/%s%.46s\n", sixty_x, sixty_x);
        ck_assert_int_eq(read_text(&fixture, text), 0);
        (void)snprintf(text, sizeof(text), "[Agent]\nRuntimeDirectory=/%s%.35s\n", sixty_x,
                       sixty_x);
        check_faults(&fixture, text,
                     ": ControlSocket= below RuntimeDirectory= has 109 characters, and at most 107 "
                     "fit\n: Socket= below RuntimeDirectory= has 109 characters, and at most 107 "
                     "fit\n: VolumeSocket= below RuntimeDirectory= has 109 characters, and at most "
                     "107 fit\n");
        stop(&fixture);
}
END_TEST

START_TEST(lines_that_inih_would_cut_are_refused) {
        static const char zero[] = "[TPM]\nDevice=a\0b\n";
        struct fixture fixture;
        char text[512];
        char value[241];

        (void)snprintf(value, sizeof(value), "%s%s%s%s", sixty_x, sixty_x, sixty_x, sixty_x);
        start(&fixture);
        (void)snprintf(text, sizeof(text), "[TPM]\nDevice=%s\n[Keys]\nCacheSeconds=5\n", value);
        check_faults(&fixture, text, ":2: the line has more than 196 bytes\n");
        (void)snprintf(text, sizeof(text), "[TPM]\nDevice=%.189s\n[Keys]\nCacheSeconds=5\n", value);
        ck_assert_int_eq(read_text(&fixture, text), 0);
        ck_assert_uint_eq(strlen(fixture.config->tpm.device), 189);
        ck_assert_uint_eq(fixture.config->keys.cache_usec, 5 * USEC_PER_SEC);

        (void)snprintf(text, sizeof(text), "[%s]\nDevice=1\n[Keys]\nCacheSeconds=x\n", value);
        check_faults(&fixture, text,
                     ":1: the line has more than 196 bytes\n"
                     ":4: CacheSeconds=: \"x\" is not a whole number of seconds\n");

        write_file(fixture.path, zero, sizeof(zero) - 1);
        ck_assert_int_eq(read_again(&fixture), -1);
        ck_assert_str_eq(faults_of(&fixture), ":2: the line holds a zero byte\n");
        stop(&fixture);
}
END_TEST

START_TEST(drop_ins_come_later_in_the_order_of_their_names) {
        struct fixture fixture;

        start(&fixture);
        add_drop_in(&fixture, "20-b.conf", "[Keys]\nCacheSeconds=20\n[TPM]\nDevice=b\n");
        add_drop_in(&fixture, "10-a.conf", "[Keys]\nCacheSeconds=10\n[Agent]\nWorkerThreads=9\n");
        add_drop_in(&fixture, "30-c.conf~", "[Keys]\nCacheSeconds=30\n");
        add_drop_in(&fixture, ".hidden.conf", "[Keys]\nCacheSeconds=40\n");
        ck_assert_int_eq(read_text(&fixture, "[Keys]\nCacheSeconds=1\n[KeyProvider]\n"
                                             "AllowUsers=7\n"),
                         0);
        ck_assert_uint_eq(fixture.config->keys.cache_usec, 20 * USEC_PER_SEC);
        ck_assert_str_eq(fixture.config->tpm.device, "b");
        ck_assert_uint_eq(fixture.config->agent.worker_threads, 9);
        ck_assert_uint_eq(fixture.config->keyprovider.allow_users.uids[0], 7);

        add_drop_in(&fixture, "10-a.conf", "[Keys]\nCacheSeconds=x\n");
        check_faults(&fixture, "[Keys]\nCacheSeconds=y\n",
                     ":2: CacheSeconds=: \"y\" is not a whole number of seconds\n"
                     ".d/10-a.conf:2: CacheSeconds=: \"x\" is not a whole number of seconds\n");
        stop(&fixture);
}
END_TEST

START_TEST(files_that_others_can_change_are_refused) {
        static char huge[65 * 1024];
        struct fixture fixture;

        start(&fixture);
        write_file(fixture.path, "", 0);
        ck_assert_int_eq(chmod(fixture.path, 0664), 0);
        ck_assert_int_eq(read_again(&fixture), -1);
        ck_assert_str_eq(faults_of(&fixture),
                         " may be changed by others (mode 0664) (run 'chmod go-w' on it)\n");

        ck_assert_int_eq(unlink(fixture.path), 0);
        ck_assert_int_eq(symlink("/dev/null", fixture.path), 0);
        ck_assert_int_eq(read_again(&fixture), -1);
        ck_assert_str_eq(faults_of(&fixture), " is a symbolic link\n");

        ck_assert_int_eq(unlink(fixture.path), 0);
        ck_assert_int_eq(read_again(&fixture), -1);
        ck_assert_str_eq(faults_of(&fixture), " does not exist\n");
        ck_assert_int_eq(fixture.err.code, WLA_E_INPUT);

        memset(huge, '\n', sizeof(huge));
        write_file(fixture.path, huge, sizeof(huge));
        ck_assert_int_eq(read_again(&fixture), -1);
        stop(&fixture);
}
END_TEST

/* Damages text in a few places; the same for the same seed. */
static void damage(char *text, size_t size, uint32_t seed) {
        static const char pieces[] = "\n[]=;# \t\r:0-,K\0\xff";

        for (int i = 0; i < 4; i++) {
                seed = seed * 1664525 + 1013904223;
                text[(seed >> 8) % size] = pieces[(seed >> 4) % (sizeof(pieces) - 1)];
        }
}

START_TEST(damaged_files_end_in_a_result) {
        char sample[8192];
        struct fixture fixture;
        unsigned accepted = 0;

        start(&fixture);
        for (uint32_t seed = 0; seed < 1000; seed++) {
                FILE *to = fmemopen(sample, sizeof(sample), "w");

                ck_assert_ptr_nonnull(to);
                forget(&fixture);
                ck_assert_int_eq(config_read(NULL, &fixture.config, &fixture.faults, &fixture.err),
                                 0);
                ck_assert_int_eq(config_dump(fixture.config, to), 0);
                size_t size = (size_t)ftell(to);
                (void)fclose(to);

                damage(sample, size, seed);
                write_file(fixture.path, sample, size);
                int r = read_again(&fixture);
                ck_assert_msg(r == 0 ||
                                      (fixture.err.code == WLA_E_INPUT && fixture.faults.size > 0),
                              "%s %zu", wla_error_text(&fixture.err), fixture.faults.size);
                accepted += r == 0;
        }
        ck_assert_uint_gt(accepted, 0);
        ck_assert_uint_lt(accepted, 1000);
        stop(&fixture);
}
END_TEST

START_TEST(every_allocation_may_fail) {
        static const char *const texts[] = {
                "[Agent]\nStateDirectory=/a\n[KeyProvider]\nAllowUsers=1 "
                "2\n[Volumes]\nImageRoots=/a /b\n",
                "[Agent]\nStateDirectory=a\nx\n",
        };
        struct fixture fixture;

        start(&fixture);
        for (size_t i = 0; i < 2; i++) {
                write_file(fixture.path, texts[i], strlen(texts[i]));
                for (size_t n = 1; fail_allocation_arm(n); n++) {
                        int r = read_again(&fixture);

                        fail_allocation_disarm();
                        ck_assert_int_eq(r, fail_allocation_hit() || i == 1 ? -1 : 0);
                        ck_assert_int_eq(fixture.config != NULL, r == 0);
                }
        }
        stop(&fixture);
}
END_TEST

SUITE_MAIN("config/read", an_empty_file_gives_the_defaults, without_a_file_the_defaults_hold,
           every_option_can_be_set, all_faults_are_told_at_once, values_out_of_place_are_named,
           lines_that_are_no_lines_are_named, socket_paths_must_fit,
           lines_that_inih_would_cut_are_refused, drop_ins_come_later_in_the_order_of_their_names,
           files_that_others_can_change_are_refused, damaged_files_end_in_a_result,
           every_allocation_may_fail)
