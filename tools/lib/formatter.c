/* SPDX-License-Identifier: Apache-2.0 */
/* Kafka's DefaultMessageFormatter: timestamp, partition, offset, headers, key and value, each if
 * asked for, with a separator between them. */
#include "tools/lib/formatter.h"

#include <stdio.h>

static const char *const known[] = {
    "print.timestamp",      "print.key",           "print.offset",     "print.partition",
    "print.headers",        "print.value",         "key.separator",    "line.separator",
    "headers.separator",    "null.literal",        "key.deserializer", "value.deserializer",
    "headers.deserializer", "schema.registry.url",
};

const char *formatter_unknown(const struct props *p)
{
    for (size_t i = 0; i < p->count; i++) {
        bool is_known = false;

        for (size_t k = 0; k < ARRAY_LEN(known) && !is_known; k++)
            is_known = strcmp(known[k], p->list[i].key) == 0;
        if (!is_known)
            return p->list[i].key;
    }
    return NULL;
}

/* "org.apache.kafka.common.serialization.LongDeserializer" */
static enum err parse_type(const char *class_name, enum format_type *out, struct errtext *why)
{
    static const struct {
        const char *name;
        enum format_type type;
    } types[] = {
        {"StringDeserializer", FORMAT_BYTES}, {"ByteArrayDeserializer", FORMAT_BYTES},
        {"BytesDeserializer", FORMAT_BYTES},  {"ByteBufferDeserializer", FORMAT_BYTES},
        {"ShortDeserializer", FORMAT_INT16},  {"IntegerDeserializer", FORMAT_INT32},
        {"LongDeserializer", FORMAT_INT64},   {"DoubleDeserializer", FORMAT_FLOAT64},
    };
    const char *dot;

    *out = FORMAT_BYTES;
    if (class_name == NULL)
        return ERR_OK;
    dot = strrchr(class_name, '.');
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(types[i].name, dot == NULL ? class_name : dot + 1) == 0) {
            *out = types[i].type;
            return ERR_OK;
        }
    }
    errtext_set(why,
                "the deserializer '%s' is not known here: String, ByteArray, Short, Integer, "
                "Long and Double are",
                class_name);
    return ERR_INVALID;
}

static enum err parse_class(struct formatter *f, const char *class_name, struct errtext *why)
{
    static const char *const printing[] = {"DefaultMessageFormatter", "LoggingMessageFormatter"};
    const char *dot;

    if (class_name == NULL)
        return ERR_OK;
    dot = strrchr(class_name, '.');
    dot = dot == NULL ? class_name : dot + 1;
    for (size_t i = 0; i < ARRAY_LEN(printing); i++)
        if (strcmp(dot, printing[i]) == 0)
            return ERR_OK;
    if (strcmp(dot, "NoOpMessageFormatter") == 0) {
        f->is_silent = true;
        return ERR_OK;
    }
    f->groups = group_records_style_of(class_name);
    if (f->groups != GROUP_RECORDS_NONE)
        return ERR_OK;
    errtext_set(why,
                "--formatter: '%s' is not known here; DefaultMessageFormatter, "
                "LoggingMessageFormatter, NoOpMessageFormatter, OffsetsMessageFormatter and "
                "GroupMetadataMessageFormatter are",
                class_name);
    return ERR_INVALID;
}

enum err formatter_init(struct formatter *f, const char *class_name, const struct props *p,
                        struct errtext *why)
{
    const struct {
        const char *name;
        bool *to;
        bool otherwise;
    } switches[] = {
        {"print.timestamp", &f->print_timestamp, false},
        {"print.partition", &f->print_partition, false},
        {"print.offset", &f->print_offset, false},
        {"print.headers", &f->print_headers, false},
        {"print.key", &f->print_key, false},
        {"print.value", &f->print_value, true},
    };
    enum err rc;

    *f = (struct formatter){
        .key_separator = props_get(p, "key.separator", "\t"),
        .line_separator = props_get(p, "line.separator", "\n"),
        .headers_separator = props_get(p, "headers.separator", ","),
        .null_literal = props_get(p, "null.literal", "null"),
    };
    rc = parse_class(f, class_name, why);
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(switches); i++)
        rc = props_bool(p, switches[i].name, switches[i].otherwise, switches[i].to, why);
    if (rc == ERR_OK)
        rc = parse_type(props_get(p, "key.deserializer", NULL), &f->key_type, why);
    if (rc == ERR_OK)
        rc = parse_type(props_get(p, "value.deserializer", NULL), &f->value_type, why);
    return rc;
}

static void add_text(struct buf *out, const char *text)
{
    buf_add(out, text, strlen(text));
}

/* A double as Java prints it closely enough to read: the shortest text that gives it back. */
static void add_double(struct buf *out, double d)
{
    char text[40];

    for (int precision = 1; precision <= 17; precision++) {
        double back;

        (void)snprintf(text, sizeof text, "%.*g", precision, d);
        if (sscanf(text, "%lf", &back) == 1 && memcmp(&back, &d, sizeof d) == 0)
            break;
    }
    add_text(out, text);
    if (strpbrk(text, ".einf") == NULL)
        add_text(out, ".0");
}

static enum err add_value(const struct formatter *f, enum format_type type, struct bytes b,
                          struct buf *out, struct errtext *why)
{
    static const int64_t sizes[] = {[FORMAT_BYTES] = -1,
                                    [FORMAT_INT16] = 2,
                                    [FORMAT_INT32] = 4,
                                    [FORMAT_INT64] = 8,
                                    [FORMAT_FLOAT64] = 8};
    uint64_t bits;
    double d;

    if (b.len < 0) {
        add_text(out, f->null_literal);
        return ERR_OK;
    }
    if (sizes[type] >= 0 && b.len != sizes[type]) {
        errtext_set(why, "%" PRId64 " bytes cannot be a number of %" PRId64 " bytes", b.len,
                    sizes[type]);
        return ERR_INVALID;
    }
    switch (type) {
    case FORMAT_BYTES:
        buf_add(out, b.p, (size_t)b.len);
        break;
    case FORMAT_INT16:
        buf_printf(out, "%d", (int16_t)be16_load(b.p));
        break;
    case FORMAT_INT32:
        buf_printf(out, "%d", (int32_t)be32_load(b.p));
        break;
    case FORMAT_INT64:
        buf_printf(out, "%" PRId64, (int64_t)be64_load(b.p));
        break;
    case FORMAT_FLOAT64:
        bits = be64_load(b.p);
        memcpy(&d, &bits, sizeof d);
        add_double(out, d);
        break;
    }
    return ERR_OK;
}

static void add_headers(const struct formatter *f, const struct format_record *r, struct buf *out)
{
    if (r->header_count == 0)
        add_text(out, "NO_HEADERS");
    for (int32_t i = 0; i < r->header_count; i++) {
        const struct format_header *h = &r->headers[i];

        if (i > 0)
            add_text(out, f->headers_separator);
        buf_add(out, h->key.p, (size_t)i32_max(h->key.len, 0));
        add_text(out, ":");
        if (h->value.len < 0)
            add_text(out, f->null_literal);
        else
            buf_add(out, h->value.p, (size_t)h->value.len);
    }
}

/* Between two columns, or behind the last. */
static void end_column(const struct formatter *f, bool more, struct buf *out)
{
    add_text(out, more ? f->key_separator : f->line_separator);
}

enum err formatter_print(const struct formatter *f, const struct format_record *r, struct buf *out,
                         struct errtext *why)
{
    bool after_key = f->print_value;
    bool after_headers = f->print_key || after_key;
    bool after_offset = f->print_headers || after_headers;
    bool after_partition = f->print_offset || after_offset;
    bool after_timestamp = f->print_partition || after_partition;
    enum err rc = ERR_OK;

    if (f->is_silent)
        return ERR_OK;
    if (f->groups != GROUP_RECORDS_NONE)
        return group_records_format(f->groups, r->key, r->value, out, why);
    if (f->print_timestamp) {
        if (r->time_kind == FORMAT_NO_TIME)
            add_text(out, "NO_TIMESTAMP");
        else
            buf_printf(out, "%s:%" PRId64,
                       r->time_kind == FORMAT_CREATE_TIME ? "CreateTime" : "LogAppendTime",
                       r->timestamp_ms);
        end_column(f, after_timestamp, out);
    }
    if (f->print_partition) {
        buf_printf(out, "Partition:%d", r->partition);
        end_column(f, after_partition, out);
    }
    if (f->print_offset) {
        buf_printf(out, "Offset:%" PRId64, r->offset);
        end_column(f, after_offset, out);
    }
    if (f->print_headers) {
        add_headers(f, r, out);
        end_column(f, after_headers, out);
    }
    if (f->print_key) {
        rc = add_value(f, f->key_type, r->key, out, why);
        end_column(f, after_key, out);
    }
    if (f->print_value && rc == ERR_OK) {
        rc = add_value(f, f->value_type, r->value, out, why);
        end_column(f, false, out);
    }
    return rc;
}
