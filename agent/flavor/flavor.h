/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An image flavor of Intel SecL: what the owner of an image says of it, and his signature.
 *
 *   {"flavor":{"meta":{"schema":{"uri"},"id","author":{"email"},"realm",
 *                      "description":{"flavor_part","source","label",...}},
 *              "encryption_required","encryption":{"key_url","digest"},
 *              "integrity_enforced","integrity":{"notary_url"}},
 *    "signature":"BASE64"}
 *
 * The signature is over {"flavor":{...}} as Go's encoder writes it, without white space: members in this
 * order, those of meta and description left out when they are empty but for id and description itself,
 * which may be null; encryption and integrity left out when they are not there; '&', '<', '>', U+2028 and
 * U+2029 escaped.  Whoever verifies has to write it again from what he has read, so a member that is not
 * known here, a name in other case and a text that could be written in two ways are refused.
 *
 * Ownership: all by value.
 * Threads:   pure.
 * Failure:   WLA_E_INPUT, naming the member, never its content.
 * Source:    Intel SecL 3.0 to 4.2, lib flavor (meta.go, description.go, encryption.go, integrity.go) and
 *            lib common, crypt; RFC 8017 section 8.2 for the signature.
 */

#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/uuid.h"

#define FLAVOR_DOCUMENT_MAX  16384u /* bytes of JSON */
#define FLAVOR_TEXT_SIZE     512u   /* of each text, with the terminating zero */
#define FLAVOR_DIGEST_SIZE   48u    /* SHA-384 */
#define FLAVOR_SIGNATURE_MAX 1024u  /* RSA with 8192 bits */

/* In the order of the document. */
enum flavor_description {
        FLAVOR_PART,
        FLAVOR_SOURCE,
        FLAVOR_LABEL,
        FLAVOR_IP_ADDRESS,
        FLAVOR_BIOS_NAME,
        FLAVOR_BIOS_VERSION,
        FLAVOR_OS_NAME,
        FLAVOR_OS_VERSION,
        FLAVOR_VMM_NAME,
        FLAVOR_VMM_VERSION,
        FLAVOR_TPM_VERSION,
        FLAVOR_HARDWARE_UUID,
        FLAVOR_COMMENT,
        _FLAVOR_DESCRIPTION_MAX,
};

/* The part of a flavor that is about a VM's image, and that about a container's. */
#define FLAVOR_PART_IMAGE           "IMAGE"
#define FLAVOR_PART_CONTAINER_IMAGE "CONTAINER_IMAGE"

/* Texts are UTF-8 without control characters; "" is one that is not there. */
struct flavor {
        char schema_uri[FLAVOR_TEXT_SIZE];
        char id[UUID_TEXT_SIZE]; /* a UUID of version 4, in the case of the document */
        char author_email[FLAVOR_TEXT_SIZE];
        char realm[FLAVOR_TEXT_SIZE];
        bool has_description; /* false: null */
        char description[_FLAVOR_DESCRIPTION_MAX][FLAVOR_TEXT_SIZE];
        bool encryption_required;
        bool has_encryption;
        char key_url[FLAVOR_TEXT_SIZE];     /* with has_encryption, and never "" */
        uint8_t digest[FLAVOR_DIGEST_SIZE]; /* with has_encryption: of the file as it is stored */
        bool integrity_enforced;
        char notary_url[FLAVOR_TEXT_SIZE];
};

struct flavor_signature {
        size_t size; /* 0: the document has an empty one */
        uint8_t bytes[FLAVOR_SIGNATURE_MAX];
};

/* Of a document that json_check() has passed: its members "flavor" and "signature". */
int flavor_read(const struct json_value *flavor, const struct json_value *signature,
                struct flavor *ret, struct flavor_signature *ret_signature,
                struct wla_error *err) _must_check_;

/* A whole document, which has no other member. */
int flavor_parse(const char *text, size_t size, struct flavor *ret,
                 struct flavor_signature *ret_signature, struct wla_error *err) _must_check_;

/* Appends {"flavor":{...}}: the bytes that are signed. */
int flavor_format(const struct flavor *flavor, struct buf *to, struct wla_error *err) _must_check_;

/* Appends the whole document. */
int flavor_write(const struct flavor *flavor, const struct flavor_signature *signature,
                 struct buf *to, struct wla_error *err) _must_check_;
