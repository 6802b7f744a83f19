/* SPDX-License-Identifier: Apache-2.0 */
#include "base/jitter.h"

#include <sys/random.h>

uint64_t jitter_usec_from(jitter_source *source, uint64_t least_usec, uint64_t most_usec) {
        uint64_t random;

        if (source(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
                return least_usec;
        return least_usec + random % (most_usec - least_usec);
}

uint64_t jitter_usec(uint64_t least_usec, uint64_t most_usec) {
        return jitter_usec_from(getrandom, least_usec, most_usec);
}
