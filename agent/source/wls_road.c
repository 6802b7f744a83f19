/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls_road.h"

#include <stdlib.h>
#include <string.h>

#include "base/credential.h"
#include "source/hardware_uuid.h"
#include "source/wls.h"
#include "source/wls_image.h"

#define PASSWORD_CREDENTIAL "aas-password"
#define NONE                "none"

struct wls_road {
        struct http_client *http;
        struct broker_token *token;
        struct broker_gate *gate;
        struct broker_record *record;
        char url[BROKER_URL_SIZE];
        char *signers;
        char *roots;
        struct wls_service service;
        struct uuid hardware;
        struct wls_source *source;
        struct wls_image_source *image_source;
};

static bool is_none(const char *text) {
        return strcmp(text, NONE) == 0;
}

static int read_url(const char *option, const char *text, char ret[BROKER_URL_SIZE],
                    struct wla_error *err) {
        if (is_none(text))
                return wla_fail(err, WLA_E_INPUT, "%s= of section [WLS] is not set", option);
        if (broker_url_parse(text, ret, err) < 0)
                return wla_wrap(err, "%s=", option);
        return 0;
}

static int make_http(const struct config *config, struct http_client **ret, struct wla_error *err) {
        const struct http_settings settings = {
                .trust_directory = config->wls.trust_directory,
                .tls12 = config->wls.allow_tls12,
        };

        return http_client_new(&settings, ret, err);
}

static int make_token(const struct config *config, struct wls_road *road, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *password = NULL;
        char url[BROKER_URL_SIZE];

        if (is_none(config->wls.service_user))
                return wla_fail(err, WLA_E_INPUT, "ServiceUser= of section [WLS] is not set");
        if (read_url("TokenURL", config->wls.token_url, url, err) < 0 ||
            credential_read(PASSWORD_CREDENTIAL, &password, err) < 0)
                return -1;
        return broker_token_new(road->http, url, config->wls.service_user, password, &road->token,
                                err);
}

static int make_source(const struct config *config, struct wls_road *road, struct wla_error *err) {
        const char *origins = config->wls.allowed_key_origins;
        struct wls_options options = {.service = road->service, .hardware = road->hardware};

        if (key_origins_parse(is_none(origins) ? "" : origins, &options.allowed, err) < 0)
                return wla_wrap(err, "AllowedKeyOrigins=");
        return wls_source_new(&options, &road->source, err);
}

static int make_image_source(const struct config *config, struct wls_road *road,
                             struct wla_error *err) {
        road->signers = strdup(config->wls.flavor_trust_directory);
        road->roots = strdup(config->wls.trust_directory);
        if (!road->signers || !road->roots)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        const struct wls_image_options options = {
                .service = road->service,
                .hardware = road->hardware,
                .verify = config->wls.verify_flavors,
                .trust = {.signers = road->signers, .roots = road->roots},
        };
        return wls_image_source_new(&options, &road->image_source, err);
}

static int make_sources(const struct config *config, struct wls_road *road, struct wla_error *err) {
        if (read_url("ServerURL", config->wls.server_url, road->url, err) < 0 ||
            broker_gate_new(road->http, "WLS", road->url, &road->gate, err) < 0 ||
            hardware_uuid_read(config->wls.hardware_uuid, &road->hardware, err) < 0)
                return -1;
        road->service = (struct wls_service){
                .url = road->url,
                .gate = road->gate,
                .token = road->token,
                .record = road->record,
        };
        if (make_source(config, road, err) < 0)
                return -1;
        return make_image_source(config, road, err);
}

int wls_road_new(const struct config *config, struct wls_road **ret, struct wla_error *err) {
        *ret = NULL;
        if (is_none(config->wls.server_url))
                return 0;

        struct wls_road *road = calloc(1, sizeof(*road));
        if (!road)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (broker_record_new(&road->record, err) < 0 || make_http(config, &road->http, err) < 0 ||
            make_token(config, road, err) < 0 || make_sources(config, road, err) < 0) {
                wls_road_free(road);
                return -1;
        }
        *ret = road;
        return 0;
}

struct wls_road *wls_road_free(struct wls_road *road) {
        if (!road)
                return NULL;

        wls_image_source_free(road->image_source);
        wls_source_free(road->source);
        broker_token_free(road->token);
        broker_gate_free(road->gate);
        broker_record_free(road->record);
        http_client_free(road->http);
        free(road->signers);
        free(road->roots);
        free(road);
        return NULL;
}

struct key_source wls_road_source(const struct wls_road *road) {
        return road ? wls_source_as_source(road->source) : (struct key_source){0};
}

struct key_source wls_road_image_source(const struct wls_road *road) {
        return road ? wls_image_source_as_source(road->image_source) : (struct key_source){0};
}

bool wls_road_state(const struct wls_road *road, struct wls_state *ret) {
        if (!road)
                return false;
        *ret = (struct wls_state){
                .url = road->url,
                .token_until_sec = broker_token_until_sec(road->token),
                .requests = broker_record_view(road->record),
        };
        return true;
}

const struct wls_service *wls_road_service(const struct wls_road *road) {
        return road ? &road->service : NULL;
}

const struct uuid *wls_road_hardware(const struct wls_road *road) {
        return &road->hardware;
}
