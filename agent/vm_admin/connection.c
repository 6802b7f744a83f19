/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/connection.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"

#define CONTEXT_MAX 200u
#define MESSAGE_MAX 300u

/* 1000000 * major + 1000 * minor + release */
#define LIBVIRT_KEEPS 9005000u
#define QEMU_KEEPS    8002000u

static const char hint_start[] = "start libvirt: 'systemctl start virtqemud.socket', or "
                                 "libvirtd.socket where there is one daemon for all";
static const char hint_denied[] = "run this as root, or as a user whom libvirt lets manage domains";
static const char hint_list[] = "'virsh list --all' names the domains that there are";

static enum wla_code code_of(int number) {
        switch (number) {
        case VIR_ERR_NO_DOMAIN:
                return WLA_E_NOT_FOUND;
        case VIR_ERR_AUTH_FAILED:
        case VIR_ERR_AUTH_CANCELLED:
        case VIR_ERR_AUTH_UNAVAILABLE:
        case VIR_ERR_ACCESS_DENIED:
        case VIR_ERR_OPERATION_DENIED:
                return WLA_E_DENIED;
        case VIR_ERR_NO_CONNECT:
        case VIR_ERR_RPC:
                return WLA_E_UNAVAILABLE;
        default:
                return WLA_E_SYSTEM;
        }
}

static const char *hint_for(enum wla_code code) {
        switch (code) {
        case WLA_E_NOT_FOUND:
                return hint_list;
        case WLA_E_DENIED:
                return hint_denied;
        case WLA_E_UNAVAILABLE:
                return hint_start;
        default:
                return NULL;
        }
}

int connection_fail(struct wla_error *err, const char *format, ...) {
        const virError *error = virGetLastError();
        char message[MESSAGE_MAX];
        char context[CONTEXT_MAX];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(context, sizeof(context), format, arguments);
        va_end(arguments);

        /* It may quote a definition, and goes to a terminal. */
        (void)snprintf(message, sizeof(message), "%s",
                       error && error->message ? error->message : "libvirt does not say why");
        for (char *at = message; *at; at++)
                if ((unsigned char)*at < ' ' || *at == 0x7f)
                        *at = ' ';

        enum wla_code code = code_of(error ? error->code : VIR_ERR_INTERNAL_ERROR);
        wla_error_set(err, code, hint_for(code), "%s: %s", context, message);
        return -1;
}

static void keep_silent(void *data, virErrorPtr error) {
        (void)data;
        (void)error;
}

int connection_library_init(struct wla_error *err) {
        if (virInitialize() < 0)
                return wla_fail(err, WLA_E_SYSTEM, "the library of libvirt does not start");

        virSetErrorFunc(NULL, keep_silent);
        return 0;
}

int connection_open(const char *uri, bool read_only, virConnectPtr *ret, struct wla_error *err) {
        const char *name = uri ? uri : CONNECTION_DEFAULT_URI;
        virConnectPtr connection = read_only ? virConnectOpenReadOnly(name) : virConnectOpen(name);

        if (connection) {
                *ret = connection;
                return 0;
        }

        (void)connection_fail(err, "connecting to libvirt at %s", name);
        if (err->code == WLA_E_SYSTEM) {
                err->code = WLA_E_UNAVAILABLE;
                err->hint = hint_start;
        }
        return -1;
}

int connection_domain(virConnectPtr connection, const char *name, virDomainPtr *ret,
                      struct wla_error *err) {
        virDomainPtr domain = virDomainLookupByName(connection, name);
        struct wla_error ignored = {0};
        struct uuid uuid;

        if (!domain && uuid_parse(name, strlen(name), &uuid, &ignored) == 0)
                domain = virDomainLookupByUUIDString(connection, uuid.text);
        if (!domain)
                return connection_fail(err, "domain %.80s", name);

        *ret = domain;
        return 0;
}

int connection_definition(virDomainPtr domain, bool secrets, struct buf *to,
                          struct wla_error *err) {
        unsigned flags = VIR_DOMAIN_XML_INACTIVE | (secrets ? VIR_DOMAIN_XML_SECURE : 0);
        char *xml = virDomainGetXMLDesc(domain, flags);

        if (!xml)
                return connection_fail(err, "reading the definition of domain %.80s",
                                       virDomainGetName(domain));

        size_t size = strlen(xml);
        int result = buf_append(to, xml, size, err);

        explicit_bzero(xml, size);
        free(xml);
        return result;
}

bool connection_keeps_places(virConnectPtr connection) {
        const char *driver = virConnectGetType(connection);
        unsigned long libvirt = 0;
        unsigned long qemu = 0;

        return driver && strcmp(driver, "QEMU") == 0 &&
               virConnectGetLibVersion(connection, &libvirt) == 0 && libvirt >= LIBVIRT_KEEPS &&
               virConnectGetVersion(connection, &qemu) == 0 && qemu >= QEMU_KEEPS;
}

int connection_domains(virConnectPtr connection, struct domain_list *ret, struct wla_error *err) {
        virDomainPtr *domains = NULL;
        int count = virConnectListAllDomains(connection, &domains, 0);

        if (count < 0)
                return connection_fail(err, "listing the domains");

        *ret = (struct domain_list){.domains = domains, .count = (size_t)count};
        return 0;
}

void domain_list_clear(struct domain_list *list) {
        for (size_t i = 0; i < list->count; i++)
                (void)virDomainFree(list->domains[i]);
        free(list->domains);
        *list = (struct domain_list){0};
}
