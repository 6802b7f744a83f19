/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An image and its header get their names, one after the other: the image comes last, so where there is one,
 * it is whole and its header beside it.
 *
 * What they replace is kept as NAME.replaced until both are there.  Whenever the program is killed, there is
 * the old pair, or the new one, or no image; then the old image is IMAGE.replaced, if there was one, and the
 * old header is HEADER.replaced or, without such a file, HEADER.  A header may be left alone.  What has one of
 * these names is never removed by another run: it may be all that is left, as where an image is elsewhere.
 *
 * Threads: one.  Failure: as image/pending_file.h; the old pair is in its place again, or the text says what
 * is still NAME.replaced, as when another run has published a pair meanwhile.
 */

#include "image/pending_file.h"

struct image_pair {
        struct pending_file image;
        struct pending_file header;
};

#define IMAGE_PAIR ((struct image_pair){.image = PENDING_FILE, .header = PENDING_FILE})

/* WLA_E_INPUT when a former replacement of this file was interrupted. */
int image_pair_check(const char *path, struct wla_error *err) _must_check_;

/* Both in one directory. */
int image_pair_publish(struct image_pair *pair, bool replace, struct wla_error *err) _must_check_;

static inline void image_pair_clear(struct image_pair *pair) {
        pending_file_clear(&pair->image);
        pending_file_clear(&pair->header);
}

#define _cleanup_image_pair_ __attribute__((cleanup(image_pair_clear)))
