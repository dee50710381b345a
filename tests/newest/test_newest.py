# SPDX-License-Identifier: Apache-2.0
"""The newest clients against three brokers: every client of the list that `run` writes does the same work, and what it did is checked
with other programs (kcat, librdkafka of the distribution, the segments on disk). README.md describes the drivers' commands."""
import collections
import json
import os
import re
import subprocess
import sys
import threading

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1] / "cluster"))
from cluster import Cluster, concatenated_logs, kcat, wait_until  # noqa: E402

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]  # in the order of their numbers in a batch
T0 = 1700000000000
# what `run` built: {"name": ..., "argv": [...], "lacks": [commands]}; one that it could not build has "broken" with the reason
PINNED = {c["name"]: c for c in json.loads(os.environ["KAFUKA_NEWEST_CLIENTS"])}

each_client = pytest.mark.parametrize("client", list(PINNED), indirect=True)


class Client:
    def __init__(self, bootstrap, name, argv=None, lacks=(), broken=None, **_):
        assert broken is None, f"{name} is not here: {broken}"
        self.bootstrap, self.name, self.argv, self.lacks = bootstrap, name, argv, lacks

    def start(self, command, *args):
        return subprocess.Popen([*self.argv, command, self.bootstrap, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def run(self, command, *args, timeout=60):
        """The lines that the driver prints for a command, which must succeed."""
        child = self.start(command, *args)
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            raise AssertionError(f"{self.name} {command} {args} did not end in {timeout} s: {out[-1000:]}{err[-3000:]}")
        assert child.returncode == 0, f"{self.name} {command} {args} ended with {child.returncode}: {out[-1000:]}{err[-3000:]}"
        return [json.loads(line) for line in out.splitlines()]


class Member:
    """A driver's `group` command as a process: what it has read so far, and how it leaves."""

    def __init__(self, client, topic, group):
        self.child, self.records, self.err = client.start("group", topic, group), [], []
        self.readers = [threading.Thread(target=self.read_out), threading.Thread(target=self.read_err)]
        for t in self.readers:
            t.start()

    def read_out(self):
        for line in self.child.stdout:
            self.records.append(json.loads(line))

    def read_err(self):
        self.err.extend(self.child.stderr)

    def leave(self):
        self.child.stdin.close()
        try:
            status = self.child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"a member did not leave in 30 s: {''.join(self.err)[-3000:]}")
        for t in self.readers:
            t.join()
        assert status == 0, f"a member ended with {status}: {''.join(self.err)[-3000:]}"

    def kill(self):
        self.child.kill()
        self.child.wait()
        for t in self.readers:
            t.join()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("newest"), options={"group.initial.rebalance.delay.ms": 0, "offsets.topic.num.partitions": 3,
                                                           "group.min.session.timeout.ms": 1000, "auto.create.topics.enable": "false"})
    try:
        yield c.start()
    finally:
        c.stop()


@pytest.fixture
def client(cluster, request, record_property):
    record_property("client", request.param)
    record_property("what", request.node.callspec.params.get("codec") or request.node.originalname.split("_")[1])
    return Client(cluster.bootstrap, **PINNED[request.param])


def records(topic, count):
    """What is written to a topic: (partition, timestamp, key, value, header), in order of the partition."""
    made = [(n % 3, T0 + n, f"k{n}", f"{topic} {n} {'v' * (200 + n % 500)}", str(n)) for n in range(count)]
    return sorted(made, key=lambda r: (r[0], r[1]))


def with_offsets(made):
    """The same with each record's offset, as of a topic that holds nothing else."""
    at = collections.Counter()
    out = []
    for r in made:
        out.append((r[0], at[r[0]], *r[1:]))
        at[r[0]] += 1
    return out


def in_order(lines):
    return sorted((r["partition"], r["offset"], r["timestamp"], r["key"], r["value"], r["header"]) for r in lines)


def read_by_kcat(cluster, topic, count):
    out = kcat("-b", cluster.bootstrap, "-C", "-t", topic, "-e", "-q", "-f", "%p\t%o\t%T\t%k\t%s\t%h\n").stdout.decode()
    fields = [line.split("\t") for line in out.splitlines()]
    assert len(fields) == count
    return sorted((int(p), int(o), int(t), k, s, h.removeprefix("n=")) for p, o, t, k, s, h in fields)


def codecs_on_disk(cluster, topic):
    """The codecs of the batches that the partitions' leaders hold."""
    found = set()
    for p in range(3):
        leader, _ = cluster.leader_and_isr(topic, p)
        log, at = concatenated_logs(cluster.brokers[leader], topic, p), 0
        assert log
        while at < len(log) and log[at + 8:at + 12] != b"\0\0\0\0":
            found.add(CODECS[int.from_bytes(log[at + 21:at + 23], "big") & 7])
            at += 12 + int.from_bytes(log[at + 8:at + 12], "big")
    return found


def write(cluster, topic, made, codec="none"):
    """Writes records with librdkafka of the distribution."""
    failed = []
    p = confluent_kafka.Producer({"bootstrap.servers": cluster.bootstrap, "compression.type": codec, "linger.ms": 20})
    for partition, timestamp, key, value, header in made:
        p.produce(topic, value, key, partition, lambda e, m: failed.append(e) if e else None, timestamp=timestamp, headers=[("n", header)])
    assert p.flush(30) == 0 and not failed, failed


@pytest.fixture(scope="session")
def source(cluster):
    """A topic that holds 60 records of each codec, and what they are."""
    name = "source"
    cluster.create_topic(name, partitions=3, factor=3)
    everything = records(name, 60 * len(CODECS))
    for i, codec in enumerate(CODECS):
        write(cluster, name, everything[60 * i:60 * (i + 1)], codec)
    assert codecs_on_disk(cluster, name) == set(CODECS)
    return name, everything


@each_client
def test_metadata_of_all_topics(cluster, client, source):
    expected = {t.topic: len(t.partitions) for t in AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=20).topics.values()}
    (line,) = client.run("metadata")
    internal = {"__consumer_offsets"}  # some clients leave internal topics out
    assert {t: n for t, n in line["topics"].items() if t not in internal} == {t: n for t, n in expected.items() if t not in internal}


@each_client
def test_produce(cluster, client):
    topic, count = f"{client.name}-produce", 1500
    cluster.create_topic(topic, partitions=3, factor=3)
    said = client.run("produce", topic, "none", count)
    got = read_by_kcat(cluster, topic, count)
    assert got == with_offsets(records(topic, count))
    assert sorted((r["partition"], r["offset"], r["key"]) for r in said) == [(p, o, k) for p, o, _, k, _, _ in got]


@each_client
def test_consume(client, source):
    topic, made = source
    assert in_order(client.run("consume", topic, len(made))) == with_offsets(made)


@pytest.mark.parametrize("codec", CODECS)
@each_client
def test_codec(cluster, client, codec):
    topic, count = f"{client.name}-{codec}", 300
    cluster.create_topic(topic, partitions=3, factor=3)
    client.run("produce", topic, codec, count)
    assert codecs_on_disk(cluster, topic) == {codec}
    assert read_by_kcat(cluster, topic, count) == with_offsets(records(topic, count))
    assert in_order(client.run("consume", topic, count)) == with_offsets(records(topic, count))


@each_client
def test_group_of_two(cluster, client):
    """Two members share the partitions; one leaves, the other has all; what was committed is the end, and nobody lost a record."""
    topic = group = f"{client.name}-group"
    cluster.create_topic(topic, partitions=3, factor=3)
    written = []

    def write_more():
        made = [(n % 3, T0 + n, f"k{n}", f"{topic} {n}", str(n)) for n in range(len(written), len(written) + 30)]
        write(cluster, topic, made)
        written.extend(made)

    def keys(*members):
        return {r["key"] for m in members for r in m.records}

    def all_read(*members):
        return keys(*members) == {r[2] for r in written}

    members = []
    try:
        write_more()
        members.append(first := Member(client, topic, group))
        wait_until(lambda: all_read(first), 30, f"one member to read {len(written)} records")
        members.append(second := Member(client, topic, group))

        def both_read():
            before = len(first.records), len(second.records)
            write_more()
            wait_until(lambda: all_read(first, second), 30, "two members to read every record")
            return len(first.records) > before[0] and len(second.records) > before[1]

        wait_until(both_read, 60, "both members to get records of the same moment")
        second.leave()
        write_more()
        wait_until(lambda: all_read(first, second), 30, "the member that stays to read every record")
        first.leave()
    except AssertionError as e:
        raise AssertionError(f"{e}; members wrote: {[''.join(m.err)[-2000:] for m in members]}") from None
    finally:
        for m in members:
            m.kill()
    values = {(r["partition"], r["timestamp"], r["key"], r["value"], r["header"]) for m in (first, second) for r in m.records}
    assert values == set(written)
    asking = confluent_kafka.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group})
    committed = asking.committed([confluent_kafka.TopicPartition(topic, p) for p in range(3)], timeout=20)
    asking.close()
    assert {c.partition: c.offset for c in committed} == {p: len(written) // 3 for p in range(3)}


@each_client
def test_admin(cluster, client):
    """Creates, lists, describes and deletes a topic; each step is checked from outside."""
    topic, admin = f"{client.name}-admin", AdminClient({"bootstrap.servers": cluster.bootstrap})
    client.run("create", topic)
    made = wait_until(lambda: admin.list_topics(timeout=20).topics[topic].partitions, 30, f"{topic} to be listed")
    assert [len(made[p].replicas) for p in range(3)] == [3, 3, 3] and len(made) == 3
    resource = ConfigResource("topic", topic)
    expected = {c.name: c.value for c in admin.describe_configs([resource])[resource].result(20).values()}
    assert expected["retention.ms"] == "123456789"
    if "configs" not in client.lacks:
        (line,) = client.run("configs", topic)
        assert line["configs"] == expected
    wait_until(lambda: client.run("metadata")[0]["topics"].get(topic) == 3, 30, f"{client.name} to list {topic}")
    client.run("delete", topic)
    wait_until(lambda: topic not in admin.list_topics(timeout=20).topics, 30, f"{topic} to be gone")
    wait_until(lambda: topic not in client.run("metadata")[0]["topics"], 30, f"{client.name} to list {topic} no more")


@each_client
def test_transactions_end_at_once_with_the_reason(client):
    """There is no transaction coordinator yet: init_transactions says so at once instead of trying again. (sarama asks 50 times, 100 ms
    apart, whatever the reason.)"""
    (line,) = client.run("transaction", f"{client.name}-tx", timeout=90)
    assert re.search(r"transactional[ _]?id[ _a-z]*author", line["error"], re.IGNORECASE), line
    assert line["seconds"] < (10 if client.name == "sarama" else 5), line
