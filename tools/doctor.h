/* SPDX-License-Identifier: Apache-2.0 */
/* doctor - what the files of kafuka-doctor share: what is known so far, and its lines. One thread.
 */
#ifndef TOOLS_DOCTOR_H
#define TOOLS_DOCTOR_H

#include "tools/lib/admin.h"

enum {
    DOCTOR_UNKNOWN = -1, /* who answers cannot be told */
    DOCTOR_ANOTHER = -2  /* not the one that was asked for */
};

struct doctor {
    struct admin admin;
    int64_t step_ms, deadline_ms;
    int troubles;
    int32_t
        under_replicated; /* partitions that lack in-sync replicas: no trouble of a connection */
    char here[256];       /* name of this machine */
    /* the first bootstrap address that a broker answered at; NULL: none */
    const char *works_host;
    int32_t works_port;
    int32_t works_id; /* who answered, or DOCTOR_UNKNOWN */
    bool works_is_loopback;
    struct bclient *works_client; /* the admin's */
    bool has_metadata;
};

/* "ok   ...", "FAIL ..." and, below a FAIL, "     -> ..." */
void doctor_ok(const char *fmt, ...) PRINTF_LIKE(1, 2);
void doctor_fail(struct doctor *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
void doctor_cure(const char *fmt, ...) PRINTF_LIKE(1, 2);
int64_t doctor_left_ms(const struct doctor *d);

/* Is ZooKeeper there, and does it agree with what the brokers say? Writes nothing. */
void doctor_check_zookeeper(struct doctor *d, const char *connect);

#endif
