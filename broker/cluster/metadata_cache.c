/* SPDX-License-Identifier: Apache-2.0 */
/* metadata_cache - see metadata_cache.h.
 *
 * An update goes round in two steps. First each loop swaps its reference; the one that is last then
 * tells all loops that the update is settled, and they call those who wait. So whoever is told of a
 * topic can be sure that a request on any other loop finds it too. Updates are posted to the loops
 * under the update lock: all loops see them in one order. */
#include "broker/cluster/metadata_cache.h"
#include "common/base/clock.h"
#include "common/base/lock.h"
#include "common/protocol/messages.h"

enum { DELETED_KEPT = 256 };
enum { METADATA_CACHE_MAGIC = 0x6d636163, UPDATE_MAGIC = 0x6d757064 };

struct seat { /* one loop's view; owner: that loop */
    struct loop *loop;
    struct metadata *current;
    struct metadata *settled; /* the newest that every loop has at least */
    int64_t settled_number;
    LIST_HEAD(, metadata_wait) waits;
    struct metadata_wait *next; /* while the waits are told: the next one */
};

struct deleted_topic {
    char *name; /* NULL: none */
    int64_t at_ms;
};

struct metadata_cache {
    unsigned magic;
    struct lock update_lock; /* orders updates */
    int64_t updates;         /* guarded by update_lock: how many there were */
    struct lock latest_lock;
    struct metadata *latest;                    /* guarded by latest_lock */
    struct deleted_topic deleted[DELETED_KEPT]; /* a ring; guarded by latest_lock */
    size_t deleted_next;
    int loop_count;
    struct seat seats[];
};

struct update_step {
    unsigned magic;
    struct mail mail;
    struct update *update;
    struct seat *seat;
};
struct update {
    struct metadata_cache *cache;
    struct metadata *metadata;
    int64_t number;
    _Atomic int left; /* loops that have not done the present step */
    struct loop *to;
    void (*switched)(void *arg);
    void *arg;
    struct update_step steps[];
};

struct metadata_cache *metadata_cache_new(struct loop *const *loops, int loop_count)
{
    ASSERT(loop_count > 0);
    struct metadata_cache *c = xcalloc(1, sizeof *c + (size_t)loop_count * sizeof c->seats[0]);
    c->magic = METADATA_CACHE_MAGIC;
    lock_init(&c->update_lock, LOCK_METADATA);
    lock_init(&c->latest_lock, LOCK_LEAF);
    c->latest = metadata_new();
    c->loop_count = loop_count;
    for (int i = 0; i < loop_count; i++) {
        c->seats[i].loop = loops[i];
        c->seats[i].current = metadata_ref(c->latest);
        c->seats[i].settled = metadata_ref(c->latest);
        LIST_INIT(&c->seats[i].waits);
    }
    return c;
}

void metadata_cache_free(struct metadata_cache **cp)
{
    struct metadata_cache *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    CHECK_OBJ(c, METADATA_CACHE_MAGIC);
    for (int i = 0; i < c->loop_count; i++) {
        ASSERT(LIST_EMPTY(&c->seats[i].waits));
        metadata_unref(&c->seats[i].current);
        metadata_unref(&c->seats[i].settled);
    }
    metadata_unref(&c->latest);
    for (size_t i = 0; i < DELETED_KEPT; i++)
        mem_free(c->deleted[i].name);
    lock_fini(&c->latest_lock);
    lock_fini(&c->update_lock);
    c->magic = 0;
    mem_free(c);
}

static struct seat *seat_of(struct metadata_cache *c, const struct loop *l)
{
    CHECK_OBJ(c, METADATA_CACHE_MAGIC);
    for (int i = 0; i < c->loop_count; i++)
        if (c->seats[i].loop == l)
            return &c->seats[i];
    UNREACHABLE();
}

struct metadata *metadata_cache_on(struct metadata_cache *c, const struct loop *l)
{
    return seat_of(c, l)->current;
}

struct metadata *metadata_cache_settled(struct metadata_cache *c, const struct loop *l)
{
    return seat_of(c, l)->settled;
}

struct metadata *metadata_cache_latest(struct metadata_cache *c)
{
    CHECK_OBJ(c, METADATA_CACHE_MAGIC);
    lock_take(&c->latest_lock);
    struct metadata *m = metadata_ref(c->latest);
    lock_release(&c->latest_lock);
    return m;
}

/* ---- the round of an update */

static void update_free(struct update *u)
{
    metadata_unref(&u->metadata);
    mem_free(u);
}

static struct update *step_take(struct mail *m)
{
    struct update_step *s;
    CAST_OBJ(s, (void *)CONTAINER_OF(m, struct update_step, mail), UPDATE_MAGIC);
    ASSERT(loop_is_current(s->seat->loop) && atomic_load(&s->update->left) > 0);
    return s->update;
}

/* True: this loop was the last one. */
static bool step_done(struct update *u)
{
    int before = atomic_fetch_sub(&u->left, 1);

    ASSERT(before > 0);
    return before == 1;
}

static void update_settled(struct mail *m)
{
    struct update *u = step_take(m);
    struct seat *seat = CONTAINER_OF(m, struct update_step, mail)->seat;
    if (u->number > seat->settled_number) { /* two updates may settle in either order */
        struct metadata *old = seat->settled;
        seat->settled = metadata_ref(u->metadata);
        seat->settled_number = u->number;
        metadata_unref(&old);
    }
    struct metadata_wait *w;
    for (w = LIST_FIRST(&seat->waits); w != NULL; w = seat->next) {
        ASSERT(w->is_waiting && w->changed != NULL);
        seat->next = LIST_NEXT(w, link);
        w->changed(w, u->metadata);
    }
    seat->next = NULL;
    if (seat->loop == u->to && u->switched != NULL)
        u->switched(u->arg);
    if (step_done(u))
        update_free(u);
}

static void update_post(struct update *u, void (*deliver)(struct mail *m))
{
    CHECK_OBJ(u->cache, METADATA_CACHE_MAGIC);
    ASSERT(atomic_load(&u->left) == 0); /* no step is under way */
    int count = u->cache->loop_count;   /* u is gone once the last one has done its step */
    atomic_store(&u->left, count);
    for (int i = 0; i < count; i++)
        u->steps[i].mail.deliver = deliver;
    for (int i = 0; i < count; i++)
        loop_post(u->steps[i].seat->loop, &u->steps[i].mail);
}

static void update_switch(struct mail *m)
{
    struct update *u = step_take(m);
    struct seat *seat = CONTAINER_OF(m, struct update_step, mail)->seat;
    struct metadata *old = seat->current;
    seat->current = metadata_ref(u->metadata);
    metadata_unref(&old);
    if (step_done(u))
        update_post(u, update_settled);
}

static struct update *update_new(struct metadata_cache *c, struct metadata *m)
{
    struct update *u = xcalloc(1, sizeof *u + (size_t)c->loop_count * sizeof u->steps[0]);
    u->cache = c;
    u->metadata = metadata_ref(m);
    for (int i = 0; i < c->loop_count; i++)
        u->steps[i] =
            (struct update_step){.magic = UPDATE_MAGIC, .update = u, .seat = &c->seats[i]};
    return u;
}

/* ---- what was deleted lately */

static void note_deleted(struct metadata_cache *c, struct str name)
{
    lock_take(&c->latest_lock);
    struct deleted_topic *d = &c->deleted[c->deleted_next++ % DELETED_KEPT];
    mem_free(d->name);
    *d = (struct deleted_topic){.name = str_dup(name), .at_ms = clock_mono_ms()};
    lock_release(&c->latest_lock);
}

static void note_deletions(struct metadata_cache *c, const struct metadata *old,
                           const struct metadata *now, const struct kp_UpdateMetadataRequest *req)
{
    for (int32_t i = 0; i < req->topic_states_count; i++) {
        struct str name = req->topic_states[i].topic_name;
        if (metadata_topic(old, name) != NULL && metadata_topic(now, name) == NULL)
            note_deleted(c, name);
    }
}

bool metadata_cache_deleted_within(struct metadata_cache *c, struct str topic, int64_t ms)
{
    CHECK_OBJ(c, METADATA_CACHE_MAGIC);
    int64_t since_ms = clock_mono_ms() - ms;
    bool found = false;
    lock_take(&c->latest_lock);
    for (size_t i = 0; i < DELETED_KEPT && !found; i++)
        found = c->deleted[i].name != NULL && c->deleted[i].at_ms >= since_ms &&
                str_eq_z(topic, c->deleted[i].name);
    lock_release(&c->latest_lock);
    return found;
}

enum err metadata_cache_update(struct metadata_cache *c, const struct kp_UpdateMetadataRequest *req,
                               struct loop *to, void (*switched)(void *arg), void *arg,
                               struct errtext *why)
{
    CHECK_OBJ(c, METADATA_CACHE_MAGIC);
    struct metadata *next = NULL, *old;
    lock_take(&c->update_lock);
    old = metadata_cache_latest(c);
    enum err rc = metadata_apply(old, req, &next, why);
    if (rc == ERR_OK) {
        note_deletions(c, old, next, req);
        struct update *u = update_new(c, next);
        u->number = ++c->updates;
        u->to = to;
        u->switched = switched;
        u->arg = arg;
        lock_take(&c->latest_lock);
        struct metadata *replaced = c->latest;
        c->latest = next;
        lock_release(&c->latest_lock);
        update_post(u, update_switch);
        metadata_unref(&replaced);
    }
    lock_release(&c->update_lock);
    metadata_unref(&old);
    return rc;
}

/* ---- waiting */

void metadata_wait_add(struct metadata_cache *c, struct loop *l, struct metadata_wait *w)
{
    ASSERT(loop_is_current(l) && w->changed != NULL && !w->is_waiting);
    struct seat *seat = seat_of(c, l);
    LIST_INSERT_HEAD(&seat->waits, w, link);
    w->is_waiting = true;
}

void metadata_wait_remove(struct metadata_cache *c, struct loop *l, struct metadata_wait *w)
{
    if (!w->is_waiting)
        return;
    ASSERT(loop_is_current(l));
    struct seat *seat = seat_of(c, l);
    if (seat->next == w)
        seat->next = LIST_NEXT(w, link);
    LIST_REMOVE(w, link);
    w->is_waiting = false;
}
