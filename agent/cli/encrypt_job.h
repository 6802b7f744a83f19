/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The work of 'wlagent image encrypt': a disk becomes an image, of our format or of Intel SecL's, and
 * perhaps a flavor goes with it.
 *
 * All that can be refused is refused before a key is made in KBS, and a key that was made then is told of
 * before the work, so that it is known however that ends.  What is written gets its names when it is whole:
 * the image, its header, the flavor, in this order.
 *
 * Ownership: encrypt_job_done() ends it.
 * Threads:   one.
 * Failure:   of what it stands on; when a key was made in KBS for it, the text names that key.
 */

#include "cli/flavor_output.h"
#include "cli/invocation.h"
#include "cli/owner.h"
#include "image/disk_source.h"
#include "image/image_pair.h"
#include "image/token.h"

struct encrypt_options {
        const char *in;
        const char *out;
        const char *format;   /* of IN: "raw", "qcow2", or NULL */
        const char *key_file; /* or NULL */
        bool isecl;           /* the format of OUT */
        bool compact;
        bool seal;
        bool replace;
        bool by_kbs;     /* the key is KBS's: */
        const char *url; /* NULL: the configured KBS */
        struct owner_key_wish wish;
        bool named; /* it is key_id: */
        struct key_id key_id;
        struct flavor_options flavor;
};

struct encrypt_job {
        const struct encrypt_options *options;
        char *out_header;
        struct disk_source disk;
        struct uuid uuid;
        struct image_token token;
        struct wla_secret *volume_key;
        struct owner owner; /* until the key is there */
        struct owner_key owner_key;
        struct image_pair pair;
        struct flavor_output flavor;
        bool digested;
        uint8_t digest[SHA384_SIZE]; /* of the image's file, when it is wanted or comes by itself */
};

#define ENCRYPT_JOB(what) \
        ((struct encrypt_job){.options = (what), .pair = IMAGE_PAIR, .flavor = FLAVOR_OUTPUT})

int encrypt_job_run(struct invocation *invocation, struct encrypt_job *job,
                    struct wla_error *err) _must_check_;
void encrypt_job_done(struct encrypt_job *job);

#define _cleanup_encrypt_job_ __attribute__((cleanup(encrypt_job_done)))
