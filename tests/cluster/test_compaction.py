# SPDX-License-Identifier: Apache-2.0
"""Topics with cleanup.policy=compact: they shrink on every replica, keep each key's last value and every offset, also through kills."""
import contextlib
import random
import re
import time
import urllib.request

import confluent_kafka
import pytest
from cluster import free_ports, wait_until

FAST = {"log.cleaner.backoff.ms": 100, "log.segment.delete.delay.ms": 100, "log.flush.offset.checkpoint.interval.ms": 500}
CONFIGS = {"cleanup_policy": "compact", "segment_bytes": 20000, "min_cleanable_dirty_ratio": 0.2, "index_interval_bytes": 1000}
FAULTS = ["log.clean.create", "log.clean.write", "log.clean.index", "log.clean.sync", "log.clean.rename=kill:2", "log.clean.rename=kill:5",
          "log.clean.delete=kill:1", "log.clean.delete=kill:2", "log.clean.rename=kill:6", "log.clean.rename=kill:8", "log.clean.after_swap",
          "log.checkpoint.write=kill:2"]


class Keys:
    """Writes values to few keys; knows the last acknowledged one of each, and what each offset holds."""

    def __init__(self, cluster, topic, partition=0, keys=40, codec="none"):
        self.topic, self.partition, self.keys, self.sent = topic, partition, keys, 0
        self.last, self.at, self.pending = {}, {}, {}
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": cluster.bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 1, "batch.num.messages": 20,
            "compression.type": codec, "message.timeout.ms": 90000, "reconnect.backoff.max.ms": 500})
        self.random = random.Random(4)

    def write(self, count, tombstones=0.05):
        for _ in range(count):
            key = b"key-%d" % self.random.randrange(self.keys)
            value = None if self.random.random() < tombstones else b"value-%d-" % self.sent + b"x" * self.random.randrange(80)
            self.sent += 1
            self.pending[key] = value
            while True:
                try:
                    self.producer.produce(self.topic, value, key=key, partition=self.partition, on_delivery=self.delivered)
                    break
                except BufferError:
                    self.producer.poll(0.05)
            self.producer.poll(0)

    def flush(self, timeout=90):
        assert self.producer.flush(timeout) == 0

    def delivered(self, error, message):
        assert error is None, error
        self.at[message.offset()] = (message.key(), message.value())
        if message.offset() >= self.last.get(message.key(), (-1, None))[0]:
            self.last[message.key()] = (message.offset(), message.value())


def read_all(cluster, topic, partition=0):
    """Every record from the start to the end: [(offset, key, value)]."""
    c = confluent_kafka.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "unused", "enable.auto.commit": False,
                                  "auto.offset.reset": "earliest", "enable.partition.eof": True})
    got = []
    try:
        c.assign([confluent_kafka.TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING)])
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline, f"no end of {topic}-{partition} after {len(got)} records"
            m = c.poll(1)
            if m is None:
                continue
            if m.error():
                if m.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    return got
                continue
            got.append((m.offset(), m.key(), m.value()))
    finally:
        c.close()


def check(cluster, keys):
    got = read_all(cluster, keys.topic, keys.partition)
    assert [o for o, _, _ in got] == sorted({o for o, _, _ in got})
    for offset, key, value in got:
        if offset in keys.at:
            assert keys.at[offset] == (key, value), f"offset {offset} holds another record than was written there"
    last = {}
    for offset, key, value in got:
        last[key] = (offset, value)
    for key, (offset, value) in keys.last.items():
        if value is not None or key in last:  # a tombstone may be gone, with all before it
            assert last.get(key) == (offset, value), key
    return len(got)


def size(broker, topic, partition=0):
    total = 0
    for p in (broker.data / f"{topic}-{partition}").glob("*.log"):
        with contextlib.suppress(FileNotFoundError):  # the cleaner has just replaced it
            total += p.stat().st_size
    return total


def metric(port, name):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_compact_topic_shrinks_on_every_replica(make_cluster, codec):
    ports = free_ports(3)
    c = make_cluster(count=3, options=FAST, broker_options={n: {"http.listener": f"127.0.0.1:{ports[n]}"} for n in range(3)})
    c.create_topic("t", factor=3, **CONFIGS)
    keys = Keys(c, "t", codec=codec)
    keys.write(20000)
    keys.flush()
    written = sum(len(k) + len(v or b"") for k, v in keys.at.values())
    for b in c.brokers:
        wait_until(lambda: size(b, "t") < 60000, 60, f"broker {b.id}'s replica to shrink: {size(b, 't')} bytes of {written}")
        assert metric(ports[b.id], "kafuka_log_cleaner_runs_total") > 0
        assert metric(ports[b.id], "kafuka_log_cleaner_uncleanable_partitions") == 0
    for leader in range(3):  # each replica, as leader, shows the same
        others = [b for b in c.brokers if b.id != leader]
        assert check(c, keys) < 5000
        old, _ = c.leader_and_isr("t", 0)
        c.brokers[old].stop()
        wait_until(lambda: c.leader_and_isr("t", 0, next(b for b in c.brokers if b.alive()))[0] not in (-1, old), 30, "another leader")
        keys.write(200)
        keys.flush()
        assert check(c, keys) < 5000
        c.brokers[old].start()
        c.wait_isr("t", 1, 3)
        assert others
    tool = c.tool("dump-log", "--files", next(iter(sorted((c.brokers[0].data / "t-0").glob("*.log")))))
    assert "baseOffset" in tool.stdout


def test_a_record_without_key_is_refused(make_cluster):
    c = make_cluster(count=1)
    c.create_topic("t", **CONFIGS)
    errors = []
    p = confluent_kafka.Producer({"bootstrap.servers": c.bootstrap})
    p.produce("t", b"no key", on_delivery=lambda e, m: errors.append(e))
    p.produce("t", b"v", key=b"k", on_delivery=lambda e, m: errors.append(e))
    assert p.flush(30) == 0
    assert sorted(e.code() if e else 0 for e in errors)[-1] == confluent_kafka.KafkaError.INVALID_RECORD


def test_a_broker_that_dies_at_any_step_of_a_compaction_loses_nothing(make_cluster):
    c = make_cluster(count=1, options=FAST)
    c.create_topic("t", **CONFIGS)
    b = c.brokers[0]
    keys = Keys(c, "t")
    for fault in FAULTS:
        b.kill()
        b.env["KAFUKA_FAULT"] = fault if "=" in fault else f"{fault}=kill"
        b.start()
        deadline = time.monotonic() + 60
        while b.alive():
            assert time.monotonic() < deadline, f"the broker has not met {fault}"
            keys.write(300)
            time.sleep(0.05)
        b.child.wait()
        del b.env["KAFUKA_FAULT"]
        b.start()
        keys.flush()
        check(c, keys)
    wait_until(lambda: size(b, "t") < 60000, 60, "the log to shrink")
    # not at once: a compaction may be under way
    wait_until(lambda: not [*(b.data / "t-0").glob("*.cleaned"), *(b.data / "t-0").glob("*.swap")], 60, "the compaction's files to be gone")
    check(c, keys)
    b.stop()
    b.start()
    check(c, keys)


def test_kills_under_load_keep_every_keys_last_value(make_cluster):
    c = make_cluster(count=3, options=FAST)
    c.create_topic("t", factor=3, min_insync_replicas=2, **CONFIGS)
    keys = Keys(c, "t")
    for n in range(6):
        victim = c.brokers[n % 3]
        keys.write(1500)
        victim.kill()
        keys.write(1500)
        victim.start()
        c.wait_isr("t", 1, 3)
    keys.flush()
    for b in c.brokers:
        wait_until(lambda: size(b, "t") < 60000, 60, f"broker {b.id}'s replica to shrink")
    check(c, keys)
