# SPDX-License-Identifier: Apache-2.0
"""What clients that nobody here wrote see: kcat, confluent-kafka (librdkafka) and kafka-python against three brokers."""
import time

import confluent_kafka
import kafka
import pytest
from cluster import kcat, wait_until
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def read_all_confluent(cluster, topic, partitions, expected):
    c = confluent_kafka.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "not-used", "enable.auto.commit": False})
    c.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in range(partitions)])
    got = []
    try:
        deadline = time.monotonic() + 60
        while len(got) < expected:
            assert time.monotonic() < deadline, f"{len(got)} of {expected} records of {topic} in a minute"
            for m in c.consume(1000, timeout=0.5):
                assert m.error() is None, m.error()
                got.append(m.value())
    finally:
        c.close()
    return got


@pytest.mark.parametrize("codec", CODECS)
def test_kcat_writes_what_every_client_reads(shared_cluster, codec):
    topic = f"codec-{codec}"
    shared_cluster.create_topic(topic, partitions=3, factor=3, segment_bytes=65536)
    lines = sorted(f"{codec} line {i} {'x' * (i % 97)}".encode() for i in range(5000))
    kcat("-b", shared_cluster.bootstrap, "-P", "-t", topic, "-z", codec, "-X", "acks=all", "-X", "batch.size=16000", stdin=b"\n".join(lines) + b"\n")
    assert sorted(kcat("-b", shared_cluster.bootstrap, "-C", "-t", topic, "-e", "-q").stdout.splitlines()) == lines
    assert sorted(read_all_confluent(shared_cluster, topic, 3, len(lines))) == lines
    consumer = kafka.KafkaConsumer(bootstrap_servers=shared_cluster.bootstrap.split(","), auto_offset_reset="earliest",
                                   consumer_timeout_ms=20000)
    try:
        consumer.assign([kafka.TopicPartition(topic, p) for p in range(3)])
        consumer.seek_to_beginning()
        got = []
        for message in consumer:
            got.append(message.value)
            if len(got) == len(lines):
                break
        assert sorted(got) == lines
    finally:
        consumer.close()


def test_kafka_python_writes_with_keys_headers_and_timestamps(shared_cluster):
    shared_cluster.create_topic("kp", partitions=2, factor=2)
    producer = kafka.KafkaProducer(bootstrap_servers=shared_cluster.bootstrap.split(","), acks="all", retries=3)
    meta = producer.send("kp", key=b"k", value=b"v", partition=1, headers=[("h", b"1")], timestamp_ms=1700000000000).get(timeout=20)
    producer.close()
    assert (meta.partition, meta.offset) == (1, 0)
    out = kcat("-b", shared_cluster.bootstrap, "-C", "-t", "kp", "-p", "1", "-e", "-q", "-f", "%k|%s|%h|%T|%o").stdout
    assert out == b"k|v|h=1|1700000000000|0"


def test_idempotent_producer_keeps_order_and_gets_offsets(shared_cluster):
    shared_cluster.create_topic("idem", partitions=1, factor=3)
    offsets = []
    p = confluent_kafka.Producer({"bootstrap.servers": shared_cluster.bootstrap, "enable.idempotence": True, "linger.ms": 1})
    for i in range(2000):
        p.produce("idem", str(i).encode(), on_delivery=lambda e, m: offsets.append((e, m.offset())))
        p.poll(0)
    assert p.flush(30) == 0
    assert offsets == [(None, i) for i in range(2000)]


def test_admin_creates_expands_describes_and_deletes(shared_cluster):
    admin = AdminClient({"bootstrap.servers": shared_cluster.bootstrap})
    admin.create_topics([NewTopic("adm", 3, 3, config={"retention.ms": "1234567"})])["adm"].result(20)
    with pytest.raises(confluent_kafka.KafkaException) as again:
        admin.create_topics([NewTopic("adm", 3, 3)])["adm"].result(20)
    assert again.value.args[0].code() == confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS
    with pytest.raises(confluent_kafka.KafkaException) as much:
        admin.create_topics([NewTopic("too-much", 3, 4)])["too-much"].result(20)
    assert much.value.args[0].code() == confluent_kafka.KafkaError.INVALID_REPLICATION_FACTOR
    admin.create_partitions([NewPartitions("adm", 6)])["adm"].result(20)
    wait_until(lambda: len(admin.list_topics("adm", timeout=5).topics["adm"].partitions) == 6, 20, "six partitions")
    # the i mod N / (i+j) mod N rule
    meta = admin.list_topics("adm", timeout=5).topics["adm"].partitions
    assert [list(meta[i].replicas) for i in range(6)] == [[(i + j) % 3 for j in range(3)] for i in range(6)]
    resource = confluent_kafka.admin.ConfigResource(confluent_kafka.admin.ConfigResource.Type.TOPIC, "adm")
    config = admin.describe_configs([resource])[resource].result(20)
    assert config["retention.ms"].value == "1234567" and not config["retention.ms"].is_default
    assert config["segment.bytes"].value == "1073741824" and config["segment.bytes"].is_default
    admin.delete_topics(["adm"])["adm"].result(20)
    wait_until(lambda: "adm" not in admin.list_topics(timeout=5).topics, 20, "the topic to go")


def test_auto_created_topic_takes_the_first_record(shared_cluster):
    kcat("-b", shared_cluster.bootstrap, "-P", "-t", "by-itself", stdin=b"one\n")
    assert kcat("-b", shared_cluster.bootstrap, "-C", "-t", "by-itself", "-e", "-q").stdout == b"one\n"


def test_offsets_by_time_are_those_of_the_records(shared_cluster):
    shared_cluster.create_topic("times", partitions=1, factor=3, segment_bytes=4096)
    p = confluent_kafka.Producer({"bootstrap.servers": shared_cluster.bootstrap})
    for i in range(500):
        p.produce("times", f"{i:>50}".encode(), timestamp=1700000000000 + i * 1000)
        if i % 10 == 9:
            p.flush(20)
    assert p.flush(20) == 0
    c = confluent_kafka.Consumer({"bootstrap.servers": shared_cluster.bootstrap, "group.id": "not-used"})
    try:
        for i in (0, 1, 77, 250, 499):
            (found,) = c.offsets_for_times([confluent_kafka.TopicPartition("times", 0, 1700000000000 + i * 1000 - 500)], timeout=10)
            assert found.offset == i
        (beyond,) = c.offsets_for_times([confluent_kafka.TopicPartition("times", 0, 1900000000000)], timeout=10)
        assert beyond.offset == -1
        assert c.get_watermark_offsets(confluent_kafka.TopicPartition("times", 0), timeout=10) == (0, 500)
    finally:
        c.close()


def test_too_large_a_record_is_refused_and_the_next_one_goes_through(shared_cluster):
    shared_cluster.create_topic("small", partitions=1, factor=1, max_message_bytes=1000)
    seen = []
    p = confluent_kafka.Producer({"bootstrap.servers": shared_cluster.bootstrap})
    p.produce("small", b"x" * 5000, on_delivery=lambda e, m: seen.append(e and e.code()))
    p.flush(20)
    p.produce("small", b"fits", on_delivery=lambda e, m: seen.append(e and e.code()))
    p.flush(20)
    assert seen == [confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE, None]
