/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A directory that stands for the root of a host, and what doctor finds there. */

#include <check.h>
#include <sys/types.h>

#include "cli/doctor.h"

/* The programs of the host are those that are put into its /bin. */
void fixture_set_up(void);
void fixture_tear_down(void);

const char *fixture_root(void);

/* A path below the root; the same buffer at each call. */
const char *fixture_path(const char *path);

/* Makes a file of the host, and the directories that it needs. */
void fixture_put(const char *path, mode_t mode, const char *text);
void fixture_make_directory(const char *path);
void fixture_remove(const char *path);

/* A running process of that name, which started so many seconds after the boot; the boot. */
void fixture_put_process(unsigned pid, const char *name, unsigned long seconds);
void fixture_put_boot(long long seconds);

/* A domain definition. */
void fixture_put_domain(const char *name, const char *text);

/* Runs a group of checks, with its paths below the root. */
void fixture_run(void (*check)(struct doctor *doctor), const struct config *config);

/* Whether the last run had such a finding: a failure or warning of that check with that text in it. */
bool fixture_found(const char *result, const char *check, const char *text);
unsigned fixture_count(enum finding finding);
