/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* All that keys of Intel SecL's broker need, made of section [WLS] of the configuration: trusted
 * certificates, HTTP client, token, source.
 *
 * Ownership: the road outlives the pipeline that uses its source.
 * Failure:   WLA_E_INPUT and what reading the trust directory and the credential gives; the text names
 *            the option.
 */

#include "base/uuid.h"
#include "config/config.h"
#include "key/source.h"
#include "source/broker_record.h"

struct wls_road;
struct wls_service;

struct wls_state {
        const char *url;          /* lives as long as the road */
        uint64_t token_until_sec; /* since 1970: when the token is renewed; 0: there is none */
        struct broker_view requests;
};

/* *ret is NULL when ServerURL= is "none". */
int wls_road_new(const struct config *config, struct wls_road **ret,
                 struct wla_error *err) _must_check_;
struct wls_road *wls_road_free(struct wls_road *road);

/* {0} without a road. */
struct key_source wls_road_source(const struct wls_road *road);
struct key_source wls_road_image_source(const struct wls_road *road);

/* For people; false without a road. */
bool wls_road_state(const struct wls_road *road, struct wls_state *ret);

/* WLS itself, for what else is asked of it; NULL without a road. */
const struct wls_service *wls_road_service(const struct wls_road *road);

/* By which HVS and WLS know this host; of a road that is one. */
const struct uuid *wls_road_hardware(const struct wls_road *road);
