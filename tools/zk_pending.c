/* SPDX-License-Identifier: Apache-2.0 */
/* The --zookeeper commands until common/zk has its administration. */
#include "tools/topics.h"
#include "tools/zk.h"

int topics_with_zookeeper(const struct opts *o)
{
    return opts_fail(o, "--zookeeper is not built in yet: use --bootstrap-server");
}

char *zk_find_brokers(const struct opts *o)
{
    (void)opts_fail(o, "--zookeeper is not built in yet: use --bootstrap-server");
    return NULL;
}
