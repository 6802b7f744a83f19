/* SPDX-License-Identifier: Apache-2.0 */

/* replay DIRECTORY: runs every file of it, cut at every length up to CUTS_MAX, through the harness. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define FILE_MAX (1u << 20)
#define CUTS_MAX 512u

/* In a block of its own size, so that a sanitizer sees each byte read beyond. */
static void run_copy(const uint8_t *data, size_t size) {
        uint8_t *copy = malloc(size > 0 ? size : 1);

        FUZZ_CHECK(copy);
        memcpy(copy, data, size);
        (void)LLVMFuzzerTestOneInput(copy, size);
        free(copy);
}

static void run_file(const char *directory, const char *name) {
        static uint8_t data[FILE_MAX];
        char path[4096];

        (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
        FILE *file = fopen(path, "re");
        if (!file) {
                perror(path);
                exit(EXIT_FAILURE);
        }
        size_t size = fread(data, 1, sizeof(data), file);
        (void)fclose(file);

        for (size_t cut = 0; cut < size && cut < CUTS_MAX; cut++)
                run_copy(data, cut);
        run_copy(data, size);
}

int main(int argc, char **argv) {
        unsigned count = 0;

        if (argc != 2) {
                (void)fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
                return EXIT_FAILURE;
        }

        DIR *directory = opendir(argv[1]);
        if (!directory) {
                perror(argv[1]);
                return EXIT_FAILURE;
        }
        for (struct dirent *entry; (entry = readdir(directory));) {
                if (entry->d_name[0] == '.')
                        continue;
                run_file(argv[1], entry->d_name);
                count++;
        }
        (void)closedir(directory);
        printf("%u files\n", count);
        return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
