/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The sockets that a client has open, and the origin (RFC 6454, section 4) for which each was opened.
 *
 * libcurl gives a connection of HTTP/2 up only when it has ended, and puts the next requests on it too,
 * where they wait as the ones before did.  One whose other end has gone without a word is ended by the
 * kernel, which is told here how long to wait; one whose other end has fallen silent is cut here.
 *
 * Threads: the client's only.
 */

#include <curl/curl.h>
#include <stdint.h>

#define CONNECTION_ORIGIN_SIZE 288u

struct connections;

/* NULL without memory. */
struct connections *connections_new(void);

/* Once libcurl has closed all of them.  Accepts and returns NULL. */
struct connections *connections_free(struct connections *connections);

/* Of a request; what libcurl's callbacks get. */
struct connection_purpose {
        struct connections *connections;
        char origin[CONNECTION_ORIGIN_SIZE];
};

void connection_purpose_set(struct connection_purpose *purpose, struct connections *connections,
                            const char *url);

/* CURLOPT_OPENSOCKETFUNCTION with a purpose, CURLOPT_CLOSESOCKETFUNCTION with the connections. */
curl_socket_t connections_open(void *purpose, curlsocktype type, struct curl_sockaddr *address);
int connections_close(void *connections, curl_socket_t fd);

/* How many are open to an origin, or being opened. */
size_t connections_count(const struct connections *connections, const char *origin);

/* The origin has answered.  CLOCK_MONOTONIC. */
void connections_heard(struct connections *connections, const char *origin, uint64_t now_usec);

/* Ends those to an origin that were open before since_usec and have brought no answer from it after. */
void connections_cut(struct connections *connections, const char *origin, uint64_t since_usec);
