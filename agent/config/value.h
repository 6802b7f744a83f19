/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The values of options: from text into struct config, and back.
 *
 * Ownership: text, users and paths are allocated and belong to the config.
 * Failure:   WLA_E_INPUT, saying what was expected; WLA_E_BUSY without memory.  The config keeps the
 *            old value then.
 */

#include "config/option.h"

int config_value_parse(const struct config_option *option, const char *text, struct config *config,
                       struct wla_error *err) _must_check_;

/* As config_value_parse() takes it. */
void config_value_print(const struct config_option *option, const struct config *config, FILE *to);

/* Releases what the value holds. */
void config_value_clear(const struct config_option *option, struct config *config);

/* Names or numbers of users, separated by white space or commas. */
int config_users_parse(const char *text, struct config_users *ret,
                       struct wla_error *err) _must_check_;

/* Directories separated by white space, each absolute and in its shortest form: no "." or "..", no
 * "//", no "/" at the end, and not "/" itself. */
int config_paths_parse(const char *text, struct config_paths *ret,
                       struct wla_error *err) _must_check_;

/* Releases what it holds. */
void config_paths_clear(struct config_paths *paths);
