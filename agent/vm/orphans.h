/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Layers whose VM libvirt does not know: since when, so that they can be removed after a time.
 *
 * StateDirectory/orphans.json keeps this over restarts and reboots:
 * {"reviewed_usec": USEC, "layers": [{"name": NAME, "since": SECONDS, "age_usec": USEC}]}.
 *
 * How old an orphan is, CLOCK_MONOTONIC says, which nobody sets: each review adds the time since the one
 * before.  After a reboot that is the time since the boot, or less.  "since" is for people only.
 *
 * A list of domains is old when it arrives, so none is enough to remove a layer:
 *
 *   1. A review chooses orphans that are old enough.  From here on nobody is shown them any more.
 *   2. Whoever told the list asks libvirt for the VM of each once more.
 *   3. Only then does it ask for the removal, and names the review.
 *
 * A domain that is there when its layer is chosen is there in 2, too.  One that starts, or has a disk
 * opened by hand, claims its layers first: before 3 they are no orphans any more, and 3 is refused; after
 * 3 the start is, until the layer is gone.  So what is removed belonged to a VM that was neither known nor
 * starting when the layer was still there to be seen.  A choice ends with the next review, and after
 * ORPHAN_CHOICE_USEC: what was asked long ago says nothing.
 *
 * Ownership: names are copied.
 * Threads:   the loop thread.
 * Failure:   a file that is not understood counts as none, which only makes layers live longer.
 */

#include "base/clock.h"
#include "vm/volume_list.h"

#define ORPHAN_CHOICE_USEC (60 * USEC_PER_SEC)
#define ORPHAN_CHOICE_MAX  256u /* layers in one review; the others wait for the next one */

struct orphans;

int orphans_new(const char *state_directory, struct orphans **ret,
                struct wla_error *err) _must_check_;
struct orphans *orphans_free(struct orphans *orphans);

/* Seconds since 1970; 0: the layer is none. */
uint64_t orphans_since(const struct orphans *orphans, const char *name);

/* Holds what volumed lists against what libvirt knows.  Layers for which known() is false are orphans from
 * now on; those that have been chosen are in *ret, which is the caller's.  What is no orphan any more is
 * forgotten. */
struct orphans_review {
        const struct volume_list *layers;
        bool (*known)(void *userdata, const struct uuid *vm);
        void *userdata;
        uint64_t now_sec;
        uint64_t listed_usec; /* when volumed was asked for the layers; CLOCK_MONOTONIC */
        uint64_t now_usec;    /* CLOCK_MONOTONIC; it names the review */
        uint64_t age_usec;    /* from which on a layer is removed */
};
int orphans_judge(struct orphans *orphans, const struct orphans_review *review,
                  struct volume_list *ret, struct wla_error *err) _must_check_;

/* Whether libvirt did not know the VM at the last review that found a layer of it, and nothing has opened its
 * disks since: what it has here is what it left. */
bool orphans_left(const struct orphans *orphans, const struct uuid *vm);

/* Chosen, or being removed. */
bool orphans_leaving(const struct orphans *orphans, const char *name, uint64_t now_usec);

/* The VM is about to have disks opened.  WLA_E_BUSY while a layer of it is being removed. */
int orphans_claim(struct orphans *orphans, const struct uuid *vm,
                  struct wla_error *err) _must_check_;

/* WLA_E_BUSY when the layer was not chosen by that review, or is not chosen any more. */
int orphans_remove_begin(struct orphans *orphans, const char *name, uint64_t review_usec,
                         uint64_t now_usec, struct wla_error *err) _must_check_;

/* failure: NULL when the layer is gone.  When volumed has not answered it may still be at it: then the layer
 * counts as being removed until a review has asked for the layers after that. */
void orphans_remove_end(struct orphans *orphans, const char *name, uint64_t now_usec,
                        const struct wla_error *failure);

/* volumed was never asked. */
void orphans_remove_cancel(struct orphans *orphans, const char *name);
