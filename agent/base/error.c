/* SPDX-License-Identifier: Apache-2.0 */
#include "wlagent/error.h"

#include <stdio.h>
#include <string.h>

static const struct {
        const char *token;
        int grpc_status;
} codes[_WLA_CODE_MAX] = {[WLA_OK] = {"ok", 0},
#define CODE_ROW(name, token, grpc) [WLA_E_##name] = {token, grpc},
                          WLA_CODES(CODE_ROW)
#undef CODE_ROW
};

static _printf_(4, 0) void set_root_cause(struct wla_error *err, enum wla_code code,
                                          const char *hint, const char *format, va_list args) {
        char text[sizeof(err->buffer)];

        int size = vsnprintf(text, sizeof(text), format, args);
        size_t length = size < 0 ? 0 : strlen(text);

        err->code = code;
        err->hint = hint;
        err->start = sizeof(err->buffer) - 1 - length;
        memcpy(err->buffer + err->start, text, length);
        err->buffer[sizeof(err->buffer) - 1] = '\0';
}

void wla_error_set(struct wla_error *err, enum wla_code code, const char *hint, const char *format,
                   ...) {
        va_list args;

        va_start(args, format);
        set_root_cause(err, code, hint, format, args);
        va_end(args);
}

_printf_(2, 0) static void prepend(struct wla_error *err, const char *format, va_list args) {
        char context[sizeof(err->buffer)];
        int size = vsnprintf(context, sizeof(context), format, args);
        size_t length = size < 0 ? 0 : strlen(context);

        if (length + 2 > err->start)
                return;

        err->start -= 2;
        memcpy(err->buffer + err->start, ": ", 2);
        err->start -= length;
        memcpy(err->buffer + err->start, context, length);
}

void wla_error_set_errno(struct wla_error *err, int errno_value, const char *format, ...) {
        const char *name = strerrordesc_np(errno_value);
        va_list args;

        wla_error_set(err, WLA_E_SYSTEM, NULL, "%s", name ? name : "unknown error");
        va_start(args, format);
        prepend(err, format, args);
        va_end(args);
}

void wla_error_wrap(struct wla_error *err, const char *format, ...) {
        va_list args;

        va_start(args, format);
        prepend(err, format, args);
        va_end(args);
}

const char *wla_error_text(const struct wla_error *err) {
        return err->code == WLA_OK ? "" : err->buffer + err->start;
}

void wla_error_format(const struct wla_error *err, char *to, size_t size) {
        if (err->hint)
                (void)snprintf(to, size, "%s (%s)", wla_error_text(err), err->hint);
        else
                (void)snprintf(to, size, "%s", wla_error_text(err));
}

const char *wla_code_token(enum wla_code code) {
        return (unsigned)code < _WLA_CODE_MAX ? codes[code].token : "unknown";
}

int wla_code_grpc_status(enum wla_code code) {
        return (unsigned)code < _WLA_CODE_MAX ? codes[code].grpc_status : 2;
}
