/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The little of YAML 1.1 that Intel SecL's agent writes: maps of texts, a few deep.
 *
 * One document, whose root is a map; names are of [A-Za-z0-9_-]; a text stands on one line.  Anchors, aliases,
 * tags, directives, names that stand twice in a map, texts over several lines, and what exceeds the limits
 * below are refused.  A list is told of by its name, and its items are skipped.
 *
 * Ownership: a pair is lent for the time of its call; its text is wiped afterwards, and so are the buffers
 *            of libyaml.
 * Threads:   pure, on a text that nobody changes.
 * Failure:   WLA_E_INPUT, with the line and the name, never with what stands behind it; WLA_E_BUSY.
 */

#include "wlagent/error.h"

#define YAML_TEXT_MAX  65536u /* bytes of the document */
#define YAML_DEPTH_MAX 4u     /* maps in one another, lists included */
#define YAML_PAIRS_MAX 128u
#define YAML_VALUE_MAX 1024u
#define YAML_NAME_SIZE 64u
#define YAML_PATH_SIZE (YAML_DEPTH_MAX * YAML_NAME_SIZE)

enum yaml_kind {
        YAML_VALUE, /* a text; numbers, booleans and null are texts, too */
        YAML_MAP,   /* its pairs follow */
        YAML_LIST,
};

struct yaml_pair {
        const char *path; /* the names from the root, with '.' between */
        unsigned line;    /* of the name, from 1 */
        enum yaml_kind kind;
        const char *value; /* YAML_VALUE: terminated, without zero bytes in it; NULL otherwise */
};

/* take() is called in the order of the text.  When it fails, that is the failure. */
int yaml_pairs_read(const void *text, size_t size,
                    int (*take)(void *userdata, const struct yaml_pair *pair,
                                struct wla_error *err),
                    void *userdata, struct wla_error *err) _must_check_;
