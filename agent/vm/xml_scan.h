/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A look at the outside of an XML text before a parser sees it.
 *
 * What makes XML parsers slow, or makes them read what is not in the text, is refused here in one linear
 * pass: a document type (with it entities), tags with very many attributes, which parsers compare with
 * each other, and zero bytes.  Whether the text is well formed is the parser's to say.
 *
 * Threads: pure.  Failure: WLA_E_INPUT.
 * Source:  XML 1.0, sections 2.1 to 2.7.
 */

#include "wlagent/error.h"

#define XML_ATTRIBUTES_MAX 64u /* of one tag */

int xml_scan(const char *xml, size_t size, struct wla_error *err) _must_check_;
