/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/uuid.h"
#include "cli/migrate.h"
#include "config/config.h"
#include "source/key_origin.h"

/* What of config.yml goes into a drop-in of wlagent.conf, and what nothing here corresponds to. */

#define TRUST_DIRECTORY INTEL_DIRECTORY "/certs/trustedca"
#define ORIGINS         "AllowedKeyOrigins"
#define CONFIG_TEXT_MAX 8192u
/* /sys/class/dmi/id leads there. */
#define FIRMWARE_UUID "/sys/devices/virtual/dmi/id/product_uuid"
#define LINE_MAX_SIZE 196u /* of wlagent.conf, config/ini_file.h */

/* logrus' levels, by name or number, and ours. */
static const struct {
        const char *name;
        const char *number;
        const char *level;
} levels[] = {
        {"panic", "0", "err"},       {"fatal", "1", "err"},    {"error", "2", "err"},
        {"warning", "3", "warning"}, {"warn", "3", "warning"}, {"info", "4", "info"},
        {"debug", "5", "debug"},     {"trace", "6", "debug"},
};

static const char *level_of(const char *text) {
        for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
                if (strcmp(levels[i].name, text) == 0 || strcmp(levels[i].number, text) == 0)
                        return levels[i].level;
        return NULL;
}

static int put(struct buf *to, const char *key, const char *value, struct wla_error *err) {
        return buf_printf(to, err, "%s=%s\n", key, value);
}

/* A service's base URL, checked as wlagentd checks it. */
static int put_url(struct migrate *migrate, struct buf *to, const char *key, const char *subject,
                   const char *value, struct wla_error *err) {
        char normal[BROKER_URL_SIZE];
        struct wla_error why = {0};

        if (value[0] == '\0')
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, subject,
                                         "it is not set; set it in " INTEL_CONFIG
                                         ", Intel's setup was never finished without it");
        if (broker_url_parse(value, normal, &why) < 0)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, subject, "%s",
                                         wla_error_text(&why));
        if (strlen(key) + strlen(normal) + 1 > LINE_MAX_SIZE)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, subject,
                                         "the URL is longer than a line of wlagent.conf may be");
        return put(to, key, normal, err);
}

static int put_user(struct migrate *migrate, struct buf *to, struct wla_error *err) {
        const char *user = migrate->config.user;

        if (user[0] == '\0')
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, "wla",
                                         "no user is set that the agent could log in as");
        if (strlen(user) > LINE_MAX_SIZE / 2)
                return migrate_plan_note(&migrate->plan, err, MIGRATE_BLOCKS, "wla",
                                         "the name of the user is too long");
        return put(to, "ServiceUser", user, err);
}

/* Those of an earlier run, so that a later one without the option keeps them; "" when there are none. */
static int former_origins(const struct migrate *migrate, struct buf *to, struct wla_error *err) {
        _cleanup_buf_ struct buf present = BUF_WITH_LIMIT(CONFIG_TEXT_MAX);
        struct wla_error ignored = {0};

        if (host_root_read(&migrate->root, MIGRATE_CONFIG, &present, &ignored) < 0)
                return 0;
        const char *text = buf_text(&present, err);
        if (!text)
                return -1;
        const char *line = strstr(text, "\n" ORIGINS "=");
        if (!line)
                return 0;
        line += strlen("\n" ORIGINS "=");
        return buf_append(to, line, strcspn(line, "\n"), err);
}

static int put_origins(struct migrate *migrate, struct buf *to, struct wla_error *err) {
        struct key_origins origins;
        _cleanup_buf_ struct buf former = BUF_WITH_LIMIT(CONFIG_TEXT_MAX);
        _cleanup_buf_ struct buf list = BUF_WITH_LIMIT(CONFIG_TEXT_MAX);
        const char *given = migrate->allowed_origins;

        if (!given) {
                if (former_origins(migrate, &former, err) < 0)
                        return -1;
                given = buf_text(&former, err);
                if (!given)
                        return -1;
        }
        if (given[0] == '\0')
                return migrate_plan_note(
                        &migrate->plan, err, MIGRATE_BY_HAND, ORIGINS "=",
                        "no key broker is allowed, so no key of Intel SecL opens: config.yml does "
                        "not tell which brokers (KBS) keys may come from, because an image named "
                        "any "
                        "it liked. Run this again with --allow-key-origin https://HOST:9443, which "
                        "is KBS's port");
        if (key_origins_parse(given, &origins, err) < 0)
                return wla_wrap(err, "--allow-key-origin");
        for (size_t i = 0; i < origins.count; i++)
                if (buf_printf(&list, err, "%s%s", i > 0 ? " " : "", origins.origins[i].text) < 0)
                        return -1;

        const char *text = buf_text(&list, err);
        if (!text)
                return -1;
        if (list.size + strlen(ORIGINS "=") > LINE_MAX_SIZE)
                return wla_fail(
                        err, WLA_E_INPUT,
                        "--allow-key-origin: the list is longer than a line of wlagent.conf "
                        "may be");
        return put(to, ORIGINS, text, err);
}

/* Only root may read it where it stands, and wlagentd is not root. */
static int put_hardware(struct migrate *migrate, struct buf *to, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(4096);
        struct wla_error why = {0};
        struct uuid uuid;

        if (host_root_read(&migrate->root, FIRMWARE_UUID, &text, &why) == 0) {
                if (text.size > 0 && text.data[text.size - 1] == '\n')
                        text.size--;
                if (uuid_parse((const char *)text.data, text.size, &uuid, &why) == 0)
                        return put(to, "HardwareUUID", uuid.text, err);
        }
        return migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, "HardwareUUID=",
                                 "the UUID by which HVS knows this host cannot be read here (%s); "
                                 "set it",
                                 wla_error_text(&why));
}

/* Releases up to 3.4 had WLS without a version in its path. */
static int note_old_service(struct migrate *migrate, struct wla_error *err) {
        const char *url = migrate->config.wls_url;

        if (url[0] == '\0' || strstr(url, "/v1") || strstr(url, "/v2"))
                return 0;
        return migrate_plan_note(
                &migrate->plan, err, MIGRATE_BY_HAND, "ServerURL=",
                "its path has no /v1, as with WLS up to 3.4; with WLS 3.5 or later "
                "write https://HOST:5000/wls/v1. For services without TLS 1.3 set "
                "AllowTLS12=yes");
}

static int write_settings(struct migrate *migrate, struct buf *to, struct wla_error *err) {
        const struct intel_config *config = &migrate->config;
        const char *level = level_of(config->log_level);

        if (buf_append_text(to,
                            "# SPDX-License-Identifier: Apache-2.0\n"
                            "# Written by 'wlagent migrate' from " INTEL_CONFIG ".\n",
                            err) < 0)
                return -1;
        if (level && strcmp(level, "info") != 0 &&
            buf_printf(to, err, "[Agent]\nLogLevel=%s\n\n", level) < 0)
                return -1;

        const bool five = config->dialect == INTEL_DIALECT_5;
        if (buf_append_text(to, "[WLS]\n", err) < 0 ||
            put_url(migrate, to, "ServerURL", five ? "wls.api-url" : "wls.apiurl", config->wls_url,
                    err) < 0 ||
            put_url(migrate, to, "TokenURL", five ? "aas.base-url" : "aas.baseurl", config->aas_url,
                    err) < 0 ||
            put_user(migrate, to, err) < 0 || put_origins(migrate, to, err) < 0 ||
            put(to, "TrustDirectory", TRUST_DIRECTORY, err) < 0 ||
            put_hardware(migrate, to, err) < 0)
                return -1;
        return note_old_service(migrate, err);
}

/* Also whether others could have it otherwise in a moment. */
static int same_text(struct migrate *migrate, const char *path, const char *text, bool *ret,
                     struct wla_error *err) {
        _cleanup_buf_ struct buf present = BUF_WITH_LIMIT(CONFIG_TEXT_MAX);
        struct wla_error why = {0};
        struct stat facts;

        *ret = false;
        if (host_root_read(&migrate->root, path, &present, &why) < 0) {
                if (why.code == WLA_E_NOT_FOUND)
                        return 0;
                *err = why;
                return -1;
        }
        if (host_root_stat(&migrate->root, path, &facts, err) < 0)
                return -1;
        *ret = present.size == strlen(text) && memcmp(present.data, text, present.size) == 0 &&
               facts.st_uid == 0 && (facts.st_mode & (S_IWGRP | S_IWOTH)) == 0;
        return 0;
}

static int plan_text(struct migrate *migrate, const char *path, const char *text, const char *why,
                     struct wla_error *err) {
        bool same;

        if (same_text(migrate, path, text, &same, err) < 0)
                return -1;
        return same ? 0 : migrate_plan_write(&migrate->plan, path, text, 0644, why, err);
}

static int note_text(struct migrate *migrate, const char *name, const char *value, const char *why,
                     struct wla_error *err) {
        if (value[0] == '\0')
                return 0;
        return migrate_plan_note(&migrate->plan, err, MIGRATE_DROPPED, name, "%s", why);
}

static int note_dropped(struct migrate *migrate, struct wla_error *err) {
        const struct intel_config *config = &migrate->config;
        const bool five = config->dialect == INTEL_DIALECT_5;
        const char *skip = five ? "skip-flavor-signature-verification"
                                : "skipflavorsignatureverification";

        if (note_text(migrate, five ? "hvs.api-url" : "hvs.apiurl", config->hvs_url,
                      "the running agent never talks to HVS; 'wlagent setup' asks for its URL when "
                      "keys are registered",
                      err) < 0 ||
            note_text(migrate, five ? "cms.base-url" : "cms.baseurl", config->cms_url,
                      "only 'wlagent setup' asks CMS, once, for its root certificate", err) < 0 ||
            note_text(migrate, five ? "cms.tls-cert-sha384" : "cmstlscertdigest",
                      config->cms_digest, "as the URL of CMS", err) < 0 ||
            note_text(migrate, five ? "log.max-length" : "logmaxlength", config->log_length,
                      "messages go to the journal and are not cut", err) < 0 ||
            note_text(migrate, five ? "log.enable-stdout" : "logenablestdout", config->log_stdout,
                      "messages go to the journal: journalctl -u wlagentd", err) < 0)
                return -1;
        if (config->skip_signatures == INTEL_YES &&
            migrate_plan_note(&migrate->plan, err, MIGRATE_DROPPED, skip,
                              "VerifyFlavors=yes is in force: a flavor of an image that nobody has "
                              "signed is refused, which Intel's agent was told to believe") < 0)
                return -1;
        if (config->log_level[0] != '\0' && !level_of(config->log_level) &&
            migrate_plan_note(&migrate->plan, err, MIGRATE_DROPPED, five ? "log.level" : "loglevel",
                              "it is none of logrus' levels; LogLevel=info is used") < 0)
                return -1;
        for (size_t i = 0; i < config->unknown_count; i++)
                if (migrate_plan_note(&migrate->plan, err, MIGRATE_DROPPED, config->unknown[i],
                                      "no release of Intel's agent is known to read this name") < 0)
                        return -1;
        return 0;
}

/* wlagentd.service as installed has no network. */
static const char network[] =
        "# SPDX-License-Identifier: Apache-2.0\n"
        "# Written by 'wlagent migrate': wlagentd talks to Intel SecL's services.\n"
        "[Service]\n"
        "PrivateNetwork=no\n"
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
        "IPAddressAllow=any\n";

/* One that is there stays: the operator may have narrowed it. */
static int look_network(struct migrate *migrate, struct wla_error *err) {
        struct wla_error why = {0};
        struct stat facts;

        if (host_root_stat(&migrate->root, MIGRATE_NETWORK, &facts, &why) == 0)
                return 0;
        if (why.code != WLA_E_NOT_FOUND) {
                *err = why;
                return -1;
        }
        return migrate_plan_write(&migrate->plan, MIGRATE_NETWORK, network, 0644,
                                  "a network for wlagentd.service", err);
}

int migrate_look_settings(struct migrate *migrate, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(CONFIG_TEXT_MAX);

        if (write_settings(migrate, &text, err) < 0)
                return -1;
        const char *settings = buf_text(&text, err);
        if (!settings ||
            plan_text(migrate, MIGRATE_CONFIG, settings, "the services and the user", err) < 0)
                return -1;
        if (look_network(migrate, err) < 0)
                return -1;
        if (migrate_plan_note(
                    &migrate->plan, err, MIGRATE_BY_HAND, MIGRATE_NETWORK,
                    "the drop-in lets wlagentd reach every address; where WLS and AAS have "
                    "fixed ones, narrow IPAddressAllow= there") < 0)
                return -1;
        if (migrate->config.complete == INTEL_NO &&
            migrate_plan_note(&migrate->plan, err, MIGRATE_BY_HAND, "configcomplete",
                              "Intel's setup was not finished on this host; compare what is above "
                              "with what the host should have") < 0)
                return -1;
        return note_dropped(migrate, err);
}
