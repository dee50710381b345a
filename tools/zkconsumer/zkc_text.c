/* SPDX-License-Identifier: Apache-2.0 */
/* What the core traces, as lines for people. */
#include "tools/zkconsumer/zkc_shell.h"

enum kafuka_zkc_level zkc_trace_text(const struct zkc_effect *e, struct buf *out)
{
    switch (e->trace) {
    case ZKC_TRACE_REGISTERED:
        buf_printf(out, "registered");
        return KAFUKA_ZKC_INFO;
    case ZKC_TRACE_ID_TAKEN:
        buf_printf(out, "another session is registered under this member's name; waiting for its "
                        "end");
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_REGISTRATION_LOST:
        buf_printf(out, "somebody deleted this member's registration; it is written again");
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_EXPIRED:
        buf_printf(out,
                   "the ZooKeeper session has expired: %" PRId64 " partitions are given up without "
                   "a commit",
                   e->a);
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_MEMBER_BROKEN:
        buf_printf(out, "a member is left out, its registration cannot be used: %s", e->text);
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_TOPIC_BROKEN:
        buf_printf(out, "topic %s counts as without partitions, its znode cannot be used: %s",
                   e->topic, e->text);
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_NO_BROKERS:
        buf_printf(out, "no broker is registered; waiting for one");
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_OLD_RULE:
        buf_printf(out, "Kafka's own range rule is used, because of member %s", e->text);
        return KAFUKA_ZKC_INFO;
    case ZKC_TRACE_REBALANCE:
        buf_printf(out,
                   "rebalance: %s (%" PRId64 " partitions stay, %" PRId64 " to release, %" PRId64
                   " to claim)",
                   e->text, e->a, e->b, e->c);
        return KAFUKA_ZKC_INFO;
    case ZKC_TRACE_REBALANCED:
        buf_printf(out,
                   "rebalanced in %" PRId64 " ms: %" PRId64 " partitions, %" PRId64 " members (%s)",
                   e->c, e->a, e->b, e->text);
        return KAFUKA_ZKC_INFO;
    case ZKC_TRACE_CLAIMED:
        buf_printf(out, "claimed %s-%d for %s at offset %" PRId64, e->topic, e->partition, e->text,
                   e->a);
        return KAFUKA_ZKC_INFO;
    case ZKC_TRACE_BLOCKED:
        buf_printf(out, "%s-%d is still owned by %s; waiting for it", e->topic, e->partition,
                   e->text);
        return KAFUKA_ZKC_INFO;
    case ZKC_TRACE_STILL_BLOCKED:
        buf_printf(out,
                   "%s-%d is still owned by %s after rebalance.max.retries; tried each %" PRId64
                   " ms from here on",
                   e->topic, e->partition, e->text, e->a);
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_RESET:
        if (e->a < 0) {
            buf_printf(out, "%s-%d has no offset: begins at %" PRId64, e->topic, e->partition,
                       e->b);
            return KAFUKA_ZKC_INFO;
        }
        buf_printf(out,
                   "%s-%d: the offset (last committed: %" PRId64
                   ") is not in the log: reset to %" PRId64,
                   e->topic, e->partition, e->a, e->b);
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_RELEASED:
        buf_printf(out, "released %s-%d at offset %" PRId64, e->topic, e->partition, e->a);
        return KAFUKA_ZKC_INFO;
    case ZKC_TRACE_OWNERSHIP_LOST:
        buf_printf(out, "somebody deleted the owner of %s-%d; it is given up and claimed anew",
                   e->topic, e->partition);
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_COMMIT_FAILED:
        buf_printf(out,
                   "%s-%d is released without its last commit; its records since then are "
                   "handed out again",
                   e->topic, e->partition);
        return KAFUKA_ZKC_WARN;
    case ZKC_TRACE_LEFT:
        buf_printf(out, "left the group");
        return KAFUKA_ZKC_INFO;
    }
    return KAFUKA_ZKC_INFO;
}
