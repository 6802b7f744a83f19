/* SPDX-License-Identifier: Apache-2.0 */
#include "key/resolve.h"

#include "base/metrics.h"

static const char hint_configure[] =
        "this agent serves keys named local:///NAME, and https://... and wls:///images/... once "
        "section [WLS] of wlagent.conf is set up";

int key_resolve(const struct key_routes *routes, const struct key_request *request,
                struct wla_secret **ret, struct flavor_terms *ret_terms, struct wla_error *err) {
        _cleanup_envelope_ struct envelope envelope = {.bytes.limit = ENVELOPE_SIZE_MAX};

        const struct key_source *source = &routes->sources[request->id.scheme];
        if (!source->ops)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_configure,
                                     "no source is configured for %s keys: %s",
                                     key_scheme_name(request->id.scheme), request->id.text);

        int outcome = source->ops->fetch(source->self, request, &envelope, err);
        metrics_count(METRIC_SOURCE_FETCHES, request->id.scheme, outcome < 0 ? err->code : WLA_OK);
        if (outcome < 0)
                return wla_wrap(err, "fetching %s", request->id.text);

        const struct key_opener *opener = &routes->openers[envelope.kind];
        if (!opener->ops)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "opening %s: this agent cannot open keys of its kind",
                                request->id.text);
        if (opener->ops->open(opener->self, &envelope, &request->deadline, ret, err) < 0)
                return wla_wrap(err, "opening %s", request->id.text);

        *ret_terms = envelope.terms;
        return 0;
}
