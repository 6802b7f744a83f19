/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/shell_word.h"

#include <string.h>

static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%+,-./:=@_";

int shell_word_append(struct buf *to, const char *word, struct wla_error *err) {
        if (word[0] != '\0' && word[strspn(word, plain)] == '\0')
                return buf_append_text(to, word, err);
        if (buf_append_text(to, "'", err) < 0)
                return -1;
        for (size_t part; *word != '\0'; word += part) {
                part = strcspn(word, "'");
                if (part > 0 && buf_append(to, word, part, err) < 0)
                        return -1;
                if (part == 0) { /* out of the quotes, for one that is escaped */
                        if (buf_append_text(to, "'\\''", err) < 0)
                                return -1;
                        part = 1;
                }
        }
        return buf_append_text(to, "'", err);
}
