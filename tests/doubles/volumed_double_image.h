/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the double of wlagent-volumed does with files, as the real one does but for how they are opened. */

#include "volume/request.h"

/* Whether the key of the request is that of this header. */
int double_check_key(int header_fd, const struct volumed_request *wire,
                     struct wla_error *err) _must_check_;

/* WLA_E_INPUT when the image has none beside it. */
int double_find_header(const char *path, struct wla_error *err) _must_check_;

/* What happens while somebody waits: if they are there, directory/next takes the image's place, and
 * directory/converted.next that of the conversions.  Always fails, with WLA_E_BUSY. */
int double_replace(const char *path, const char *directory, struct wla_error *err) _must_check_;

/* The header of a layer for that disk. */
int double_write_layer(const struct volume_name *disk, const struct volume_request *request,
                       const struct volumed_request *wire, const char *path,
                       struct wla_error *err) _must_check_;

/* As session_conversion.c, with conversions in directory: whether the file at path is an ISecL-VMC image, its
 * identity then, and where its conversion is, or would be. */
struct double_isecl {
        bool found;
        bool converted;
        struct uuid identity;
        char image[4096];
        char header[4096];
};

int double_isecl_find(const char *path, const char *directory, struct double_isecl *ret,
                      struct wla_error *err) _must_check_;
int double_isecl_convert(const char *path, const char *directory, const struct key_id *key_id,
                         const struct wla_secret *key, struct wla_error *err) _must_check_;

/* As session_nova.c. */
int double_rebase(const struct volume_request *request, struct wla_error *err) _must_check_;

/* As session_digest.c: of the file at path, with its record in directory. */
int double_digest(const char *path, const char *directory, struct volumed_reply *reply,
                  struct wla_error *err) _must_check_;

/* What the file "order" tells of a request behind its operation: a path, a secret, a VM, or how large the
 * disk of a layer is and whether QEMU frees clusters there.  Valid until the next call, and no longer than
 * the request. */
const char *double_object(const struct volume_request *request);
