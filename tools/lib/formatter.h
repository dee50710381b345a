/* SPDX-License-Identifier: Apache-2.0 */
/* formatter - how the console consumer prints a record. Pure: appends to a buffer. */
#ifndef TOOLS_LIB_FORMATTER_H
#define TOOLS_LIB_FORMATTER_H

#include "common/base/base.h"
#include "tools/lib/group_records.h"
#include "common/base/props.h"

enum format_time { FORMAT_NO_TIME, FORMAT_CREATE_TIME, FORMAT_LOG_APPEND_TIME };
struct format_header {
    struct str key;
    struct bytes value; /* null: len -1 */
};
struct format_record {
    enum format_time time_kind;
    int64_t timestamp_ms, offset;
    int32_t partition;
    struct bytes key, value; /* null: len -1 */
    const struct format_header *headers;
    int32_t header_count;
};

enum format_type { FORMAT_BYTES, FORMAT_INT16, FORMAT_INT32, FORMAT_INT64, FORMAT_FLOAT64 };
struct formatter {
    bool is_silent;                  /* NoOpMessageFormatter */
    enum group_records_style groups; /* not NONE: records of __consumer_offsets */
    bool print_timestamp, print_partition, print_offset, print_headers, print_key, print_value;
    const char *key_separator, *line_separator, *headers_separator, *null_literal;
    enum format_type key_type, value_type;
};

/* class_name NULL: the default one. Properties' strings stay those of p. INVALID with text: no such
 * class, or a value that cannot be. */
NODISCARD enum err formatter_init(struct formatter *f, const char *class_name,
                                  const struct props *p, struct errtext *why);
/* The first property that the formatter does not know; NULL: none. */
const char *formatter_unknown(const struct props *p);
/* INVALID with text: the bytes cannot be shown as their type. */
NODISCARD enum err formatter_print(const struct formatter *f, const struct format_record *r,
                                   struct buf *out, struct errtext *why);

#endif
