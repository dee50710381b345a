/* SPDX-License-Identifier: Apache-2.0 */
/* schema - the tables that gen.py makes and the codec walks. Inside common/protocol only; constant
 * data, any thread.
 *
 * A schema has one plan per version (versions that look the same share it): its operations are the
 * fields on the wire in order, then the tagged fields by tag (0, 1, 2 ...), then the fields that
 * the version lacks and that must not be lost when they are set. */
#ifndef COMMON_PROTOCOL_SCHEMA_H
#define COMMON_PROTOCOL_SCHEMA_H

#include "common/protocol/codec.h"

enum kp_type {
    KP_BOOL,
    KP_INT8,
    KP_INT16,
    KP_UINT16,
    KP_INT32,
    KP_UINT32,
    KP_INT64,
    KP_FLOAT64,
    KP_UUID,
    KP_STRING,
    KP_BYTES,
    KP_RECORDS,
    KP_STRUCT,
};

/* How the member is kept: by value, as pointer and count, or (nullable structs) by pointer. */
enum kp_shape { KP_SINGLE, KP_ARRAY, KP_POINTER };

struct kp_field {
    const char *name; /* as in JSON: "topicId" */
    uint8_t type;     /* enum kp_type, of the elements if an array */
    uint8_t shape;    /* enum kp_shape */
    uint16_t offset;
    uint16_t count_offset; /* arrays: of the member <name>_count */
    int16_t tag;           /* -1: none */
    bool default_null;
    int64_t default_number;
    const struct kp_schema *sub; /* KP_STRUCT */
};

/* What to do for one field of one version; FIX<n> moves n bytes in either byte order. */
enum kp_op_code {
    KP_OP_BOOL,
    KP_OP_FIX1,
    KP_OP_FIX2,
    KP_OP_FIX4,
    KP_OP_FIX8,
    KP_OP_FIX16,
    KP_OP_STRING,
    KP_OP_BYTES,
    KP_OP_RECORDS,
    KP_OP_STRUCT,
    KP_OP_STRUCT_PTR,
    KP_OP_STRUCT_ARRAY,
    KP_OP_STRING_ARRAY,
    KP_OP_FIX_ARRAY,
    KP_OP_MASK = 0x0f,
    KP_FLEX = 0x10, /* the length is an unsigned varint of length + 1 */
    KP_NULLABLE = 0x20,
};

struct kp_op {
    uint8_t code;  /* enum kp_op_code and flags */
    uint8_t field; /* index in the schema's fields */
    uint16_t offset;
};

struct kp_plan {
    const struct kp_op *ops;
    uint8_t wire, tagged, absent; /* how many operations of each group */
    uint16_t min_bytes;           /* the shortest encoding */
    bool flexible;                /* ends with a section of tagged fields */
};

struct kp_schema {
    const char *name;
    const struct kp_field *fields;
    uint16_t field_count;
    uint16_t size; /* of the C struct */
    int16_t min_version, max_version;
    const struct kp_plan *plans;
    const uint8_t *plan_of; /* by version - min_version: index in plans */
    const void *defaults;   /* an instance; NULL: all bits zero */
};

enum { KP_STRING_BYTES_MAX = 32767, KP_UVARINT_BYTES_MAX = 5 };

static inline bool kp_has_version(const struct kp_schema *s, int16_t version)
{
    return version >= s->min_version && version <= s->max_version;
}

static inline const struct kp_plan *kp_plan_for(const struct kp_schema *s, int16_t version)
{
    return &s->plans[s->plan_of[version - s->min_version]];
}

/* Size in memory of one element of a field of that type. */
static inline size_t kp_type_size(enum kp_type type)
{
    static const uint8_t sizes[] = {
        [KP_BOOL] = sizeof(bool),
        [KP_INT8] = 1,
        [KP_INT16] = 2,
        [KP_UINT16] = 2,
        [KP_INT32] = 4,
        [KP_UINT32] = 4,
        [KP_INT64] = 8,
        [KP_FLOAT64] = 8,
        [KP_UUID] = 16,
        [KP_STRING] = sizeof(struct str),
        [KP_BYTES] = sizeof(struct bytes),
        [KP_RECORDS] = sizeof(struct bytes),
        [KP_STRUCT] = 0, /* see the schema */
    };
    return sizes[type];
}

/* The number of a BOOL or integer field. */
int64_t kp_load_number(enum kp_type type, const void *p);
/* The element pointer and count of an array member (count -1: null). */
void *kp_load_array(const struct kp_field *f, const void *msg, int32_t *count_out);
/* Whether member f of the struct msg has its default. */
bool kp_is_default(const struct kp_field *f, const void *msg);

#endif
