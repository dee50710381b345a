/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: bytes of a znode as each document in turn (the first byte chooses). What parses must
 * format to text that parses to the same text again; what does not has an error with text.
 * Configured with --enable-fuzz it is a libFuzzer program, otherwise it replays documents and
 * seeded mutations of them, or the files named as arguments. */
#include "common/zk/zkdoc.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES_MAX = 16 << 20, KINDS = 14 };

/* Parses data as a document of this kind and formats it. */
static enum err there_and_back(int kind, struct bytes data, struct arena *a, struct buf *out,
                               struct errtext *why)
{
    enum err rc = ERR_NOT_FOUND;

#define DOC(n, type, parse, format)                                                                \
    case n: {                                                                                      \
        type d;                                                                                    \
        rc = parse;                                                                                \
        if (rc == ERR_OK)                                                                          \
            format;                                                                                \
        break;                                                                                     \
    }
    switch (kind) {
        DOC(0, struct zkdoc_broker, zkdoc_broker_parse(data, a, &d, why),
            zkdoc_broker_format(&d, out))
        DOC(1, struct zkdoc_controller, zkdoc_controller_parse(data, &d, why),
            zkdoc_controller_format(&d, out))
        DOC(2, int64_t, zkdoc_number_parse(data, INT64_MIN, INT64_MAX, &d, why),
            zkdoc_number_format(d, out))
        DOC(3, struct zkdoc_topic, zkdoc_topic_parse(data, a, &d, why), zkdoc_topic_format(&d, out))
        DOC(4, struct zkdoc_state, zkdoc_state_parse(data, a, &d, why), zkdoc_state_format(&d, out))
        DOC(5, struct zkdoc_config, zkdoc_config_parse(data, a, &d, why),
            zkdoc_config_format(&d, out))
        DOC(6, struct zkdoc_config_change, zkdoc_config_change_parse(data, a, &d, why),
            zkdoc_config_change_format(&d, out))
        DOC(7, const char *, zkdoc_cluster_id_parse(data, a, &d, why),
            zkdoc_cluster_id_format(d, out))
        DOC(8, struct zkdoc_partition_list, zkdoc_partition_list_parse(data, a, &d, why),
            zkdoc_partition_list_format(&d, true, out))
        DOC(9, struct zkdoc_log_dir_event, zkdoc_log_dir_event_parse(data, &d, why),
            zkdoc_log_dir_event_format(&d, out))
        DOC(10, struct zkdoc_producer_id_block, zkdoc_producer_id_block_parse(data, &d, why),
            zkdoc_producer_id_block_format(&d, out))
        DOC(11, struct zkdoc_features, zkdoc_features_parse(data, a, &d, why),
            zkdoc_features_format(&d, out))
        DOC(12, struct zkdoc_consumer, zkdoc_consumer_parse(data, a, &d, why),
            zkdoc_consumer_format(&d, out))
        DOC(13, struct zkdoc_owner, zkdoc_owner_parse(data, a, &d, why),
            zkdoc_owner_format(&d, out))
    default:
        break;
    }
#undef DOC
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {.limit = ARENA_BYTES_MAX};
    struct buf first = {0}, second = {0};
    struct errtext why = {""};
    struct bytes doc = {data + 1, (int64_t)size - 1};

    if (size < 1)
        return 0;
    int kind = data[0] % KINDS;
    enum err rc = there_and_back(kind, doc, &a, &first, &why);
    if (rc == ERR_OK) {
        struct bytes written = {first.p, (int64_t)first.len};
        MUST(there_and_back(kind, written, &a, &second, &why) == ERR_OK);
        ASSERT(first.len == second.len && memcmp(first.p, second.p, first.len) == 0);
    } else {
        ASSERT(rc == ERR_CORRUPT || rc == ERR_NO_MEMORY || (rc == ERR_NOT_FOUND && kind == 10));
        ASSERT(why.text[0] != 0);
    }
    buf_fini(&first);
    buf_fini(&second);
    arena_fini(&a);
    return 0;
}

#ifndef FUZZ_LIBFUZZER
#include "tests/fuzz/replay.h"

enum { MUTATIONS = 100000 };

static const char *const documents[] = {
    "{\"features\":{\"x\":{\"min_version\":1,\"max_version\":3}},\"listener_security_protocol_"
    "map\":"
    "{\"PLAINTEXT\":\"PLAINTEXT\",\"EXT\":\"SASL_SSL\"},\"endpoints\":[\"PLAINTEXT://k1:9092\","
    "\"EXT://[2001:db8::1]:9093\"],\"rack\":\"r1\",\"jmx_port\":-1,\"port\":9092,\"host\":\"k1\","
    "\"version\":5,\"timestamp\":\"1731000000000\"}",
    "{\"version\":2,\"brokerid\":3,\"timestamp\":\"1731000000000\",\"kraftControllerEpoch\":-1}",
    "-9223372036854775808",
    "{\"partitions\":{\"0\":[3,2,1],\"1\":[2,3]},\"topic_id\":\"q5yX1kXHQkK2m9wzJ8aT7g\","
    "\"adding_replicas\":{\"0\":[3]},\"removing_replicas\":{\"0\":[1]},\"version\":3}",
    "{\"controller_epoch\":7,\"leader\":1,\"version\":1,\"leader_recovery_state\":1,"
    "\"leader_epoch\":4,\"isr\":[1,2]}",
    "{\"version\":1,\"config\":{\"a.b\":\"\xc3\xa4\\u00e4\\n\\\"\",\"retention.ms\":\"5\"}}",
    "{\"version\":2,\"entity_path\":\"users/u%20x/clients/<default>\"}",
    "{\"version\":\"1\",\"id\":\"Zk3nq2dWQ9qJ0p1v8c7b5A\"}",
    "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[3,2]}]}",
    "{\"version\":1,\"broker\":2,\"event\":1}",
    "{\"version\":1,\"broker\":2,\"block_start\":\"3000\",\"block_end\":\"3999\"}",
    "{\"version\":2,\"status\":1,\"features\":{\"f\":{\"max_version_level\":3}}}",
    "{\"version\":1,\"subscription\":{\"a\\\\d.*\":2},\"pattern\":\"white_list\","
    "\"timestamp\":\"1731000000000\",\"assignment\":\"ceil\"}",
    "g1_web01-1731000000000-3f2b9c1d-10",
};

int main(int argc, char **argv)
{
    struct replay r = {0};

    for (int i = 1; i < argc; i++)
        if (!replay_add_file(&r, argv[i]))
            return EXIT_FAILURE;
    if (argc > 1)
        return replay_run(&r, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        struct buf b = {0};
        buf_printf(&b, "%c%s", (int)i + KINDS, documents[i]); /* 0 would end the text */
        replay_add(&r, b.p, b.len);
        buf_fini(&b);
    }
    return replay_run(&r, 1, MUTATIONS);
}
#endif
