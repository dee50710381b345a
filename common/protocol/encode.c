/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding. What cannot be said in the wanted version is an error, never silently lost, unless the
 * field is marked as ignorable. */
#include "common/protocol/codec.h"

#include "common/protocol/schema.h"

struct writer {
    struct buf *out;
    int16_t version;
    struct kp_hole_at *holes;
    size_t hole_count, holes_max;
    enum err rc;
    const char *what, *struct_name, *field_name; /* of the first error */
};

static bool fail(struct writer *w, const struct kp_schema *s, const struct kp_op *op, enum err rc,
                 const char *what)
{
    if (w->rc == ERR_OK) {
        w->rc = rc;
        w->what = what;
        w->struct_name = s->name;
        w->field_name = s->fields[op->field].name;
    }
    return false;
}

/* Room for n more bytes; returns where they go. The caller adds n to out->len. */
static inline uint8_t *room(struct buf *b, size_t n)
{
    if (UNLIKELY(b->cap - b->len < n))
        buf_reserve(b, n);
    return b->p + b->len;
}

static inline size_t put_uvarint(uint8_t *to, uint32_t v)
{
    size_t n = 0;

    while (v >= 0x80) {
        to[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    to[n++] = (uint8_t)v;
    return n;
}

static inline void write_uvarint(struct buf *b, uint32_t v)
{
    uint8_t *to = room(b, KP_UVARINT_BYTES_MAX);
    b->len += put_uvarint(to, v);
}

/* The length in front of a string (width 2), bytes or array (4); n -1: null. */
static inline void write_length(struct buf *b, uint8_t code, unsigned width, int64_t n)
{
    if (code & KP_FLEX) {
        write_uvarint(b, (uint32_t)(n + 1));
    } else if (width == 2) {
        be16_store(room(b, 2), (uint16_t)n);
        b->len += 2;
    } else {
        be32_store(room(b, 4), (uint32_t)n);
        b->len += 4;
    }
}

static inline void write_raw(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    memcpy(room(b, n), p, n);
    b->len += n;
}

static const char *const text_null = "cannot be null in this version";

static bool write_string(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                         uint8_t code, const struct str *v)
{
    if (v->len < 0) {
        if (!(code & KP_NULLABLE))
            return fail(w, s, op, ERR_UNSUPPORTED, text_null);
        write_length(w->out, code, 2, -1);
        return true;
    }
    if (v->len > KP_STRING_BYTES_MAX)
        return fail(w, s, op, ERR_TOO_LARGE, "a string is longer than 32767 bytes");
    write_length(w->out, code, 2, v->len);
    write_raw(w->out, v->p, (size_t)v->len);
    return true;
}

static bool write_bytes(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                        const struct bytes *v)
{
    if (v->len < 0) {
        if (!(op->code & KP_NULLABLE))
            return fail(w, s, op, ERR_UNSUPPORTED, text_null);
        write_length(w->out, op->code, 4, -1);
        return true;
    }
    if (v->len >= INT32_MAX)
        return fail(w, s, op, ERR_TOO_LARGE, "2 GiB or more");
    write_length(w->out, op->code, 4, v->len);
    if (v->p != kp_hole) {
        write_raw(w->out, v->p, (size_t)v->len);
        return true;
    }
    ASSERT(w->holes != NULL); /* only kp_encode_holes may meet one */
    if (w->hole_count == w->holes_max)
        return fail(w, s, op, ERR_LIMIT, "more holes than the caller has room for");
    w->holes[w->hole_count++] = (struct kp_hole_at){w->out->len, v->len};
    return true;
}

static bool write_struct(struct writer *w, const struct kp_schema *s, const void *msg);

/* Writes the count; *count_out and *data_out are what follows (0 for null). */
static bool write_count(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                        const void *msg, size_t *count_out, const uint8_t **data_out)
{
    int32_t count;

    *data_out = kp_load_array(&s->fields[op->field], msg, &count);
    *count_out = count < 0 ? 0 : (size_t)count;
    if (count < 0 && !(op->code & KP_NULLABLE))
        return fail(w, s, op, ERR_UNSUPPORTED, text_null);
    write_length(w->out, op->code, 4, count < 0 ? -1 : count);
    return true;
}

static bool write_struct_array(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                               const void *msg)
{
    const struct kp_schema *sub = s->fields[op->field].sub;
    const uint8_t *data;
    size_t count;

    if (!write_count(w, s, op, msg, &count, &data))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!write_struct(w, sub, data + i * sub->size))
            return false;
    return true;
}

static bool write_string_array(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                               const void *msg)
{
    const uint8_t *data;
    size_t count;

    if (!write_count(w, s, op, msg, &count, &data))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!write_string(w, s, op, op->code & KP_FLEX, (const struct str *)(const void *)data + i))
            return false;
    return true;
}

static bool write_fixed_array(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                              const void *msg)
{
    size_t size = kp_type_size((enum kp_type)s->fields[op->field].type);
    const uint8_t *data;
    size_t count;

    if (!write_count(w, s, op, msg, &count, &data))
        return false;
    if (count == 0)
        return true;
    uint8_t *to = room(w->out, count * size);
    switch (size) {
    case 2:
        for (size_t i = 0; i < count; i++)
            be16_store(to + 2 * i, ((const uint16_t *)(const void *)data)[i]);
        break;
    case 4:
        for (size_t i = 0; i < count; i++)
            be32_store(to + 4 * i, ((const uint32_t *)(const void *)data)[i]);
        break;
    case 8:
        for (size_t i = 0; i < count; i++)
            be64_store(to + 8 * i, ((const uint64_t *)(const void *)data)[i]);
        break;
    default: /* bytes and uuids have no order */
        memcpy(to, data, count * size);
        break;
    }
    w->out->len += count * size;
    return true;
}

static bool write_struct_ptr(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                             const void *from)
{
    const void *sub;

    memcpy(&sub, from, sizeof sub);
    if (sub == NULL && !(op->code & KP_NULLABLE))
        return fail(w, s, op, ERR_UNSUPPORTED, text_null);
    if (op->code & KP_NULLABLE) {
        *room(w->out, 1) = sub == NULL ? 0xff : 1;
        w->out->len++;
    }
    return sub == NULL || write_struct(w, s->fields[op->field].sub, sub);
}

static inline bool write_fixed(struct writer *w, uint8_t code, const uint8_t *from)
{
    uint8_t *to = room(w->out, 16);
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    switch (code & KP_OP_MASK) {
    case KP_OP_BOOL:
        *to = *(const bool *)from ? 1 : 0;
        w->out->len += 1;
        return true;
    case KP_OP_FIX1:
        *to = *from;
        w->out->len += 1;
        return true;
    case KP_OP_FIX2:
        memcpy(&u16, from, sizeof u16);
        be16_store(to, u16);
        w->out->len += 2;
        return true;
    case KP_OP_FIX4:
        memcpy(&u32, from, sizeof u32);
        be32_store(to, u32);
        w->out->len += 4;
        return true;
    case KP_OP_FIX8:
        memcpy(&u64, from, sizeof u64);
        be64_store(to, u64);
        w->out->len += 8;
        return true;
    default: /* KP_OP_FIX16 */
        memcpy(to, from, 16);
        w->out->len += 16;
        return true;
    }
}

static inline bool write_op(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                            const void *msg)
{
    const uint8_t *from = (const uint8_t *)msg + op->offset;

    switch (op->code & KP_OP_MASK) {
    case KP_OP_STRING:
        return write_string(w, s, op, op->code, (const struct str *)(const void *)from);
    case KP_OP_BYTES:
    case KP_OP_RECORDS:
        return write_bytes(w, s, op, (const struct bytes *)(const void *)from);
    case KP_OP_STRUCT:
        return write_struct(w, s->fields[op->field].sub, from);
    case KP_OP_STRUCT_PTR:
        return write_struct_ptr(w, s, op, from);
    case KP_OP_STRUCT_ARRAY:
        return write_struct_array(w, s, op, msg);
    case KP_OP_STRING_ARRAY:
        return write_string_array(w, s, op, msg);
    case KP_OP_FIX_ARRAY:
        return write_fixed_array(w, s, op, msg);
    default:
        return write_fixed(w, op->code, from);
    }
}

/* One tagged field: tag, size, value. The size is known afterwards and is put in between. */
static bool write_tagged(struct writer *w, const struct kp_schema *s, const struct kp_op *op,
                         const void *msg)
{
    struct buf *b = w->out;
    size_t holes = w->hole_count;
    uint8_t size_bytes[KP_UVARINT_BYTES_MAX];

    write_uvarint(b, (uint32_t)s->fields[op->field].tag);
    size_t start = b->len;
    if (!write_op(w, s, op, msg))
        return false;
    ASSERT(w->hole_count == holes); /* no message has records inside a tagged field */
    size_t size = b->len - start;
    if (size >= INT32_MAX)
        return fail(w, s, op, ERR_TOO_LARGE, "2 GiB or more");
    size_t n = put_uvarint(size_bytes, (uint32_t)size);
    (void)room(b, n);
    memmove(b->p + start + n, b->p + start, size);
    memcpy(b->p + start, size_bytes, n);
    b->len += n;
    return true;
}

static bool write_tags(struct writer *w, const struct kp_schema *s, const struct kp_plan *plan,
                       const void *msg)
{
    const struct kp_op *first = plan->ops + plan->wire;
    uint32_t count = 0;

    for (size_t i = 0; i < plan->tagged; i++)
        count += !kp_is_default(&s->fields[first[i].field], msg);
    write_uvarint(w->out, count);
    for (size_t i = 0; count > 0 && i < plan->tagged; i++)
        if (!kp_is_default(&s->fields[first[i].field], msg) && !write_tagged(w, s, first + i, msg))
            return false;
    return true;
}

static bool write_struct(struct writer *w, const struct kp_schema *s, const void *msg)
{
    const struct kp_plan *plan = kp_plan_for(s, w->version);
    const struct kp_op *op = plan->ops, *stop = op + plan->wire;
    const struct kp_op *absent = stop + plan->tagged, *absent_end = absent + plan->absent;

    for (; op < stop; op++)
        if (UNLIKELY(!write_op(w, s, op, msg)))
            return false;
    for (op = absent; op < absent_end; op++)
        if (UNLIKELY(!kp_is_default(&s->fields[op->field], msg)))
            return fail(w, s, op, ERR_UNSUPPORTED, "set, but not in this version");
    return !plan->flexible || write_tags(w, s, plan, msg);
}

static enum err encode(const struct kp_schema *s, const void *msg, struct writer *w,
                       struct errtext *why)
{
    size_t start = w->out->len;

    if (!kp_has_version(s, w->version)) {
        errtext_set(why, "%s has no version %d", s->name, w->version);
        return ERR_UNSUPPORTED;
    }
    if (!write_struct(w, s, msg)) {
        w->out->len = start;
        errtext_set(why, "%s version %d: %s.%s: %s", s->name, w->version, w->struct_name,
                    w->field_name, w->what);
        return w->rc;
    }
    return ERR_OK;
}

enum err kp_encode(const struct kp_schema *s, int16_t version, const void *msg, struct buf *out,
                   struct errtext *why)
{
    struct writer w = {.out = out, .version = version};
    return encode(s, msg, &w, why);
}

enum err kp_encode_holes(const struct kp_schema *s, int16_t version, const void *msg,
                         struct buf *out, struct kp_hole_at *holes_out, size_t holes_max,
                         size_t *hole_count_out, struct errtext *why)
{
    struct kp_hole_at none = {0}; /* stands for a caller without room */
    struct writer w = {
        .out = out,
        .version = version,
        .holes = holes_out == NULL ? &none : holes_out,
        .holes_max = holes_out == NULL ? 0 : holes_max,
    };
    enum err rc = encode(s, msg, &w, why);
    *hole_count_out = rc == ERR_OK ? w.hole_count : 0;
    return rc;
}

enum err kp_record_encode(const struct kp_schema *s, int16_t version, const void *msg,
                          struct buf *out, struct errtext *why)
{
    size_t start = out->len;

    be16_store(room(out, 2), (uint16_t)version);
    out->len += 2;
    enum err rc = kp_encode(s, version, msg, out, why);
    if (rc != ERR_OK)
        out->len = start;
    return rc;
}
