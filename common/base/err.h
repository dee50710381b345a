/* SPDX-License-Identifier: Apache-2.0 */
/* err - operating errors (enum err), the Kafka protocol's codes (enum kerr), and error text that
 * grows from inside out. Any thread. */
#ifndef COMMON_BASE_ERR_H
#define COMMON_BASE_ERR_H

#include <stdbool.h>
#include <stdint.h>

enum err {
#define X(name, kerr, text) ERR_##name,
#include "common/base/err.def"
#undef X
};

/* Error codes of the Kafka protocol, as they stand on the wire. Source: Errors.java. */
enum kerr {
#define X(name, code, retriable, text) KE_##name = (code),
#include "common/base/kerr.def"
#undef X
};

const char *err_text(enum err e); /* static text, lower case, no full stop */
const char *err_name(enum err e); /* "IO" */
int16_t err_to_kerr(enum err e);
/* The error for an errno value: ENOSPC and EDQUOT NO_SPACE, ENOENT NOT_FOUND, EEXIST EXISTS, ENOMEM
 * NO_MEMORY, else IO. */
enum err err_from_errno(int errnum);
/* As err_text(), but an ERR_IO speaks in the system's words ("Permission denied"): those of the
 * errno that err_from_errno() last turned into ERR_IO on this thread. Only for the place where the
 * error is met. */
const char *err_reason(enum err e);

const char *kerr_name(
    int16_t code); /* "NOT_LEADER_OR_FOLLOWER"; "UNKNOWN_<n>" never: unknown codes give "UNKNOWN" */
const char *kerr_text(int16_t code);
bool kerr_is_retriable(int16_t code);

/* Error text, built from inside out: errtext_set() where the error is met, errtext_wrap() on the
 * way up gives "open segment 000.log: no space left on the device". Too long a text is cut. Callers
 * may pass NULL. */
struct errtext {
    char text[512];
};
void errtext_set(struct errtext *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void errtext_wrap(struct errtext *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
