/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/libvirt_secret.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define URI         "secret:///system"
#define DESCRIPTION "<description>wlagent sets it while a domain starts</description>"
#define RANDOM_SIZE 32u

static const char hint_kind[] = "undefine it with 'virsh secret-undefine'; wlagent defines one "
                                "that libvirt keeps in memory";
static const char hint_text[] = "make a key that is 32 characters of text: openssl rand -base64 24";

static void free_secret(virSecretPtr *secret) {
        if (*secret)
                (void)virSecretFree(*secret);
}

#define _cleanup_libvirt_secret_ __attribute__((cleanup(free_secret)))

/* NULL: no secret of that UUID is ephemeral and private. */
static int find(virConnectPtr connection, const struct uuid *uuid, virSecretPtr *ret,
                struct wla_error *err) {
        char text[VIR_UUID_STRING_BUFLEN];
        virSecretPtr *secrets = NULL;

        int count = virConnectListAllSecrets(connection, &secrets,
                                             VIR_CONNECT_LIST_SECRETS_EPHEMERAL |
                                                     VIR_CONNECT_LIST_SECRETS_PRIVATE);
        if (count < 0)
                return connection_fail(err, "listing libvirt's secrets");

        *ret = NULL;
        for (int i = 0; i < count; i++)
                if (!*ret && virSecretGetUUIDString(secrets[i], text) == 0 &&
                    strcmp(text, uuid->text) == 0)
                        *ret = secrets[i];
                else
                        (void)virSecretFree(secrets[i]);
        free(secrets);
        return 0;
}

static int refuse_other_kind(virConnectPtr connection, const struct uuid *uuid,
                             struct wla_error *err) {
        _cleanup_libvirt_secret_ virSecretPtr other = virSecretLookupByUUIDString(connection,
                                                                                  uuid->text);

        if (!other)
                return 0;
        return wla_fail_hint(err, WLA_E_DENIED, hint_kind,
                             "libvirt's secret %s is not both ephemeral and private", uuid->text);
}

int libvirt_secret_check(virConnectPtr connection, const struct uuid *uuid, struct wla_error *err) {
        _cleanup_libvirt_secret_ virSecretPtr secret = NULL;

        if (find(connection, uuid, &secret, err) < 0) {
                if (virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
                        return -1;
                *err = (struct wla_error){0};
                return 0;
        }
        return secret ? 0 : refuse_other_kind(connection, uuid, err);
}

static int define(virConnectPtr connection, const struct uuid *uuid, virSecretPtr *ret,
                  struct wla_error *err) {
        char xml[256];

        if (refuse_other_kind(connection, uuid, err) < 0)
                return -1;

        (void)snprintf(xml, sizeof(xml),
                       "<secret ephemeral='yes' private='yes'><uuid>%s</uuid>" DESCRIPTION
                       "</secret>",
                       uuid->text);
        *ret = virSecretDefineXML(connection, xml, 0);
        return *ret ? 0 : connection_fail(err, "defining libvirt's secret %s", uuid->text);
}

/* QEMU would say so too, but not what to do about it. */
static int check_text(const struct wla_secret *key, struct wla_error *err) {
        const struct wla_bytes bytes = wla_secret_view(key);

        for (size_t i = 0; i < bytes.size; i++)
                if (bytes.data[i] <= ' ' || bytes.data[i] > '~')
                        return wla_fail_hint(err, WLA_E_INPUT, hint_text,
                                             "the key is not text, and QEMU takes nothing else as "
                                             "a passphrase");
        return 0;
}

int libvirt_secret_set(const struct uuid *uuid, const struct wla_secret *key,
                       struct wla_error *err) {
        _cleanup_connection_ virConnectPtr connection = NULL;
        _cleanup_libvirt_secret_ virSecretPtr secret = NULL;
        const struct wla_bytes bytes = wla_secret_view(key);

        if (check_text(key, err) < 0 || connection_open(URI, false, &connection, err) < 0 ||
            find(connection, uuid, &secret, err) < 0 ||
            (!secret && define(connection, uuid, &secret, err) < 0))
                return -1;
        if (virSecretSetValue(secret, bytes.data, bytes.size, 0) < 0)
                return connection_fail(err, "setting libvirt's secret %s", uuid->text);
        return 0;
}

static int overwrite(virSecretPtr secret, const struct uuid *uuid, struct wla_error *err) {
        uint8_t random[RANDOM_SIZE];

        if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
                return wla_fail(err, WLA_E_SYSTEM, "there are no random numbers");
        if (virSecretSetValue(secret, random, sizeof(random), 0) < 0)
                return connection_fail(err, "overwriting libvirt's secret %s", uuid->text);
        return 0;
}

int libvirt_secret_clear(const struct uuid *uuid, struct wla_error *err) {
        _cleanup_connection_ virConnectPtr connection = NULL;
        _cleanup_libvirt_secret_ virSecretPtr secret = NULL;

        if (connection_open(URI, false, &connection, err) < 0 ||
            find(connection, uuid, &secret, err) < 0)
                return -1;
        if (!secret)
                return 0;

        char *xml = virSecretGetXMLDesc(secret, 0);
        bool ours = xml && strstr(xml, DESCRIPTION);
        free(xml);
        if (!ours)
                return overwrite(secret, uuid, err);
        if (virSecretUndefine(secret) < 0)
                return connection_fail(err, "undefining libvirt's secret %s", uuid->text);
        return 0;
}
