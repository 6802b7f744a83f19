/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A byte buffer that grows up to a limit set at birth, and is wiped when it is cleared.
 *
 * Ownership: the struct is embedded; buf_clear() releases what it holds and is safe on {0}.
 * Threads:   one at a time.
 * Failure:   WLA_E_BUSY above the limit and without memory; the buffer is unchanged then.
 */

#include <stdint.h>

#include "wlagent/error.h"

struct buf {
        uint8_t *data;
        size_t size; /* bytes in use */
        size_t allocated;
        size_t limit; /* size never exceeds it */
};

#define BUF_WITH_LIMIT(bytes) ((struct buf){.limit = (bytes)})

/* Appends size uninitialised bytes and returns where they start, or NULL with err set. */
uint8_t *buf_extend(struct buf *buf, size_t size, struct wla_error *err) _must_check_;

int buf_append(struct buf *buf, const void *data, size_t size, struct wla_error *err) _must_check_;

/* Without the terminating zero. */
int buf_append_text(struct buf *buf, const char *text, struct wla_error *err) _must_check_;
int buf_printf(struct buf *buf, struct wla_error *err, const char *format, ...) _must_check_
        _printf_(3, 4);

/* Ensures a zero byte behind the content (not counted in size) and returns the content. */
const char *buf_text(struct buf *buf, struct wla_error *err) _must_check_;

/* Removes size bytes from the front. */
void buf_consume(struct buf *buf, size_t size);

/* Wipes the content but keeps the memory and the limit. */
void buf_reset(struct buf *buf);

/* Wipes and frees; the limit stays. */
void buf_clear(struct buf *buf);

#define _cleanup_buf_ __attribute__((cleanup(buf_clear)))
