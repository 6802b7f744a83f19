/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The certificate that HVS has issued for a host's key: X.509 (RFC 5280).  bindingkey.pem and signingkey.pem hold one
 * PEM block (RFC 7468), from which the Trust Agent and key brokers take the public key.
 *
 * Pure functions.  Failure: WLA_E_INPUT, with what is wrong.
 */

#include "tpm/host_key.h"

/* The modulus of the RSA-2048 key in a certificate, big endian. */
int key_certificate_modulus(struct wla_bytes der, uint8_t ret[RSA_WRAPPED_SIZE],
                            struct wla_error *err) _must_check_;

/* Whether this is a certificate for this key, with the exponent 65537: there were builds of HVS that issued others. */
int key_certificate_check(struct wla_bytes der, const struct host_key *key,
                          struct wla_error *err) _must_check_;

/* Of the first PEM block; appends its DER. */
int key_certificate_read_pem(struct wla_bytes text, struct buf *ret_der,
                             struct wla_error *err) _must_check_;
int key_certificate_write_pem(struct wla_bytes der, struct buf *ret_pem,
                              struct wla_error *err) _must_check_;
