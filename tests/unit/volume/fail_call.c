/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_call.h"

#include <errno.h>
#include <fcntl.h>
#include <libcryptsetup.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t countdown; /* 0: not armed */
static const char *hit;
static const char *named;
static size_t limit = SIZE_MAX; /* of what is named */
static bool interrupted;
static bool paused;

bool fail_call_arm(size_t n) {
        bool again = n == 1 || hit;

        hit = NULL;
        countdown = again ? n : 0;
        return again;
}

void fail_call_disarm(void) {
        countdown = 0;
}

const char *fail_call_hit(void) {
        return hit;
}

void fail_call_named(const char *name) {
        named = name;
        limit = SIZE_MAX;
}

void fail_call_shorten(const char *name, size_t size) {
        named = name;
        limit = size;
}

void fail_call_pause(bool pause) {
        paused = pause;
}

void fail_call_interrupt(void) {
        interrupted = true;
}

static bool is_named(const char *name) {
        return named && strcmp(named, name) == 0;
}

bool fail_call(const char *name) {
        if (paused)
                return false;

        bool fails = is_named(name) && limit == SIZE_MAX;

        if (countdown > 0 && --countdown == 0) {
                hit = name;
                fails = true;
        }
        if (fails)
                errno = EIO;
        return fails;
}

static size_t allowed(const char *name, size_t size) {
        return !paused && is_named(name) && size > limit ? limit : size;
}

#define WRAP(type, name, failed, parameters, ...)  \
        type __real_##name parameters;             \
        type __wrap_##name parameters;             \
        type __wrap_##name parameters {            \
                if (fail_call(#name))              \
                        return failed;             \
                return __real_##name(__VA_ARGS__); \
        }

WRAP(int, memfd_create, -1, (const char *name, unsigned flags), name, flags)
WRAP(int, fstat64, -1, (int fd, struct stat *status), fd, status)
WRAP(int, ftruncate64, -1, (int fd, off_t size), fd, size)
WRAP(int, mkdirat, -1, (int fd, const char *name, mode_t mode), fd, name, mode)
WRAP(ssize_t, getrandom, -1, (void *to, size_t size, unsigned flags), to, size, flags)
WRAP(int, renameat, -1, (int a, const char *from, int b, const char *to), a, from, b, to)
WRAP(int, renameat2, -1, (int a, const char *from, int b, const char *to, unsigned flags), a, from,
     b, to, flags)
WRAP(int, unlinkat, -1, (int fd, const char *name, int flags), fd, name, flags)
WRAP(ssize_t, pwrite64, -1, (int fd, const void *data, size_t size, off_t at), fd, data, size, at)
WRAP(void *, mmap64, MAP_FAILED, (void *at, size_t size, int a, int b, int fd, off_t offset), at,
     size, a, b, fd, offset)
WRAP(int, EVP_CipherInit_ex, 0,
     (EVP_CIPHER_CTX * context, const EVP_CIPHER *type, ENGINE *engine, const unsigned char *key,
      const unsigned char *iv, int enc),
     context, type, engine, key, iv, enc)
WRAP(int, EVP_CipherUpdate, 0,
     (EVP_CIPHER_CTX * context, unsigned char *to, int *size, const unsigned char *from,
      int length),
     context, to, size, from, length)
WRAP(int, crypt_init, -EIO, (struct crypt_device * *device, const char *path), device, path)
WRAP(int, crypt_load, -EIO, (struct crypt_device * device, const char *type, void *parameters),
     device, type, parameters)
WRAP(int, crypt_metadata_locking, -EIO, (struct crypt_device * device, int enable), device, enable)
WRAP(int, crypt_volume_key_keyring, -EIO, (struct crypt_device * device, int enable), device,
     enable)
WRAP(int, crypt_volume_key_verify, -EIO,
     (struct crypt_device * device, const char *key, size_t size), device, key, size)
WRAP(int, crypt_token_json_set, -EIO, (struct crypt_device * device, int token, const char *json),
     device, token, json)

int __wrap_fsync(int fd);

/* Nobody cuts the power here, and it takes long. */
int __wrap_fsync(int fd) {
        (void)fd;
        return fail_call("fsync") ? -1 : 0;
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);

/* What is logged is no matter. */
ssize_t __wrap_write(int fd, const void *data, size_t size) {
        if (fd > STDERR_FILENO && fail_call("write"))
                return -1;
        return __real_write(fd, data, fd > STDERR_FILENO ? allowed("write", size) : size);
}

ssize_t __real_pread64(int fd, void *to, size_t size, off_t at);
ssize_t __wrap_pread64(int fd, void *to, size_t size, off_t at);
ssize_t __wrap___pread64_chk(int fd, void *to, size_t size, off_t at, size_t room);

ssize_t __wrap_pread64(int fd, void *to, size_t size, off_t at) {
        if (interrupted && !paused) {
                interrupted = false;
                errno = EINTR;
                return -1;
        }
        if (fail_call("pread64"))
                return -1;
        return __real_pread64(fd, to, allowed("pread64", size), at);
}

/* What it is with _FORTIFY_SOURCE. */
ssize_t __wrap___pread64_chk(int fd, void *to, size_t size, off_t at, size_t room) {
        return size <= room ? __wrap_pread64(fd, to, size, at) : -1;
}

int __real_open64(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...);
int __real_openat64(int fd, const char *name, int flags, ...);
int __wrap_openat64(int fd, const char *name, int flags, ...);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);

static mode_t mode_of(int flags, va_list args) {
        return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
}

int __wrap_open64(const char *name, int flags, ...) {
        va_list args;

        va_start(args, flags);
        mode_t mode = mode_of(flags, args);
        va_end(args);
        return fail_call("open64") ? -1 : __real_open64(name, flags, mode);
}

int __wrap_openat64(int fd, const char *name, int flags, ...) {
        va_list args;

        va_start(args, flags);
        mode_t mode = mode_of(flags, args);
        va_end(args);
        return fail_call("openat64") ? -1 : __real_openat64(fd, name, flags, mode);
}

int __wrap_fcntl64(int fd, int command, ...) {
        va_list args;

        va_start(args, command);
        void *argument = va_arg(args, void *);
        va_end(args);
        return fail_call("fcntl64") ? -1 : __real_fcntl64(fd, command, argument);
}
