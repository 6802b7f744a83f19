/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Layers whose VM libvirt does not know: since when, so that they can be removed after a time.
 *
 * StateDirectory/orphans.json keeps this over reboots: {"layers": [{"name": NAME, "since": SECONDS}]}.
 * Only what libvirt has said counts: a layer becomes an orphan by one complete list of domains, and is
 * removed by another one, at least so much later.  A clock that is put forward between two lists makes no
 * layer older; one that is put back makes them live longer.
 *
 * Ownership: names are copied.
 * Threads:   the loop thread.
 * Failure:   a file that is not understood counts as none, which only makes layers live longer.
 */

#include "vm/volume_list.h"

struct orphans;

int orphans_new(const char *state_directory, struct orphans **ret,
                struct wla_error *err) _must_check_;
struct orphans *orphans_free(struct orphans *orphans);

/* Seconds since 1970; 0: the layer is none. */
uint64_t orphans_since(const struct orphans *orphans, const char *name);

/* Holds what volumed lists against what libvirt knows.  Layers for which known() is false are orphans from
 * now on; those that were before after_sec are in *ret, which is the caller's.  What is no orphan any
 * more is forgotten. */
struct orphans_review {
        const struct volume_list *layers;
        bool (*known)(void *userdata, const struct uuid *vm);
        void *userdata;
        uint64_t now_sec;
        uint64_t age_sec; /* of what is to be removed */
};
int orphans_judge(struct orphans *orphans, const struct orphans_review *review,
                  struct volume_list *ret, struct wla_error *err) _must_check_;

/* It has been removed. */
void orphans_forget(struct orphans *orphans, const char *name);
