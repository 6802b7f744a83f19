/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Gives a LUKS2 volume that was exposed another volume key, and a keyslot for a key that is one.
 *
 * Whoever could read a volume with an empty passphrase may have its volume key, so it does not help to
 * replace the passphrase: everything is encrypted again.  That happens into a new file beside the old one,
 * an ordinary LUKS2 volume of the same layout, size, owner and mode, with one keyslot.  The old file stays
 * what it is until the new one is whole, on the disk, and has been opened; then one rename puts it in the
 * old one's place.  What was never written stays unwritten.
 *
 *   FILE.adopting    whole, between its naming and its renaming: an instant
 *
 * Killed before, nothing of it is left; killed in that instant, FILE.adopting is left, which the next run
 * recognizes by its key and makes again.  The blocks of the old file are free then, not wiped.
 *
 * Threads: one at a time; libcryptsetup has global state.
 * Failure: WLA_E_DENIED when neither the empty passphrase nor the key opens the volume, WLA_E_UNSUPPORTED
 *          for a header apart from its data, or a file system without files without names, WLA_E_BUSY when
 *          the volume was changed meanwhile, WLA_E_INPUT, WLA_E_SYSTEM.  The volume is as it was then.
 */

#include "base/secret.h"
#include "image/luks2_header.h"

struct volume_adoption {
        int directory_fd; /* for reading */
        const char *name; /* of the volume in it */
        int fd;           /* the volume, for reading */
        int header_fd;    /* its sealed header, and what the check found in it: LUKS2_ORDINARY */
        const struct luks2_header *header;
        const struct wla_secret *key; /* 32 bytes */
};

enum volume_adopted {
        VOLUME_ADOPTED,     /* it had opened with the empty passphrase */
        VOLUME_ADOPTED_KEY, /* it had opened with this key, by a derivation too slow for a launch */
        VOLUME_ADOPTION_NEEDLESS, /* it opens with this key alone, and fast */
};

int volume_adopt(const struct volume_adoption *adoption, enum volume_adopted *ret,
                 struct wla_error *err) _must_check_;
