/* SPDX-License-Identifier: Apache-2.0 */
/* Wrong state is found where it shows first. Each case forks, makes a live structure, alters one
 * flag, count or offset of it, and takes the next step: that step has to panic. The files of the
 * structures are included, so that the same program can be built of an older tree
 * (tests/acceptance/corruptions). Arguments: names of cases; none is all. */
#include "common/base/base.h"
#include "common/base/lock.h"
#include "common/base/mailbox.h"
#include "common/base/twheel.h"

#define thread_main pool_thread_main
#define STACK_BYTES POOL_STACK_BYTES
#include "common/base/pool.c"
#undef thread_main
#undef STACK_BYTES
#define thread_main loop_thread_main
#define STACK_BYTES LOOP_STACK_BYTES
#include "common/net/loop.c"
#undef thread_main
#undef STACK_BYTES
#include "common/net/conn.c"

#define SESSION_MAGIC FETCH_SESSION_MAGIC
#include "broker/api/fetch_session.c"
#if __has_include("broker/cluster/metadata.h")
#include "broker/cluster/metadata.h"
#else
#include "broker/metadata.h"
#endif

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#define MUST_BE(what)                                                                              \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            (void)fprintf(stderr, "not made: %s\n", #what);                                        \
            _exit(2);                                                                              \
        }                                                                                          \
    } while (0)

/* Where the structure is made, altered and used. */
static struct loop *the_loop;

static void on_loop(void (*run)(void *arg))
{
    if (the_loop == NULL)
        MUST_BE(loop_start("test", &the_loop) == ERR_OK);
    loop_call(the_loop, run, NULL);
}

/* ---- memory */

static struct buf b;

static void a_buf(void)
{
    buf_add(&b, "0123456789", 10);
}

static void buf_length_over_capacity(void)
{
    a_buf();
    b.len = b.cap + 1;
    buf_fini(&b);
}

static void buf_capacity_lost(void)
{
    a_buf();
    b.cap = 0;
    b.len = 0;
    buf_add(&b, "x", 1);
}

static void buf_memory_lost(void)
{
    a_buf();
    b.p = NULL;
    buf_fini(&b);
}

static struct arena arena = {.limit = 1000};

static void arena_used_over_limit(void)
{
    MUST_BE(arena_alloc(&arena, 100) != NULL);
    arena.used = 1001;
    (void)arena_alloc(&arena, 1);
}

static void arena_blocks_lost(void)
{
    MUST_BE(arena_alloc(&arena, 100) != NULL);
    arena.blocks = NULL;
    (void)arena_alloc(&arena, 1);
}

static void arena_block_used_over_capacity(void)
{
    MUST_BE(arena_alloc(&arena, 100) != NULL);
    ((size_t *)(void *)arena.blocks)[1] = 1 << 20; /* next, used, cap */
    (void)arena_alloc(&arena, 1);
}

/* ---- mail, the pool, locks */

static struct mailbox box;

static void nothing(struct mail *m UNUSED)
{
}

static struct mail one = {.deliver = nothing}, two = {.deliver = nothing};

static void mail_posted_twice(void)
{
    MUST_BE(mailbox_init(&box) == ERR_OK);
    mailbox_post(&box, &one);
    mailbox_post(&box, &two);
    mailbox_post(&box, &two);
}

static void mail_receiver_lost(void)
{
    MUST_BE(mailbox_init(&box) == ERR_OK);
    mailbox_post(&box, &one);
    one.deliver = NULL;
    (void)mailbox_deliver(&box);
}

static void mailbox_descriptor_lost(void)
{
    MUST_BE(mailbox_init(&box) == ERR_OK);
    mailbox_post(&box, &one);
    box.fd = -1;
    (void)mailbox_deliver(&box);
}

static struct pool *pool;
static _Atomic bool pool_may_go_on;

static void hold(struct pool_job *j UNUSED)
{
    while (!pool_may_go_on)
        (void)poll(NULL, 0, 1);
}

static void done(struct pool_job *j UNUSED)
{
}

static struct pool_job busy = {.run = hold}, next = {.run = done}, third = {.run = done};

/* One thread that is busy, one job that waits. */
static void a_pool(void)
{
    MUST_BE(pool_start("io", 1, 10, &pool) == ERR_OK);
    MUST_BE(pool_submit(pool, &busy) == ERR_OK);
    while (pool_waiting(pool) > 0)
        (void)poll(NULL, 0, 1);
    MUST_BE(pool_submit(pool, &next) == ERR_OK);
}

static void pool_count_lost(void)
{
    a_pool();
    pool->waiting = 0;
    (void)!pool_submit(pool, &third);
}

static void pool_jobs_lost(void)
{
    a_pool();
    STAILQ_INIT(&pool->jobs);
    (void)!pool_submit(pool, &third);
}

static void pool_idle_negative(void)
{
    a_pool();
    pool->idle = -1;
    (void)!pool_submit(pool, &third);
}

static void pool_job_lost_its_function(void)
{
    a_pool();
    next.run = NULL;
    pool_may_go_on = true;
    pool_stop(&pool);
}

static struct lock lock;

static void lock_held_flag_lost(void)
{
    lock_init(&lock, LOCK_LEAF);
    lock_take(&lock);
    lock.is_held = false;
    lock_release(&lock);
}

static void lock_held_flag_set(void)
{
    lock_init(&lock, LOCK_LEAF);
    lock.is_held = true;
    lock_take(&lock);
}

static void lock_rank_altered(void)
{
    lock_init(&lock, LOCK_LEAF);
    lock_take(&lock);
    lock.rank = 0;
    lock_release(&lock);
}

/* ---- timers */

static struct twheel wheel;
static struct twheel_timer timer;

static void a_timer(void)
{
    twheel_init(&wheel, 1000);
    twheel_arm(&wheel, &timer, 1100);
}

static void twheel_count_lost(void)
{
    a_timer();
    wheel.count = 0;
    twheel_cancel(&wheel, &timer);
}

static void twheel_slot_bit_lost(void)
{
    a_timer();
    wheel.used[timer.level] = 0;
    twheel_cancel(&wheel, &timer);
}

static void twheel_timer_in_another_slot(void)
{
    a_timer();
    timer.slot = (uint8_t)((timer.slot + 1) % TWHEEL_SLOTS);
    twheel_cancel(&wheel, &timer);
}

static void twheel_armed_flag_lost(void)
{
    a_timer();
    timer.is_armed = false;
    twheel_advance(&wheel, 2000);
    while (twheel_pop(&wheel) != NULL)
        continue;
}

static void twheel_count_negative(void)
{
    twheel_init(&wheel, 1000);
    wheel.count = -1;
    twheel_arm(&wheel, &timer, 1100);
}

/* ---- the loop */

static struct loop_timer loop_timer;
static struct loop_deferred deferred;

static void fire(struct loop_timer *t UNUSED)
{
}

static void run(struct loop_deferred *d UNUSED)
{
}

static void timer_flag(void *arg UNUSED)
{
    loop_timer.fire = fire;
    loop_timer_arm(the_loop, &loop_timer, 10000);
    loop_timer.is_armed = false;
    loop_timer_arm(the_loop, &loop_timer, 10000);
}

static void loop_timer_armed_flag_lost(void)
{
    on_loop(timer_flag);
}

static void deferred_flag(void *arg UNUSED)
{
    deferred.run = run;
    loop_defer(the_loop, &deferred);
    deferred.is_queued = false;
}

static void loop_deferred_flag_lost(void)
{
    on_loop(deferred_flag); /* the turn's end is the next step */
    on_loop(timer_flag);
}

static void depth(void *arg UNUSED)
{
    the_loop->depth = -1;
    loop_enter(the_loop);
}

static void loop_depth_negative(void)
{
    on_loop(depth);
}

static void clock_back(void *arg UNUSED)
{
    the_loop->now_ms += 1000000;
}

static void nothing_at_all(void *arg UNUSED)
{
}

static void loop_time_in_the_future(void)
{
    on_loop(clock_back);
    on_loop(nothing_at_all);
}

/* ---- frames */

static struct frame_block *block;
static struct frame frame;

static void frame_block_without_references(void)
{
    block = frame_block_take(100);
    atomic_store(&block->refs, 0);
    frame_block_unref(&block);
}

static void frame_block_of_another_class(void)
{
    block = frame_block_take(100);
    block->size_class = 5;
    frame_block_unref(&block);
}

static void frame_block_capacity_altered(void)
{
    block = frame_block_take(100);
    block->cap += 8;
    frame_block_unref(&block);
}

static void a_frame(void)
{
    block = frame_block_take(100);
    frame = (struct frame){.block = block, .p = block->data, .len = 10};
}

static void frame_longer_than_its_block(void)
{
    a_frame();
    frame.len = block->cap + 1;
    frame_release(&frame);
}

static void frame_outside_its_block(void)
{
    a_frame();
    frame.p -= 1;
    frame_release(&frame);
}

static struct frame_store store;

static void frame_store_bytes_lost(void)
{
    frame_store_use(&store);
    block = frame_block_take(100);
    frame_block_unref(&block); /* is kept */
    store.kept_bytes = 0;
    (void)frame_block_take(100);
}

static struct reader reader = {.frame_max = 1000};

static void a_reader(void)
{
    reader.block = frame_block_take(1000);
    be32_store(reader.block->data, 6);
    reader.end = 10;
}

static void peek(void)
{
    const uint8_t *p;
    size_t n;

    (void)reader_peek(&reader, &p, &n);
}

static void reader_start_behind_end(void)
{
    a_reader();
    reader.start = 11;
    peek();
}

static void reader_end_behind_block(void)
{
    a_reader();
    reader.end = reader.block->cap + 1;
    peek();
}

static void reader_bytes_without_block(void)
{
    a_reader();
    reader.next_end = 5; /* there is no next block */
    peek();
}

/* ---- a connection */

static struct conn *conn;
static int peer;
static struct exchange exchanges[4];
static int exchange_count;

static bool overlaps(const uint8_t *head UNUSED, size_t len UNUSED)
{
    return true;
}

static void take_frame(struct conn *c, struct frame *f, bool may_overlap)
{
    conn_begin(c, &exchanges[exchange_count++ % 4], f, may_overlap);
}

static void cancelled(struct exchange *x)
{
    conn_abandon(x);
}

static void closed(struct conn *c UNUSED, enum conn_end why UNUSED, int errnum UNUSED)
{
}

static const struct conn_server server = {.frame_max = 1000,
                                          .memory_max_bytes = 1 << 30,
                                          .may_overlap = overlaps,
                                          .on_frame = take_frame,
                                          .on_cancel = cancelled,
                                          .on_close = closed};

static void open_conn(void *arg)
{
    conn = conn_open(&server, the_loop, *(int *)arg, NULL, NULL);
}

static void two_frames(void)
{
    static const uint8_t bytes[] = {0, 0, 0, 2, 'a', 'b', 0, 0, 0, 2, 'c', 'd'};

    MUST_BE(write(peer, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
}

/* With two exchanges that wait for their answers. */
static void a_conn(void)
{
    int pair[2];

    MUST_BE(loop_start("test", &the_loop) == ERR_OK);
    MUST_BE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    peer = pair[1];
    loop_call(the_loop, open_conn, &pair[0]);
    two_frames();
    for (int seen = 0; seen < 2;) {
        (void)poll(NULL, 0, 1);
        on_loop(nothing_at_all);
        seen = exchange_count;
    }
}

/* The next step: the peer sends two frames more. */
static void more_comes(void)
{
    two_frames();
    (void)poll(NULL, 0, 50);
    on_loop(nothing_at_all);
    (void)poll(NULL, 0, 50);
    on_loop(nothing_at_all);
}

static void answer(void *arg UNUSED)
{
    struct buf bytes = {0};

    buf_add(&bytes, "answer", 6);
    conn_reply(&exchanges[0], &bytes, NULL, NULL, 0, &server);
}

static void conn_head_moved(void)
{
    a_conn();
    conn->head_seq++;
    on_loop(answer);
}

static void conn_tail_moved(void)
{
    a_conn();
    conn->tail_seq += 3;
    more_comes();
}

static void conn_solitary_count(void)
{
    a_conn();
    conn->solitary = -1;
    more_comes();
}

static void conn_exchange_of_another(void)
{
    a_conn();
    exchanges[0].seq++;
    on_loop(answer);
}

static void conn_exchange_forgot_it(void)
{
    a_conn();
    exchanges[1].conn = NULL;
    more_comes();
}

static void conn_unsent_bytes(void)
{
    a_conn();
    conn->out_bytes = -5;
    on_loop(answer);
}

static void conn_unsent_bytes_without_answers(void)
{
    a_conn();
    conn->out_bytes = 100;
    more_comes();
}

static void conn_closed_flag(void)
{
    a_conn();
    conn->is_closed = true;
    more_comes();
}

static void conn_reading_while_muted(void)
{
    a_conn();
    conn->is_muted = true;
    more_comes();
}

static void conn_pins_negative(void)
{
    a_conn();
    conn->pins = -1;
    more_comes();
}

static void conn_magic_lost(void)
{
    a_conn();
    conn->magic = 0;
    more_comes();
}

static void conn_warming_without_a_pool(void)
{
    a_conn();
    conn->is_warming = true;
    more_comes();
}

/* ---- fetch sessions */

void partition_watch_add(struct partition *p, struct partition_watch *w)
{
    w->partition = p;
}

void partition_watch_remove(struct partition_watch *w)
{
    w->partition = NULL;
}

static void no_news(void *arg UNUSED)
{
}

static struct fetch_session_cache *cache;
static struct fetch_session *session;

/* One session of two partitions. */
static void a_session(void)
{
    struct kp_FetchRequest_FetchPartition parts[] = {{.partition = 0}, {.partition = 1}};
    struct kp_FetchRequest_FetchTopic t = {
        .topic = STR_LIT("t"), .partitions = parts, .partitions_count = 2};
    struct kp_FetchRequest req = {.topics = &t, .topics_count = 1};

    cache = fetch_session_cache_new(10, 1000);
    session = fetch_session_open(cache, the_loop, false, false, 2, 0, no_news);
    MUST_BE(fetch_list_apply(&session->list, &req, 100) == ERR_OK);
    fetch_session_done(cache, session);
}

static void use_session(void)
{
    struct fetch_session *s;

    (void)!fetch_session_use(cache, the_loop, session->id, 1, false, 1, &s);
}

static void touch(void)
{
    fetch_part_touch(&session->list, TAILQ_FIRST(&session->list.all));
}

#define SESSION_CASE(name, alter, step)                                                            \
    static void name##_on_loop(void *arg UNUSED)                                                   \
    {                                                                                              \
        a_session();                                                                               \
        alter;                                                                                     \
        step;                                                                                      \
    }                                                                                              \
    static void name(void)                                                                         \
    {                                                                                              \
        on_loop(name##_on_loop);                                                                   \
    }

SESSION_CASE(session_count_of_partitions, session->list.count = 0, use_session())
SESSION_CASE(session_count_of_dirty_ones, session->list.dirty_count = 0, touch())
SESSION_CASE(session_more_dirty_ones_than_partitions, session->list.dirty_count = 3, use_session())
SESSION_CASE(session_magic_lost, session->magic = 0, use_session())
SESSION_CASE(session_cached_flag_lost, session->is_cached = false, use_session())
SESSION_CASE(session_epoch_lost, session->next_epoch = 0,
             (void)!fetch_session_use(cache, the_loop, session->id, 0, false, 1,
                                      &(struct fetch_session *){NULL}))
SESSION_CASE(session_cache_count, cache->count = 0, use_session())
SESSION_CASE(session_cache_sum_of_partitions, cache->parts = -1, use_session())
SESSION_CASE(session_larger_than_the_sum, session->size = 100,
             fetch_session_close(cache, the_loop, session->id))

/* ---- metadata */

struct metadata_head {
    unsigned magic;
    _Atomic int64_t refs;
};

static void metadata_without_references(void)
{
    struct metadata *m = metadata_new();

    ((struct metadata_head *)(void *)m)->refs = 0;
    (void)metadata_ref(m);
}

static void metadata_released_twice(void)
{
    struct metadata *m = metadata_new();

    ((struct metadata_head *)(void *)m)->refs = 0;
    metadata_unref(&m);
}

/* ---- running them */

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
#define CASE(name) {#name, name},
    CASE(buf_length_over_capacity) CASE(buf_capacity_lost) CASE(buf_memory_lost) CASE(
        arena_used_over_limit) CASE(arena_blocks_lost) CASE(arena_block_used_over_capacity)
        CASE(mail_posted_twice) CASE(mail_receiver_lost) CASE(mailbox_descriptor_lost) CASE(
            pool_count_lost) CASE(pool_jobs_lost) CASE(pool_idle_negative)
            CASE(pool_job_lost_its_function) CASE(lock_held_flag_lost) CASE(lock_held_flag_set) CASE(
                lock_rank_altered) CASE(twheel_count_lost) CASE(twheel_slot_bit_lost)
                CASE(twheel_timer_in_another_slot) CASE(twheel_armed_flag_lost) CASE(
                    twheel_count_negative) CASE(loop_timer_armed_flag_lost)
                    CASE(loop_deferred_flag_lost) CASE(loop_depth_negative) CASE(
                        loop_time_in_the_future) CASE(frame_block_without_references)
                        CASE(frame_block_of_another_class) CASE(frame_block_capacity_altered) CASE(
                            frame_longer_than_its_block) CASE(frame_outside_its_block)
                            CASE(frame_store_bytes_lost) CASE(reader_start_behind_end) CASE(
                                reader_end_behind_block) CASE(reader_bytes_without_block)
                                CASE(conn_head_moved) CASE(conn_tail_moved) CASE(
                                    conn_solitary_count) CASE(conn_exchange_of_another)
                                    CASE(conn_exchange_forgot_it) CASE(conn_unsent_bytes) CASE(
                                        conn_unsent_bytes_without_answers) CASE(conn_closed_flag)
                                        CASE(conn_reading_while_muted) CASE(conn_pins_negative) CASE(
                                            conn_magic_lost) CASE(conn_warming_without_a_pool)
                                            CASE(session_count_of_partitions) CASE(
                                                session_count_of_dirty_ones)
                                                CASE(session_more_dirty_ones_than_partitions) CASE(
                                                    session_magic_lost)
                                                    CASE(session_cached_flag_lost) CASE(
                                                        session_epoch_lost)
                                                        CASE(session_cache_count) CASE(
                                                            session_cache_sum_of_partitions)
                                                            CASE(session_larger_than_the_sum)
                                                                CASE(metadata_without_references)
                                                                    CASE(metadata_released_twice)};

/* Of the child; its first lines into text. */
static int run_case(size_t i, char *text, size_t size)
{
    int pair[2], status;
    size_t len = 0;
    ssize_t n;
    pid_t child;

    MUST_BE(pipe(pair) == 0);
    child = fork();
    if (child == 0) {
        (void)dup2(pair[1], STDERR_FILENO);
        (void)close(pair[0]);
        (void)close(pair[1]);
        (void)alarm(10);
        cases[i].run();
        _exit(0);
    }
    (void)close(pair[1]);
    while ((n = read(pair[0], text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = 0;
    (void)close(pair[0]);
    MUST_BE(waitpid(child, &status, 0) == child);
    return status;
}

static bool is_chosen(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc == 1;
}

int main(int argc, char **argv)
{
    static char text[1 << 16];
    int panics = 0, count = 0;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (!is_chosen(cases[i].name, argc, argv))
            continue;
        int status = run_case(i, text, sizeof text);
        bool is_panic = strncmp(text, "PANIC at ", 9) == 0;
        char *end = strchr(text, '\n');
        if (end != NULL)
            *end = 0;
        count++;
        panics += is_panic;
        printf("%-36s %s\n", cases[i].name,
               is_panic                                             ? text
               : WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hangs"
               : WIFSIGNALED(status) || WEXITSTATUS(status) != 0    ? "crashes"
                                                                    : "goes on");
        (void)fflush(stdout);
    }
    printf("%d of %d panic in the next step\n", panics, count);
    return panics == count ? 0 : 1;
}
