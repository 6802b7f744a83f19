/* SPDX-License-Identifier: Apache-2.0 */
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/uuid.h"
#include "cli/control_client.h"
#include "cli/json_writer.h"
#include "cli/vm.h"
#include "vm_admin/connection.h"
#include "volume/message.h"

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

static int ask_wlagentd(const struct config *config, enum control_command command,
                        const struct buf *request, struct buf *reply, struct wla_error *err) {
        const struct control_call call = {
                .socket = config->agent.control_socket,
                .command = command,
                .request = request,
                .timeout_usec = CONTROL_CALL_USEC,
        };

        return control_call(&call, reply, err);
}

static int tell_wlagentd(const struct config *config, const struct buf *domains, struct buf *reply,
                         struct wla_error *err) {
        if (domains->size > CONTROL_DOMAIN_PAYLOAD_MAX)
                return wla_fail(err, WLA_E_UNSUPPORTED, "there are too many domains to tell of");
        return ask_wlagentd(config, CONTROL_DOMAINS, domains, reply, err);
}

/* The list is old by now, and it leaves out domains that this user may not see: only libvirt's word that
 * there is no such domain counts. */
static int is_unknown(virConnectPtr connection, const struct uuid *uuid, bool *ret,
                      struct wla_error *err) {
        _cleanup_domain_ virDomainPtr domain = virDomainLookupByUUIDString(connection, uuid->text);

        *ret = !domain && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN;
        if (!domain && !*ret)
                return connection_fail(err, "looking for domain %s", uuid->text);
        return 0;
}

struct orphan {
        struct uuid vm;
        char target[DISK_TARGET_SIZE];
};

static int read_orphan(const struct json_value *object, struct orphan *ret, struct wla_error *err) {
        const struct json_value vm = json_member(object, "vm");
        const struct json_value target = json_member(object, "target");
        char text[UUID_TEXT_SIZE];

        if (json_string_copy(&vm, text, sizeof(text), err) < 0 ||
            uuid_parse(text, strlen(text), &ret->vm, err) < 0 ||
            json_string_copy(&target, ret->target, sizeof(ret->target), err) < 0)
                return -1;
        if (!disk_target_valid(ret->target, strlen(ret->target)))
                return wla_fail(err, WLA_E_INPUT, "the target is no device name");
        return 0;
}

static int remove_orphan(const struct config *config, const struct orphan *orphan, uint64_t review,
                         struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);

        json_open_object(&writer, NULL);
        json_put_text(&writer, "vm", orphan->vm.text);
        json_put_text(&writer, "target", orphan->target);
        json_put_number(&writer, "review", review);
        json_close_object(&writer);
        if (writer.error.code != WLA_OK) {
                *err = writer.error;
                return -1;
        }
        if (ask_wlagentd(config, CONTROL_LAYER_REMOVE, &writer.text, &reply, err) < 0)
                return wla_wrap(err, "the layer of disk %s of VM %s", orphan->target,
                                orphan->vm.text);
        (void)printf("The layer of disk %s of VM %s is removed.\n", orphan->target,
                     orphan->vm.text);
        return 0;
}

static int judge_orphan(const struct config *config, virConnectPtr connection,
                        const struct json_value *object, uint64_t review, struct wla_error *err) {
        struct orphan orphan = {0};
        bool unknown;

        if (read_orphan(object, &orphan, err) < 0)
                return wla_wrap(err, "the answer of wlagentd");
        if (is_unknown(connection, &orphan.vm, &unknown, err) < 0)
                return -1;
        return unknown ? remove_orphan(config, &orphan, review, err) : 0;
}

/* One layer that cannot be removed is not in the way of the others; the first failure is told. */
static int judge_orphans(const struct config *config, virConnectPtr connection,
                         const struct buf *reply, struct wla_error *err) {
        struct wla_error first = {0};
        struct json_value object;
        struct json_value orphan;
        uint64_t number;

        if (json_check((const char *)reply->data, reply->size, &object, err) < 0)
                return wla_wrap(err, "the answer of wlagentd");
        const struct json_value review = json_member(&object, "review");
        const struct json_value orphans = json_member(&object, "orphans");
        if (json_unsigned(&review, INT64_MAX, &number, err) < 0)
                return wla_wrap(err, "the answer of wlagentd");
        for (size_t at = 0; json_next_element(&orphans, &at, &orphan);) {
                struct wla_error own = {0};

                if (judge_orphan(config, connection, &orphan, number, &own) < 0 &&
                    first.code == WLA_OK)
                        first = own;
        }
        *err = first;
        return first.code == WLA_OK ? 0 : -1;
}

enum outcome vm_reconcile(struct invocation *invocation, const struct arguments *arguments,
                          struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
        _cleanup_domain_list_ struct domain_list list = {0};
        _cleanup_connection_ virConnectPtr connection = NULL;
        const struct config *config;

        if (invocation_config(invocation, &config, err) < 0 ||
            connection_open(arguments->option[VM_RECONCILE_CONNECT], true, &connection, err) < 0 ||
            connection_domains(connection, &list, err) < 0 ||
            write_domains(&list, &writer, err) < 0 ||
            tell_wlagentd(config, &writer.text, &reply, err) < 0)
                return OUTCOME_FAILED;

        (void)printf("wlagentd knows of %zu domains.\n", list.count);
        return judge_orphans(config, connection, &reply, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;
}
