/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a libvirt domain definition says about disks that wlagent protects.
 *
 * The definition comes from libvirt's hook and is hostile until parsed.  A domain is protected in one of two
 * ways:
 *
 *   * it carries our metadata element, a line a disk:
 *
 *       <metadata>
 *         <wlagent:protected xmlns:wlagent="urn:wlagent:domain:1">
 *           <wlagent:disk target="vda" mode="layer" image="/var/lib/libvirt/images/web.img"/>
 *         </wlagent:protected>
 *       </metadata>
 *
 *     and each such disk has <source dev="/dev/mapper/wlagent-UUID-TARGET">; attributes key= (a key id,
 *     for images whose header names none) and header= (a path) are optional.  A line may hold a child
 *     <wlagent:former>, in which wlagent vm keeps what the disk was before, in libvirt's own elements;
 *     it and all below it mean nothing to the agent;
 *
 *     A disk that libvirt itself encrypts (<encryption>, on the disk or its source) has a line of another
 *     kind, naming the secret that <encryption> names by its UUID, and the key that becomes its value while
 *     the domain starts:
 *
 *           <wlagent:secret target="vdb" uuid="SECRET" key="KEYID"/>
 *
 *   * Nova made it, and the image that its metadata names is registered (vm/registry.h).
 *
 * A disk whose source is below /dev/mapper/wlagent- without a line of ours, or a line without that disk,
 * is an error: such a domain does not start.  So is any other attribute that names a device of ours, but
 * for an image below a protected disk (<backingStore>), which libvirt adds by itself.
 *
 * Ownership: all by value.
 * Threads:   pure (libxml2's reader: no network, no entities, no DTD, DOMAIN_XML_MAX bytes, depth 64).
 * Failure:   WLA_E_INPUT, naming the element or attribute, never its content.
 * Source:    libvirt domain XML (formatdomain), Nova's metadata
 *            http://openstack.org/xmlns/libvirt/nova/1.1.
 */

#include "base/uuid.h"
#include "image/token.h"
#include "key/key_id.h"
#include "volume/message.h"

#define DOMAIN_XML_MAX   (1024u * 1024u)
#define DOMAIN_NAME_SIZE 256u
#define DOMAIN_DISKS_MAX 32u
#define DOMAIN_NAMESPACE "urn:wlagent:domain:1"
#define DOMAIN_DEPTH_MAX 64u

enum disk_mode {
        DISK_LAYER,
        DISK_DIRECT,
        DISK_EPHEMERAL,
        DISK_NOVA,   /* a layer of Nova's over the image; no definition can ask for it */
        DISK_SECRET, /* encrypted by libvirt, whose secret gets the key */
        _DISK_MODE_MAX,
};

const char *disk_mode_name(
        enum disk_mode mode); /* "layer", "direct", "ephemeral", "nova", "secret" */
int disk_mode_parse(const char *text, enum disk_mode *ret, struct wla_error *err) _must_check_;

struct protected_disk {
        char target[DISK_TARGET_SIZE];
        enum disk_mode mode;
        enum image_content format;      /* <driver type=>: what libvirt expects in the volume */
        bool any_format;                /* nobody expects anything: format says nothing */
        bool keeps_places;              /* <driver discard_no_unref='on'>: image/layer_room.h */
        char image[VOLUMED_PATH_SIZE];  /* absolute, without "." and ".." components */
        char header[VOLUMED_PATH_SIZE]; /* "": beside the image or in it */
        bool has_key_id;
        struct key_id key_id;
        struct uuid nova_image; /* DISK_NOVA: the image in Glance */
        struct uuid secret;     /* DISK_SECRET, which has no image: of libvirt */
};

struct nova_instance {
        bool present;
        struct uuid image;             /* nova:root, type image; all zero without one */
        char disk[VOLUMED_PATH_SIZE];  /* source file of the root disk */
        char target[DISK_TARGET_SIZE]; /* of it */
        bool image_below;              /* its backing chain names an image of ours */
        struct uuid below;             /* then its header */
};

struct domain {
        struct uuid uuid;
        char name[DOMAIN_NAME_SIZE]; /* printable; for messages only */
        size_t disk_count;           /* protected ones */
        struct protected_disk disks[DOMAIN_DISKS_MAX];
        struct nova_instance nova;
};

int domain_parse(const char *xml, size_t size, struct domain *ret,
                 struct wla_error *err) _must_check_;

/* Only uuid and name, of a domain whose disks are nobody's business any more: it is stopping, or running
 * already.  The same limits hold. */
int domain_identify(const char *xml, size_t size, struct domain *ret,
                    struct wla_error *err) _must_check_;

/* An absolute path in its one form: no empty, "." or ".." component, no control character, and shorter
 * than VOLUMED_PATH_SIZE. */
bool disk_path_valid(const char *path, size_t size);
