/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/templates.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/rsa_wrap.h"
#include "suite.h"

static const TPM2B_DIGEST no_policy;
static const TPM2B_DIGEST policy = {.size = TPM2_SHA256_DIGEST_SIZE};

static TPM2B_PUBLIC made_from(const TPM2B_DIGEST *with_policy) {
        TPM2B_PUBLIC public = binding_key_template(with_policy);

        public.publicArea.unique.rsa.size = RSA_WRAPPED_SIZE;
        return public;
}

START_TEST(a_binding_key_is_what_its_template_says) {
        TPM2B_PUBLIC public = made_from(&no_policy);
        TPMA_OBJECT attributes = public.publicArea.objectAttributes;

        ck_assert(is_binding_key(&public));
        ck_assert(attributes & TPMA_OBJECT_USERWITHAUTH);
        ck_assert(attributes & TPMA_OBJECT_NODA);
        ck_assert(attributes & TPMA_OBJECT_FIXEDTPM);
        ck_assert(!(attributes & (TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT)));

        public = made_from(&policy);
        ck_assert(is_binding_key(&public));
        ck_assert(!(public.publicArea.objectAttributes & TPMA_OBJECT_USERWITHAUTH));
}
END_TEST

START_TEST(weaker_keys_are_no_binding_keys) {
        TPM2B_PUBLIC public = made_from(&policy);

        /* A password would get around the policy. */
        public.publicArea.objectAttributes |= TPMA_OBJECT_USERWITHAUTH;
        ck_assert(!is_binding_key(&public));

        public = made_from(&no_policy);
        public.publicArea.objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_FIXEDTPM;
        ck_assert(!is_binding_key(&public));

        public = made_from(&no_policy);
        public.publicArea.unique.rsa.size = 128;
        ck_assert(!is_binding_key(&public));

        public = made_from(&no_policy);
        public.publicArea.parameters.rsaDetail.exponent = 3;
        ck_assert(!is_binding_key(&public));

        public = made_from(&no_policy);
        public.publicArea.type = TPM2_ALG_ECC;
        ck_assert(!is_binding_key(&public));
        ck_assert(!is_binding_key(&storage_key_template));
}
END_TEST

START_TEST(a_storage_key_is_restricted_and_stays_in_its_tpm) {
        TPM2B_PUBLIC public = storage_key_template;

        ck_assert(is_storage_key(&public));
        public.publicArea.type = TPM2_ALG_RSA;
        ck_assert(is_storage_key(&public));

        public.publicArea.objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_FIXEDTPM;
        ck_assert(!is_storage_key(&public));

        public = made_from(&no_policy);
        ck_assert(!is_storage_key(&public));
}
END_TEST

START_TEST(the_label_is_that_of_the_owner) {
        ck_assert_uint_eq(unbind_label.size, RSA_WRAP_LABEL_SIZE);
        ck_assert_mem_eq(unbind_label.buffer, "TPM2\0", 5);

        /* As the TPM and the owner's library hash it (RFC 8017, section 7.1.1), checked against Intel SecL 4.2. */
        static const uint8_t expected[] = {0x3b, 0x2d, 0xfd, 0xac, 0xdc, 0x5c, 0xf1, 0x00,
                                           0x96, 0x10, 0xc6, 0x45, 0xe8, 0x17, 0x8c, 0x20,
                                           0xc8, 0x59, 0x0b, 0x02, 0xe9, 0xaa, 0x50, 0xd0,
                                           0x14, 0x4a, 0x05, 0x01, 0xbd, 0x37, 0x49, 0xc2};
        uint8_t digest[EVP_MAX_MD_SIZE];

        ck_assert_int_eq(EVP_Digest(unbind_label.buffer, unbind_label.size, digest, NULL,
                                    EVP_sha256(), NULL),
                         1);
        ck_assert_mem_eq(digest, expected, sizeof(expected));
}
END_TEST

START_TEST(a_selection_has_the_bits_of_its_mask) {
        TPML_PCR_SELECTION selection = pcr_selection(1u << 0 | 1u << 9 | 1u << 23);

        ck_assert_uint_eq(selection.count, 1);
        ck_assert_uint_eq(selection.pcrSelections[0].hash, TPM2_ALG_SHA256);
        ck_assert_uint_eq(selection.pcrSelections[0].sizeofSelect, 3);
        ck_assert_mem_eq(selection.pcrSelections[0].pcrSelect, "\x01\x02\x80", 3);
}
END_TEST

SUITE_MAIN("templates", a_binding_key_is_what_its_template_says, weaker_keys_are_no_binding_keys,
           a_storage_key_is_restricted_and_stays_in_its_tpm, the_label_is_that_of_the_owner,
           a_selection_has_the_bits_of_its_mask)
