/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/openssl_memory.h"
#include "base/process.h"
#include "base/secret.h"
#include "base/file.h"
#include "config/config.h"
#include "daemon.h"

static const char usage[] =
        "Usage: wlagentd [--config FILE] [--check-config | --dump-config]\n"
        "\n"
        "Opens keys of encrypted images with this host's TPM, for container engines and libvirt.\n"
        "\n"
        "  --config FILE    read FILE instead of " CONFIG_DEFAULT_PATH "\n"
        "  --check-config   read the configuration, report every fault in it, and exit\n"
        "  --dump-config    print the configuration in force, and exit\n"
        "  --version        print the version, and exit\n"
        "  --help           print this, and exit\n"
        "\n"
        "SIGHUP reads the configuration again, SIGTERM finishes what is in flight and exits.\n"
        "See wlagentd(8) and wlagent.conf(5).\n";

enum command { COMMAND_SERVE, COMMAND_CHECK, COMMAND_DUMP, COMMAND_EXIT };

struct invocation {
        enum command command;
        const char *config_path;
};

static int parse_arguments(int argc, char **argv, struct invocation *ret) {
        static const struct option options[] = {
                {"config", required_argument, NULL, 'c'}, {"check-config", no_argument, NULL, 'k'},
                {"dump-config", no_argument, NULL, 'd'},  {"version", no_argument, NULL, 'v'},
                {"help", no_argument, NULL, 'h'},         {0},
        };
        struct invocation invocation = {.config_path = CONFIG_DEFAULT_PATH};

        for (int option; (option = getopt_long(argc, argv, "c:h", options, NULL)) != -1;)
                switch (option) {
                case 'c':
                        invocation.config_path = optarg;
                        break;
                case 'k':
                        invocation.command = COMMAND_CHECK;
                        break;
                case 'd':
                        invocation.command = COMMAND_DUMP;
                        break;
                case 'v':
                        (void)puts("wlagentd " WLAGENT_VERSION);
                        invocation.command = COMMAND_EXIT;
                        break;
                case 'h':
                        (void)fputs(usage, stdout);
                        invocation.command = COMMAND_EXIT;
                        break;
                default:
                        (void)fputs(usage, stderr);
                        return -1;
                }

        if (optind < argc) {
                (void)fprintf(stderr, "wlagentd: unexpected argument: %s\n\n%s", argv[optind],
                              usage);
                return -1;
        }
        *ret = invocation;
        return 0;
}

static int fail(const struct wla_error *err) {
        char text[768];

        wla_error_format(err, text, sizeof(text));
        log_event(LOG_ERR, LOG_ID_START_FAILED, NULL, "wlagentd cannot start: %s", text);
        (void)sd_notifyf(0, "STATUS=%s", text);
        return EXIT_FAILURE;
}

static int serve(struct config *taken) {
        _cleanup_config_ struct config *config = taken;
        struct wla_error err = {0};
        struct daemon *daemon = NULL;

        if (process_harden(&err) < 0 ||
            wla_secret_heap_init(config->agent.allow_unlocked_memory, &err) < 0 ||
            daemon_new(TAKE_PTR(config), &daemon, &err) < 0)
                return fail(&err);

        int outcome = daemon_run(daemon, &err);
        daemon_free(daemon);
        return outcome < 0 ? fail(&err) : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        _cleanup_buf_ struct buf faults = BUF_WITH_LIMIT(65536);
        _cleanup_config_ struct config *config = NULL;
        struct invocation invocation;
        struct wla_error err = {0};

        if (parse_arguments(argc, argv, &invocation) < 0)
                return 2;
        if (invocation.command == COMMAND_EXIT)
                return EXIT_SUCCESS;

        log_open(LOG_INFO);
        if (openssl_memory_init(&err) < 0)
                return fail(&err);
        if (config_read(invocation.config_path, &config, &faults, &err) < 0) {
                (void)fwrite(faults.data, 1, faults.size, stderr);
                if (invocation.command == COMMAND_SERVE)
                        return fail(&err);
                (void)fprintf(stderr, "wlagentd: %s\n", wla_error_text(&err));
                return EXIT_FAILURE;
        }
        log_set_level((int)config->agent.log_level);

        switch (invocation.command) {
        case COMMAND_CHECK:
                return EXIT_SUCCESS;
        case COMMAND_DUMP:
                return config_dump(config, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        default:
                return serve(TAKE_PTR(config));
        }
}
