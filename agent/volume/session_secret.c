/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "volume/session.h"

static const char hint_shared[] = "try again; domains that name one secret start one after another";

/* Domains that name the same secret would clear each other's value. */
static int lock(struct session *session, const struct uuid *secret, struct wla_error *err) {
        if (layer_store_open(session->config->volumes.layer_directory, &session->store, err) < 0)
                return -1;
        if (layer_store_lock(&session->store, "secret", secret->text, /* shared= */ false, err) ==
            0)
                return 0;
        if (err->code != WLA_E_BUSY)
                return -1;
        *err = (struct wla_error){0};
        return wla_fail_hint(
                err, WLA_E_BUSY, hint_shared,
                "another start uses libvirt's secret %s, or its value is being cleared",
                secret->text);
}

int session_set_secret(struct session *session, struct session_step *step, struct wla_error *err) {
        const struct uuid *secret = &step->request->secret;

        if (lock(session, secret, err) < 0 ||
            secret_keeper_set(secret, step->key, session->store.lock_fd, &session->keeper, err) < 0)
                return -1;
        session->state = SESSION_OPEN;
        log_line(LOG_INFO, "set the value of libvirt's secret %s", secret->text);
        return 0;
}

/* The lock goes with the session. */
int session_clear_secret(struct session *session, struct session_step *step,
                         struct wla_error *err) {
        const struct uuid *secret = &step->request->secret;

        if (lock(session, secret, err) < 0)
                return -1;
        int outcome = secret_keeper_clear(secret, session->store.lock_fd, err);
        layer_store_close(&session->store);
        return outcome;
}
