/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding of untrusted bytes. Every read is checked against the end of the message, every count
 * against the bytes that its elements need at least, before memory is taken. The depth of the
 * recursion is that of the schema (at most five).
 *
 * What Kafka's generated classes take is taken here too, odd as it is: any negative length is null,
 * the fifth byte of a varint may have bits above the 32nd, a negative count of tagged fields is
 * none, the size in front of a tagged field that is known is not looked at, and bytes behind the
 * message are ignored. */
#include "common/protocol/codec.h"

#include "common/base/slog.h"
#include "common/protocol/schema.h"

struct reader {
    const uint8_t *p, *end;
    struct arena *arena;
    int16_t version;
    enum err rc;
    /* where and why the first error was met */
    const char *what, *struct_name, *field_name;
};

static bool fail(struct reader *r, const struct kp_schema *s, const struct kp_op *op, enum err rc,
                 const char *what)
{
    if (r->rc == ERR_OK) {
        r->rc = rc;
        r->what = what;
        r->struct_name = s->name;
        r->field_name = op == NULL ? "tagged fields" : s->fields[op->field].name;
    }
    return false;
}

/* An unsigned varint of at most five bytes, its low 32 bits; NULL: cut off or too long. */
static const uint8_t *uvarint_slow(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < KP_UVARINT_BYTES_MAX; i++) {
        if (p + i == end)
            return NULL;
        uint32_t byte = p[i];
        v |= (byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *out = v;
            return p + i + 1;
        }
    }
    return NULL;
}

static inline const uint8_t *uvarint(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    if (LIKELY(p < end && *p < 0x80)) {
        *out = *p;
        return p + 1;
    }
    return uvarint_slow(p, end, out);
}

enum { LENGTH_NULL = -1, LENGTH_BAD = -2 };

/* Reads the length in front of a string (2 bytes), bytes or array (4 bytes), or the compact form of
 * any. LENGTH_NULL for every negative one, LENGTH_BAD when the message ends here. */
static inline int64_t read_length(struct reader *r, uint8_t code, unsigned width)
{
    int64_t n;

    if (code & KP_FLEX) {
        uint32_t v;
        const uint8_t *p = uvarint(r->p, r->end, &v);
        if (UNLIKELY(p == NULL))
            return LENGTH_BAD;
        r->p = p;
        n = (int32_t)(v - 1);
    } else {
        if (UNLIKELY((size_t)(r->end - r->p) < width))
            return LENGTH_BAD;
        n = width == 2 ? (int16_t)be16_load(r->p) : (int32_t)be32_load(r->p);
        r->p += width;
    }
    return n < LENGTH_NULL ? LENGTH_NULL : n;
}

static const char *const text_short = "the message ends here";
static const char *const text_length = "bad length";
static const char *const text_null = "null where a value is required";
static const char *const text_long = "longer than what is left of the message";
static const char *const text_memory = "needs more memory than a message may";

static inline bool read_string(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                               uint8_t code, struct str *out)
{
    int64_t n = read_length(r, code, 2);

    if (UNLIKELY(n < 0)) {
        *out = STR_NULL;
        if (n == LENGTH_BAD)
            return fail(r, s, op, ERR_PROTOCOL, text_length);
        return (code & KP_NULLABLE) ? true : fail(r, s, op, ERR_PROTOCOL, text_null);
    }
    if (UNLIKELY(n > r->end - r->p || n > KP_STRING_BYTES_MAX))
        return fail(r, s, op, ERR_PROTOCOL, text_long);
    *out = (struct str){(const char *)r->p, (int32_t)n};
    r->p += n;
    return true;
}

static bool read_bytes(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                       struct bytes *out)
{
    int64_t n = read_length(r, op->code, 4);

    if (n < 0) {
        *out = BYTES_NULL;
        if (n == LENGTH_BAD)
            return fail(r, s, op, ERR_PROTOCOL, text_length);
        return (op->code & KP_NULLABLE) ? true : fail(r, s, op, ERR_PROTOCOL, text_null);
    }
    if (n > r->end - r->p)
        return fail(r, s, op, ERR_PROTOCOL, text_long);
    *out = (struct bytes){r->p, n};
    r->p += n;
    return true;
}

static bool read_struct(struct reader *r, const struct kp_schema *s, void *out);

/* Reads the count of an array whose elements take at least min_bytes each and gives the memory for
 * its elements; *data_out is NULL for none. */
static bool read_count(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                       void *out, size_t min_bytes, size_t size, int32_t *count_out,
                       void **data_out)
{
    const struct kp_field *f = &s->fields[op->field];
    int64_t n = read_length(r, op->code, 4);
    int32_t count = (int32_t)n;
    void *data = NULL;

    if (n < 0) {
        if (n == LENGTH_BAD)
            return fail(r, s, op, ERR_PROTOCOL, text_length);
        if (!(op->code & KP_NULLABLE))
            return fail(r, s, op, ERR_PROTOCOL, text_null);
    }
    if (n > 0) {
        if ((uint64_t)n * min_bytes > (uint64_t)(r->end - r->p))
            return fail(r, s, op, ERR_PROTOCOL, text_long);
        data = arena_alloc(r->arena, (size_t)n * size);
        if (data == NULL)
            return fail(r, s, op, ERR_NO_MEMORY, text_memory);
    }
    memcpy((uint8_t *)out + f->offset, &data, sizeof data);
    memcpy((uint8_t *)out + f->count_offset, &count, sizeof count);
    *count_out = count;
    *data_out = data;
    return true;
}

static bool read_struct_array(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                              void *out)
{
    const struct kp_schema *sub = s->fields[op->field].sub;
    int32_t count;
    void *data;

    if (!read_count(r, s, op, out, kp_plan_for(sub, r->version)->min_bytes, sub->size, &count,
                    &data))
        return false;
    for (int32_t i = 0; i < count; i++)
        if (!read_struct(r, sub, (uint8_t *)data + (size_t)i * sub->size))
            return false;
    return true;
}

static bool read_string_array(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                              void *out)
{
    uint8_t code = op->code & KP_FLEX; /* elements are never null */
    int32_t count;
    void *data;

    if (!read_count(r, s, op, out, code ? 1 : 2, sizeof(struct str), &count, &data))
        return false;
    for (int32_t i = 0; i < count; i++)
        if (!read_string(r, s, op, code, (struct str *)data + i))
            return false;
    return true;
}

static bool read_fixed_array(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                             void *out)
{
    size_t size = kp_type_size((enum kp_type)s->fields[op->field].type);
    int32_t count;
    void *data;

    if (!read_count(r, s, op, out, size, size, &count, &data))
        return false;
    if (count <= 0)
        return true;
    const uint8_t *p = r->p;
    switch (size) {
    case 2:
        for (int32_t i = 0; i < count; i++)
            ((uint16_t *)data)[i] = be16_load(p + 2 * (size_t)i);
        break;
    case 4:
        for (int32_t i = 0; i < count; i++)
            ((uint32_t *)data)[i] = be32_load(p + 4 * (size_t)i);
        break;
    case 8:
        for (int32_t i = 0; i < count; i++)
            ((uint64_t *)data)[i] = be64_load(p + 8 * (size_t)i);
        break;
    default: /* bytes and uuids have no order */
        memcpy(data, p, (size_t)count * size);
        break;
    }
    r->p += (size_t)count * size;
    return true;
}

/* A struct that may be null: one byte says whether (-1 null, 1 there). */
static bool read_struct_ptr(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                            void *to)
{
    const struct kp_schema *sub = s->fields[op->field].sub;
    void *data = NULL;

    if (op->code & KP_NULLABLE) {
        if (r->p == r->end)
            return fail(r, s, op, ERR_PROTOCOL, text_short);
        int8_t mark = (int8_t)*r->p++;
        if (mark < 0) {
            memcpy(to, &data, sizeof data);
            return true;
        }
    }
    data = arena_alloc(r->arena, sub->size);
    if (data == NULL)
        return fail(r, s, op, ERR_NO_MEMORY, text_memory);
    memcpy(to, &data, sizeof data);
    return read_struct(r, sub, data);
}

#define NEED(n)                                                                                    \
    if (UNLIKELY((size_t)(r->end - r->p) < (n)))                                                   \
    return fail(r, s, op, ERR_PROTOCOL, text_short)

static inline bool read_fixed(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                              uint8_t *to)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    switch (op->code & KP_OP_MASK) {
    case KP_OP_BOOL:
        NEED(1);
        *(bool *)to = *r->p++ != 0;
        return true;
    case KP_OP_FIX1:
        NEED(1);
        *to = *r->p++;
        return true;
    case KP_OP_FIX2:
        NEED(2);
        u16 = be16_load(r->p);
        memcpy(to, &u16, sizeof u16);
        r->p += 2;
        return true;
    case KP_OP_FIX4:
        NEED(4);
        u32 = be32_load(r->p);
        memcpy(to, &u32, sizeof u32);
        r->p += 4;
        return true;
    case KP_OP_FIX8:
        NEED(8);
        u64 = be64_load(r->p);
        memcpy(to, &u64, sizeof u64);
        r->p += 8;
        return true;
    default: /* KP_OP_FIX16 */
        NEED(16);
        memcpy(to, r->p, 16);
        r->p += 16;
        return true;
    }
}

static inline bool read_op(struct reader *r, const struct kp_schema *s, const struct kp_op *op,
                           void *out)
{
    uint8_t *to = (uint8_t *)out + op->offset;

    switch (op->code & KP_OP_MASK) {
    case KP_OP_STRING:
        return read_string(r, s, op, op->code, (struct str *)(void *)to);
    case KP_OP_BYTES:
    case KP_OP_RECORDS:
        return read_bytes(r, s, op, (struct bytes *)(void *)to);
    case KP_OP_STRUCT:
        return read_struct(r, s->fields[op->field].sub, to);
    case KP_OP_STRUCT_PTR:
        return read_struct_ptr(r, s, op, to);
    case KP_OP_STRUCT_ARRAY:
        return read_struct_array(r, s, op, out);
    case KP_OP_STRING_ARRAY:
        return read_string_array(r, s, op, out);
    case KP_OP_FIX_ARRAY:
        return read_fixed_array(r, s, op, out);
    default:
        return read_fixed(r, s, op, to);
    }
}

/* The section of tagged fields. Unknown ones are skipped. Order is not checked, as Kafka does not:
 * of two with one tag the last counts. */
static bool read_tags(struct reader *r, const struct kp_schema *s, const struct kp_plan *plan,
                      void *out)
{
    uint32_t count, tag, size;
    const uint8_t *p = uvarint(r->p, r->end, &count);

    if (p == NULL)
        return fail(r, s, NULL, ERR_PROTOCOL, text_length);
    r->p = p;
    for (; (int32_t)count > 0; count--) { /* ends with the bytes: each takes two at least */
        p = uvarint(r->p, r->end, &tag);
        if (p != NULL)
            p = uvarint(p, r->end, &size);
        if (p == NULL)
            return fail(r, s, NULL, ERR_PROTOCOL, text_length);
        r->p = p;
        if (tag < plan->tagged) {
            if (!read_op(r, s, &plan->ops[plan->wire + tag], out))
                return false;
            continue;
        }
        if (size > (size_t)(r->end - p))
            return fail(r, s, NULL, ERR_PROTOCOL, text_long);
        r->p += size;
    }
    return true;
}

static bool read_struct(struct reader *r, const struct kp_schema *s, void *out)
{
    const struct kp_plan *plan = kp_plan_for(s, r->version);
    const struct kp_op *op = plan->ops, *stop = op + plan->wire;

    if (plan->wire != s->field_count)
        kp_defaults(s, out);
    for (; op < stop; op++)
        if (UNLIKELY(!read_op(r, s, op, out)))
            return false;
    if (!plan->flexible)
        return true;
    if (LIKELY(r->p < r->end && *r->p == 0)) {
        r->p++;
        return true;
    }
    return read_tags(r, s, plan, out);
}

enum err kp_decode_prefix(const struct kp_schema *s, int16_t version, struct bytes in,
                          struct arena *a, void *out, size_t *used_out, struct errtext *why)
{
    static const uint8_t nothing[1];
    const uint8_t *start = in.len <= 0 ? nothing : in.p;
    struct reader r = {
        .p = start,
        .end = in.len <= 0 ? nothing : in.p + in.len,
        .arena = a,
        .version = version,
    };

    *used_out = 0;
    if (!kp_has_version(s, version)) {
        kp_defaults(s, out);
        errtext_set(why, "%s has no version %d", s->name, version);
        return ERR_UNSUPPORTED;
    }
    if (!read_struct(&r, s, out)) {
        kp_defaults(s, out);
        errtext_set(why, "%s version %d: %s.%s at byte %td: %s", s->name, version, r.struct_name,
                    r.field_name, r.p - start, r.what);
        return r.rc;
    }
    *used_out = (size_t)(r.p - start);
    return ERR_OK;
}

enum err kp_decode(const struct kp_schema *s, int16_t version, struct bytes in, struct arena *a,
                   void *out, struct errtext *why)
{
    size_t used;
    enum err rc = kp_decode_prefix(s, version, in, a, out, &used, why);

    if (UNLIKELY(rc == ERR_OK && (int64_t)used < in.len))
        SLOG(DEBUG, "protocol", "bytes after the end of a message are ignored",
             KV_S("message", s->name), KV_I("version", version),
             KV_I("bytes", in.len - (int64_t)used));
    return rc;
}

enum err kp_record_decode(const struct kp_schema *s, struct bytes in, struct arena *a,
                          int16_t *version_out, void *out, struct errtext *why)
{
    *version_out = -1;
    if (in.len < 2) {
        kp_defaults(s, out);
        errtext_set(why, "%s: no version in front", s->name);
        return ERR_PROTOCOL;
    }
    *version_out = (int16_t)be16_load(in.p);
    return kp_decode(s, *version_out, (struct bytes){in.p + 2, in.len - 2}, a, out, why);
}
