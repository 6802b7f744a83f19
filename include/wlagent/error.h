/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What went wrong, for programs and for people.
 *
 * A failing function takes a non-NULL struct wla_error last and returns -1.  The error is a plain
 * value: it needs no memory, no initialiser besides {0} and no release.
 *
 * The text grows outwards: the root cause is written first, each caller puts its own context in
 * front, and where the text no longer fits the outer context is left out, never the root cause.
 * The hint is a literal that says what to do next.
 *
 * Threads: a value belongs to whoever holds it.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/*    name            token            gRPC  meaning
 * gRPC numbers: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
#define WLA_CODES(CODE)                                                                           \
        CODE(INPUT, "invalid-input", 3) /* what the peer sent is malformed */                     \
        CODE(TIMEOUT, "timed-out", 4)   /* the deadline of the request has passed */              \
        CODE(NOT_FOUND, "not-found", 5) /* no such key, or no source for it */                    \
        CODE(DENIED, "denied", 7)       /* policy, or the TPM's own policy, says no */            \
        CODE(BUSY, "busy", 8)           /* a limit is reached; the same request may pass later */ \
        CODE(TPM, "tpm-refused", 9)     /* the TPM answered, and an operator has to act */        \
        CODE(UNSUPPORTED, "unsupported", 12) /* well formed, but switched off or unknown */       \
        CODE(SYSTEM, "system-error", 13)     /* the kernel or a library failed us */              \
        CODE(UNAVAILABLE, "unavailable", 14) /* TPM or broker cannot be reached */

enum wla_code {
        WLA_OK = 0,
#define WLA_CODE_ENUM(name, token, grpc) WLA_E_##name,
        WLA_CODES(WLA_CODE_ENUM)
#undef WLA_CODE_ENUM
                _WLA_CODE_MAX
};

struct wla_error {
        enum wla_code code;
        const char *hint; /* literal, or NULL */
        size_t start;     /* text begins here and ends at the buffer's last byte */
        char buffer[512];
};

#define _must_check_         __attribute__((warn_unused_result))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))

/* Sets code, hint (a literal, or NULL) and root cause; whatever the error held before is gone. */
void wla_error_set(struct wla_error *err, enum wla_code code, const char *hint, const char *format,
                   ...) _printf_(4, 5);

/* The same with WLA_E_SYSTEM, no hint, and ": " and the text of errno_value behind. */
void wla_error_set_errno(struct wla_error *err, int errno_value, const char *format, ...)
        _printf_(3, 4);

/* Puts "context: " before the text. */
void wla_error_wrap(struct wla_error *err, const char *format, ...) _printf_(2, 3);

/* All of them with the value -1, for a return statement; as macros, so that the compiler and the
 * analysers know that value. */
#define wla_fail(err, code, ...)            (wla_error_set((err), (code), NULL, __VA_ARGS__), -1)
#define wla_fail_hint(err, code, hint, ...) (wla_error_set((err), (code), (hint), __VA_ARGS__), -1)
#define wla_fail_errno(err, errno_value, ...) \
        (wla_error_set_errno((err), (errno_value), __VA_ARGS__), -1)
#define wla_wrap(err, ...) (wla_error_wrap((err), __VA_ARGS__), -1)

/* The chain without the hint; "" for an empty error.  Lives as long as the error. */
const char *wla_error_text(const struct wla_error *err);

/* Writes "chain (hint)" into to, cut at size and always terminated. */
void wla_error_format(const struct wla_error *err, char *to, size_t size);

/* The stable word for a code, as in logs and metrics: "not-found". */
const char *wla_code_token(enum wla_code code);

/* The gRPC status number of a code; 0 for WLA_OK. */
int wla_code_grpc_status(enum wla_code code);
