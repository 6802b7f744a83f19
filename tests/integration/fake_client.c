/* SPDX-License-Identifier: Apache-2.0 */

/* An image tool as wlagent doctor sees one: it says a version, and may hold an ocicrypt. */

#include <stdio.h>

int main(int argc, char **argv) {
        (void)argv;
        if (argc < 2)
                return 1;
#ifdef KNOWS_KEYPROVIDERS
        (void)puts("client version 2.0.0");
        (void)puts("it reads OCICRYPT_KEYPROVIDER_CONFIG");
#else
        (void)puts("client version 1.0.0");
#endif
        return 0;
}
