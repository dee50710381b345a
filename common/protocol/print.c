/* SPDX-License-Identifier: Apache-2.0 */
/* Messages as JSON, with the names that Kafka's own tools print. Bytes are base64; of records only
 * the size is shown, as in Kafka's request log. */
#include "common/protocol/codec.h"

#include "common/base/json_writer.h"
#include "common/protocol/schema.h"

#include <math.h>

static void print_string(struct str s, struct buf *out)
{
    if (s.len < 0)
        buf_add(out, "null", 4);
    else
        json_write_quoted(out, s);
}

static void print_base64(struct bytes b, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    if (b.len < 0) {
        buf_add(out, "null", 4);
        return;
    }
    buf_add(out, "\"", 1);
    for (int64_t i = 0; i < b.len; i += 3) {
        int64_t left = b.len - i;
        unsigned v = (unsigned)b.p[i] << 16;
        if (left > 1)
            v |= (unsigned)b.p[i + 1] << 8;
        if (left > 2)
            v |= b.p[i + 2];
        char text[4] = {digits[v >> 18], digits[(v >> 12) & 63],
                        left > 1 ? digits[(v >> 6) & 63] : '=', left > 2 ? digits[v & 63] : '='};
        buf_add(out, text, sizeof text);
    }
    buf_add(out, "\"", 1);
}

static void print_double(double v, struct buf *out)
{
    if (isfinite(v))
        buf_printf(out, "%.17g", v);
    else
        buf_printf(out, "null"); /* JSON has no word for it */
}

static void print_value(const struct kp_field *f, int16_t version, const void *p, struct buf *out)
{
    char text[UUID_TEXT_LEN + 1];
    double number;

    switch ((enum kp_type)f->type) {
    case KP_BOOL:
        buf_printf(out, *(const bool *)p ? "true" : "false");
        return;
    case KP_FLOAT64:
        memcpy(&number, p, sizeof number);
        print_double(number, out);
        return;
    case KP_UUID:
        uuid_format(*(const struct uuid *)p, text);
        buf_printf(out, "\"%s\"", text);
        return;
    case KP_STRING:
        print_string(*(const struct str *)p, out);
        return;
    case KP_BYTES:
        print_base64(*(const struct bytes *)p, out);
        return;
    case KP_RECORDS:
        buf_printf(out, "%" PRId64, ((const struct bytes *)p)->len);
        return;
    case KP_STRUCT:
        kp_print(f->sub, version, p, out);
        return;
    case KP_INT8:
    case KP_INT16:
    case KP_UINT16:
    case KP_INT32:
    case KP_UINT32:
    case KP_INT64:
        buf_printf(out, "%" PRId64, kp_load_number((enum kp_type)f->type, p));
        return;
    }
    UNREACHABLE();
}

static void print_array(const struct kp_field *f, int16_t version, const void *msg, struct buf *out)
{
    int32_t count;
    const uint8_t *data = kp_load_array(f, msg, &count);
    size_t size = f->type == KP_STRUCT ? f->sub->size : kp_type_size((enum kp_type)f->type);

    if (count < 0) {
        buf_printf(out, "null");
        return;
    }
    buf_add(out, "[", 1);
    for (size_t i = 0; i < (size_t)count; i++) {
        if (i > 0)
            buf_add(out, ",", 1);
        print_value(f, version, data + i * size, out);
    }
    buf_add(out, "]", 1);
}

static void print_pointer(const struct kp_field *f, int16_t version, const void *at,
                          struct buf *out)
{
    const void *sub;

    memcpy(&sub, at, sizeof sub);
    if (sub == NULL)
        buf_printf(out, "null");
    else
        kp_print(f->sub, version, sub, out);
}

void kp_print(const struct kp_schema *s, int16_t version, const void *msg, struct buf *out)
{
    ASSERT(kp_has_version(s, version));
    const struct kp_plan *plan = kp_plan_for(s, version);
    const char *separator = "";

    buf_add(out, "{", 1);
    for (size_t i = 0; i < (size_t)plan->wire + plan->tagged; i++) {
        const struct kp_field *f = &s->fields[plan->ops[i].field];
        const uint8_t *at = (const uint8_t *)msg + f->offset;
        if (i >= plan->wire && kp_is_default(f, msg))
            continue; /* it is not on the wire either */
        buf_printf(out, "%s\"%s%s\":", separator, f->name,
                   f->type == KP_RECORDS ? "SizeInBytes" : "");
        separator = ",";
        if (f->shape == KP_ARRAY)
            print_array(f, version, msg, out);
        else if (f->shape == KP_POINTER)
            print_pointer(f, version, at, out);
        else
            print_value(f, version, at, out);
    }
    buf_add(out, "}", 1);
}
