/* SPDX-License-Identifier: Apache-2.0 */
/* The place in this file tells nobody anything. */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#define FIELDS_MAX 16u
#define FIELD_SIZE 640u

static atomic_int log_level = LOG_INFO;
static bool stderr_is_journal;

/* systemd.exec(5): JOURNAL_STREAM holds device and inode of the stream it connected. */
static bool detect_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        struct stat status;
        char present[64];

        if (!stream || fstat(STDERR_FILENO, &status) < 0)
                return false;

        (void)snprintf(present, sizeof(present), "%ju:%ju", (uintmax_t)status.st_dev,
                       (uintmax_t)status.st_ino);
        return strcmp(stream, present) == 0;
}

void log_open(int level) {
        stderr_is_journal = detect_journal();
        log_set_level(level);
}

void log_set_level(int level) {
        atomic_store(&log_level, level);
}

/* Peers choose parts of some values: a line stays one line. */
static void make_printable(char *text) {
        for (; *text; text++)
                if ((unsigned char)*text < ' ' || *text == 0x7f)
                        *text = '?';
}

static void send_to_journal(int priority, const char *message_id, const struct log_field *fields,
                            const char *message) {
        char texts[FIELDS_MAX][FIELD_SIZE];
        struct iovec parts[FIELDS_MAX];
        int count = 0;

        (void)snprintf(texts[count++], FIELD_SIZE, "MESSAGE=%s", message);
        (void)snprintf(texts[count++], FIELD_SIZE, "PRIORITY=%d", priority);
        (void)snprintf(texts[count++], FIELD_SIZE, "SYSLOG_IDENTIFIER=%s",
                       program_invocation_short_name);
        if (message_id)
                (void)snprintf(texts[count++], FIELD_SIZE, "MESSAGE_ID=%s", message_id);
        for (; fields && fields->name && count < (int)FIELDS_MAX; fields++)
                if (fields->value)
                        (void)snprintf(texts[count++], FIELD_SIZE, "%s=%s", fields->name,
                                       fields->value);

        for (int i = 0; i < count; i++)
                parts[i] = (struct iovec){.iov_base = texts[i], .iov_len = strlen(texts[i])};
        (void)sd_journal_sendv(parts, count);
}

static void send_to_stderr(const struct log_field *fields, const char *message) {
        char line[2 * FIELD_SIZE];
        size_t used;

        (void)snprintf(line, sizeof(line) - 1, "%s", message);
        used = strlen(line);
        for (; fields && fields->name && used < sizeof(line) - 1; fields++)
                if (fields->value) {
                        (void)snprintf(line + used, sizeof(line) - 1 - used, " %s=%s", fields->name,
                                       fields->value);
                        used = strlen(line);
                }

        make_printable(line);
        line[used++] = '\n';
        ssize_t written = write(STDERR_FILENO, line, used);
        (void)written;
}

void log_event(int priority, const char *message_id, const struct log_field *fields,
               const char *format, ...) {
        char message[FIELD_SIZE - sizeof("MESSAGE=")];
        va_list args;

        if (priority > atomic_load_explicit(&log_level, memory_order_relaxed))
                return;

        va_start(args, format);
        int size = vsnprintf(message, sizeof(message), format, args);
        va_end(args);
        if (size < 0)
                return;

        make_printable(message);
        if (stderr_is_journal)
                send_to_journal(priority, message_id, fields, message);
        else
                send_to_stderr(fields, message);
}
