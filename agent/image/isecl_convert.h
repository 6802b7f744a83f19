/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ISecL-VMC images as images of our own: converted once a host, opened in constant time ever after.
 *
 *   DIRECTORY/IDENTITY.img           the ciphertext
 *   DIRECTORY/IDENTITY.img.header    its header, whose UUID is the identity too
 *   either of them with .partial     being made; locked (flock(2)) by whoever makes it
 *
 * Both get their names when the tag has been verified and everything is on the disk, the ciphertext last:
 * so what is there is whole, whenever the process is killed, and never exchanged while VMs have it open.
 * Plaintext exists a piece at a time in locked memory.
 *
 * The volume key is derived from the image's key and its identity (HKDF-SHA256), not drawn: the layers of
 * VMs above the image are wrapped under it, and a conversion that was lost, or is made on another host,
 * has to open them.
 *
 * Ownership: nobody else writes to the directory.
 * Threads:   one at a time; any number of processes, of which one converts and the others wait.
 * Failure:   as isecl_decrypt(), disk_content_check() and header_write(); WLA_E_SYSTEM when the disk is
 *            full.  Then nothing is left but, of a killed process, a partial file: the next conversion
 *            removes it.
 */

#include "base/secret.h"
#include "image/isecl_image.h"
#include "key/key_id.h"

#define ISECL_DIGEST_SIZE 48u

struct isecl_conversion {
        int image_fd;
        const struct isecl_image *image;
        const struct wla_secret *key; /* 32 bytes */
        const struct key_id *key_id;  /* of that key; the header will name it */
        int directory_fd;
        bool wants_digest;
        /* Set by isecl_convert() when it is wanted, and the conversion is this call's: SHA-384 of the whole
         * image file. */
        bool digested;
        uint8_t digest[ISECL_DIGEST_SIZE];
};

/* Does nothing when the conversion exists. */
int isecl_convert(struct isecl_conversion *what, struct wla_error *err) _must_check_;

/* A conversion that exists: ciphertext and header, for reading.  WLA_E_NOT_FOUND without one. */
int isecl_converted_open(int directory_fd, const struct uuid *identity, int *ret_data_fd,
                         int *ret_header_fd, struct wla_error *err) _must_check_;

/* Calls each() for every conversion, until that fails. */
int isecl_converted_each(int directory_fd,
                         int (*each)(const struct uuid *identity, void *userdata,
                                     struct wla_error *err),
                         void *userdata, struct wla_error *err) _must_check_;

/* WLA_E_NOT_FOUND without one.  Nobody may have it open, or open it meanwhile. */
int isecl_converted_remove(int directory_fd, const struct uuid *identity,
                           struct wla_error *err) _must_check_;
