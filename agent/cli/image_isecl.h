/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Images of Intel SecL's format (image/isecl_image.h) for the commands that read images.
 *
 * Such a file says nothing of its key and of what is in it, and has no header beside it.
 *
 * Failure: as image/isecl_decrypt.h; the text names the file.
 */

#include "cli/image_key_place.h"
#include "image/isecl_image.h"

/* Whether the file begins as one.  A file that cannot be read does not. */
bool image_isecl_claimed(const char *path);

/* The key that was said; wlagentd is not asked, for the file does not name one. */
int image_isecl_key(const struct image_key_place *place, struct wla_secret **ret,
                    struct wla_error *err) _must_check_;

int image_isecl_read(const char *path, struct isecl_image *ret, struct wla_error *err) _must_check_;

/* Goes over all of it and checks its tag. */
int image_isecl_verify(const char *path, const struct wla_secret *key, struct isecl_image *ret,
                       struct wla_error *err) _must_check_;

/* The same, and writes what is inside to out.  Until the tag has been found right, that is a file without a
 * name, or for its owner alone (image/pending_file.h), and it is gone if the tag is wrong. */
int image_isecl_decrypt(const char *path, const struct wla_secret *key, const char *out,
                        bool replace, struct wla_error *err) _must_check_;
