/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/control_client.h"
#include "cli/json_writer.h"
#include "cli/vm.h"
#include "vm_admin/connection.h"

static int put_domain(virDomainPtr domain, struct json_writer *writer, struct wla_error *err) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        int active = virDomainIsActive(domain);

        if (virDomainGetUUIDString(domain, uuid) < 0)
                return connection_fail(err, "looking at a domain");

        /* One that has gone since it was listed is not running any more. */
        json_open_object(writer, NULL);
        json_put_text(writer, "uuid", uuid);
        json_put_bool(writer, "active", active > 0);
        json_close_object(writer);
        return 0;
}

/* All or nothing: a domain that is left out would lose its layers in the end. */
static int write_domains(const struct domain_list *list, struct json_writer *writer,
                         struct wla_error *err) {
        json_open_object(writer, NULL);
        json_open_array(writer, "domains");
        for (size_t i = 0; i < list->count; i++)
                if (put_domain(list->domains[i], writer, err) < 0)
                        return -1;
        json_close_array(writer);
        json_close_object(writer);

        if (writer->error.code == WLA_OK)
                return 0;
        *err = writer->error;
        return -1;
}

static int tell_wlagentd(const struct config *config, const struct buf *domains,
                         struct wla_error *err) {
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_PAYLOAD_MAX);
        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = CONTROL_DOMAINS,
                .request = domains,
                .timeout_usec = CONTROL_CALL_USEC,
        };

        if (domains->size > CONTROL_DOMAIN_PAYLOAD_MAX)
                return wla_fail(err, WLA_E_UNSUPPORTED, "there are too many domains to tell of");
        return control_call(&call, &reply, err);
}

enum outcome vm_reconcile(struct invocation *invocation, const struct arguments *arguments,
                          struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        _cleanup_domain_list_ struct domain_list list = {0};
        _cleanup_connection_ virConnectPtr connection = NULL;
        const struct config *config;

        if (invocation_config(invocation, &config, err) < 0 ||
            connection_open(arguments->option[VM_RECONCILE_CONNECT], true, &connection, err) < 0 ||
            connection_domains(connection, &list, err) < 0 ||
            write_domains(&list, &writer, err) < 0 || tell_wlagentd(config, &writer.text, err) < 0)
                return OUTCOME_FAILED;

        (void)printf("wlagentd knows of %zu domains.\n", list.count);
        return OUTCOME_OK;
}
