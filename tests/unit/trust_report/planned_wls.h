/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* AAS and WLS over HTTPS in the process, which answer posts of reports as a test has planned. */

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tls_broker.h"
#include "trust_report/signed_report.h"

/* {"exp":7200,"iat":0} */
#define TOKEN "e30.eyJleHAiOjcyMDAsImlhdCI6MH0."

/* What WLS answers to posts: the first, the second, ..., and then to all; 0: nothing, it resets the
 * connection after it has taken the report; 1: it hangs. */
static struct {
        _Atomic unsigned statuses[8];
        _Atomic unsigned last;
        const char *_Atomic body;
        _Atomic unsigned logins;
        _Atomic unsigned posts;
        _Atomic unsigned at_once;
        _Atomic unsigned most_at_once;
        char bodies[8][SIGNED_REPORT_MAX];
} plan;

static inline bool send_status(SSL *tls, unsigned status, const char *body) {
        char answer[512];
        int size = snprintf(answer, sizeof(answer),
                            "HTTP/1.1 %u x\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body),
                            body);

        return SSL_write(tls, answer, size) > 0;
}

static inline void note_body(struct broker *broker, const char *request, unsigned number) {
        const char *body = strstr(request, "\r\n\r\n");

        (void)pthread_mutex_lock(&broker->lock);
        if (number < 8 && body)
                (void)snprintf(plan.bodies[number], sizeof(plan.bodies[number]), "%s", body + 4);
        (void)pthread_mutex_unlock(&broker->lock);
}

static inline bool answer_post(struct broker *broker, SSL *tls, const char *request) {
        unsigned at_once = ++plan.at_once;
        unsigned number = plan.posts;
        unsigned status = number < 8 && plan.statuses[number] ? plan.statuses[number] : plan.last;
        bool more = false;

        if (at_once > plan.most_at_once)
                plan.most_at_once = at_once;
        note_body(broker, request, number);
        plan.posts++;
        while (status == 1 && plan.last == 1)
                (void)usleep(1000);
        if (status > 1)
                more = send_status(tls, status, status == 201 ? "{}" : plan.body);
        plan.at_once--;
        return more;
}

static inline bool answer(struct broker *broker, SSL *tls, const char *request) {
        char token[128];

        if (strncmp(request, "POST /aas/v1/token ", 19) == 0) {
                (void)snprintf(token, sizeof(token), "%s%u", TOKEN, ++plan.logins);
                return send_status(tls, 200, token);
        }
        if (strncmp(request, "POST /wls/v1/reports ", 21) != 0)
                return send_status(tls, 404, "404 page not found\n");
        return answer_post(broker, tls, request);
}
