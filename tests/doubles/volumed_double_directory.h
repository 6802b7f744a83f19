/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The directory of the double of wlagent-volumed, in which it keeps what it has, and by which tests look at it and steer it:
 * see volumed_double.c. */

#include <stdbool.h>
#include <sys/types.h>

/* Set at the start. */
extern const char *double_directory;

/* Ends the process; says what, and errno. */
__attribute__((noreturn)) void double_die(const char *what);

/* DIRECTORY/folder, or with a name DIRECTORY/folder/name and the suffix.  One of four places that take turns. */
const char *double_path(const char *folder, const char *name, const char *suffix);

bool double_exists(const char *path);

/* A line in DIRECTORY/order. */
void double_note(const char *text, const char *object);

/* Leases on that name, and who has it open in all. */
unsigned double_count_leases(const char *name);
unsigned double_count_open(const char *name);

/* Whatever a former life (pid 0) or a killed session has left. */
void double_remove_leases(pid_t pid);
