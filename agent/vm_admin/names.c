/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/vm.h"
#include "vm_admin/connection.h"

enum outcome vm_names(struct invocation *invocation, const struct arguments *arguments,
                      struct wla_error *err) {
        _cleanup_domain_list_ struct domain_list list = {0};
        _cleanup_connection_ virConnectPtr connection = NULL;

        struct wla_error ignored = {0};

        /* Completion is silent: without libvirt there is nothing to offer. */
        (void)invocation;
        (void)arguments;
        (void)err;
        if (connection_open(NULL, true, &connection, &ignored) < 0 ||
            connection_domains(connection, &list, &ignored) < 0)
                return OUTCOME_OK;

        for (size_t i = 0; i < list.count; i++)
                (void)puts(virDomainGetName(list.domains[i]));
        return OUTCOME_OK;
}
