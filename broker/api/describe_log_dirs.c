/* SPDX-License-Identifier: Apache-2.0 */
/* describe_log_dirs - DescribeLogDirs (35): what lies in which folder and how large it is. An io thread
 * walks over the partitions. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/api/task.h"
#include "broker/log/log_manager.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

#include <stdlib.h>

enum { DIRS_MAX = 256 };

struct dir_entry {
    int32_t dir;
    struct str topic;
    struct kp_DescribeLogDirsResponse_DescribeLogDirsPartition p;
};
struct dirs_task {
    struct task task;
    struct kp_DescribeLogDirsResponse response;
    struct log_dir_info *dirs;
    int32_t dir_count;
    struct dir_entry *entries; /* grown by doubling */
    int32_t count, cap;
    bool no_memory;
};

static int32_t dir_index(const struct dirs_task *t, const char *path)
{
    for (int32_t i = 0; path != NULL && i < t->dir_count; i++)
        if (strcmp(t->dirs[i].path, path) == 0)
            return i;
    return -1;
}

static void add_entry(struct dirs_task *t, struct partition *partition)
{
    struct request *r = t->task.request;
    struct partition_info info;
    if (t->no_memory)
        return;
    partition_describe(partition, &info);
    int32_t dir = dir_index(t, info.log_dir);
    if (dir < 0)
        return; /* no log yet */
    if (t->count == t->cap) {
        int32_t cap = t->cap == 0 ? 64 : t->cap * 2;
        struct dir_entry *more = api_alloc(r, (size_t)cap, sizeof *more);
        t->no_memory = more == NULL;
        if (t->no_memory)
            return;
        if (t->count > 0)
            memcpy(more, t->entries, (size_t)t->count * sizeof *more);
        t->entries = more;
        t->cap = cap;
    }
    struct str topic = partition_topic(partition);
    const char *name = api_strdup_str(r, topic); /* the partition may go away */
    t->no_memory = name == NULL;
    if (t->no_memory)
        return;
    t->entries[t->count++] = (struct dir_entry){
        .dir = dir,
        .topic = {name, topic.len},
        .p = {.partition_index = partition_index(partition),
              .partition_size = info.size_bytes,
              .offset_lag = i64_max(info.high_watermark - info.log_end_offset, 0)}};
}

static void visit(void *arg, struct partition *p)
{
    add_entry(arg, p);
}

static void add_named(struct dirs_task *t)
{
    const struct kp_DescribeLogDirsRequest *req = t->task.request->body;
    for (int32_t i = 0; i < req->topics_count; i++) {
        for (int32_t j = 0; j < req->topics[i].partitions_count; j++) {
            struct partition *p = replicas_find(t->task.request->broker->replicas,
                                                req->topics[i].topic, req->topics[i].partitions[j]);
            if (p != NULL)
                add_entry(t, p);
            partition_unref(&p);
        }
    }
}

static int entry_cmp(const void *a, const void *b)
{
    const struct dir_entry *x = a, *y = b;
    if (x->dir != y->dir)
        return x->dir < y->dir ? -1 : 1;
    int c = str_cmp(x->topic, y->topic);
    if (c != 0)
        return c;
    return x->p.partition_index < y->p.partition_index
               ? -1
               : x->p.partition_index > y->p.partition_index;
}

/* Entries [from, to) are those of one dir, sorted. */
static void group_by_topic(struct dirs_task *t, int32_t from, int32_t to,
                           struct kp_DescribeLogDirsResponse_DescribeLogDirsResult *result)
{
    struct request *r = t->task.request;
    size_t n = (size_t)(to - from);
    struct kp_DescribeLogDirsResponse_DescribeLogDirsPartition *parts =
        api_alloc(r, n, sizeof *parts);
    result->topics = api_alloc(r, n, sizeof *result->topics);
    if (parts == NULL || result->topics == NULL) {
        t->no_memory = true;
        return;
    }
    for (int32_t i = from; i < to; i++) {
        struct kp_DescribeLogDirsResponse_DescribeLogDirsTopic *topic =
            &result->topics[i32_max(result->topics_count - 1, 0)];
        if (result->topics_count == 0 || !str_eq(topic->name, t->entries[i].topic)) {
            topic = &result->topics[result->topics_count++];
            topic->name = t->entries[i].topic;
            topic->partitions = parts;
        }
        *parts++ = t->entries[i].p;
        topic->partitions_count++;
    }
}

static void dirs_io(struct task *task)
{
    struct dirs_task *t = CONTAINER_OF(task, struct dirs_task, task);
    struct request *r = task->request;
    const struct kp_DescribeLogDirsRequest *req = r->body;
    t->dir_count = log_manager_dirs(r->broker->logs, t->dirs, DIRS_MAX);
    t->response.results = api_alloc(r, (size_t)t->dir_count, sizeof *t->response.results);
    t->no_memory = t->response.results == NULL;
    if (req->topics_count < 0) {
        /* entries grow by doubling, names are copied: what lies here decides, not the client */
        struct replicas_numbers numbers;
        replicas_count(r->broker->replicas, &numbers);
        api_raise_limit(r, (size_t)numbers.partitions, 4 * sizeof(struct dir_entry) + 300);
        replicas_each(r->broker->replicas, visit, t);
    } else {
        add_named(t);
    }
    if (t->no_memory)
        return;
    if (t->count > 0)
        qsort(t->entries, (size_t)t->count, sizeof *t->entries, entry_cmp);
    t->response.results_count = t->dir_count;
    int32_t at = 0;
    for (int32_t i = 0; i < t->dir_count; i++) {
        struct kp_DescribeLogDirsResponse_DescribeLogDirsResult *d = &t->response.results[i];
        int32_t from = at;
        while (at < t->count && t->entries[at].dir == i)
            at++;
        d->log_dir = api_strdup(r, t->dirs[i].path);
        d->error_code = t->dirs[i].is_offline ? KE_KAFKA_STORAGE_ERROR : KE_NONE;
        d->total_bytes = t->dirs[i].is_offline ? -1 : t->dirs[i].total_bytes;
        d->usable_bytes = t->dirs[i].is_offline ? -1 : t->dirs[i].usable_bytes;
        if (!t->dirs[i].is_offline)
            group_by_topic(t, from, at, d);
    }
}

static void dirs_finish(struct task *task, bool is_timed_out)
{
    struct dirs_task *t = CONTAINER_OF(task, struct dirs_task, task);
    (void)is_timed_out;
    if (t->no_memory)
        api_no_memory(task->request);
    else
        request_reply(task->request, &t->response);
}

void api_describe_log_dirs(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct dirs_task *t = api_alloc(r, 1, sizeof *t);
    struct log_dir_info *dirs = api_alloc(r, DIRS_MAX, sizeof *dirs);
    if (t == NULL || dirs == NULL) {
        api_no_memory(r);
        return;
    }
    kp_defaults(&kp_DescribeLogDirsResponse_schema, &t->response);
    t->dirs = dirs;
    t->task.io = dirs_io;
    t->task.finish = dirs_finish;
    if (!api_cluster_allowed(r, ACL_DESCRIBE)) {
        t->response.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
        request_reply(r, &t->response);
        return;
    }
    if (task_start(&t->task, r) != ERR_OK) {
        t->response.error_code = KE_REQUEST_TIMED_OUT;
        request_reply(r, &t->response);
    }
}
