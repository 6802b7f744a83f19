/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/sealed_header.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define COPY_SIZE 65536u

/* One binary header of the smallest size there is (LUKS2 specification, section 2.1). */
#define HEADER_MIN 4096u

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int make_memfd(int *ret, struct wla_error *err) {
        int fd = memfd_create("luks2-header", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0)
                return wla_fail_errno(err, errno, "making memory for the header");
        *ret = fd;
        return 0;
}

static int append(int to, const uint8_t *bytes, size_t size, struct wla_error *err) {
        while (size > 0) {
                ssize_t written = write(to, bytes, size);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return wla_fail_errno(err, errno, "copying the header");
                bytes += written;
                size -= (size_t)written;
        }
        return 0;
}

/* A file that shrinks meanwhile gives a shorter header, which the check refuses. */
static int copy(int from, int to, size_t size, struct wla_error *err) {
        uint8_t bytes[COPY_SIZE];

        for (size_t at = 0; at < size;) {
                size_t want = size - at < sizeof(bytes) ? size - at : sizeof(bytes);
                ssize_t got = pread(from, bytes, want, (off_t)at);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return wla_fail_errno(err, errno, "reading the header");
                if (got == 0)
                        return wla_fail(err, WLA_E_INPUT, "the header has become shorter");
                if (append(to, bytes, (size_t)got, err) < 0)
                        return -1;
                at += (size_t)got;
        }
        return 0;
}

static int seal(int *fd, size_t size, struct sealed_header *ret, struct wla_error *err) {
        if (fcntl(*fd, F_ADD_SEALS, SEALS) < 0)
                return wla_fail_errno(err, errno, "sealing the header");

        void *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, *fd, 0);
        if (bytes == MAP_FAILED)
                return wla_fail_errno(err, errno, "mapping the header");

        *ret = (struct sealed_header){.fd = TAKE_FD(*fd), .bytes = bytes, .size = size};
        return 0;
}

int sealed_header_copy(int fd, bool whole, struct sealed_header *ret, struct wla_error *err) {
        _cleanup_close_ int memfd = -1;
        struct stat status;

        if (fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the header");
        if (!S_ISREG(status.st_mode))
                return wla_fail(err, WLA_E_INPUT, "the header is not a regular file");
        if (status.st_size < HEADER_MIN || (whole && status.st_size > LUKS2_HEADER_MAX))
                return wla_fail(err, WLA_E_INPUT, "a header does not have %jd bytes",
                                (intmax_t)status.st_size);

        size_t size = status.st_size < LUKS2_HEADER_MAX ? (size_t)status.st_size : LUKS2_HEADER_MAX;
        if (make_memfd(&memfd, err) < 0 || copy(fd, memfd, size, err) < 0)
                return -1;
        return seal(&memfd, size, ret, err);
}

int sealed_header_make(const void *bytes, size_t size, struct sealed_header *ret,
                       struct wla_error *err) {
        _cleanup_close_ int memfd = -1;

        if (make_memfd(&memfd, err) < 0 || append(memfd, bytes, size, err) < 0)
                return -1;
        return seal(&memfd, size, ret, err);
}

void sealed_header_clear(struct sealed_header *header) {
        if (header->bytes)
                (void)munmap((void *)(uintptr_t)header->bytes, header->size);
        file_closep(&header->fd);
        *header = SEALED_HEADER_NONE;
}
