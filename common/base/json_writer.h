/* SPDX-License-Identifier: Apache-2.0 */
/* json_writer - compact JSON into a buf: commas, quotes and escapes in one place. The caller names
 * each object, array and value in order; that names stand exactly where JSON has them, and that
 * everything that was opened is closed, is asserted. Owner: the caller; no thread rule of its own.
 */
#ifndef COMMON_BASE_JSON_WRITER_H
#define COMMON_BASE_JSON_WRITER_H

#include "common/base/base.h"

enum { JSON_DEPTH_MAX = 16 };

struct json_writer {
    struct buf *out;
    int depth;        /* of objects and arrays that are open */
    uint32_t objects; /* bit i: what is open at depth i is an object */
    bool has_item;    /* a comma goes before the next item */
};

/* Begins a text at the end of out, which outlives the writer. */
struct json_writer json_write_to(struct buf *out);
/* The text is whole: nothing is open. */
void json_write_done(const struct json_writer *w);

/* key: the member's name within an object, NULL within an array and for the whole text. */
void json_write_object(struct json_writer *w, const char *key);
void json_write_array(struct json_writer *w, const char *key);
/* Closes the object or array that was opened last. */
void json_write_end(struct json_writer *w);

void json_write_text(struct json_writer *w, const char *key, const char *text); /* NULL: null */
void json_write_str(struct json_writer *w, const char *key, struct str text);   /* null: null */
void json_write_int(struct json_writer *w, const char *key, int64_t n);
void json_write_int_text(struct json_writer *w, const char *key, int64_t n); /* "42" */
void json_write_bool(struct json_writer *w, const char *key, bool b);
void json_write_null(struct json_writer *w, const char *key);
void json_write_ints(struct json_writer *w, const char *key, const int32_t *n, int32_t count);
/* An item that somebody else writes to w->out after this call. */
void json_write_raw(struct json_writer *w, const char *key);

/* Only a string with its quotes. What is not UTF-8 becomes U+FFFD, a byte each. */
void json_write_quoted(struct buf *out, struct str text);

#endif
