/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Ownership of OpenSSL's objects by variables: one line for each type that a file uses, and
 *
 *   CLEAN(EVP_PKEY) *key = ...;
 *
 * Every function by which OpenSSL releases one takes NULL.
 */

#define DEFINE_CLEANUP(type, release)             \
        static void clean_##type(type **object) { \
                release(*object);                 \
        }
#define CLEAN(type) __attribute__((cleanup(clean_##type))) type
