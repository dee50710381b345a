/* SPDX-License-Identifier: Apache-2.0 */
/* A stack that senders push to and the owner takes whole and turns around. Only the push onto an
 * empty stack wakes. */
#include "common/base/mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum err mailbox_init(struct mailbox *b)
{
    atomic_init(&b->head, NULL);
    b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return b->fd < 0 ? err_from_errno(errno) : ERR_OK;
}

void mailbox_fini(struct mailbox *b)
{
    ASSERT(b != NULL && atomic_load(&b->head) == NULL);
    if (b->fd >= 0)
        (void)close(b->fd);
    b->fd = -1;
}

void mailbox_post(struct mailbox *b, struct mail *m)
{
    struct mail *head = atomic_load_explicit(&b->head, memory_order_relaxed);

    ASSERT(b->fd >= 0 && m != NULL && m->deliver != NULL);
    ASSERT(m->next == NULL); /* mail that is on its way already would be lost */
    do
        m->next = head;
    while (!atomic_compare_exchange_weak_explicit(&b->head, &head, m, memory_order_acq_rel,
                                                  memory_order_relaxed));
    if (head == NULL) {
        uint64_t one = 1;
        ssize_t n;
        do
            n = write(b->fd, &one, sizeof one);
        while (n < 0 && errno == EINTR);
        ASSERT(n == (ssize_t)sizeof one); /* the counter is read before it can overflow */
    }
}

size_t mailbox_deliver(struct mailbox *b)
{
    uint64_t count;
    size_t delivered = 0;
    struct mail *in_order = NULL;

    ASSERT(b->fd >= 0);
    (void)!read(b->fd, &count, sizeof count); /* before the take: a later post wakes again */
    struct mail *m = atomic_exchange_explicit(&b->head, NULL, memory_order_acq_rel);
    while (m != NULL) {
        struct mail *next = m->next;
        m->next = in_order;
        in_order = m;
        m = next;
    }
    while (in_order != NULL) {
        m = in_order;
        in_order = m->next;
        m->next = NULL;
        ASSERT(m->deliver != NULL);
        m->deliver(m);
        delivered++;
    }
    return delivered;
}
