/* SPDX-License-Identifier: Apache-2.0 */
/* Placement of replicas: sort, interleave the racks, then count around the circle. */
#include "controller/placement.h"

#include <stdlib.h>

/* One broker in the circle; rack is an index into the sorted distinct racks. */
struct place {
    int32_t id;
    int32_t rack;
    struct str rack_name;
};

static int place_cmp_id(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int place_cmp_rack(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int by_rack = str_cmp(x->rack_name, y->rack_name);

    return by_rack != 0 ? by_rack : place_cmp_id(a, b);
}

/* Numbers the racks of places sorted by rack; returns how many there are. */
static int32_t number_racks(struct place *sorted, int32_t count)
{
    int32_t racks = 0;

    for (int32_t i = 0; i < count; i++) {
        if (i == 0 || !str_eq(sorted[i].rack_name, sorted[i - 1].rack_name))
            racks++;
        sorted[i].rack = racks - 1;
    }
    return racks;
}

/* From places sorted by rack, one of each rack in turn: 0:r1 5:r1 3:r2 4:r2 1:r3 -> 0 3 1 5 4. */
static void interleave(const struct place *sorted, int32_t count, int32_t racks, struct place *out)
{
    int32_t *next = xcalloc((size_t)racks + 1, sizeof *next); /* next of each rack; then the end */
    int32_t *end = xcalloc((size_t)racks + 1, sizeof *end);
    int32_t done = 0;

    for (int32_t i = count - 1; i >= 0; i--)
        next[sorted[i].rack] = i;
    for (int32_t i = 0; i < count; i++)
        end[sorted[i].rack] = i + 1;
    while (done < count) {
        for (int32_t r = 0; r < racks; r++) {
            if (next[r] < end[r])
                out[done++] = sorted[next[r]++];
        }
    }
    mem_free(next);
    mem_free(end);
}

/* The replicas of one partition: walk the circle from first; a broker is passed over when it is
 * used already, or while its rack has a replica and some other rack has none. */
static void assign_one(const struct place *circle, int32_t count, int32_t racks, int32_t first,
                       int32_t factor, bool *broker_used, bool *rack_used, int32_t *out)
{
    int32_t racks_left = racks;
    int32_t at = first;

    memset(broker_used, 0, (size_t)count * sizeof *broker_used);
    memset(rack_used, 0, (size_t)racks * sizeof *rack_used);
    for (int32_t j = 0; j < factor; at = (at + 1) % count) {
        int32_t rack = circle[at].rack;

        if (broker_used[at] || (racks_left > 0 && rack_used[rack]))
            continue;
        out[j++] = circle[at].id;
        broker_used[at] = true;
        if (!rack_used[rack]) {
            rack_used[rack] = true;
            racks_left--;
        }
    }
}

static enum err check_arguments(const struct placement_broker *brokers, int32_t broker_count,
                                int32_t partition_count, int32_t factor, struct errtext *why)
{
    int32_t with_rack = 0;

    if (partition_count <= 0) {
        errtext_set(why, "the number of partitions must be larger than 0");
        return ERR_INVALID;
    }
    if (factor <= 0) {
        errtext_set(why, "the replication factor must be larger than 0");
        return ERR_INVALID;
    }
    if (factor > broker_count) {
        errtext_set(why, "replication factor %d is larger than the number of available brokers, %d",
                    factor, broker_count);
        return ERR_INVALID;
    }
    for (int32_t i = 0; i < broker_count; i++)
        with_rack += brokers[i].rack.len >= 0 ? 1 : 0;
    if (with_rack != 0 && with_rack != broker_count) {
        errtext_set(why, "not all brokers have a rack: %d of %d do", with_rack, broker_count);
        return ERR_INVALID;
    }
    return ERR_OK;
}

/* The circle of brokers in the order of assignment. count_out racks; 1 when there are none. */
static enum err make_circle(const struct placement_broker *brokers, int32_t count,
                            struct place *circle, int32_t *racks_out, struct errtext *why)
{
    bool has_racks = brokers[0].rack.len >= 0;

    *racks_out = 1;
    for (int32_t i = 0; i < count; i++)
        circle[i] = (struct place){.id = brokers[i].id, .rack_name = brokers[i].rack};
    qsort(circle, (size_t)count, sizeof *circle, place_cmp_id);
    for (int32_t i = 1; i < count; i++) {
        if (circle[i].id == circle[i - 1].id) {
            errtext_set(why, "broker %d is named twice", circle[i].id);
            return ERR_INVALID;
        }
    }
    if (has_racks) {
        struct place *sorted = xcalloc((size_t)count, sizeof *sorted);

        memcpy(sorted, circle, (size_t)count * sizeof *sorted);
        qsort(sorted, (size_t)count, sizeof *sorted, place_cmp_rack);
        *racks_out = number_racks(sorted, count);
        interleave(sorted, count, *racks_out, circle);
        mem_free(sorted);
    }
    return ERR_OK;
}

enum err placement_assign(const struct placement_broker *brokers, int32_t broker_count,
                          int32_t first_partition, int32_t partition_count,
                          int32_t replication_factor, int32_t start, int32_t *replicas_out,
                          struct errtext *why)
{
    struct place *circle = NULL;
    bool *broker_used = NULL, *rack_used = NULL;
    int32_t racks = 0;
    enum err rc = check_arguments(brokers, broker_count, partition_count, replication_factor, why);

    ASSERT(first_partition >= 0 && start >= 0);
    if (rc != ERR_OK)
        goto out;
    circle = xcalloc((size_t)broker_count, sizeof *circle);
    rc = make_circle(brokers, broker_count, circle, &racks, why);
    if (rc != ERR_OK)
        goto out;
    broker_used = xcalloc((size_t)broker_count, sizeof *broker_used);
    rack_used = xcalloc((size_t)racks, sizeof *rack_used);
    for (int32_t i = 0; i < partition_count; i++) {
        int64_t turn = (int64_t)first_partition + i + start;
        int32_t *out = replicas_out + (size_t)i * (size_t)replication_factor;

        assign_one(circle, broker_count, racks, (int32_t)(turn % broker_count), replication_factor,
                   broker_used, rack_used, out);
    }
out:
    mem_free(circle);
    mem_free(broker_used);
    mem_free(rack_used);
    return rc;
}

int32_t placement_start(const struct placement_broker *brokers, int32_t broker_count,
                        int32_t first_replica)
{
    int32_t below = 0;

    for (int32_t i = 0; i < broker_count; i++)
        below += brokers[i].id < first_replica ? 1 : 0;
    return below < broker_count ? below : 0;
}
