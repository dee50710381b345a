/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions as a walk over the log meets them. What an aborted transaction wrote is void, and
 * its marker and its entry in .txnindex stay as long as any batch of it does; so does a commit
 * marker. KAFKA: CleanedTransactionMetadata. */
#include "broker/log/cleaner.h"

#include "common/record/batch.h"

struct clean_txn {
    UT_hash_handle hh;
    int64_t producer_id;
    const struct index_txn_entry *aborted; /* NULL: committed */
    bool is_met;                           /* a batch of it was */
};

void clean_txns_begin(struct clean_txns *t, const struct index_txn_entry *aborted, size_t count)
{
    *t = (struct clean_txns){.aborted = aborted, .aborted_count = count};
}

void clean_txns_fini(struct clean_txns *t)
{
    struct clean_txn *x, *tmp;

    HASH_ITER (hh, t->by_producer, x, tmp) {
        HASH_DEL(t->by_producer, x);
        mem_free(x);
    }
}

static struct clean_txn *find(const struct clean_txns *t, int64_t id)
{
    struct clean_txn *x;

    HASH_FIND(hh, t->by_producer, &id, sizeof id, x);
    return x;
}

static struct clean_txn *add(struct clean_txns *t, int64_t id)
{
    struct clean_txn *x = xcalloc(1, sizeof *x);

    x->producer_id = id;
    HASH_ADD(hh, t->by_producer, producer_id, sizeof x->producer_id, x);
    return x;
}

/* Aborted transactions begin at their first offset. */
static void begin_aborted(struct clean_txns *t, int64_t upto_offset)
{
    for (; t->next < t->aborted_count && t->aborted[t->next].first_offset <= upto_offset;
         t->next++) {
        const struct index_txn_entry *e = &t->aborted[t->next];
        struct clean_txn *x = find(t, e->producer_id);
        if (x == NULL)
            x = add(t, e->producer_id);
        if (x->aborted == NULL || x->aborted->last_offset < e->first_offset)
            *x = (struct clean_txn){.hh = x->hh, .producer_id = x->producer_id, .aborted = e};
    }
}

bool clean_txns_data(struct clean_txns *t, const uint8_t *batch)
{
    begin_aborted(t, batch_last_offset(batch));
    if ((batch_attributes(batch) & BATCH_TRANSACTIONAL) == 0)
        return false;
    struct clean_txn *x = find(t, batch_producer_id(batch));
    if (x == NULL)
        x = add(t, batch_producer_id(batch));
    if (x->aborted != NULL && x->aborted->last_offset < batch_base_offset(batch)) {
        x->aborted = NULL; /* that one ended before the walk began, or its marker is gone */
    }
    x->is_met = true;
    return x->aborted != NULL;
}

bool clean_txns_marker(struct clean_txns *t, const uint8_t *batch,
                       const struct index_txn_entry **aborted_out)
{
    bool commit, is_met;
    int32_t coordinator_epoch;

    *aborted_out = NULL;
    begin_aborted(t, batch_last_offset(batch));
    if (batch_count(batch) == 0)
        return true; /* emptied before, when no batch of its transaction was left */
    if (!marker_parse(batch, &commit, &coordinator_epoch))
        return false; /* of a kind that we do not know */
    struct clean_txn *x = find(t, batch_producer_id(batch));
    is_met = x != NULL && x->is_met;
    if (x != NULL) {
        if (is_met && !commit && x->aborted != NULL)
            *aborted_out = x->aborted;
        t->lacks_aborted |= is_met && !commit && x->aborted == NULL;
        HASH_DEL(t->by_producer, x);
        mem_free(x);
    }
    return !is_met;
}
