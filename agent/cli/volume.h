/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The commands below "wlagent volume": what wlagentd does with volumes besides the starts of VMs. */

#include "cli/command.h"
#include "cli/json_writer.h"
#include "volume/volume_name.h"
#include "wlagent/control.h"

extern const struct command command_volume_list;
extern const struct command command_volume_open;
extern const struct command command_volume_close;
extern const struct command command_volume_remove;
extern const struct command command_volume_prepare;
extern const struct command command_volume_adopt;

/* Asks wlagentd; the reply's object is in *ret, which points into text.  request: NULL for none; a reply
 * without payload leaves type JSON_ABSENT. */
int volume_ask(struct invocation *invocation, enum control_command command,
               const struct json_writer *request, struct buf *text, struct json_value *ret,
               struct wla_error *err) _must_check_;

/* A name as it is listed, or the path below /dev/mapper. */
int volume_take_name(const char *word, struct volume_name *ret, struct wla_error *err) _must_check_;

/* Prints the names that there are, a line each: mappings, or with removable layers and converted images. */
int volume_print_names(struct invocation *invocation, bool removable,
                       struct wla_error *err) _must_check_;
