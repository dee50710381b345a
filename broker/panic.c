/* SPDX-License-Identifier: Apache-2.0 */
/* The dumpers of common/base/check.h. */
#include "broker/panic.h"

#include "broker/broker.h"
#include "broker/replica/partition.h"
#include "broker/server/request.h"
#include "controller/controller.h"

#include <stdatomic.h>
#include <stdio.h>

static _Atomic(const struct broker *) described;

static void broker_dump(int fd, void *arg UNUSED)
{
    const struct broker *b = atomic_load(&described);

    if (b == NULL)
        return;
    (void)dprintf(fd, "broker: id=%d epoch=%" PRId64 " cluster=%s is_stopping=%d\n", b->id,
                  atomic_load(&b->epoch), b->cluster_id, atomic_load(&b->is_stopping));
    if (b->controller != NULL)
        controller_dump(b->controller, fd);
}

void panic_describe(const struct broker *b)
{
    ASSERT(b != NULL && atomic_load(&described) == NULL);
    atomic_store(&described, b);
    check_add_dumper(request_dump, NULL);
    check_add_dumper(partition_dump, NULL);
    check_add_dumper(broker_dump, NULL);
}

void panic_describe_no_more(void)
{
    atomic_store(&described, NULL);
}
