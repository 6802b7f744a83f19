/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>

#include "cli/command.h"

enum { ONLINE, JSON };

static const struct command_option options[] = {
        [ONLINE] = {"online", NULL, "ask WLS and AAS too, which takes a login"},
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

static void (*const checks[])(struct doctor *doctor) = {
        doctor_check_tpm,     doctor_check_memory,   doctor_check_state,   doctor_check_keys,
        doctor_check_daemon,  doctor_check_ocicrypt, doctor_check_clients, doctor_check_libvirt,
        doctor_check_volumes, doctor_check_nova,     doctor_check_wls,
};

static const char *const finding_words[] = {
        [FINDING_OK] = "ok",
        [FINDING_WARNING] = "warning",
        [FINDING_FAILURE] = "failure",
};

void doctor_report(struct doctor *doctor, enum finding finding, const char *check,
                   const char *remedy, const char *format, ...) {
        char text[1024];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);

        doctor->count[finding]++;
        if (!doctor->json) {
                (void)printf("%-8s %-18s %s\n", finding_words[finding], check, text);
                if (remedy && finding != FINDING_OK)
                        (void)printf("%-8s %-18s remedy: %s\n", "", "", remedy);
                return;
        }

        json_open_object(&doctor->writer, NULL);
        json_put_text(&doctor->writer, "check", check);
        json_put_text(&doctor->writer, "result", finding_words[finding]);
        json_put_text(&doctor->writer, "text", text);
        json_put_text(&doctor->writer, "remedy", finding == FINDING_OK ? NULL : remedy);
        json_close_object(&doctor->writer);
}

void doctor_report_error(struct doctor *doctor, enum finding finding, const char *check,
                         const struct wla_error *err) {
        doctor_report(doctor, finding, check, err->hint, "%s", wla_error_text(err));
}

static void doctor_done(struct doctor *doctor) {
        json_writer_clear(&doctor->writer);
}

#define _cleanup_doctor_ __attribute__((cleanup(doctor_done)))

static int print_summary(struct doctor *doctor, struct wla_error *err) {
        unsigned failures = doctor->count[FINDING_FAILURE];
        unsigned warnings = doctor->count[FINDING_WARNING];

        if (!doctor->json) {
                (void)printf("%u failures, %u warnings\n", failures, warnings);
                return 0;
        }

        json_close_array(&doctor->writer);
        json_put_number(&doctor->writer, "failures", failures);
        json_put_number(&doctor->writer, "warnings", warnings);
        json_close_object(&doctor->writer);
        return json_writer_print(&doctor->writer, err);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_doctor_ struct doctor doctor = {
                .invocation = invocation,
                .root = "",
                .json = arguments->option[JSON] != NULL,
                .online = arguments->option[ONLINE] != NULL,
                .writer = JSON_WRITER,
        };

        if (invocation_config(invocation, &doctor.config, err) < 0)
                return OUTCOME_FAILED;

        json_open_object(&doctor.writer, NULL);
        json_put_text(&doctor.writer, "version", WLAGENT_VERSION);
        json_open_array(&doctor.writer, "findings");
        for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
                checks[i](&doctor);

        *err = (struct wla_error){0};
        int outcome = print_summary(&doctor, err);
        return outcome < 0 || doctor.count[FINDING_FAILURE] > 0 ? OUTCOME_FAILED : OUTCOME_OK;
}

const struct command command_doctor = {
        .name = "doctor",
        .summary = "Look for what keeps encrypted images from opening on this host",
        .details = "Each finding is ok, a warning or a failure, with its remedy.  Exit code 1 when "
                   "there is a failure.",
        .operand = OPERAND_NONE,
        .options = options,
        .run = run,
};
