/* SPDX-License-Identifier: Apache-2.0 */

/* tpm_peer SOCKET COUNT: so many commands to a software TPM one behind the other, each on a connection of its own and none
 * with any work to do before or behind it.  Nobody who takes turns with others at the same TPM is faster.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* TPM2_GetCapability of one property; its answer comes in one piece. */
static const uint8_t command[] = {0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0,
                                  0,    0, 6, 0, 0, 1,  0, 0, 0, 0,    1};

static _Noreturn void die(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

int main(int argc, char *argv[]) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        uint8_t answer[4096];

        if (argc != 3)
                return 2;
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", argv[1]);
        for (unsigned long left = strtoul(argv[2], NULL, 10); left > 0; left--) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                        die(argv[1]);
                if (write(fd, command, sizeof(command)) != sizeof(command) ||
                    read(fd, answer, sizeof(answer)) < 10)
                        die("asking the TPM");
                (void)close(fd);
        }
        return EXIT_SUCCESS;
}
