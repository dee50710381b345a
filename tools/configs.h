/* SPDX-License-Identifier: Apache-2.0 */
/* configs - what kafuka-configs has in common whether it asks a broker or ZooKeeper. */
#ifndef TOOLS_CONFIGS_H
#define TOOLS_CONFIGS_H

#include "common/base/base.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "tools/lib/opt.h"
#include "common/base/props.h"

struct configs_change {
    struct props add;
    char **remove;
    size_t remove_count;
};
/* "a=1,b=[x,y],c=" adds to out. INVALID with text. */
NODISCARD enum err configs_parse_add(const char *text, struct props *out, struct errtext *why);
/* All of --add-config-file, --add-config and --delete-config. Call configs_change_fini() in either
 * case. */
NODISCARD enum err configs_collect(const struct opts *o, struct configs_change *out,
                                   struct errtext *why);
void configs_change_fini(struct configs_change *c);

/* One line of --describe. */
void configs_print_entry(const struct kp_DescribeConfigsResponse_DescribeConfigsResourceResult *c,
                         struct buf *out);
int configs_by_text(const void *x, const void *y); /* for qsort of const char * */

/* topic NULL: describe all. Returns the exit status. */
int configs_with_zookeeper(const struct opts *o, const char *topic,
                           const struct configs_change *change);

#endif
