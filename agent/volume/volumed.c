/* SPDX-License-Identifier: Apache-2.0 */

/* wlagent-volumed: opens disks of VMs for wlagentd.  Only this program touches device-mapper, loop devices
 * and layer files.
 *
 * It has to be root with CAP_SYS_ADMIN (device-mapper, loop devices) and CAP_DAC_OVERRIDE (images belong to
 * QEMU's user), and with CAP_CHOWN when it makes its socket itself; with 256 KiB of locked memory a
 * session; /dev/mapper/control, /dev/loop-control, the block devices of loop and device-mapper; AF_UNIX;
 * keyctl(2); System V semaphores, with which device-mapper waits for udev; /proc and /sys; and a mount
 * namespace that sees what is mounted later below ImageRoots=.  It needs no network, and starts one
 * program, wlagent-secret, when a domain's disk is encrypted by libvirt itself. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "base/openssl_memory.h"
#include "base/process.h"
#include "config/config.h"
#include "volume/server.h"

static const char usage[] = "Usage: wlagent-volumed [--config FILE]\n"
                            "\n"
                            "Opens encrypted disks of virtual machines for wlagentd.\n"
                            "\n"
                            "  --config FILE    read FILE instead of " CONFIG_DEFAULT_PATH "\n"
                            "  --version        print the version, and exit\n"
                            "  --help           print this, and exit\n"
                            "\n"
                            "See wlagent-volumed(8) and wlagent.conf(5).\n";

/* Whether the program goes on. */
static bool parse_arguments(int argc, char **argv, const char **ret_config, int *ret_code) {
        static const struct option options[] = {
                {"config", required_argument, NULL, 'c'},
                {"version", no_argument, NULL, 'v'},
                {"help", no_argument, NULL, 'h'},
                {0},
        };

        *ret_config = CONFIG_DEFAULT_PATH;
        *ret_code = EXIT_SUCCESS;
        for (int option; (option = getopt_long(argc, argv, "c:h", options, NULL)) != -1;)
                switch (option) {
                case 'c':
                        *ret_config = optarg;
                        break;
                case 'v':
                        (void)puts("wlagent-volumed " WLAGENT_VERSION);
                        return false;
                case 'h':
                        (void)fputs(usage, stdout);
                        return false;
                default:
                        (void)fputs(usage, stderr);
                        *ret_code = 2;
                        return false;
                }
        if (optind == argc)
                return true;
        (void)fprintf(stderr, "wlagent-volumed: unexpected argument: %s\n\n%s", argv[optind],
                      usage);
        *ret_code = 2;
        return false;
}

static int fail(const struct wla_error *err) {
        char text[768];

        wla_error_format(err, text, sizeof(text));
        log_event(LOG_ERR, LOG_ID_START_FAILED, NULL, "wlagent-volumed cannot start: %s", text);
        (void)sd_notifyf(0, "STATUS=%s", text);
        return EXIT_FAILURE;
}

static int serve(const struct config *config) {
        struct wla_error err = {0};
        struct server *server = NULL;

        if (process_harden(&err) < 0 || server_new(config, &server, &err) < 0)
                return fail(&err);
        int outcome = server_run(server, &err);
        (void)server_free(server);
        return outcome < 0 ? fail(&err) : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        _cleanup_buf_ struct buf faults = BUF_WITH_LIMIT(65536);
        _cleanup_config_ struct config *config = NULL;
        struct wla_error err = {0};
        const char *path;
        int code;

        if (!parse_arguments(argc, argv, &path, &code))
                return code;

        log_open(LOG_INFO);
        if (openssl_memory_init(&err) < 0)
                return fail(&err);
        if (config_read(path, &config, &faults, &err) < 0) {
                (void)fwrite(faults.data, 1, faults.size, stderr);
                return fail(&err);
        }
        log_set_level((int)config->agent.log_level);
        return serve(config);
}
