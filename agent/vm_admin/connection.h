/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* libvirt, as far as wlagent vm asks it.
 *
 * Ownership: connections and domains are the caller's, to be closed and freed.
 * Threads:   one.
 * Failure:   libvirt's own words, as WLA_E_NOT_FOUND, WLA_E_DENIED, WLA_E_UNAVAILABLE (libvirt does not
 *            answer) or WLA_E_SYSTEM.
 * Source:    libvirt 9.0, libvirt-domain.h.
 */

#include <libvirt/libvirt.h>

#include "base/buf.h"
#include "wlagent/error.h"

/* The libvirt whose hooks run and whose domains other users see too. */
#define CONNECTION_DEFAULT_URI "qemu:///system"

/* Before everything else of this file: libvirt's errors are returned and no longer printed. */
int connection_library_init(struct wla_error *err) _must_check_;

/* uri NULL: CONNECTION_DEFAULT_URI. */
int connection_open(const char *uri, bool read_only, virConnectPtr *ret,
                    struct wla_error *err) _must_check_;

/* By name, or by UUID when no domain has that name. */
int connection_domain(virConnectPtr connection, const char *name, virDomainPtr *ret,
                      struct wla_error *err) _must_check_;

/* Appends the definition that the domain is started from.  secrets: with the passwords in it, as a
 * definition needs them that is given back. */
int connection_definition(virDomainPtr domain, bool secrets, struct buf *to,
                          struct wla_error *err) _must_check_;

/* Whether a disk's <driver> can have discard_no_unref='on'.  libvirt 9.5 takes it, QEMU 8.1 knows it, and 8.2
 * means zeros by it, too, that are written with leave to discard.  QEMU's version is the default emulator's:
 * libvirt tells none of another that a domain has. */
bool connection_keeps_places(virConnectPtr connection);

/* Every domain, running or not. */
struct domain_list {
        virDomainPtr *domains;
        size_t count;
};

int connection_domains(virConnectPtr connection, struct domain_list *ret,
                       struct wla_error *err) _must_check_;
void domain_list_clear(struct domain_list *list);

/* Sets err from what libvirt says of its last call, with the context in front. */
int connection_fail(struct wla_error *err, const char *format, ...) _printf_(2, 3);

static inline void connection_close(virConnectPtr *connection) {
        if (*connection)
                (void)virConnectClose(*connection);
}

static inline void connection_free_domain(virDomainPtr *domain) {
        if (*domain)
                (void)virDomainFree(*domain);
}

#define _cleanup_connection_  __attribute__((cleanup(connection_close)))
#define _cleanup_domain_      __attribute__((cleanup(connection_free_domain)))
#define _cleanup_domain_list_ __attribute__((cleanup(domain_list_clear)))
