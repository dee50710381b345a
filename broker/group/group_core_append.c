/* SPDX-License-Identifier: Apache-2.0 */
/* Appends on their way: what they hold, and who hears of their end. */
#include "broker/group/group_core_internal.h"

struct coord_append *coord_append_new(struct group_core *c, enum coord_append_kind kind)
{
    struct coord_append *a = xcalloc(1, sizeof *a);

    a->kind = kind;
    a->id = c->next_append_id++;
    HASH_ADD(hh, c->appends, id, sizeof a->id, a);
    return a;
}

struct coord_append_item *coord_append_item(struct coord_append *a, struct coord_group *g,
                                            struct coord_offset *o)
{
    struct coord_append_item *item;

    if (a->item_count == a->item_cap) {
        a->item_cap = i32_max(a->item_cap * 2, 1);
        a->items = xrealloc(a->items, (size_t)a->item_cap * sizeof *a->items);
    }
    item = &a->items[a->item_count++];
    *item = (struct coord_append_item){
        .group = g, .offset = o, .value.metadata = STR_NULL, .generation = g->generation};
    coord_ref(g);
    if (o != NULL)
        o->pending++;
    return item;
}

/* records: in the step's arena. */
void coord_append_send(struct group_core *c, struct coord_append *a,
                       const struct group_record *records, int32_t count)
{
    struct group_record *copy = coord_alloc(c, (size_t)i32_max(count, 1) * sizeof *copy);
    struct group_effect *e;

    ASSERT(count > 0);
    memcpy(copy, records, (size_t)count * sizeof *copy);
    e = coord_effect(c, GFX_APPEND);
    e->append.append_id = a->id;
    e->append.records = copy;
    e->append.count = count;
}

void coord_append_free(struct group_core *c, struct coord_append *a)
{
    HASH_DELETE(hh, c->appends, a);
    for (int32_t i = 0; i < a->item_count; i++) {
        if (a->items[i].offset != NULL)
            a->items[i].offset->pending--;
        coord_str_retire(c, &a->items[i].value.metadata);
        coord_unref(c, a->items[i].group);
    }
    if (a->group != NULL)
        coord_unref(c, a->group);
    if (a->kind == COORD_APPEND_STATIC) {
        coord_str_retire(c, &a->undo.old_id);
        coord_str_retire(c, &a->undo.new_id);
        coord_retire(c, a->undo.protocols);
    }
    coord_retire(c, a->items);
    coord_retire(c, a->errors);
    coord_retire(c, a);
}

void coord_on_appended(struct group_core *c, const struct group_event *ev)
{
    int16_t error = ev->appended.error;
    struct coord_append *a = NULL;

    HASH_FIND(hh, c->appends, &ev->appended.append_id, sizeof ev->appended.append_id, a);
    ASSERT(a != NULL); /* one answer for each */
    switch (a->kind) {
    case COORD_APPEND_COMMIT:
        coord_on_commit_appended(c, a, error, ev->appended.base_offset);
        break;
    case COORD_APPEND_TOMBSTONES:
        coord_on_tombstones_appended(c, a, error, ev->appended.base_offset);
        break;
    case COORD_APPEND_SYNC:
        coord_on_sync_stored(c, a, error);
        break;
    case COORD_APPEND_STATIC:
        coord_on_static_stored(c, a, error);
        break;
    case COORD_APPEND_GROUP: /* if it is Empty in memory and not in the log, its members are found
                                gone after a failover, when their sessions end */
        break;
    }
    coord_append_free(c, a);
}

bool coord_append_is_in_doubt(int16_t error)
{
    switch (error) {
    case KE_NONE:
    case KE_UNKNOWN_TOPIC_OR_PARTITION:
    case KE_NOT_ENOUGH_REPLICAS:
    case KE_NOT_LEADER_OR_FOLLOWER:
    case KE_KAFKA_STORAGE_ERROR:
    case KE_MESSAGE_TOO_LARGE:
    case KE_RECORD_LIST_TOO_LARGE:
        return false;
    default:
        return true;
    }
}

int16_t coord_store_error(int16_t error)
{
    switch (error) {
    case KE_UNKNOWN_TOPIC_OR_PARTITION:
    case KE_NOT_ENOUGH_REPLICAS:
    case KE_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return KE_COORDINATOR_NOT_AVAILABLE;
    case KE_NOT_LEADER_OR_FOLLOWER:
    case KE_KAFKA_STORAGE_ERROR:
        return KE_NOT_COORDINATOR;
    case KE_REQUEST_TIMED_OUT:
        return KE_REBALANCE_IN_PROGRESS;
    case KE_MESSAGE_TOO_LARGE:
    case KE_RECORD_LIST_TOO_LARGE:
    case KE_INVALID_FETCH_SIZE:
        return KE_UNKNOWN_SERVER_ERROR;
    default:
        return error;
    }
}

int16_t coord_commit_error(int16_t error)
{
    switch (error) {
    case KE_UNKNOWN_TOPIC_OR_PARTITION:
    case KE_NOT_ENOUGH_REPLICAS:
    case KE_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return KE_COORDINATOR_NOT_AVAILABLE;
    case KE_NOT_LEADER_OR_FOLLOWER:
    case KE_KAFKA_STORAGE_ERROR:
        return KE_NOT_COORDINATOR;
    case KE_MESSAGE_TOO_LARGE:
    case KE_RECORD_LIST_TOO_LARGE:
    case KE_INVALID_FETCH_SIZE:
        return KE_INVALID_COMMIT_OFFSET_SIZE;
    case KE_NETWORK_EXCEPTION:
        return KE_COORDINATOR_LOAD_IN_PROGRESS;
    default:
        return error;
    }
}
