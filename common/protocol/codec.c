/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the codec share: defaults, comparison, access to members. */
#include "common/protocol/codec.h"

#include "common/protocol/schema.h"

const uint8_t kp_hole[1] = {0};

size_t kp_size(const struct kp_schema *s)
{
    return s->size;
}

void kp_defaults(const struct kp_schema *s, void *msg)
{
    if (s->defaults == NULL)
        memset(msg, 0, s->size);
    else
        memcpy(msg, s->defaults, s->size);
}

int64_t kp_load_number(enum kp_type type, const void *p)
{
    uint64_t u64;
    uint32_t u32;
    uint16_t u16;

    switch (type) {
    case KP_BOOL:
        return *(const bool *)p;
    case KP_INT8:
        return *(const int8_t *)p;
    case KP_INT16:
        memcpy(&u16, p, sizeof u16);
        return (int16_t)u16;
    case KP_UINT16:
        memcpy(&u16, p, sizeof u16);
        return u16;
    case KP_INT32:
        memcpy(&u32, p, sizeof u32);
        return (int32_t)u32;
    case KP_UINT32:
        memcpy(&u32, p, sizeof u32);
        return u32;
    case KP_INT64:
    case KP_FLOAT64: /* its bits: enough to tell zero and to compare */
        memcpy(&u64, p, sizeof u64);
        return (int64_t)u64;
    case KP_UUID:
    case KP_STRING:
    case KP_BYTES:
    case KP_RECORDS:
    case KP_STRUCT:
        break;
    }
    UNREACHABLE();
}

void *kp_load_array(const struct kp_field *f, const void *msg, int32_t *count_out)
{
    void *p;

    memcpy(&p, (const uint8_t *)msg + f->offset, sizeof p);
    memcpy(count_out, (const uint8_t *)msg + f->count_offset, sizeof *count_out);
    return p;
}

static bool struct_is_default(const struct kp_schema *s, const void *msg)
{
    for (size_t i = 0; i < s->field_count; i++)
        if (!kp_is_default(&s->fields[i], msg))
            return false;
    return true;
}

bool kp_is_default(const struct kp_field *f, const void *msg)
{
    const uint8_t *p = (const uint8_t *)msg + f->offset;

    if (f->shape == KP_ARRAY) {
        int32_t count;
        (void)kp_load_array(f, msg, &count);
        return f->default_null ? count < 0 : count == 0;
    }
    if (f->shape == KP_POINTER) {
        const void *sub;
        memcpy(&sub, p, sizeof sub);
        return f->default_null ? sub == NULL : sub != NULL && struct_is_default(f->sub, sub);
    }
    switch ((enum kp_type)f->type) {
    case KP_STRUCT:
        return struct_is_default(f->sub, p);
    case KP_STRING:
        return f->default_null ? ((const struct str *)(const void *)p)->len < 0
                               : ((const struct str *)(const void *)p)->len == 0;
    case KP_BYTES:
    case KP_RECORDS:
        return f->default_null ? ((const struct bytes *)(const void *)p)->len < 0
                               : ((const struct bytes *)(const void *)p)->len == 0;
    case KP_UUID:
        return uuid_is_zero(*(const struct uuid *)p);
    case KP_BOOL:
    case KP_INT8:
    case KP_INT16:
    case KP_UINT16:
    case KP_INT32:
    case KP_UINT32:
    case KP_INT64:
    case KP_FLOAT64:
        return kp_load_number((enum kp_type)f->type, p) == f->default_number;
    }
    UNREACHABLE();
}

/* ---------------------------------------------------------------- comparison */

static bool bytes_equal(struct bytes a, struct bytes b)
{
    if (a.len < 0 || b.len < 0)
        return a.len < 0 && b.len < 0;
    if (a.len != b.len)
        return false;
    if (a.p == kp_hole || b.p == kp_hole)
        return a.p == b.p;
    return a.len == 0 || memcmp(a.p, b.p, (size_t)a.len) == 0;
}

static bool value_equal(const struct kp_field *f, int16_t version, const uint8_t *a,
                        const uint8_t *b)
{
    switch ((enum kp_type)f->type) {
    case KP_STRING:
        return bytes_equal((struct bytes){(const uint8_t *)((const struct str *)(const void *)a)->p,
                                          ((const struct str *)(const void *)a)->len},
                           (struct bytes){(const uint8_t *)((const struct str *)(const void *)b)->p,
                                          ((const struct str *)(const void *)b)->len});
    case KP_BYTES:
    case KP_RECORDS:
        return bytes_equal(*(const struct bytes *)(const void *)a,
                           *(const struct bytes *)(const void *)b);
    case KP_STRUCT:
        return kp_equal(f->sub, version, a, b);
    case KP_BOOL:
    case KP_INT8:
    case KP_INT16:
    case KP_UINT16:
    case KP_INT32:
    case KP_UINT32:
    case KP_INT64:
    case KP_FLOAT64:
    case KP_UUID:
        return memcmp(a, b, kp_type_size((enum kp_type)f->type)) == 0;
    }
    UNREACHABLE();
}

static bool array_equal(const struct kp_field *f, int16_t version, const void *a, const void *b)
{
    int32_t count_a, count_b;
    const uint8_t *pa = kp_load_array(f, a, &count_a), *pb = kp_load_array(f, b, &count_b);
    size_t size = f->type == KP_STRUCT ? f->sub->size : kp_type_size((enum kp_type)f->type);

    if (count_a < 0 || count_b < 0)
        return count_a < 0 && count_b < 0;
    if (count_a != count_b)
        return false;
    for (size_t i = 0; i < (size_t)count_a; i++)
        if (!value_equal(f, version, pa + i * size, pb + i * size))
            return false;
    return true;
}

static bool field_equal(const struct kp_field *f, int16_t version, const void *a, const void *b)
{
    const uint8_t *pa = (const uint8_t *)a + f->offset, *pb = (const uint8_t *)b + f->offset;

    if (f->shape == KP_ARRAY)
        return array_equal(f, version, a, b);
    if (f->shape == KP_POINTER) {
        const void *sub_a, *sub_b;
        memcpy(&sub_a, pa, sizeof sub_a);
        memcpy(&sub_b, pb, sizeof sub_b);
        return sub_a == NULL || sub_b == NULL ? sub_a == sub_b
                                              : kp_equal(f->sub, version, sub_a, sub_b);
    }
    return value_equal(f, version, pa, pb);
}

bool kp_equal(const struct kp_schema *s, int16_t version, const void *a, const void *b)
{
    ASSERT(kp_has_version(s, version));
    const struct kp_plan *plan = kp_plan_for(s, version);

    for (size_t i = 0; i < (size_t)plan->wire + plan->tagged; i++)
        if (!field_equal(&s->fields[plan->ops[i].field], version, a, b))
            return false;
    return true;
}
