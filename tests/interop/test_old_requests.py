# SPDX-License-Identifier: Apache-2.0
"""Requests of old versions to Kafka 3.9 and to kafuka, one by one: the same answers, the same records stored and read."""
import json
import os
import pathlib
import struct
import sys
import time
import zlib

import kafka.codec
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import Cluster, wait_until  # noqa: E402
from kafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402
from kafka.protocol.offset import OffsetRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402
from kafka.record import MemoryRecords  # noqa: E402
from kafka.record.default_records import DefaultRecordBatchBuilder  # noqa: E402
from kafka.record.legacy_records import LegacyRecordBatchBuilder  # noqa: E402
from raw import Connection, Xxhash  # noqa: E402
from test_mixed_cluster import KAFKA, KafkaBroker  # noqa: E402

kafka.codec.xxhash = Xxhash
T0 = 1600000000000
GZIP, SNAPPY, LZ4 = 1, 2, 3
CODECS = [0, GZIP, SNAPPY, LZ4]
PARTITIONS = 160


class Pair:
    """A topic led by Kafka and one led by kafuka, of one cluster; partitions are given out one by one."""

    def __init__(self, folder):
        self.cluster = Cluster(folder, count=1, options={"zookeeper.session.timeout.ms": 6000})
        self.cluster.zookeeper.start()
        self.kafka = KafkaBroker(self.cluster)
        self.kafka.start()
        self.cluster.brokers[0].start()
        self.zk = self.cluster.zk_client()
        wait_until(lambda: len(self.zk.get_children("/brokers/ids")) == 2, 60, "both brokers")
        self.used = 0
        self.topics = {}
        self.create("plain")
        self.create("stamped", **{"message.timestamp.type": "LogAppendTime"})
        self.create("compact", **{"cleanup.policy": "compact"})
        self.create("refuses", **{"message.downconversion.enable": "false"})
        self.create("zstd", **{"compression.type": "zstd"})
        self.create("small", **{"segment.bytes": "2000"})

    def create(self, name, **configs):
        for prefix, broker in (("k", KAFKA), ("o", 0)):
            topic = f"{prefix}-{name}"
            if configs:
                self.zk.create(f"/config/topics/{topic}", json.dumps({"version": 1, "config": configs}).encode(), makepath=True)
            document = {"version": 1, "partitions": {str(p): [broker] for p in range(PARTITIONS if name == "plain" else 4)}}
            self.zk.create(f"/brokers/topics/{topic}", json.dumps(document).encode())
            wait_until(lambda: self.zk.exists(f"/brokers/topics/{topic}/partitions/0/state"), 30, f"{topic} to have a leader")
            port = self.kafka.port if broker == KAFKA else self.cluster.brokers[0].port
            target = type("Broker", (), {"port": port})

            def is_led():
                with Connection(target) as c:
                    answer = c.call(OffsetRequest[1](-1, [(topic, [(p, -1) for p in range(4)])]))
                    return all(p[1] == 0 for p in answer.topics[0][1])

            wait_until(is_led, 60, f"{topic} to be led")
            self.topics.setdefault(name, []).append((topic, target))

    def partition(self):
        self.used += 1
        return self.used - 1

    def ask(self, make, name="plain"):
        """What Kafka and what kafuka say; make(topic): the request."""
        answers = []
        for topic, broker in self.topics[name]:
            with Connection(broker) as c:
                try:
                    answers.append(c.call(make(topic)))
                except ConnectionError:
                    answers.append(None)  # closed
        return answers

    def stop(self):
        self.zk.stop()
        self.zk.close()
        self.kafka.kill()
        self.cluster.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    p = Pair(tmp_path_factory.mktemp("pair"))
    yield p
    p.stop()


def message_set(magic, codec, count, offset=0, value=b"v" * 20, key=b"k", start=0):
    b = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for i in range(count):
        b.append(i, T0 + start + i, key, value)
    data = bytes(b.build())
    return struct.pack(">q", offset) + data[8:] if offset else data


def batch(codec, count, magic_time=T0, headers=(), value=b"v" * 20):
    b = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 20)
    for i in range(count):
        b.append(i, magic_time + i, b"k", value, list(headers))
    return bytes(b.build())


def message(magic, codec, value, timestamp=T0, attributes=0, key=None):
    """One message by hand."""
    body = struct.pack(">bb", magic, codec | attributes) + (struct.pack(">q", timestamp) if magic == 1 else b"")
    for part in (key, value):
        body += struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part
    body = struct.pack(">I", zlib.crc32(body)) + body
    return struct.pack(">qi", 0, len(body)) + body


def produced(answer):
    if answer is None:
        return answer
    out = []
    for _, parts in answer.topics:
        for p in parts:
            out.append(tuple(p[:3]))  # index, error, base offset
    return out


def records_of(data):
    """[(offset, timestamp, type, key, value)] of whole messages."""
    out = []
    records = MemoryRecords(data)
    while records.has_next():
        for r in records.next_batch():
            out.append((r.offset, r.timestamp, r.timestamp_type, r.key, r.value))
    return out


def fetched(answer):
    if answer is None:
        return answer
    return [(p[0], p[1], p[2], records_of(p[-1] or b"")) for _, parts in answer.topics for p in parts]


def fetch(version, topic, partition, offset, max_bytes=1 << 20):
    args = [-1, 0, 0] + ([1 << 24] if version >= 3 else []) + ([0] if version >= 4 else [])
    return FetchRequest[version](*args, [(topic, [(partition, offset, max_bytes)])])


def both_produce(pair, version, data, name="plain", partition=None, acks=1):
    partition = pair.partition() if partition is None else partition
    args = [None] if version >= 3 else []
    kafkas, ours = pair.ask(lambda topic: ProduceRequest[version](*args, acks, 10000, [(topic, [(partition, data)])]), name)
    assert produced(ours) == produced(kafkas), (version, name)
    return partition, kafkas, ours


def same_or_more(ours, kafkas):
    """Kafka stops converting at the bytes that the batches had, and what it converts takes more."""
    (mine,), (theirs,) = ours, kafkas
    n = len(theirs[3])
    return mine[:3] == theirs[:3] and mine[3][:n] == theirs[3] and (n > 0) == (len(mine[3]) > 0)


def both_fetch(pair, version, partition, offset, name="plain", max_bytes=1 << 20):
    kafkas, ours = pair.ask(lambda topic: fetch(version, topic, partition, offset, max_bytes), name)
    return fetched(kafkas), fetched(ours)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("magic", [0, 1])
def test_what_old_producers_send_is_stored_and_read_alike(pair, magic, codec):
    for version in (0, 1, 2):
        partition, kafkas, ours = both_produce(pair, version, message_set(magic, codec, 10))
        assert produced(ours)[0][1:] == (0, 0)
        if version == 2:
            assert kafkas.topics[0][1][0][3] == ours.topics[0][1][0][3] == -1
        both_produce(pair, version, message_set(magic, codec, 5, start=1000), partition=partition)
        for fetch_version in range(5):
            for offset in (0, 3, 10, 12, 15, 16):
                kafkas, ours = both_fetch(pair, fetch_version, partition, offset)
                assert same_or_more(ours, kafkas), (version, fetch_version, offset)


@pytest.mark.parametrize("codec", CODECS)
def test_batches_are_read_by_old_consumers_alike(pair, codec):
    partition, _, _ = both_produce(pair, 3, batch(codec, 7, headers=[("h", b"x")]))
    both_produce(pair, 7, batch(codec, 9, T0 + 500), partition=partition)
    for version in range(5):
        for offset in range(17):
            kafkas, ours = both_fetch(pair, version, partition, offset)
            assert same_or_more(ours, kafkas), (version, offset)


def test_log_append_time(pair):
    for magic in (0, 1):
        for codec in CODECS:
            _, kafkas, ours = both_produce(pair, 2, message_set(magic, codec, 3), "stamped", partition=0)
            stamps = [a.topics[0][1][0][3] for a in (kafkas, ours)]
            assert all(abs(time.time() * 1000 - s) < 60000 for s in stamps)
    for version in range(5):
        kafkas, ours = both_fetch(pair, version, 0, 0, "stamped")
        plain = [[(r[0], r[1] is None, r[2], r[3:]) for r in side[0][3]] for side in (kafkas, ours)]
        assert plain[1][: len(plain[0])] == plain[0] and len(plain[1]) == 24, version


def test_what_is_wrong_is_refused_alike(pair):
    two_wrappers = message_set(1, GZIP, 2) + message_set(1, GZIP, 2)
    flipped = bytearray(message_set(1, 0, 2))
    flipped[-1] ^= 1
    cases = {
        "both formats": message_set(0, 0, 1) + message_set(1, 0, 1),
        "two wrappers": two_wrappers,
        "wrapper and plain": message_set(1, GZIP, 2) + message_set(1, 0, 1),
        "plain and wrapper": message_set(1, 0, 1) + message_set(1, GZIP, 2),
        "wrong crc": bytes(flipped),
        "cut": message_set(1, 0, 2)[:-3],
        "no messages": b"",
        "few bytes": b"\0" * 9,
        "null wrapper": message(1, GZIP, None),
        "wrapper of nothing": message(1, GZIP, kafka.codec.gzip_encode(b"")),
        "wrapper of junk": message(1, GZIP, b"junk"),
        "nested": message(1, GZIP, kafka.codec.gzip_encode(message(1, GZIP, kafka.codec.gzip_encode(message(1, 0, b"x")))))[:],
        "formats differ inside": message(1, GZIP, kafka.codec.gzip_encode(message(0, 0, b"x"))),
        "codec 4": message(1, 4, b"x"),
        "codec 5": message(1, 5, b"x"),
        "offsets that jump": message_set(1, 0, 1, offset=7) + message_set(1, 0, 1, offset=3),
        "marked with append time": message(1, 0, b"x", attributes=8),
        "no time": message(1, 0, b"x", timestamp=-1),
        "negative time": message(1, 0, b"x", timestamp=-5),
        "wrapper in the future": message(1, GZIP, kafka.codec.gzip_encode(message(1, 0, b"x")), timestamp=T0 * 2),
        "key of a wrapper": message(1, GZIP, kafka.codec.gzip_encode(message(1, 0, b"x")), key=b"k"),
        "null value": message(0, 0, None, key=b"k"),
        "magic 3": message(3, 0, b"x"),
        "a batch": batch(0, 3),
        "two batches": batch(0, 1) + batch(0, 1),
        "a message and a batch": message_set(1, 0, 1) + batch(0, 1),
    }
    # we tell what Kafka calls an unknown error; and nothing that is cut is acknowledged
    ours_only = {"cut": 2, "few bytes": 87, "wrapper of junk": 2, "codec 5": 87, "negative time": 32}
    wrong = []
    for name, data in cases.items():
        for version in (0, 2, 3):
            partition = pair.partition()
            args = [None] if version >= 3 else []
            said = [produced(a) for a in pair.ask(lambda topic: ProduceRequest[version](*args, 1, 10000, [(topic, [(partition, data)])]))]
            if said[1] is not None and said[1][0][1] == ours_only.get(name):
                continue
            if said[0] != said[1]:
                wrong.append((name, version, said))
            elif said[0] is not None and said[0][0][1] == 0:
                kafkas, ours = both_fetch(pair, 4, partition, 0)
                if kafkas != ours:
                    wrong.append((name, version, kafkas, ours))
    assert wrong == [], "\n".join(map(repr, wrong))


def test_topics_settings(pair):
    for version in (0, 2, 3):
        data = message_set(1, 0, 2, key=None) if version < 3 else batch(0, 2)
        both_produce(pair, version, data, "compact", partition=version)
    for name in ("refuses", "zstd"):
        both_produce(pair, 3, batch(0, 2), name, partition=0)
        for version in range(5):
            kafkas, ours = both_fetch(pair, version, 0, 0, name)
            assert ours == kafkas, (name, version)
    partition, _, _ = both_produce(pair, 7, batch(4, 2))
    for version in range(4):
        kafkas, ours = both_fetch(pair, version, partition, 0)
        assert ours == kafkas and ours[0][1] == 76, version


def test_list_offsets_0(pair):
    for i in range(6):
        both_produce(pair, 2, message_set(1, 0, 10, value=b"x" * 100), "small", partition=0)
        time.sleep(0.02)  # the files' times differ
    future = int(time.time() * 1000) + 100000
    for timestamp in (-1, -2, -3, -4, -9, 0, 1, T0, future):
        for most in (0, 1, 2, 3, 100):
            for replica in (-1, -2):
                for partition in (0, 1):
                    kafkas, ours = pair.ask(lambda topic: OffsetRequest[0](replica, [(topic, [(partition, timestamp, most)])]), "small")
                    assert ours.topics[0][1] == kafkas.topics[0][1], (timestamp, most, replica, partition)
    kafkas, ours = pair.ask(lambda topic: OffsetRequest[0](-1, [(topic, [(77, -1, 1), (0, -1, 1), (0, -2, 1)])]), "small")
    assert ours.topics[0][1] == kafkas.topics[0][1]


def test_offsets_in_zookeeper(pair):
    """Version 0: what either writes the other reads."""
    (topic, kafkas), (_, ours) = pair.topics["plain"]

    def commit(broker, group, offsets, metadata=""):
        with Connection(broker) as c:
            return c.call(OffsetCommitRequest[0](group, [(topic, [(p, o, metadata) for p, o in offsets])])).topics

    def committed(broker, group, partitions):
        with Connection(broker) as c:
            return c.call(OffsetFetchRequest[0](group, [(topic, partitions)])).topics

    def as_map(topics):
        return {(t, p[0]): tuple(p[1:]) for t, parts in topics for p in parts}

    for i, (writer, reader) in enumerate(((kafkas, ours), (ours, kafkas))):
        group = f"old-{i}"
        assert as_map(commit(writer, group, [(0, 10 + i), (1, 0), (2, 1 << 62), (999, 5)])) == {
            (topic, 0): (0,), (topic, 1): (0,), (topic, 2): (0,), (topic, 999): (3,)}
        assert as_map(committed(reader, group, [0, 1, 2, 3, 999])) == as_map(committed(writer, group, [0, 1, 2, 3, 999]))
        assert as_map(committed(reader, group, [0, 3])) == {(topic, 0): (10 + i, "", 0), (topic, 3): (-1, "", 3)}
        assert as_map(commit(writer, group, [(0, -1)])) == {(topic, 0): (0,)}
        assert as_map(committed(reader, group, [0])) == as_map(committed(writer, group, [0]))
    for group, offset, metadata in (("g", 1, "x" * 4096), ("g", 1, "x" * 4097), ("g", -5, "")):
        assert as_map(commit(ours, group, [(0, offset)], metadata)) == as_map(commit(kafkas, group, [(0, offset)], metadata))
    pair.zk.set(f"/consumers/g/offsets/{topic}/0", b"no number")
    assert as_map(committed(ours, "g", [0])) == as_map(committed(kafkas, "g", [0]))


def test_small_limits(pair):
    """Where Kafka sends nothing or a filler, we send what fits, or the message cut for those who know no better."""
    partition, _, _ = both_produce(pair, 3, batch(0, 50))
    for version in range(4):
        for max_bytes in (500, 1000, 3000):
            kafkas, ours = both_fetch(pair, version, partition, 5, max_bytes=max_bytes)
            assert ours[0][:3] == kafkas[0][:3]
            assert ours[0][3] == both_fetch(pair, version, partition, 5)[1][0][3][: len(ours[0][3])]
            assert len(ours[0][3]) > 1, (version, max_bytes)
            assert len(ours[0][3]) >= len(kafkas[0][3]) or version == 3, max_bytes
