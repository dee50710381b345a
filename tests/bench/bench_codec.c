/* SPDX-License-Identifier: Apache-2.0 */
/* How long the codec takes for the messages of the hot path: nanoseconds per header and message of
 * one topic and n partitions. Run alone: `make bench_codec && ./bench_codec`. */
#include "common/base/clock.h"
#include "common/protocol/messages.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS_NS = 300 * 1000 * 1000, PARTITIONS_MAX = 100 };

static void fill_fetch(struct kp_FetchRequest *m, struct kp_FetchRequest_FetchTopic *t,
                       struct kp_FetchRequest_FetchPartition *p, int n, int16_t version)
{
    kp_defaults(&kp_FetchRequest_schema, m);
    kp_defaults(&kp_FetchRequest_FetchTopic_schema, t);
    if (version < 13)
        t->topic = STR_LIT("my-replicated-topic");
    t->topic_id.b[3] = version < 13 ? 0 : 1;
    for (int i = 0; i < n; i++) {
        kp_defaults(&kp_FetchRequest_FetchPartition_schema, &p[i]);
        p[i].partition = i;
        p[i].fetch_offset = 1000 + i;
        p[i].partition_max_bytes = 1 << 20;
    }
    t->partitions = p;
    t->partitions_count = n;
    m->topics = t;
    m->topics_count = 1;
}

static void fill_produce(struct kp_ProduceRequest *m, struct kp_ProduceRequest_TopicProduceData *t,
                         struct kp_ProduceRequest_PartitionProduceData *p, int n)
{
    static const uint8_t records[1024];

    kp_defaults(&kp_ProduceRequest_schema, m);
    kp_defaults(&kp_ProduceRequest_TopicProduceData_schema, t);
    t->name = STR_LIT("my-replicated-topic");
    for (int i = 0; i < n; i++) {
        kp_defaults(&kp_ProduceRequest_PartitionProduceData_schema, &p[i]);
        p[i].index = i;
        p[i].records = (struct bytes){records, sizeof records};
    }
    t->partition_data = p;
    t->partition_data_count = n;
    m->acks = -1;
    m->topic_data = t;
    m->topic_data_count = 1;
}

static void must(enum err rc, const struct errtext *why)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "bench_codec: %s\n", why->text);
    exit(EXIT_FAILURE);
}

/* Decodes the frame over and over. */
static double time_decode(const struct kp_schema *s, int16_t version, const struct buf *frame,
                          void *out)
{
    struct arena a = {0};
    struct errtext why = {""};
    int64_t start = clock_mono_us() * 1000, end = start;
    long rounds = 0;

    while (end - start < ROUNDS_NS) {
        for (int i = 0; i < 1000; i++) {
            struct kp_request_header h;
            struct bytes body;
            arena_reset(&a);
            must(kp_request_header_decode((struct bytes){frame->p, (int64_t)frame->len}, &h, &body,
                                          &why),
                 &why);
            must(kp_decode(s, version, body, &a, out, &why), &why);
        }
        rounds += 1000;
        end = clock_mono_us() * 1000;
    }
    arena_fini(&a);
    return (double)(end - start) / (double)rounds;
}

static double time_encode(const struct kp_schema *s, int16_t version, const void *msg)
{
    struct buf b = {0};
    struct errtext why = {""};
    struct kp_hole_at holes[PARTITIONS_MAX];
    size_t count;
    int64_t start = clock_mono_us() * 1000, end = start;
    long rounds = 0;

    while (end - start < ROUNDS_NS) {
        for (int i = 0; i < 1000; i++) {
            b.len = 0;
            must(kp_encode_holes(s, version, msg, &b, holes, PARTITIONS_MAX, &count, &why), &why);
        }
        rounds += 1000;
        end = clock_mono_us() * 1000;
    }
    buf_fini(&b);
    return (double)(end - start) / (double)rounds;
}

static void bench_requests(int n)
{
    static const int16_t produce_versions[] = {7, 11}, fetch_versions[] = {4, 11, 17};
    static struct kp_FetchRequest_FetchPartition fp[PARTITIONS_MAX];
    static struct kp_ProduceRequest_PartitionProduceData pp[PARTITIONS_MAX];
    struct kp_FetchRequest_FetchTopic ft;
    struct kp_ProduceRequest_TopicProduceData pt;
    struct kp_FetchRequest f;
    struct kp_ProduceRequest p;
    struct buf b = {0};
    struct errtext why = {""};

    for (size_t i = 0; i < ARRAY_LEN(produce_versions); i++) {
        int16_t v = produce_versions[i];
        fill_produce(&p, &pt, pp, n);
        b.len = 0;
        kp_request_header_encode(KP_API_PRODUCE, v, 1, STR_LIT("rdkafka"), &b);
        must(kp_encode(&kp_ProduceRequest_schema, v, &p, &b, &why), &why);
        (void)printf("decode Produce v%-2d %3d partitions %8.0f ns\n", v, n,
                     time_decode(&kp_ProduceRequest_schema, v, &b, &p));
    }
    for (size_t i = 0; i < ARRAY_LEN(fetch_versions); i++) {
        int16_t v = fetch_versions[i];
        fill_fetch(&f, &ft, fp, n, v);
        b.len = 0;
        kp_request_header_encode(KP_API_FETCH, v, 1, STR_LIT("rdkafka"), &b);
        must(kp_encode(&kp_FetchRequest_schema, v, &f, &b, &why), &why);
        (void)printf("decode Fetch   v%-2d %3d partitions %8.0f ns\n", v, n,
                     time_decode(&kp_FetchRequest_schema, v, &b, &f));
    }
    buf_fini(&b);
}

static void bench_responses(int n)
{
    static struct kp_FetchResponse_PartitionData fp[PARTITIONS_MAX];
    static struct kp_ProduceResponse_PartitionProduceResponse pp[PARTITIONS_MAX];
    struct kp_FetchResponse_FetchableTopicResponse ft;
    struct kp_ProduceResponse_TopicProduceResponse pt;
    struct kp_FetchResponse f;
    struct kp_ProduceResponse p;

    kp_defaults(&kp_FetchResponse_schema, &f);
    kp_defaults(&kp_FetchResponse_FetchableTopicResponse_schema, &ft);
    kp_defaults(&kp_ProduceResponse_schema, &p);
    kp_defaults(&kp_ProduceResponse_TopicProduceResponse_schema, &pt);
    for (int i = 0; i < n; i++) {
        kp_defaults(&kp_FetchResponse_PartitionData_schema, &fp[i]);
        fp[i].partition_index = i;
        fp[i].records = (struct bytes){kp_hole, 1 << 20};
        kp_defaults(&kp_ProduceResponse_PartitionProduceResponse_schema, &pp[i]);
        pp[i].index = i;
    }
    ft.partitions = fp;
    ft.partitions_count = n;
    f.responses = &ft;
    f.responses_count = 1;
    pt.name = STR_LIT("my-replicated-topic");
    pt.partition_responses = pp;
    pt.partition_responses_count = n;
    p.responses = &pt;
    p.responses_count = 1;
    (void)printf("encode Produce v11 %3d partitions %8.0f ns\n", n,
                 time_encode(&kp_ProduceResponse_schema, 11, &p));
    (void)printf("encode Fetch   v17 %3d partitions %8.0f ns\n", n,
                 time_encode(&kp_FetchResponse_schema, 17, &f));
}

int main(void)
{
    bench_requests(1);
    bench_requests(PARTITIONS_MAX);
    bench_responses(1);
    bench_responses(PARTITIONS_MAX);
    return EXIT_SUCCESS;
}
