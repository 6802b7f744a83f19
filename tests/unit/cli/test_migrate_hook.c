/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>

#include "cli/migrate.h"

static const char intel[] = "#!/bin/bash\n"
                            "# hook of the workload agent\n"
                            "\n"
                            "log=\"/var/log/workload-agent/hook.log\"\n"
                            "echo \"$dt $1 $2\" >>$log\n"
                            "if [ $2 == \"prepare\" ] || [ $2 == \"start\" ]; then\n"
                            "\txml=$(cat -)\n"
                            "\tid=`xmlstarlet sel -t -v '//domain/uuid'`\n"
                            "\tif [ $2 == \"prepare\" ]; then\n"
                            "\t\twlagent prepare-vm \"'$xml'\" >>$log 2>&1\n"
                            "\telse\n"
                            "\t\t/usr/local/bin/wlagent start-vm \"'$xml'\" &>>$log\n"
                            "\tfi\n"
                            "\tif [ $? -ne 0 ]; then exit 1; fi\n"
                            "fi\n"
                            "case $2 in\n"
                            "stopped) wlagent stop-vm \"'$xml'\" || exit 1 ;;\n"
                            "esac\n"
                            "exit 0\n";

static void expect(const char *text, bool is_intel, bool calls) {
        bool called = !calls;

        ck_assert_int_eq(migrate_is_intel_hook(text, &called), is_intel);
        ck_assert_int_eq(called, calls);
}

/* The hook, with a line of the site in front of its last one. */
static void with_line(const char *line, bool is_intel) {
        char text[sizeof(intel) + 256];

        (void)snprintf(text, sizeof(text), "%.*s%s\nexit 0\n",
                       (int)(sizeof(intel) - sizeof("exit 0\n")), intel, line);
        expect(text, is_intel, true);
}

START_TEST(intels_own) {
        expect(intel, true, true);
        with_line("# a remark", true);
        with_line("echo bye; exit 0", true);
}
END_TEST

START_TEST(with_lines_of_the_site) {
        with_line("/usr/local/sbin/site-hook \"$@\"", false);
        with_line("echo x; /usr/local/sbin/site-hook", false);
        with_line("true && site-hook", false);
        with_line("true || site-hook", false);
        with_line("cat | site-hook", false);
        with_line("cat & site-hook", false);
        with_line("if site-hook; then", false);
        with_line("if [ -e x ]; then site-hook; fi", false);
        with_line("x=$(site-hook)", false);
        with_line("x=`site-hook`", false);
        with_line("echo \"$(site-hook)\"", false);
        with_line("(site-hook)", false);
        with_line("started) site-hook ;;", false);
        with_line("wlagentx start-vm", false);
        with_line("X=1 site-hook", false);
        with_line("X=\"a b\" site-hook", false);
        with_line("X=$(cat) site-hook", false);
        with_line("X=\"unclosed", false);
}
END_TEST

/* Words that Intel's hook has as well, with another effect. */
START_TEST(with_effects_of_the_site) {
        with_line("echo 0000:65:00.0 > /sys/bus/pci/drivers/vfio-pci/unbind", false);
        with_line("echo 4096 >/proc/sys/vm/nr_hugepages", false);
        with_line("echo 4096 >>/proc/sys/vm/nr_hugepages", false);
        with_line("echo x >|/etc/x", false);
        with_line("echo x &>/etc/x", false);
        with_line("echo x >& /etc/x", false);
        with_line("echo x 2>/etc/x", false);
        with_line("echo x >/dev/nullx", false);
        with_line("echo x >$other", false);
        with_line("echo x >${log}/../../x", false);
        with_line("echo x >/var/log/workload-agent/../x", false);
        with_line("log=/etc/x", false);
        with_line("cat <(site-hook)", false);
        with_line("cat <<END", false);
        with_line("rm -rf /srv/scratch", false);
        with_line("for i in a b; do rm -rf $i; done", false);
        with_line("while true; do echo x; done", false);
        with_line("export X=1", false);
        with_line("read x", false);
        with_line("sleep 5", false);
        with_line("logger started", false);
        with_line("set -- a b", false);
        with_line("shift", false);
        with_line("date -s 2020-01-01", false);
        with_line("date 010100002020", false);
        with_line("xmlstarlet ed -L /etc/x", false);
        with_line("wlagent setup", false);
        with_line("if [ $1 == web ]; then exit 1; fi", false);
        with_line("if [ $2 == migrate ]; then exit 1; fi", false);
        with_line("[ -e /run/maintenance ] && exit 1", false);
        with_line("case $1 in", false);
        with_line("case $2 in start) site-hook ;; esac", false);
        with_line("migrate) exit 1 ;;", false);
        with_line("echo a\\\n#$(site-hook)", false);
        with_line("echo \"\n#$(site-hook)\necho \"", false);
}
END_TEST

START_TEST(with_what_changes_nothing) {
        with_line("echo x >/dev/null 2>&1", true);
        with_line("echo x &> /dev/null", true);
        with_line("echo x >&2", true);
        with_line("echo x >> \"${log}\"", true);
        with_line("echo x >> \"$log\" 2>&1", true);
        with_line("echo x >>/var/log/workload-agent/hook.log; exit 0", true);
        with_line("dt=$(date)", true);
        with_line("dt=$(date \"+%Y-%m-%d\")", true);
        with_line("[[ \"$2\" = 'stopped' ]] && exit 0", true);
        with_line("if [ \"$?\" -ne 0 ] || [ $2 != start ]; then true; fi", true);
        with_line("echo x # a remark", true);
}
END_TEST

START_TEST(of_others) {
        expect("", false, false);
        expect("#!/bin/sh\nexit 0\n", false, false);
        expect("#!/usr/bin/python3\nimport sys\n", false, false);
        expect("wlagent start-vm x\n", false, true);
        expect("#!/usr/bin/python3\nos.execv('wlagent', ['wlagent', 'start-vm'])\n", false, true);
        expect("#!/bin/sh\nwlagent status\n", false, false);
}
END_TEST

SUITE_MAIN("migrate_hook", intels_own, with_lines_of_the_site, with_effects_of_the_site,
           with_what_changes_nothing, of_others)
