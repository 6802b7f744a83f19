/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A software TPM of its own for one test: state directory, socket and process.
 *
 * The process dies with the test's.  Failures end the test with ck_abort_msg().
 */

#include <sys/types.h>

struct swtpm {
        char directory[64];
        char socket[96];
        char tcti[128]; /* "swtpm:path=..." */
        unsigned port;  /* 0: unix sockets; else TCP on the loopback, and port + 1 for control */
        pid_t pid;
};

/* In main, before and after all tests: what tests leave behind is in one directory. */
void test_directory_begin(void);
void test_directory_end(void);

/* Makes a directory for a test. */
void test_directory(char *to, size_t size);

/* Makes a TPM and starts it; returns when it answers. */
void swtpm_begin(struct swtpm *swtpm);

/* With a copy of the permanent state of another TPM. */
void swtpm_begin_with(struct swtpm *swtpm, const char *state);

void swtpm_begin_tcp(struct swtpm *swtpm);

/* The same state with the process gone, and with a new one. */
void swtpm_stop(struct swtpm *swtpm);
void swtpm_start(struct swtpm *swtpm);

/* Starts a program whose death is tied to ours; returns its pid. */
pid_t spawn(const char *const argv[]);

/* Ends and reaps it. */
void reap(pid_t *pid);

/* Polls until something accepts connections on the unix socket at path. */
void await_socket(const char *path);
