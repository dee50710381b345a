/* SPDX-License-Identifier: Apache-2.0 */
/* Random valid messages, for tests: every field of the version with values from small, extreme and
 * any; nulls where allowed; strings of whole UTF-8 characters. */
#include "common/protocol/codec.h"

#include "common/protocol/schema.h"

enum { ELEMENTS_MAX = 3, CHARACTERS_MAX = 20, BYTES_MAX = 64 };

/* splitmix64 */
static uint64_t next(uint64_t *rng)
{
    uint64_t z = (*rng += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint32_t below(uint64_t *rng, uint32_t n)
{
    return (uint32_t)((next(rng) >> 32) % n);
}

static void *must_alloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    ASSERT(p != NULL); /* tests set no limit that this could reach */
    return p;
}

static uint64_t random_number(uint64_t *rng)
{
    switch (below(rng, 4)) {
    case 0:
        return 0;
    case 1:
        return below(rng, 200);
    case 2:
        return UINT64_MAX - below(rng, 3);
    default:
        return next(rng);
    }
}

static struct str random_string(uint64_t *rng, struct arena *a)
{
    static const char *const wide[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    uint32_t characters = below(rng, CHARACTERS_MAX + 1);
    char *p = must_alloc(a, 4 * CHARACTERS_MAX + 1);
    size_t n = 0;

    for (uint32_t i = 0; i < characters; i++) {
        if (below(rng, 16) == 0) {
            const char *c = wide[below(rng, ARRAY_LEN(wide))];
            memcpy(p + n, c, strlen(c));
            n += strlen(c);
        } else {
            p[n++] = (char)(' ' + below(rng, 95));
        }
    }
    return (struct str){p, (int32_t)n};
}

static struct bytes random_bytes(uint64_t *rng, struct arena *a)
{
    /* now and then long enough for a two-byte compact length */
    uint32_t n = below(rng, 16) == 0 ? 4 * BYTES_MAX : below(rng, BYTES_MAX);
    uint8_t *p = must_alloc(a, (size_t)n + 1);

    for (uint32_t i = 0; i < n; i++)
        p[i] = (uint8_t)next(rng);
    return (struct bytes){p, n};
}

static void random_value(const struct kp_field *f, int16_t version, uint64_t *rng, struct arena *a,
                         void *to)
{
    uint64_t number = random_number(rng);
    double real = (double)(int32_t)number / 8;

    switch ((enum kp_type)f->type) {
    case KP_BOOL:
        *(bool *)to = (number & 1) != 0;
        return;
    case KP_INT8:
    case KP_INT16:
    case KP_UINT16:
    case KP_INT32:
    case KP_UINT32:
    case KP_INT64: /* little-endian: the low bytes are the number */
        memcpy(to, &number, kp_type_size((enum kp_type)f->type));
        return;
    case KP_FLOAT64:
        memcpy(to, &real, sizeof real);
        return;
    case KP_UUID:
        for (size_t i = 0; i < sizeof(struct uuid); i++)
            ((struct uuid *)to)->b[i] = (uint8_t)(number == 0 ? 0 : next(rng));
        return;
    case KP_STRING:
        *(struct str *)to = random_string(rng, a);
        return;
    case KP_BYTES:
    case KP_RECORDS:
        *(struct bytes *)to = random_bytes(rng, a);
        return;
    case KP_STRUCT:
        kp_random(f->sub, version, rng, a, to);
        return;
    }
    UNREACHABLE();
}

static void random_array(const struct kp_field *f, bool null, int16_t version, uint64_t *rng,
                         struct arena *a, void *msg)
{
    size_t size = f->type == KP_STRUCT ? f->sub->size : kp_type_size((enum kp_type)f->type);
    int32_t count = null ? -1 : (int32_t)below(rng, ELEMENTS_MAX + 1);
    uint8_t *data = count <= 0 ? NULL : must_alloc(a, (size_t)count * size);

    for (int32_t i = 0; i < count; i++)
        random_value(f, version, rng, a, data + (size_t)i * size);
    memcpy((uint8_t *)msg + f->offset, &data, sizeof data);
    memcpy((uint8_t *)msg + f->count_offset, &count, sizeof count);
}

static void random_field(const struct kp_field *f, const struct kp_op *op, int16_t version,
                         uint64_t *rng, struct arena *a, void *msg)
{
    bool null = (op->code & KP_NULLABLE) && below(rng, 4) == 0;
    uint8_t *to = (uint8_t *)msg + f->offset;

    if (f->shape == KP_ARRAY) {
        random_array(f, null, version, rng, a, msg);
    } else if (f->shape == KP_POINTER) {
        void *sub = NULL;
        if (!null) {
            sub = must_alloc(a, f->sub->size);
            kp_random(f->sub, version, rng, a, sub);
        }
        memcpy(to, &sub, sizeof sub);
    } else if (null && f->type == KP_STRING) {
        *(struct str *)(void *)to = STR_NULL;
    } else if (null) {
        *(struct bytes *)(void *)to = BYTES_NULL;
    } else {
        random_value(f, version, rng, a, to);
    }
}

void kp_random(const struct kp_schema *s, int16_t version, uint64_t *rng, struct arena *a,
               void *out)
{
    ASSERT(kp_has_version(s, version));
    const struct kp_plan *plan = kp_plan_for(s, version);

    kp_defaults(s, out);
    for (size_t i = 0; i < (size_t)plan->wire + plan->tagged; i++) {
        if (i >= plan->wire && below(rng, 2) == 0)
            continue; /* a tagged field that is not sent */
        random_field(&s->fields[plan->ops[i].field], &plan->ops[i], version, rng, a, out);
    }
}
