/* SPDX-License-Identifier: Apache-2.0 */

/* run_times COUNT INPUT PROGRAM [ARGUMENT...] [-- PROGRAM [ARGUMENT...]]...
 *
 * Runs each of the programs in turn, COUNT times, with the file INPUT as standard input, and prints for
 * each, in a line of its own, the median of the microseconds from before its start to behind its end, and
 * the 99th percentile. */

#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAMS_MAX 8u
#define COUNT_MAX    1000000u

static _Noreturn void die(const char *what) {
        perror(what);
        _exit(1);
}

static uint64_t now_nsec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t run(char **program, const char *input) {
        posix_spawn_file_actions_t actions;
        uint64_t begin = now_nsec();
        pid_t pid;
        int status;

        if (posix_spawn_file_actions_init(&actions) != 0 ||
            posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input, O_RDONLY, 0) != 0 ||
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) !=
                    0 ||
            posix_spawn(&pid, program[0], &actions, NULL, program, environ) != 0 ||
            waitpid(pid, &status, 0) != pid)
                die("run_times: starting a program");
        (void)posix_spawn_file_actions_destroy(&actions);
        if (status != 0) {
                (void)fprintf(stderr, "run_times: %s failed\n", program[0]);
                _exit(1);
        }
        return now_nsec() - begin;
}

static int compare(const void *a, const void *b) {
        const uint64_t *x = a;
        const uint64_t *y = b;

        return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv) {
        char **programs[PROGRAMS_MAX];
        size_t program_count = 0;
        char *end = NULL;
        unsigned long count = argc > 3 ? strtoul(argv[1], &end, 10) : 0;

        if (count == 0 || count > COUNT_MAX || *end != '\0') {
                (void)fprintf(stderr,
                              "usage: run_times COUNT INPUT PROGRAM [ARGUMENT...] [-- ...]\n");
                return 2;
        }
        for (int i = 2; i < argc && program_count < PROGRAMS_MAX; i++)
                if (i == 2 || strcmp(argv[i], "--") == 0) {
                        argv[i] = i == 2 ? argv[i] : NULL;
                        programs[program_count++] = argv + i + 1;
                }

        uint64_t *times = calloc(count * program_count, sizeof(*times));
        if (!times)
                die("run_times");
        for (size_t i = 0; i < count; i++)
                for (size_t p = 0; p < program_count; p++)
                        times[p * count + i] = run(programs[p], argv[2]);

        for (size_t p = 0; p < program_count; p++) {
                uint64_t *of_program = times + p * count;

                qsort(of_program, count, sizeof(*times), compare);
                printf("%.1f %.1f\n", (double)of_program[count / 2] / 1e3,
                       (double)of_program[count * 99 / 100] / 1e3);
        }
        free(times);
        return 0;
}
