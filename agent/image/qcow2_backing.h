/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The name of a qcow2 image's backing file, read and replaced in the image's first bytes.
 *
 * Nova's disks are qcow2 layers over a base image.  While a VM runs its base is a mapping below
 * /dev/mapper, while it does not it is the file that Nova knows: only this name changes, no cluster does.
 *
 * The bytes belong to a guest's disk and are hostile.  Images that mean more than their own clusters and
 * one backing file are refused: an external data file, encryption, feature bits that are not known.  The
 * bits "dirty" and "corrupt" are kept as they are.
 *
 * A change is three ranges of the same bytes, to be written in this order and each be on the disk before
 * the next is:
 *
 *   1. the new name, where neither the old name nor the header is
 *   2. the first QCOW2_HEAD_SIZE bytes: offset and length of the name, the format of what it names
 *   3. zeros where the old name was
 *
 * The second is one sector.  So the image names the old or the new file at any time, and nothing else,
 * also when the power fails.
 *
 * Shapes:    QEMU's docs/interop/qcow2.txt: header versions 2 and 3, header extension 0xe2792aca.
 * Threads:   pure.
 * Failure:   WLA_E_INPUT for what is malformed, WLA_E_UNSUPPORTED for what is never changed.
 */

#include <stdint.h>

#include "image/token.h"

#define QCOW2_HEAD_SIZE    512u
#define QCOW2_BACKING_SPAN 65536u /* header, extensions and name lie within these first bytes */

#define QCOW2_BACKING_NAME_SIZE 1024u /* with the terminating zero; QEMU takes 1023 characters */

struct qcow2_backing {
        char name[QCOW2_BACKING_NAME_SIZE]; /* printable ASCII; "" for an image without one */
        enum image_content format;          /* of what it names */
        uint64_t virtual_size;              /* of the image itself, bytes */
        uint32_t version;                   /* of the image itself, 2 or 3 */
};

struct qcow2_range {
        uint32_t offset;
        uint32_t size;
};

struct qcow2_backing_change {
        struct qcow2_range name;
        struct qcow2_range old;
};

/* bytes: the first of the image, QCOW2_BACKING_SPAN of them or all that it has.  A backing file without
 * a format is refused: QEMU would guess it from what the guest wrote. */
int qcow2_backing_read(const uint8_t *bytes, size_t size, struct qcow2_backing *ret,
                       struct wla_error *err) _must_check_;

/* For an image that has a backing file.  name: shorter than QCOW2_BACKING_NAME_SIZE.  On failure the
 * bytes are as they were. */
int qcow2_backing_change(uint8_t *bytes, size_t size, const char *name, enum image_content format,
                         struct qcow2_backing_change *ret, struct wla_error *err) _must_check_;
