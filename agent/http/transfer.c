/* SPDX-License-Identifier: Apache-2.0 */
#include "http/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/curl_library.h"
#include "loop/condition.h"

#define CONNECT_TIMEOUT_MSEC 5000L
#define HTTP_NO_CONTENT      204 /* RFC 9110 section 15.3.5 */

static const char hint_name[] =
        "the URL has to have a name that stands in the service's certificate";
static const char hint_stranger[] = "something else than this service may answer at its address";
static const char hint_cut[] = "see its log, and that of the proxy that stands before it";

static size_t take_body(char *data, size_t unit, size_t count, void *userdata) {
        struct transfer *transfer = userdata;
        struct wla_error err = {0};
        size_t size = unit * count;

        if (buf_append(&transfer->body, data, size, &err) < 0) {
                transfer->too_large = true;
                return 0;
        }
        return size;
}

static CURLcode judge_by_trust(CURL *easy, void *context, void *userdata) {
        (void)easy;
        trust_apply(userdata, context);
        return CURLE_OK;
}

static bool add_header(struct transfer *transfer, const char *header) {
        struct curl_slist *longer = library.curl_slist_append(transfer->headers, header);

        if (longer)
                transfer->headers = longer;
        return longer != NULL;
}

static bool set_headers(struct transfer *transfer, const struct http_request *request) {
        const struct wla_secret *secret = request->secret_header;

        if (secret && !add_header(transfer, (const char *)wla_secret_view(secret).data))
                return false;
        for (const char *const *header = request->headers; *header; header++)
                if (!add_header(transfer, *header))
                        return false;
        return library.curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) ==
               CURLE_OK;
}

/* A broker that is asked does not choose whom it sends us to, nor how. */
static bool set_limits(CURL *easy, bool tls12) {
        long version = tls12 ? CURL_SSLVERSION_TLSv1_2 : CURL_SSLVERSION_TLSv1_3;

        return library.curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_SSLVERSION, version) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MSEC) ==
                       CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) ==
                       CURLE_OK;
}

/* The store is ours, and parsed once: libcurl must not load another for each connection.  Connections
 * and TLS sessions that were judged by a pin are for one request. */
static bool set_trust(struct transfer *transfer) {
        CURL *easy = transfer->easy;
        long by_name = transfer->trust.pin ? 0L : 2L;
        long alone = transfer->trust.pin ? 1L : 0L;

        return library.curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, by_name) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, judge_by_trust) ==
                       CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, &transfer->trust) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, alone) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, alone) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 1L - alone) == CURLE_OK;
}

static bool set_sockets(struct transfer *transfer) {
        CURL *easy = transfer->easy;

        return library.curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, connections_open) ==
                       CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &transfer->purpose) ==
                       CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, connections_close) ==
                       CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA,
                                        transfer->purpose.connections) == CURLE_OK;
}

static bool set_answer(struct transfer *transfer) {
        CURL *easy = transfer->easy;

        return library.curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->details) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK;
}

static size_t give_body(char *to, size_t unit, size_t count, void *userdata) {
        struct transfer *transfer = userdata;

        if (!transfer->sent)
                return 0;

        const struct wla_bytes body = wla_secret_view(transfer->sent);
        size_t size = body.size - transfer->given;

        if (size > unit * count)
                size = unit * count;
        memcpy(to, body.data + transfer->given, size);
        transfer->given += size;
        return size;
}

/* libcurl would begin again, unasked and as often as it has kept connections, when one has ended before an
 * answer came; whether a request is made twice is the caller's to say. */
static int begin_once(void *userdata, char *address, char *own_address, int port, int own_port) {
        struct transfer *transfer = userdata;

        (void)address;
        (void)own_address;
        (void)port;
        (void)own_port;
        transfer->connecting_usec = 0;
        if (transfer->begun)
                return CURL_PREREQFUNC_ABORT;
        transfer->begun = true;
        return CURL_PREREQFUNC_OK;
}

/* Given in pieces and not as a whole, which libcurl would copy. */
static bool set_body(struct transfer *transfer) {
        CURL *easy = transfer->easy;
        curl_off_t size = transfer->sent ? (curl_off_t)wla_secret_view(transfer->sent).size : 0;

        return library.curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body) == CURLE_OK &&
               library.curl_easy_setopt(easy, CURLOPT_READDATA, transfer) == CURLE_OK;
}

static bool set_request(struct transfer *transfer, const struct http_request *request) {
        CURL *easy = transfer->easy;

        if (library.curl_easy_setopt(easy, CURLOPT_URL, request->url) != CURLE_OK ||
            library.curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, begin_once) != CURLE_OK ||
            library.curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer) != CURLE_OK ||
            !set_headers(transfer, request))
                return false;
        if (strcmp(request->method, "POST") == 0)
                return set_body(transfer);
        return library.curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
}

static int keep_body(struct transfer *transfer, struct wla_bytes body, struct wla_error *err) {
        if (body.size == 0)
                return 0;
        if (wla_secret_new(body.size, &transfer->sent, err) < 0)
                return -1;
        memcpy(wla_secret_fill(transfer->sent), body.data, body.size);
        return 0;
}

static int set_all(struct transfer *transfer, const struct http_request *request, bool tls12,
                   struct wla_error *err) {
        if (keep_body(transfer, request->body, err) < 0)
                return -1;
        transfer->easy = library.curl_easy_init();
        if (!transfer->easy || !set_limits(transfer->easy, tls12) || !set_trust(transfer) ||
            !set_sockets(transfer) || !set_answer(transfer) || !set_request(transfer, request))
                return wla_fail(err, WLA_E_SYSTEM, "libcurl does not take a request");
        return 0;
}

int transfer_new(const struct http_request *request, const struct transfer_options *options,
                 struct transfer **ret, struct wla_error *err) {
        struct transfer *transfer = calloc(1, sizeof(*transfer));

        if (!transfer)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        condition_init(&transfer->finished);
        transfer->body = BUF_WITH_LIMIT(request->answer_max);
        transfer->trust.store = options->store;
        transfer->begun_usec = clock_now_usec();
        transfer->yields = request->yields;
        connection_purpose_set(&transfer->purpose, options->connections, request->url);
        if (request->pin) {
                memcpy(transfer->pin, request->pin, HTTP_PIN_SIZE);
                transfer->trust.pin = transfer->pin;
        }
        if (set_all(transfer, request, options->tls12, err) < 0) {
                transfer_free(transfer);
                return -1;
        }
        *ret = transfer;
        return 0;
}

struct transfer *transfer_free(struct transfer *transfer) {
        if (!transfer)
                return NULL;

        if (transfer->easy)
                library.curl_easy_cleanup(transfer->easy);
        library.curl_slist_free_all(transfer->headers);
        wla_secret_free(transfer->sent);
        buf_clear(&transfer->body);
        (void)pthread_cond_destroy(&transfer->finished);
        free(transfer);
        return NULL;
}

bool transfer_sent(const struct transfer *transfer) {
        long bytes = 0;

        return library.curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &bytes) !=
                       CURLE_OK ||
               bytes > 0;
}

static const char *details(const struct transfer *transfer) {
        return transfer->details[0] ? transfer->details
                                    : library.curl_easy_strerror(transfer->result);
}

static void write_digest(const uint8_t digest[static HTTP_PIN_SIZE],
                         char to[static 2 * HTTP_PIN_SIZE + 1]) {
        for (size_t i = 0; i < HTTP_PIN_SIZE; i++)
                (void)snprintf(to + 2 * i, 3, "%02x", digest[i]);
}

static int fail_pin(const struct trust *trust, struct wla_error *err) {
        char presented[2 * HTTP_PIN_SIZE + 1];
        char pin[2 * HTTP_PIN_SIZE + 1];

        write_digest(trust->presented, presented);
        write_digest(trust->pin, pin);
        return wla_fail(err, WLA_E_DENIED, "the SHA-384 digest of its certificate is %s, not %s",
                        presented, pin);
}

static const char *reach_hint(CURLcode result) {
        switch (result) {
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
                return "look at the name in its URL, and at this host's name servers";
        case CURLE_COULDNT_CONNECT:
        case CURLE_OPERATION_TIMEDOUT:
                return "see that it runs, and that no firewall or proxy stands between";
        case CURLE_SSL_CONNECT_ERROR:
                return "see its log; where it has TLS 1.2 only, AllowTLS12=yes (an owner's "
                       "ALLOW_TLS12=yes) allows that";
        default:
                return hint_cut;
        }
}

static int fail_transfer(const struct transfer *transfer, struct wla_error *err) {
        if (transfer->trust.refusal != X509_V_OK && transfer->trust.pin)
                return fail_pin(&transfer->trust, err);
        if (transfer->trust.refusal != X509_V_OK)
                return wla_fail_hint(err, WLA_E_DENIED, trust_hint(transfer->trust.refusal),
                                     "its certificate is not to be trusted: %s",
                                     X509_verify_cert_error_string(transfer->trust.refusal));
        if (transfer->too_large)
                return wla_fail_hint(err, WLA_E_INPUT, hint_stranger, "its answer is too long");

        switch (transfer->result) {
        case CURLE_PEER_FAILED_VERIFICATION:
                return wla_fail_hint(err, WLA_E_DENIED, hint_name,
                                     "its certificate is not to be trusted: %s", details(transfer));
        case CURLE_URL_MALFORMAT:
        case CURLE_UNSUPPORTED_PROTOCOL:
        case CURLE_WEIRD_SERVER_REPLY:
                return wla_fail_hint(err, WLA_E_INPUT, hint_stranger, "%s", details(transfer));
        case CURLE_OUT_OF_MEMORY: /* it says so of headers, too */
                return wla_fail_hint(err, WLA_E_BUSY, hint_stranger,
                                     "its headers are too long, or memory is out");
        case CURLE_SEND_FAIL_REWIND: /* it would have begun again */
        case CURLE_ABORTED_BY_CALLBACK:
                return wla_fail_hint(err, WLA_E_UNAVAILABLE, hint_cut,
                                     "the connection ended before the answer");
        default:
                return wla_fail_hint(err, WLA_E_UNAVAILABLE, reach_hint(transfer->result), "%s",
                                     details(transfer));
        }
}

/* One that ends with its connection may have been cut by anybody on the way. */
static bool has_end(const struct transfer *transfer, long status) {
        struct curl_header *encoding = NULL;
        curl_off_t length = -1;
        long version = 0;

        (void)library.curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
        (void)library.curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T,
                                        &length);
        return status == HTTP_NO_CONTENT || version >= CURL_HTTP_VERSION_2_0 || length >= 0 ||
               library.curl_easy_header(transfer->easy, "Transfer-Encoding", 0, CURLH_HEADER, -1,
                                        &encoding) == CURLHE_OK;
}

int transfer_result(struct transfer *transfer, struct http_answer *ret, struct wla_error *err) {
        const char *type = NULL;
        long status = 0;

        ret->sent = transfer_sent(transfer);
        if (transfer->result != CURLE_OK)
                return fail_transfer(transfer, err);
        (void)library.curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        if (!has_end(transfer, status))
                return wla_fail_hint(err, WLA_E_UNAVAILABLE, hint_cut,
                                     "its answer may have been cut short");

        (void)library.curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &type);
        ret->status = (unsigned)status;
        if (type && strlen(type) < sizeof(ret->content_type))
                memcpy(ret->content_type, type, strlen(type) + 1);
        ret->body = transfer->body;
        transfer->body = (struct buf){0};
        return 0;
}
