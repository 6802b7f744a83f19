/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the image commands read: disks of others, and images of ours with their headers.
 *
 * Failure: as disk_source.h and luks2_header.h, WLA_E_NOT_FOUND; the text names the file.
 */

#include "image/disk_source.h"
#include "image/luks2_header.h"

#define IMAGE_HEADER_SUFFIX ".header"

/* format: "raw", "qcow2", or NULL to judge by the first bytes.  What becomes of the content is said in
 * *ret_qcow2. */
int image_input_disk(const char *path, const char *format, struct disk_source *ret, bool *ret_qcow2,
                     struct wla_error *err) _must_check_;

/* path + ".header", for free(). */
int image_header_path(const char *path, char **ret, struct wla_error *err) _must_check_;

/* The header at path, which must be one of ours for an image.  image: the one that it is looked for beside, NULL
 * when the header itself was named.  content gets its bytes unless NULL. */
int image_input_header(const char *path, const char *image, struct luks2_header *ret,
                       struct buf *content, struct wla_error *err) _must_check_;

/* The ciphertext at path, which must have the size that the header says. */
int image_input_ciphertext(const char *path, const struct luks2_header *header,
                           struct disk_source *ret, struct wla_error *err) _must_check_;
