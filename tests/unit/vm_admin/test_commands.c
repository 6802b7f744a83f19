/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/program.h"
#include "cli/vm.h"
#include "sample_header.h"
#include "vm_admin/connection.h"

/* The commands against libvirt's own test driver: all of libvirt but the machines.  Its domains live as
 * long as a connection of this process to it. */

#define LIBVIRT    "test:///default"
#define UUID       "6f0b6f6e-1d5e-4f3f-9d53-0123456789ab"
#define VOLUME     "/dev/mapper/wlagent-" UUID "-vda"
#define OUTPUT_MAX (256u * 1024u)

static const struct command *const subcommands[] = {&command_vm, NULL};

const struct command command_wlagent = {
        .name = "wlagent",
        .summary = "The commands under test",
        .operand = OPERAND_WORDS,
        .options = program_options,
        .subcommands = subcommands,
};

static const char definition[] =
        "<domain type='test'><name>web</name><uuid>" UUID "</uuid>"
        "<metadata><app:tag xmlns:app='http://example.org/a'><!-- c "
        "--><app:sub>t</app:sub></app:tag>"
        "</metadata><memory>65536</memory><os><type>hvm</type></os><devices>"
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='writeback'/>"
        "<source file='/srv/web.qcow2'/><backingStore/><target dev='vda' bus='virtio'/></disk>"
        "<disk type='file' device='disk'><source file='/srv/data.img'/>"
        "<target dev='vdb' bus='virtio'/></disk>"
        "<graphics type='vnc' passwd='hunter2'/></devices></domain>";

static char directory[] = "/tmp/wlagent-test-vm-XXXXXX";
static virConnectPtr connection;
static char output[OUTPUT_MAX];
static char errors[OUTPUT_MAX];

static const char *in_directory(const char *name) {
        static char paths[4][128];
        static unsigned next;
        char *path = paths[next++ % 4];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
        return path;
}

static void write_file(const char *name, const void *data, size_t size) {
        int fd = open(in_directory(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, data, size), size);
        ck_assert_int_eq(close(fd), 0);
}

static void write_header(const char *name, enum sample sample) {
        _cleanup_sample_header_ struct sample_header header = sample_header_make(sample);

        write_file(name, header.bytes, header.size);
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *ftw) {
        (void)facts;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void define(const char *xml) {
        virDomainPtr domain = virDomainDefineXML(connection, xml);

        ck_assert_ptr_nonnull(domain);
        (void)virDomainFree(domain);
}

static void set_up(void) {
        static const char image[64 * 1024];
        struct wla_error err = {0};
        char config[256];

        ck_assert_ptr_nonnull(mkdtemp(directory));
        (void)snprintf(config, sizeof(config),
                       "[Agent]\nStateDirectory=%s\nRuntimeDirectory=%s\n"
                       "[Volumes]\nImageRoots=%s\n",
                       directory, directory, directory);
        write_file("wlagent.conf", config, strlen(config));
        write_file("web.img", image, sizeof(image));
        write_header("web.img.header", SAMPLE_IMAGE);

        ck_assert_int_eq(connection_library_init(&err), 0);
        ck_assert_int_eq(connection_open(LIBVIRT, false, &connection, &err), 0);
        define(definition);
}

static void tear_down(void) {
        connection_close(&connection);
        (void)nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void read_back(int fd, char *to) {
        ssize_t size = pread(fd, to, OUTPUT_MAX - 1, 0);

        ck_assert_int_ge(size, 0);
        to[size] = '\0';
        (void)close(fd);
}

#define WORDS_MAX 20

/* In this process; what it says is in output and errors. */
static int run_words(const char *const *words) {
        static char copies[WORDS_MAX][256];
        static char *argv[WORDS_MAX + 1];
        int out = dup(STDOUT_FILENO);
        int err = dup(STDERR_FILENO);
        int out_file = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        int err_file = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        int argc = 0;

        for (; words[argc]; argc++) {
                (void)snprintf(copies[argc], sizeof(copies[argc]), "%s", words[argc]);
                argv[argc] = copies[argc];
        }
        argv[argc] = NULL;

        (void)fflush(NULL);
        (void)dup2(out_file, STDOUT_FILENO);
        (void)dup2(err_file, STDERR_FILENO);
        int outcome = program_run(argc, argv);
        (void)fflush(NULL);
        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(err, STDERR_FILENO);
        (void)close(out);
        (void)close(err);
        read_back(out_file, output);
        read_back(err_file, errors);
        return outcome;
}

#define run(...)                                                                                   \
        run_words((const char *const[]){"wlagent", "--config", in_directory("wlagent.conf"), "vm", \
                                        __VA_ARGS__, NULL})
#define protect(...)                                                                              \
        run("protect", "--connect", LIBVIRT, "--disk", "vda", "--image", in_directory("web.img"), \
            __VA_ARGS__)

#define ck_assert_run(outcome, call)                                                        \
        do {                                                                                \
                int outcome_ = (call);                                                      \
                ck_assert_msg(outcome_ == (outcome), "%d: %s%s", outcome_, output, errors); \
        } while (0)

#define ck_assert_in(part, text) ck_assert_msg(strstr(text, part), "%s is not in %s", part, text)

static const char *definition_of(const char *name) {
        static char text[OUTPUT_MAX];
        _cleanup_domain_ virDomainPtr domain = virDomainLookupByName(connection, name);
        char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);

        ck_assert_ptr_nonnull(xml);
        (void)snprintf(text, sizeof(text), "%s", xml);
        free(xml);
        return text;
}

START_TEST(protect_and_unprotect_are_each_others_reverse) {
        char before[OUTPUT_MAX];

        (void)snprintf(before, sizeof(before), "%s", definition_of("web"));
        ck_assert_run(0, protect("web"));
        ck_assert_in("Disk vda of domain web is protected, with a layer of its own over ", output);
        ck_assert_in("It is " VOLUME ", which wlagentd opens at each start.\n", output);
        ck_assert_str_eq(errors, "");

        const char *after = definition_of("web");
        ck_assert_in("<wlagent:disk target=\"vda\" mode=\"layer\" image=\"/tmp/wlagent-test",
                     after);
        ck_assert_in("<disk type='block' device='disk'>\n"
                     "      <driver name='qemu' type='qcow2' cache='none' discard='ignore'/>\n"
                     "      <source dev='" VOLUME "'/>\n"
                     "      <target dev='vda' bus='virtio'/>\n",
                     after);
        ck_assert_in("<!-- c -->", after);
        ck_assert_in("passwd='hunter2'", after);

        ck_assert_run(0, protect("web"));
        ck_assert_in("was already protected", output);

        ck_assert_run(0, run("unprotect", "--connect", LIBVIRT, "--disk", "vda", UUID));
        ck_assert_in("Disk vda of domain web is what it was before", output);
        ck_assert_str_eq(definition_of("web"), before);

        ck_assert_run(0, run("unprotect", "--connect", LIBVIRT, "web"));
        ck_assert_str_eq(output, "Domain web has no protected disks.\n");
        ck_assert_run(1, run("unprotect", "--connect", LIBVIRT, "--disk", "vda", "web"));
        ck_assert_in("disk vda is not protected", errors);
}
END_TEST

START_TEST(a_dry_run_changes_nothing_and_shows_no_password) {
        char before[OUTPUT_MAX];

        (void)snprintf(before, sizeof(before), "%s", definition_of("web"));
        ck_assert_run(0, protect("--dry-run", "web"));
        ck_assert_in("\n      <source dev=\"" VOLUME "\"/>\n", output);
        ck_assert_ptr_null(strstr(output, "hunter2"));
        ck_assert_run(0, protect("--dry-run", "--json", "web"));
        ck_assert_in("\"definition\":\"<domain type=\\\"test\\\">", output);
        ck_assert_ptr_null(strstr(output, "hunter2"));
        ck_assert_str_eq(definition_of("web"), before);

        ck_assert_run(0, protect("web"));
        (void)snprintf(before, sizeof(before), "%s", definition_of("web"));
        ck_assert_run(0, run("unprotect", "--connect", LIBVIRT, "--dry-run", "web"));
        ck_assert_in("<source file=\"/srv/web.qcow2\"/>", output);
        ck_assert_ptr_null(strstr(output, "hunter2"));
        ck_assert_str_eq(definition_of("web"), before);
}
END_TEST

START_TEST(objects) {
        ck_assert_run(0, protect("--mode", "ephemeral", "--json", "web"));
        ck_assert_in("{\"disk\":\"vda\",\"mode\":\"ephemeral\",\"image\":\"/tmp/", output);
        ck_assert_in("\"device\":\"" VOLUME "\",\"domain\":\"web\",\"uuid\":\"" UUID
                     "\",\"changed\":true,\"active\":false,\"snapshots\":false}\n",
                     output);
        ck_assert_run(0, run("list", "--connect", LIBVIRT, "--json"));
        ck_assert_in("{\"domains\":[{\"name\":\"web\",\"uuid\":\"" UUID "\",\"active\":false,"
                     "\"disks\":[{\"target\":\"vda\",\"mode\":\"ephemeral\",\"image\":\"/tmp/",
                     output);
        ck_assert_in("\"header\":null,\"key\":null,\"device\":\"" VOLUME
                     "\",\"in_use\":false}]}]}\n",
                     output);
        ck_assert_run(0, run("unprotect", "--connect", LIBVIRT, "--json", "web"));
        ck_assert_in("{\"disks\":[\"vda\"],\"domain\":\"web\",", output);
}
END_TEST

START_TEST(a_running_domain_changes_at_its_next_start) {
        _cleanup_domain_ virDomainPtr domain = virDomainLookupByName(connection, "web");

        ck_assert_int_eq(virDomainCreate(domain), 0);
        ck_assert_run(0, protect("web"));
        ck_assert_in("The domain is running: the change takes effect when it starts next.\n",
                     output);
        ck_assert_run(0, run("list", "--connect", LIBVIRT));
        ck_assert_in("web                   at next start  vda     layer ", output);

        ck_assert_int_eq(virDomainDestroy(domain), 0);
        ck_assert_run(0, run("list", "--connect", LIBVIRT));
        ck_assert_in("web                   shut off       vda     layer ", output);
        ck_assert_int_eq(virDomainCreate(domain), 0);
        ck_assert_run(0, run("list", "--connect", LIBVIRT));
        ck_assert_in("web                   running        vda     layer ", output);
        ck_assert_int_eq(virDomainDestroy(domain), 0);
}
END_TEST

START_TEST(domains_that_cannot_be_changed) {
        static const char transient[] =
                "<domain type='test'><name>gone</name><memory>65536</memory>"
                "<os><type>hvm</type></os><devices><disk type='file' device='disk'>"
                "<source file='/x'/><target dev='vda'/></disk></devices></domain>";
        _cleanup_domain_ virDomainPtr web = virDomainLookupByName(connection, "web");
        _cleanup_domain_ virDomainPtr gone = virDomainCreateXML(connection, transient, 0);

        ck_assert_ptr_nonnull(gone);
        ck_assert_run(1, protect("gone"));
        ck_assert_in("domain gone is transient", errors);

        ck_assert_int_eq(virDomainCreate(web), 0);
        ck_assert_int_eq(virDomainManagedSave(web, 0), 0);
        ck_assert_run(1, protect("web"));
        ck_assert_in("domain web is saved", errors);
        ck_assert_in("hint: start it and shut it down", errors);
        ck_assert_int_eq(virDomainManagedSaveRemove(web, 0), 0);
        ck_assert_run(0, protect("web"));

        ck_assert_run(1, protect("nobody"));
        ck_assert_in("domain nobody: Domain not found", errors);
        ck_assert_run(1, run("unprotect", "--connect", "test:///nonexistent.xml", "web"));
        ck_assert_in("connecting to libvirt at test:///nonexistent.xml", errors);
}
END_TEST

START_TEST(snapshots_are_told_of) {
        _cleanup_domain_ virDomainPtr web = virDomainLookupByName(connection, "web");
        virDomainSnapshotPtr snapshot = virDomainSnapshotCreateXML(web, "<domainsnapshot/>", 0);

        ck_assert_ptr_nonnull(snapshot);
        ck_assert_run(0, protect("web"));
        ck_assert_in("Its snapshots keep the disks that they were made with.\n", output);
        (void)virDomainSnapshotFree(snapshot);
}
END_TEST

START_TEST(images_are_looked_at_first) {
        static const struct {
                const char *name;
                const char *more;
                const char *text;
        } images[] = {
                {"none.img", NULL, "none.img: it does not exist"},
                {"wlagent.conf", NULL, "wlagent.conf: its header: "},
                {"plain.img", NULL, "plain.img: its header: "},
                {"link.img", NULL, "a symbolic link is on the way to it"},
                {"layer.img", NULL, "it is the layer of a domain, and no image"},
                {"luks.img", NULL, "it does not say which key opens it"},
                {"isecl.img", NULL, "isecl.img: it does not say which key opens it"},
                {"isecl.img", "--mode=direct", "an image of Intel SecL cannot be written to"},
                {"web.img", "--key=local:///web", "its header says which key opens it: "},
                {"web.img", "--header=/etc/passwd", "/etc/passwd"},
        };
        static const char zeros[64 * 1024];
        static const char isecl[4096] = "ISecL-VMC";
        char path[128];

        write_file("plain.img", zeros, sizeof(zeros));
        write_file("isecl.img", isecl, sizeof(isecl));
        write_file("layer.img", zeros, sizeof(zeros));
        write_header("layer.img.header", SAMPLE_LAYER);
        write_header("luks.img", SAMPLE_ARGON2ID);
        ck_assert_int_eq(symlink("web.img", in_directory("link.img")), 0);

        for (size_t i = 0; i < sizeof(images) / sizeof(images[0]); i++) {
                (void)snprintf(path, sizeof(path), "%s", in_directory(images[i].name));
                ck_assert_run(1, run("protect", "--connect", LIBVIRT, "--disk", "vda", "--image",
                                     path, images[i].more ? images[i].more : "--json", "web"));
                ck_assert_in(images[i].text, errors);
                ck_assert_str_eq(output, "");
        }
        ck_assert_run(1, run("protect", "--connect", LIBVIRT, "--disk", "vda", "--image",
                             "/etc/passwd", "web"));
        ck_assert_in("it is below none of the directories for images", errors);
        ck_assert_in("<source file='/srv/web.qcow2'/>", definition_of("web"));

        /* With what was missing. */
        ck_assert_run(0, run("protect", "--connect", LIBVIRT, "--disk", "vda", "--mode", "direct",
                             "--key", "local:///web", "--image", in_directory("luks.img"), "web"));
        ck_assert_in("<driver name='qemu' type='raw' cache='none' discard='unmap'/>",
                     definition_of("web"));
        ck_assert_in(" key=\"local:///web\"", definition_of("web"));
        ck_assert_run(0, run("protect", "--connect", LIBVIRT, "--disk", "vda", "--key",
                             "local:///web", "--image", in_directory("isecl.img"), "web"));
        ck_assert_in("<driver name='qemu' type='qcow2'", definition_of("web"));
        write_header("elsewhere", SAMPLE_IMAGE);
        ck_assert_run(0,
                      run("protect", "--connect", LIBVIRT, "--disk", "vda", "--header",
                          in_directory("elsewhere"), "--image", in_directory("plain.img"), "web"));
        ck_assert_in(" header=\"/tmp/", definition_of("web"));
}
END_TEST

START_TEST(a_path_is_below_the_working_directory) {
        ck_assert_int_eq(chdir(directory), 0);
        ck_assert_run(0, run("protect", "--connect", LIBVIRT, "--disk", "vdb", "--image",
                             "./web.img", "web"));
        ck_assert_in(directory, definition_of("web"));
        ck_assert_run(2, run("protect", "--connect", LIBVIRT, "--disk", "vdb", "--image",
                             "../web.img", "web"));
        ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(command_lines) {
        static const struct {
                const char *words[8];
                const char *text;
        } lines[] = {
                {{"protect", "web"}, "wlagent: option --disk is missing: which disk?\n"},
                {{"protect", "--disk", "vda", "web"}, "wlagent: option --image is missing"},
                {{"protect", "--disk", "../x", "--image", "/x", "web"},
                 "is not the target of a disk"},
                {{"protect", "--disk", "vda", "--image", "/x/../y", "web"}, "no such path"},
                {{"protect", "--disk", "vda", "--image", "/x", "--mode=fast", "web"},
                 "option --mode"},
                {{"protect", "--disk", "vda", "--image", "/x", "--key=x", "web"}, "option --key"},
                {{"protect"}, "the name or UUID of the domain is missing"},
                {{"unprotect", "--disk", "a/b", "web"}, "is not the target of a disk"},
                {{"list", "web"}, "'web' is one word too many"},
        };

        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                const char *words[WORDS_MAX] = {"wlagent", "vm"};

                memcpy(words + 2, lines[i].words, sizeof(lines[i].words));
                ck_assert_run(2, run_words(words));
                ck_assert_in(lines[i].text, errors);
                ck_assert_in("usage: wlagent vm ", errors);
        }
        ck_assert_run(0, run("protect", "--help"));
        ck_assert_in("usage: wlagent vm protect ", output);
}
END_TEST

/* What wlagentd would refuse at the start is seen here, and is not defined. */
START_TEST(the_parser_of_wlagentd_has_the_last_word) {
        char faulty[4096];
        char before[OUTPUT_MAX];
        const char *at = strstr(definition, "</metadata>");

        (void)snprintf(faulty, sizeof(faulty),
                       "%.*s<w:protected xmlns:w='urn:wlagent:domain:1'>"
                       "<w:disk target='vdb' mode='fast' image='/x'/></w:protected>%s",
                       (int)(at - definition), definition, at);
        define(faulty);
        (void)snprintf(before, sizeof(before), "%s", definition_of("web"));
        ck_assert_run(1, protect("web"));
        ck_assert_in("the new definition of domain web: ", errors);
        ck_assert_str_eq(definition_of("web"), before);

        ck_assert_run(1, run("list", "--connect", LIBVIRT));
        ck_assert_in("web                   cannot start: ", output);
        ck_assert_in("1 protected domains cannot start", errors);
        ck_assert_run(1, run("list", "--connect", LIBVIRT, "--json"));
        ck_assert_in("\"error\":\"", output);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("commands");
        TCase *tcase = tcase_create("commands");

        tcase_set_timeout(tcase, 60);
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, protect_and_unprotect_are_each_others_reverse);
        tcase_add_test(tcase, a_dry_run_changes_nothing_and_shows_no_password);
        tcase_add_test(tcase, objects);
        tcase_add_test(tcase, a_running_domain_changes_at_its_next_start);
        tcase_add_test(tcase, domains_that_cannot_be_changed);
        tcase_add_test(tcase, snapshots_are_told_of);
        tcase_add_test(tcase, images_are_looked_at_first);
        tcase_add_test(tcase, a_path_is_below_the_working_directory);
        tcase_add_test(tcase, command_lines);
        tcase_add_test(tcase, the_parser_of_wlagentd_has_the_last_word);
        suite_add_tcase(suite, tcase);

        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
