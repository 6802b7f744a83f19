/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether a service is to be reached, as all who have something to ask it know together.
 *
 * Who finds it out of reach closes the gate.  Then nobody who passes by broker_gate_pass() asks any more: of
 * those who wait at the gate one goes and looks (GET BASE/version, which needs no rights), first at once and
 * then at growing intervals, never two at a time and at random moments, so that neither the requests of this
 * host nor its like come back as one.  Only who asks seldom and has a queue of its own asks without passing
 * (`once` in source/wls_call.h), also while another looks.  Any answer opens the gate, whoever asked, but for
 * those by which a proxy tells that nobody is behind it.
 *
 * Ownership: the client outlives the gate, and the gate those who wait at it.
 * Threads:   any worker.
 * Failure:   at the deadline, WLA_E_UNAVAILABLE with since when the service is out of reach and why; _TIMEOUT
 *            when nobody waits for the answer any more.
 */

#include "http/http.h"

struct broker_gate;

/* name: what the service is called in texts; a literal.  url: its base URL, without '/' at its end. */
int broker_gate_new(struct http_client *http, const char *name, const char *url,
                    struct broker_gate **ret, struct wla_error *err) _must_check_;
struct broker_gate *broker_gate_free(struct broker_gate *gate);

/* Returns when the service may be asked: at once as long as nobody has found it out of reach. */
int broker_gate_pass(struct broker_gate *gate, const struct deadline *deadline,
                     struct wla_error *err) _must_check_;

/* Has the service asked, and notes whether it was to be reached.  As http_perform(), and err names the
 * service.  An answer of a proxy that nobody is behind it is WLA_E_UNAVAILABLE. */
int broker_gate_ask(struct broker_gate *gate, const struct http_request *request,
                    struct http_answer *ret, struct wla_error *err) _must_check_;

/* What keeps those who wait at the gate; false while it is open. */
bool broker_gate_closed(struct broker_gate *gate, struct wla_error *err);
