/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/xml_scan.h"

#include <string.h>

struct scan {
        const char *at;
        const char *end;
};

static bool take(struct scan *scan, const char *text) {
        size_t size = strlen(text);

        if ((size_t)(scan->end - scan->at) < size || memcmp(scan->at, text, size) != 0)
                return false;
        scan->at += size;
        return true;
}

static int skip_past(struct scan *scan, const char *text, struct wla_error *err) {
        const char *found = memmem(scan->at, (size_t)(scan->end - scan->at), text, strlen(text));

        if (!found)
                return wla_fail(err, WLA_E_INPUT, "a section does not end");
        scan->at = found + strlen(text);
        return 0;
}

/* From behind the opening bracket.  Every attribute has a quoted value: counting them is enough. */
static int skip_tag(struct scan *scan, struct wla_error *err) {
        unsigned values = 0;

        while (scan->at < scan->end) {
                char character = *scan->at++;

                if (character == '>')
                        return 0;
                if (character != '"' && character != '\'')
                        continue;
                if (++values > XML_ATTRIBUTES_MAX)
                        return wla_fail(err, WLA_E_INPUT, "an element has more than %u attributes",
                                        XML_ATTRIBUTES_MAX);
                const char *quote = memchr(scan->at, character, (size_t)(scan->end - scan->at));
                if (!quote)
                        break;
                scan->at = quote + 1;
        }
        return wla_fail(err, WLA_E_INPUT, "a tag does not end");
}

static int skip_markup(struct scan *scan, struct wla_error *err) {
        if (take(scan, "!--"))
                return skip_past(scan, "-->", err);
        if (take(scan, "![CDATA["))
                return skip_past(scan, "]]>", err);
        if (take(scan, "!"))
                return wla_fail(err, WLA_E_INPUT,
                                "a document type, which no domain definition has");
        if (take(scan, "?"))
                return skip_past(scan, "?>", err);
        return skip_tag(scan, err);
}

int xml_scan(const char *xml, size_t size, struct wla_error *err) {
        struct scan scan = {.at = xml, .end = xml + size};

        if (memchr(xml, '\0', size))
                return wla_fail(err, WLA_E_INPUT, "a zero byte in the text");

        while (scan.at < scan.end) {
                const char *bracket = memchr(scan.at, '<', (size_t)(scan.end - scan.at));

                if (!bracket)
                        break;
                scan.at = bracket + 1;
                if (skip_markup(&scan, err) < 0)
                        return -1;
        }
        return 0;
}
