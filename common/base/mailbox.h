/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox - messages from any thread to the one that owns the mailbox. Lock-free, intrusive, in
 * order for each sender. The owner waits on the mailbox's descriptor (an eventfd) in whatever loop
 * it has. */
#ifndef COMMON_BASE_MAILBOX_H
#define COMMON_BASE_MAILBOX_H

#include "common/base/base.h"

#include <stdatomic.h>

/* Embedded in the object that is sent. The receiver owns the whole object when deliver is called.
 */
struct mail {
    struct mail *next;               /* NULL unless it is on its way */
    void (*deliver)(struct mail *m); /* runs on the owner's thread */
};

struct mailbox {
    _Atomic(struct mail *) head; /* newest first */
    int fd;                      /* eventfd: readable when there is mail */
};

NODISCARD enum err mailbox_init(struct mailbox *b);
void mailbox_fini(struct mailbox *b); /* must be empty */
/* Any thread. Gives the mail away. */
void mailbox_post(struct mailbox *b, struct mail *m);
/* Owner: delivers all that is there, oldest first; returns how many. Clears the descriptor. */
size_t mailbox_deliver(struct mailbox *b);

#endif
