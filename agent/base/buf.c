/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/wiping_alloc.h"

#define FIRST_ALLOCATION 256u

static int ensure_room(struct buf *buf, size_t size, struct wla_error *err) {
        size_t wanted;

        if (__builtin_add_overflow(buf->size, size, &wanted) || wanted > buf->limit)
                return wla_fail(err, WLA_E_BUSY, "more than %zu bytes", buf->limit);

        if (wanted <= buf->allocated)
                return 0;

        size_t allocate = buf->allocated > 0 ? buf->allocated : FIRST_ALLOCATION;
        while (allocate < wanted)
                allocate = allocate > SIZE_MAX / 2 ? wanted : allocate * 2;

        uint8_t *data = wiping_realloc(buf->data, allocate);
        if (!data)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        buf->data = data;
        buf->allocated = allocate;
        return 0;
}

uint8_t *buf_extend(struct buf *buf, size_t size, struct wla_error *err) {
        if (ensure_room(buf, size > 0 ? size : 1, err) < 0)
                return NULL;

        uint8_t *at = buf->data + buf->size;
        buf->size += size;
        return at;
}

int buf_append(struct buf *buf, const void *data, size_t size, struct wla_error *err) {
        if (size == 0)
                return 0;

        uint8_t *at = buf_extend(buf, size, err);
        if (!at)
                return -1;

        memcpy(at, data, size);
        return 0;
}

int buf_append_text(struct buf *buf, const char *text, struct wla_error *err) {
        return buf_append(buf, text, strlen(text), err);
}

int buf_printf(struct buf *buf, struct wla_error *err, const char *format, ...) {
        va_list args;

        va_start(args, format);
        int size = vsnprintf(NULL, 0, format, args);
        va_end(args);
        if (size < 0)
                return wla_fail(err, WLA_E_SYSTEM, "cannot format text");

        size_t length = (size_t)size;
        if (ensure_room(buf, length + 1, err) < 0)
                return -1;

        va_start(args, format);
        (void)vsnprintf((char *)buf->data + buf->size, length + 1, format, args);
        va_end(args);
        buf->size += length;
        return 0;
}

const char *buf_text(struct buf *buf, struct wla_error *err) {
        if (ensure_room(buf, 1, err) < 0)
                return NULL;

        buf->data[buf->size] = '\0';
        return (const char *)buf->data;
}

void buf_consume(struct buf *buf, size_t size) {
        assert(size <= buf->size);

        if (size == 0)
                return;

        size_t rest = buf->size - size;
        memmove(buf->data, buf->data + size, rest);
        explicit_bzero(buf->data + rest, size);
        buf->size = rest;
}

void buf_reset(struct buf *buf) {
        if (buf->data)
                explicit_bzero(buf->data, buf->size);
        buf->size = 0;
}

void buf_clear(struct buf *buf) {
        wiping_free(buf->data);
        buf->data = NULL;
        buf->size = 0;
        buf->allocated = 0;
}
