/* SPDX-License-Identifier: Apache-2.0 */

/* cipher_floor GIB [seal]
 *
 * Has OpenSSL do in memory, in one thread, what it does for an image of that size: AES-256-XTS of its sectors
 * and, with "seal", AES-256-GMAC of its pieces, of which a seal is made. An encryption that calls OpenSSL
 * takes at least the CPU time of this program. */

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GIB_MAX     1024u
#define PIECE_SIZE  (1u << 20)
#define PART_SIZE   16384u
#define SECTOR_SIZE 4096u
#define TWEAK_UNIT  512u

static void check(int outcome) {
        if (outcome == 1)
                return;
        (void)fprintf(stderr, "cipher_floor: OpenSSL refuses\n");
        _exit(1);
}

static EVP_CIPHER_CTX *context(const EVP_CIPHER *cipher) {
        uint8_t key[EVP_MAX_KEY_LENGTH];
        EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();

        for (size_t i = 0; i < sizeof(key); i++)
                key[i] = (uint8_t)i;
        check(EVP_EncryptInit_ex(made, cipher, NULL, key, NULL));
        return made;
}

static void encrypt(EVP_CIPHER_CTX *xts, uint64_t at, uint8_t *part) {
        for (size_t done = 0; done < PART_SIZE; done += SECTOR_SIZE) {
                uint64_t number = (at + done) / TWEAK_UNIT;
                uint8_t tweak[16] = {0};
                int written;

                memcpy(tweak, &number, sizeof(number));
                check(EVP_EncryptInit_ex(xts, NULL, NULL, NULL, tweak));
                check(EVP_EncryptUpdate(xts, part + done, &written, part + done, SECTOR_SIZE));
        }
}

/* gmac: NULL for no seal. */
static void work(uint64_t size, EVP_CIPHER_CTX *xts, EVP_CIPHER_CTX *gmac) {
        static uint8_t part[PART_SIZE];

        for (uint64_t at = 0; at < size; at += PART_SIZE) {
                uint64_t nonce[2] = {at / PIECE_SIZE};
                int written;

                encrypt(xts, at, part);
                if (!gmac)
                        continue;
                if (at % PIECE_SIZE == 0)
                        check(EVP_EncryptInit_ex(gmac, NULL, NULL, NULL, (uint8_t *)nonce));
                check(EVP_EncryptUpdate(gmac, NULL, &written, part, PART_SIZE));
        }
}

int main(int argc, char **argv) {
        unsigned long gib = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
        bool seals = argc == 3 && strcmp(argv[2], "seal") == 0;

        if (gib == 0 || gib > GIB_MAX || argc > 2 + seals) {
                (void)fprintf(stderr, "usage: cipher_floor GIB [seal]\n");
                return 2;
        }

        EVP_CIPHER_CTX *xts = context(EVP_aes_256_xts());
        EVP_CIPHER_CTX *gmac = seals ? context(EVP_aes_256_gcm()) : NULL;

        work((uint64_t)gib << 30, xts, gmac);
        EVP_CIPHER_CTX_free(xts);
        EVP_CIPHER_CTX_free(gmac);
        return 0;
}
