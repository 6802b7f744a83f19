/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Small domain definitions, put together from metadata and devices. */

#include <stdio.h>

#define DOMAIN_UUID "3f0c2b8e-52a4-4d0e-9a11-6d6c0f1b7a20"
#define IMAGE_UUID  "9b7c1d52-8f3e-4c1a-b1b5-0c2d3e4f5a61"

#define OUR_DEVICE(target) "/dev/mapper/wlagent-" DOMAIN_UUID "-" target
#define DISK(type, format, attribute, source, target)                           \
        "<disk type='" type "' device='disk'><driver name='qemu' type='" format \
        "'/><source " attribute "='" source "'/><target dev='" target "'/></disk>"
#define SECRET_UUID "5d0c2b8e-52a4-4d0e-9a11-6d6c0f1b7a20"
#define ENCRYPTION                   \
        "<encryption format='luks'>" \
        "<secret type='passphrase' uuid='" SECRET_UUID "'/></encryption>"
#define ENCRYPTED_DISK(encryption, target)                                                  \
        "<disk type='file' device='disk'><source file='/x'>" encryption "</source><target " \
        "dev='" target "'/></disk>"
#define LAYER_DISK(target) DISK("block", "qcow2", "dev", OUR_DEVICE(target), target)

#define NOVA_METADATA(inner) \
        "<n:instance xmlns:n='http://openstack.org/xmlns/libvirt/nova/1.1'>" inner "</n:instance>"

static inline void domain_text(char *xml, size_t size, const char *metadata, const char *devices) {
        (void)snprintf(xml, size,
                       "<domain type='kvm'><name>web-1</name><uuid>" DOMAIN_UUID "</uuid>"
                       "<metadata>%s</metadata><devices>%s</devices></domain>",
                       metadata, devices);
}
