/* SPDX-License-Identifier: Apache-2.0 */
/* Texts and mappings of the error codes. */
#include "common/base/err.h"

#include "common/base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *text;
    int16_t kerr;
} errs[] = {
#define X(name, kerr, text) {#name, text, KE_##kerr},
#include "common/base/err.def"
#undef X
};

const char *err_text(enum err e)
{
    ASSERT((size_t)e < ARRAY_LEN(errs));
    return errs[e].text;
}

const char *err_name(enum err e)
{
    ASSERT((size_t)e < ARRAY_LEN(errs));
    return errs[e].name;
}

int16_t err_to_kerr(enum err e)
{
    ASSERT((size_t)e < ARRAY_LEN(errs));
    return errs[e].kerr;
}

static _Thread_local int last_io_errnum; /* behind this thread's last ERR_IO; 0: none yet */

const char *err_reason(enum err e)
{
    return e == ERR_IO && last_io_errnum != 0 ? strerrordesc_np(last_io_errnum) : err_text(e);
}

enum err err_from_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case EMFILE:
    case ENFILE:
        return ERR_NO_DESCRIPTORS;
    default:
        last_io_errnum = strerrordesc_np(errnum) == NULL ? 0 : errnum;
        return ERR_IO;
    }
}

static const struct kerr_row {
    const char *name;
    const char *text;
    int16_t code;
    bool is_retriable;
} kerrs[] = {
#define X(name, code, retriable, text) {#name, text, code, retriable},
#include "common/base/kerr.def"
#undef X
};

static const struct kerr_row *kerr_row(int16_t code)
{
    for (size_t i = 0; i < ARRAY_LEN(kerrs); i++)
        if (kerrs[i].code == code)
            return &kerrs[i];
    return NULL;
}

const char *kerr_name(int16_t code)
{
    const struct kerr_row *r = kerr_row(code);
    return r == NULL ? "UNKNOWN" : r->name;
}

const char *kerr_text(int16_t code)
{
    const struct kerr_row *r = kerr_row(code);
    return r == NULL ? "an error code that is not known here" : r->text;
}

bool kerr_is_retriable(int16_t code)
{
    const struct kerr_row *r = kerr_row(code);
    return r != NULL && r->is_retriable;
}

void errtext_set(struct errtext *e, const char *fmt, ...)
{
    va_list ap;

    if (e == NULL)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
}

void errtext_wrap(struct errtext *e, const char *fmt, ...)
{
    char inner[sizeof e->text];
    va_list ap;

    if (e == NULL)
        return;
    memcpy(inner, e->text, sizeof inner);
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        (void)snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", inner);
}
