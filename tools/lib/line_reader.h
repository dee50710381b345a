/* SPDX-License-Identifier: Apache-2.0 */
/* line_reader - how the console producer reads a line as headers, key and value. Pure. */
#ifndef TOOLS_LIB_LINE_READER_H
#define TOOLS_LIB_LINE_READER_H

#include "common/base/base.h"
#include "common/base/props.h"

enum { LINE_HEADERS_MAX = 128 };

struct line_format {
    bool parse_key, parse_headers, ignore_error;
    const char *key_separator;     /* between key and value */
    const char *headers_delimiter; /* after the headers */
    const char *headers_separator; /* between headers */
    const char *headers_key_separator;
    const char *null_marker; /* NULL: none */
};
/* From --property pairs and --reader-config; the strings are those of p. INVALID with text. */
NODISCARD enum err line_format_init(struct line_format *f, const struct props *p,
                                    struct errtext *why);
/* The first property that the reader does not know; NULL: none. */
const char *line_format_unknown(const struct props *p);

struct line_header {
    struct str key;
    struct bytes value; /* null: len -1 */
};
struct line_record {
    struct bytes key, value; /* null: len -1 */
    struct line_header headers[LINE_HEADERS_MAX];
    int32_t header_count;
};
/* Parts of out point into line. INVALID with Kafka's text. */
NODISCARD enum err line_parse(const struct line_format *f, const char *line, size_t len,
                              int64_t line_number, struct line_record *out, struct errtext *why);

#endif
