/* SPDX-License-Identifier: Apache-2.0 */
/* api_fixture - handlers of broker/api on a real loop and pool against stand-ins for the layers
 * below (api_stand_ins.c). A program lists its tests and calls api_run(); before each test
 * everything is made anew: broker 1 leads topic "t". */
#ifndef TESTS_UNIT_API_FIXTURE_H
#define TESTS_UNIT_API_FIXTURE_H

#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/config/config.h"
#include "broker/group/coordinator.h"
#include "broker/replica/replicas.h"
#include "broker/replica/watch.h"
#include "common/base/lock.h"
#include "common/base/pool.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "common/protocol/schema.h"
#include "common/record/builder.h"
#include "common/record/legacy.h"
#include "common/zk/zkadmin.h"
#include "controller/controller.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- stand-ins (api_stand_ins.c) */

struct partition {
    const char *topic;
    int32_t index;
    _Atomic int refs;
    int16_t append_error;
    struct log_record_errors *record_errors; /* told with it, once */
    int64_t end, hw;
    int recorded; /* reads that record a follower's position */
    struct log_policy policy;
    TAILQ_HEAD(, partition_wait) waits;
    LIST_HEAD(, partition_watch) watches;
    int64_t appended[16]; /* lengths, in order */
    int append_count;
    struct buf batches; /* what is in the log: for fetches of old formats */
    bool is_downconversion_disabled;
    int8_t compression_type;
};

enum { PARTITIONS = 3 };
extern struct partition parts[PARTITIONS];
extern struct partition offsets_part; /* of __consumer_offsets, once it leads */
extern pthread_barrier_t append_gate; /* when use_gate: heavy appends wait here */
extern bool use_gate;
extern _Atomic int authorize_calls; /* how often it was asked, since the start */
extern bool is_controller, is_authorized; /* what the modules say when they are asked */
extern _Atomic int released;              /* ranges of logs */
extern _Atomic int reads_gated;           /* conversions that read; they wait while use_read_gate */
extern _Atomic bool use_read_gate;
extern struct broker broker;
extern struct listener listener;
extern _Atomic int created;        /* topics */
extern struct zkdoc_config stored; /* of every topic */
extern bool coord_is_away;
extern enum err coord_error;         /* of every call */
extern const char *somebody_creates; /* this data, as we are about to */

struct znode {
    char *path, *data;
};
struct znode *znode(const char *path); /* NULL: there is none */
void znode_set(const char *path, const char *data, size_t n);
void znodes_clear(void);

/* UpdateMetadata with a topic of that many partitions (0: none), led by leader, and broker 1. */
void publish(const char *topic, int32_t partitions, int32_t leader);
void publish_brokers(void);
/* The high watermark is hw: who waits for it goes on. On the loop. */
void raise_hw(struct partition *p, int64_t hw);

/* ---- requests (api_fixture.c) */

enum end { NOT_YET, REPLIED, REPLIED_NONE, CLOSED, DROPPED };
struct outcome {
    _Atomic int end;
    struct arena arena;
    struct buf bytes;
    union {
        struct kp_ProduceResponse produce;
        struct kp_FetchResponse fetch;
        struct kp_MetadataResponse metadata;
        struct kp_CreateTopicsResponse create;
        struct kp_DeleteTopicsResponse delete;
        struct kp_CreatePartitionsResponse grow;
        struct kp_ListOffsetsResponse offsets;
        struct kp_DescribeConfigsResponse describe;
        struct kp_AlterConfigsResponse alter;
        struct kp_IncrementalAlterConfigsResponse incremental;
        struct kp_InitProducerIdResponse id;
        struct kp_DescribeLogDirsResponse dirs;
        struct kp_UpdateMetadataResponse update;
        struct kp_OffsetForLeaderEpochResponse epochs;
        struct kp_DeleteRecordsResponse records;
        struct kp_DescribeClusterResponse cluster;
        struct kp_FindCoordinatorResponse coordinator;
        struct kp_JoinGroupResponse join;
        struct kp_SyncGroupResponse sync;
        struct kp_HeartbeatResponse heartbeat;
        struct kp_LeaveGroupResponse leave;
        struct kp_OffsetCommitResponse commit;
        struct kp_OffsetFetchResponse committed;
        struct kp_OffsetDeleteResponse offset_delete;
        struct kp_DescribeGroupsResponse groups;
        struct kp_ListGroupsResponse list;
        struct kp_DeleteGroupsResponse delete_groups;
        struct kp_DescribeAclsResponse acls;
        struct kp_CreateDelegationTokenResponse token;
        struct kp_DescribeClientQuotasResponse quotas;
        struct kp_AlterClientQuotasResponse set_quotas;
        struct kp_DescribeProducersResponse producers;
        struct kp_DescribeTransactionsResponse transactions;
        struct kp_ListTransactionsResponse list_transactions;
        struct kp_DescribeUserScramCredentialsResponse scram;
        struct kp_AlterUserScramCredentialsResponse set_scram;
    } u;
    size_t range_count;
};

extern struct request *open_request; /* the last one sent, until it ends; owner: the loop */
extern struct request *closed_too;   /* of the same connection, when it closes */
extern int32_t correlation_id;       /* of the requests to come */

/* Gives a request to its handler, on the loop; o is told how it ends. */
struct request *send_on(int conn, int16_t key, int16_t version, const void *body, void *records,
                        struct outcome *o);
void handle(void *request);
/* Waits until the request ends; it has to end like that. */
void wait_end(struct outcome *o, enum end end);
void outcome_fini(struct outcome *o);
/* Sends and waits for the reply. */
void call(int16_t key, int16_t version, const void *body, struct outcome *o);
void cancel(void *request); /* its connection is gone. On the loop */
void cancel_if_there(void *request);
void set_hw(int64_t hw); /* of parts[0] */
void nothing(void *arg);
void settle(void); /* what the loop was to do is done */

typedef struct kp_ProduceRequest_PartitionProduceData produce_data;
typedef struct kp_FetchRequest_FetchPartition fetch_data;
extern uint8_t batch[100]; /* what produce_of() sends where d has no records */
struct kp_ProduceRequest produce_of(struct kp_ProduceRequest_TopicProduceData *t, produce_data *d,
                                    int32_t count, int16_t acks);
int16_t produced(const struct outcome *o, int i);
struct kp_FetchRequest fetch_of(struct kp_FetchRequest_FetchTopic *t, fetch_data *d, int32_t count);
const struct kp_FetchResponse_PartitionData *fetched(const struct outcome *o, int i);

/* Runs each test so many times; what main returns. */
int api_run(const char *suite, const TTest *const *tests, size_t count, int times);

#endif
