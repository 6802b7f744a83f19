/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What domain_xml.c has read, before domain.c judges whether it fits together.  Private to them.
 *
 * Ownership: by value.  Threads: pure.
 */

#include "vm/domain.h"

/* A <disk> of the domain whose source is ours. */
struct domain_disk {
        char target[DISK_TARGET_SIZE];
        char device[VOLUME_NAME_SIZE]; /* below VOLUME_DEVICE_ROOT */
        bool block;                    /* type='block' */
        char format[16];               /* <driver type=>; "" without one, or too long */
        bool keeps_places;             /* <driver discard_no_unref='on'> */
        bool image_below;              /* its backing chain names an image of ours */
        struct uuid below;             /* then its header */
};

/* A <disk> with <encryption>, whoever looks after it. */
struct encrypted_disk {
        char target[DISK_TARGET_SIZE];
        bool luks;          /* format luks or luks2 */
        unsigned secrets;   /* how many it names */
        bool named_by_uuid; /* the last of them */
        struct uuid secret;
};

struct domain_facts {
        struct domain domain; /* disks: the lines of our metadata element, format not set */
        bool has_uuid;
        bool has_name;
        bool is_protected; /* our metadata element is there */
        size_t disk_count;
        struct domain_disk disks[DOMAIN_DISKS_MAX];
        size_t encrypted_count;
        struct encrypted_disk encrypted[DOMAIN_DISKS_MAX]; /* more than that are not ours */
};

/* xml: what xml_scan() has passed. */
int domain_xml_read(const char *xml, size_t size, bool identity_only, struct domain_facts *facts,
                    struct wla_error *err) _must_check_;
