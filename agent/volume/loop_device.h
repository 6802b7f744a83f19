/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A loop device over an open file, which goes with its last user.
 *
 * Direct I/O where the file system has it, so that the ciphertext is not cached a second time.
 *
 * Ownership: loop_device_close() releases it and is safe on LOOP_DEVICE_NONE; the device itself stays as
 *            long as somebody else, such as device-mapper, has it.
 * Threads:   one at a time.  Failure: WLA_E_SYSTEM, WLA_E_BUSY when no free device can be had.
 * Source:    loop(4).
 */

#include <stdint.h>
#include <sys/types.h>

#include "wlagent/error.h"

#define LOOP_PATH_SIZE 32u

struct loop_device {
        int fd;
        uint32_t major;
        uint32_t minor;
        char path[LOOP_PATH_SIZE];
};

#define LOOP_DEVICE_NONE ((struct loop_device){.fd = -1})

/* block_size: of its logical blocks, 512 to 4096. */
int loop_device_attach(int fd, bool read_only, uint32_t block_size, struct loop_device *ret,
                       struct wla_error *err) _must_check_;

/* What a loop device shows. */
struct loop_backing {
        dev_t device;
        ino_t inode;
        uint64_t offset;
        uint64_t size_limit; /* 0: none */
        bool read_only;
        bool leaves_at_last_close;
};

/* Of the one with that number; WLA_E_NOT_FOUND when it is no loop device, or has no file.  Every start asks
 * this of every mapping, so the file's name is never followed: its file system may not answer. */
int loop_device_inspect(uint32_t major, uint32_t minor, struct loop_backing *ret,
                        struct wla_error *err) _must_check_;

void loop_device_close(struct loop_device *loop);

#define _cleanup_loop_device_ __attribute__((cleanup(loop_device_close)))
