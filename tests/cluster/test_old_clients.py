# SPDX-License-Identifier: Apache-2.0
"""Clients of Kafka 0.8 to 0.10, as librdkafka and kafka-python play them: message formats 0 and 1 both ways, in every codec that these
know, and what they get of records that need format 2."""
import time

import confluent_kafka
import kafka
import kafka.codec
import pytest
from cluster import kcat
from raw import Xxhash

OLD_CODECS = ["none", "gzip", "snappy", "lz4"]
T0 = 1600000000000
# librdkafka's fallback -> Produce, Fetch 0, 0; 1, 1; 2, 2; kafka-python the same, with 0.10.1 Fetch 3
RDKAFKA_VERSIONS = ["0.8.2.1", "0.9.0.1", "0.10.0.1"]
PYTHON_VERSIONS = [(0, 8, 2), (0, 9), (0, 10), (0, 10, 1)]
LINES = [f"line {i} {'x' * (i % 97)}".encode() for i in range(1000)]


@pytest.fixture(autouse=True)
def lz4_of_format_0(monkeypatch):
    monkeypatch.setattr(kafka.codec, "xxhash", Xxhash)


def rdkafka(cluster, version, **more):
    old = {"api.version.request": False, "broker.version.fallback": version} if version else {}
    return {"bootstrap.servers": cluster.bootstrap, **old, **{k.replace("_", "."): v for k, v in more.items()}}


def keeps_timestamps(version):
    """Format 0 has none; a reader of it hears of none."""
    return version is None or version in ("0.10.0.1", (0, 10), (0, 10, 1))


def rdkafka_produce(cluster, version, topic, codec, count):
    failed = []
    p = confluent_kafka.Producer(rdkafka(cluster, version, compression_codec=codec, linger_ms=5, batch_num_messages=100))
    for i in range(count):
        args = {"timestamp": T0 + i} if keeps_timestamps(version) else {}
        p.produce(topic, LINES[i], key=b"%d" % i, partition=0, on_delivery=lambda e, m: failed.append(e) if e else None, **args)
        p.poll(0)
    assert p.flush(30) == 0 and failed == []


def rdkafka_read(cluster, version, topic, count, offset=0, **more):
    """[(offset, key, value, timestamp or None)]"""
    c = confluent_kafka.Consumer(rdkafka(cluster, version, group_id="g", enable_auto_commit=False, **more))
    c.assign([confluent_kafka.TopicPartition(topic, 0, offset)])
    got = []
    try:
        deadline = time.monotonic() + 30
        while len(got) < count:
            assert time.monotonic() < deadline, f"{len(got)} of {count} records of {topic}"
            for m in c.consume(1000, timeout=0.5):
                assert m.error() is None, m.error()
                kind, t = m.timestamp()
                got.append((m.offset(), m.key(), m.value(), t if kind == confluent_kafka.TIMESTAMP_CREATE_TIME and t >= 0 else None))
    finally:
        c.close()
    return got


def python_produce(cluster, version, topic, codec, count):
    p = kafka.KafkaProducer(bootstrap_servers=cluster.bootstrap.split(","), api_version=version, linger_ms=5,
                            compression_type=None if codec == "none" else codec)
    stamped = keeps_timestamps(version)
    sent = [p.send(topic, key=b"%d" % i, value=LINES[i], partition=0, **({"timestamp_ms": T0 + i} if stamped else {})) for i in range(count)]
    assert [f.get(timeout=30).offset for f in sent] == list(range(count))
    p.close()


def python_read(cluster, version, topic, count, offset=0, **more):
    c = kafka.KafkaConsumer(bootstrap_servers=cluster.bootstrap.split(","), api_version=version, consumer_timeout_ms=30000,
                            auto_offset_reset="earliest", enable_auto_commit=False, **more)
    try:
        p = kafka.TopicPartition(topic, 0)
        c.assign([p])
        if offset:
            c.seek(p, offset)
        else:
            c.seek_to_beginning(p)  # by ListOffsets
        got = []
        for m in c:
            got.append((m.offset, m.key, m.value, m.timestamp if m.timestamp_type == 0 and m.timestamp != -1 else None))
            if len(got) == count:
                break
        return got
    finally:
        c.close()


def expected(count, writer, reader, first=0):
    stamped = keeps_timestamps(writer) and keeps_timestamps(reader)
    return [(i, b"%d" % i, LINES[i], T0 + i if stamped else None) for i in range(first, count)]


def readers():
    return [(rdkafka_read, v) for v in RDKAFKA_VERSIONS + [None]] + [(python_read, v) for v in PYTHON_VERSIONS]


def without_time_type(records):
    return [r[:3] for r in records]


@pytest.mark.parametrize("codec", OLD_CODECS)
@pytest.mark.parametrize("produce,version", [(rdkafka_produce, v) for v in RDKAFKA_VERSIONS] + [(python_produce, v) for v in PYTHON_VERSIONS[:3]])
def test_what_an_old_client_writes_new_and_old_ones_read(shared_cluster, produce, version, codec):
    topic = f"old-{produce.__name__}-{'.'.join(map(str, version)) if isinstance(version, tuple) else version}-{codec}"
    shared_cluster.create_topic(topic, partitions=1, factor=2)
    produce(shared_cluster, version, topic, codec, 200)
    assert rdkafka_read(shared_cluster, None, topic, 200) == expected(200, version, None)
    assert without_time_type(rdkafka_read(shared_cluster, "0.8.2.1", topic, 200)) == without_time_type(expected(200, version, None))
    assert python_read(shared_cluster, (0, 10), topic, 200) == expected(200, version, (0, 10))


@pytest.mark.parametrize("codec", OLD_CODECS)
def test_what_a_new_client_writes_every_old_one_reads(shared_cluster, codec):
    topic = f"new-{codec}"
    shared_cluster.create_topic(topic, partitions=1, factor=2)
    rdkafka_produce(shared_cluster, None, topic, codec, 1000)
    for read, version in readers():
        got = read(shared_cluster, version, topic, 1000)
        assert without_time_type(got) == without_time_type(expected(1000, None, version)), (read, version)
        if keeps_timestamps(version):
            assert got == expected(1000, None, version), (read, version)
        middle = read(shared_cluster, version, topic, 449, offset=551)
        assert without_time_type(middle) == without_time_type(expected(1000, None, version, first=551)), (read, version)


def test_small_fetches_make_progress_through_large_batches(shared_cluster):
    shared_cluster.create_topic("small-fetch", partitions=1, factor=1)
    kcat("-b", shared_cluster.bootstrap, "-P", "-t", "small-fetch", "-X", "linger.ms=100", stdin=b"\n".join(LINES) + b"\n")
    for version in RDKAFKA_VERSIONS:
        got = rdkafka_read(shared_cluster, version, "small-fetch", 1000, fetch_message_max_bytes=2000)
        assert [r[2] for r in got] == LINES
    for version in PYTHON_VERSIONS:
        got = python_read(shared_cluster, version, "small-fetch", 1000, max_partition_fetch_bytes=2000)
        assert [r[2] for r in got] == LINES


def test_an_old_client_hears_why_it_cannot_read(shared_cluster):
    shared_cluster.create_topic("zstd-records", partitions=1, factor=1)
    shared_cluster.create_topic("not-for-old", partitions=1, factor=1, message_downconversion_enable="false")
    kcat("-b", shared_cluster.bootstrap, "-P", "-t", "zstd-records", "-z", "zstd", stdin=b"x" * 1000 + b"\n")
    kcat("-b", shared_cluster.bootstrap, "-P", "-t", "not-for-old", stdin=b"x\n")

    def error_of(topic):
        c = confluent_kafka.Consumer(rdkafka(shared_cluster, "0.9.0.1", group_id="g"))
        c.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        m = c.poll(20)
        c.close()
        assert m is not None and m.error() is not None
        return m.error().code()

    assert error_of("zstd-records") == 76
    assert error_of("not-for-old") == 35
    assert [r[2] for r in rdkafka_read(shared_cluster, None, "not-for-old", 1)] == [b"x"]
