/* SPDX-License-Identifier: Apache-2.0 */
/* api_start - makes and ends what the handlers keep between requests. */
#include "broker/api/api.h"
#include "broker/api/fetch_session.h"
#include "broker/api/init_producer_id.h"
#include "broker/api/new_topics.h"
#include "broker/config/config.h"

enum { SESSION_EVICTION_MS = 120000 };

void api_start(struct broker *b)
{
    struct api *a = xcalloc(1, sizeof *a + (size_t)b->loop_count * sizeof a->seats[0]);
    a->broker = b;
    a->seat_count = b->loop_count;
    for (int i = 0; i < b->loop_count; i++) {
        a->seats[i].loop = b->loops[i];
        TAILQ_INIT(&a->seats[i].appending);
    }
    a->sessions = fetch_session_cache_new(b->config->max_incremental_fetch_session_cache_slots,
                                          SESSION_EVICTION_MS);
    a->producer_ids = producer_ids_new(b);
    a->new_topics = new_topics_new();
    lock_init(&a->turns_lock, LOCK_METADATA); /* the pool's is taken inside */
    TAILQ_INIT(&a->turns);
    lock_init(&a->conversions_lock, LOCK_METADATA); /* as above */
    TAILQ_INIT(&a->conversions);
    lock_init(&a->large_conversion_lock, LOCK_LEAF);
    b->metadata = metadata_cache_new(b->loops, b->loop_count);
    b->api = a;
}

static void nothing(void *arg UNUSED)
{
}

void api_quit(struct broker *b)
{
    enum { EXCHANGE_STEPS = 3 };
    if (b->api == NULL)
        return;
    producer_ids_quit(b->api->producer_ids);
    /* an exchange of the metadata that is under way takes two mails to each loop */
    for (int step = 0; step < EXCHANGE_STEPS; step++)
        for (int i = 0; i < b->loop_count; i++)
            loop_call(b->loops[i], nothing, NULL);
}

void api_stop(struct broker *b)
{
    struct api *a = b->api;
    b->api = NULL;
    if (a != NULL) {
        for (int i = 0; i < a->seat_count; i++)
            ASSERT(TAILQ_EMPTY(&a->seats[i].appending));
        fetch_session_close_all(a->sessions);
        fetch_session_cache_free(&a->sessions);
        producer_ids_free(&a->producer_ids);
        new_topics_free(&a->new_topics);
        ASSERT(TAILQ_EMPTY(&a->turns));
        lock_fini(&a->turns_lock);
        ASSERT(TAILQ_EMPTY(&a->conversions) && a->conversions_running == 0);
        lock_fini(&a->conversions_lock);
        lock_fini(&a->large_conversion_lock);
        mem_free(a);
    }
    metadata_cache_free(&b->metadata);
}
