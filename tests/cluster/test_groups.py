# SPDX-License-Identifier: Apache-2.0
"""Consumer groups through the broker, with clients that nobody here wrote: kcat, confluent-kafka, kafka-python."""
import json
import re
import urllib.error
import urllib.request

import groups
import pytest
from cluster import Cluster, kcat, wait_until

PARTITIONS = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("groups"),
                options={"offsets.topic.replication.factor": 3, "offsets.topic.num.partitions": 10, "group.initial.rebalance.delay.ms": 500,
                         "http.listener": "127.0.0.1:0"})
    try:
        yield c.start()
    finally:
        c.stop()


class World:
    """A topic that is written to all the time, its group, and the members there have ever been."""

    def __init__(self, cluster, name, folder, factor=1):
        self.cluster, self.topic, self.group, self.folder = cluster, name, f"g-{name}", folder
        cluster.create_topic(name, partitions=PARTITIONS, factor=factor)
        for b in cluster.brokers:  # kcat gives up when the broker that it asks does not know the topic yet
            wait_until(lambda: cluster.leader_and_isr(name, PARTITIONS - 1, b)[0] >= 0, 20, f"broker {b.id} to know {name}")
        self.partitions = [f"{name}-{p}" for p in range(PARTITIONS)]
        self.producer = groups.Producer(cluster.bootstrap, name, PARTITIONS, 200).start()
        self.members = []

    def start(self, kind, assignor="range", instance=None, session_ms=6000):
        name = f"{kind}{len(self.members)}"
        if kind == "kcat":
            m = groups.kcat_member(name, self.cluster.bootstrap, self.group, self.topic, assignor, session_ms, instance)
        else:
            m = groups.python_member(kind, name, self.folder, self.cluster.bootstrap, self.group, self.topic, assignor, instance, session_ms)
        self.members.append(m)
        m.start()
        return m

    @property
    def live(self):
        return [m for m in self.members if m.alive()]

    def settle(self, timeout=90):
        groups.wait_settled(self.live, self.partitions, timeout)
        groups.wait_caught_up(self.producer.acked, self.members, timeout)

    def finish(self):
        acked = self.producer.stop()
        groups.wait_caught_up(acked, self.members)
        for m in self.live:
            m.stop()
        assert groups.lost(acked, self.members) == []
        # of kcat the assignments and the records come by two pipes: what was first is not known
        groups.check([m for m in self.members if isinstance(m, groups.Member)], {})


def http_port(broker):
    return int(re.findall(r"http listening.* port=(\d+)", broker.log_text())[-1])


def get(broker, path):
    """(status, text)"""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port(broker)}{path}", timeout=20) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def coordinator(cluster, group):
    """The broker that shows the group's history, i.e. coordinates it."""
    for b in cluster.brokers:
        if b.alive() and get(b, f"/groups/history?group={group}")[0] == 200:
            return b
    return None


@pytest.mark.parametrize("kind,assignor", [("confluent", "range"), ("confluent", "roundrobin"), ("confluent", "cooperative-sticky"),
                                           ("kafka-python", "range"), ("kafka-python", "roundrobin"), ("kcat", "range")])
def test_members_come_and_go(cluster, tmp_path, kind, assignor):
    w = World(cluster, f"come-{kind}-{assignor}", tmp_path)
    w.start(kind, assignor)
    w.settle()
    second = w.start(kind, assignor)
    w.settle()
    w.start(kind, assignor)
    w.settle()
    if kind == "kcat":  # at SIGTERM it commits a record that it has not printed
        second.kill()
    else:
        second.stop()
    w.settle()
    w.finish()


def test_a_killed_member_is_replaced_within_its_session(cluster, tmp_path):
    w = World(cluster, "killed", tmp_path)
    first = w.start("confluent")
    w.start("kafka-python")
    w.settle()
    first.kill()
    w.settle(30)
    w.finish()
    status, text = get(wait_until(lambda: coordinator(cluster, w.group), 10, "the coordinator"), f"/groups/history?group={w.group}")
    history = json.loads(text)
    assert status == 200 and history["group"] == w.group
    assert any("heartbeat" in r["reason"] for r in history["rebalances"]), history
    assert [r["is_complete"] for r in history["rebalances"][:-1]] == [True] * (len(history["rebalances"]) - 1), history
    for b in cluster.brokers:
        if b is not coordinator(cluster, w.group):
            status, text = get(b, f"/groups/history?group={w.group}")
            assert status == 404 and json.loads(text)["coordinator"] == coordinator(cluster, w.group).id, text


def test_static_members_restart_without_a_rebalance(cluster, tmp_path):
    w = World(cluster, "static", tmp_path)
    w.start("confluent", instance="one", session_ms=20000)
    second = w.start("confluent", instance="two", session_ms=20000)
    w.settle()
    before = json.loads(get(coordinator(cluster, w.group), f"/groups/history?group={w.group}")[1])
    second.kill()
    again = w.start("confluent", instance="two", session_ms=20000)
    w.settle()
    after = json.loads(get(coordinator(cluster, w.group), f"/groups/history?group={w.group}")[1])
    assert after["generation"] == before["generation"], after
    assert again.owned() == second.owned()
    w.finish()


def test_the_coordinator_is_killed(cluster, tmp_path):
    w = World(cluster, "failover", tmp_path, factor=3)
    w.start("confluent")
    w.start("kafka-python")
    w.settle()
    broker = wait_until(lambda: coordinator(cluster, w.group), 10, "the coordinator")
    broker.kill()
    wait_until(lambda: coordinator(cluster, w.group), 30, "another coordinator")
    w.settle()
    broker.start()
    w.settle()
    w.finish()
    assert any("coordinator loaded" in b.log_text() for b in cluster.brokers if b is not broker)


def test_offsets_are_readable_records_and_kept(cluster, tmp_path):
    """What is committed is in __consumer_offsets as any consumer sees it; a restart of all brokers loses nothing."""
    from confluent_kafka import Consumer, TopicPartition

    cluster.create_topic("kept", partitions=2, factor=3)
    c = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "g-kept"})
    wanted = [TopicPartition("kept", 0, 11), TopicPartition("kept", 1, 22)]
    assert all(p.error is None for p in c.commit(offsets=wanted, asynchronous=False))
    out = kcat("-b", cluster.bootstrap, "-C", "-t", "__consumer_offsets", "-o", "beginning", "-e", "-q", "-f", "%k\n").stdout
    assert b"\x00\x01\x00\x06g-kept\x00\x04kept\x00\x00\x00\x01" in out
    for b in cluster.brokers:
        b.stop()
    for b in cluster.brokers:
        b.start(wait=False)
    for b in cluster.brokers:
        b.wait_ready()
    cluster.wait_brokers()
    assert [p.offset for p in c.committed([TopicPartition("kept", 0), TopicPartition("kept", 1)], timeout=60)] == [11, 22]
    c.close()


def test_the_offsets_topic_is_as_kafka_makes_it(cluster):
    out = cluster.tool("configs", "--bootstrap-server", cluster.bootstrap, "--entity-type", "topics", "--entity-name", "__consumer_offsets",
                       "--describe").stdout
    assert "cleanup.policy=compact" in out and "compression.type=producer" in out and "segment.bytes=104857600" in out, out
    from confluent_kafka.admin import AdminClient

    meta = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics("__consumer_offsets", timeout=20).topics["__consumer_offsets"]
    assert len(meta.partitions) == 10 and all(len(p.replicas) == 3 for p in meta.partitions.values())


def test_metrics_count_the_groups(cluster, tmp_path):
    w = World(cluster, "metrics", tmp_path)
    w.start("confluent")
    w.settle()
    text = get(coordinator(cluster, w.group), "/metrics")[1]
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert int(numbers['kafuka_groups{state="Stable"}']) >= 1 and int(numbers["kafuka_group_members"]) >= 1
    assert int(numbers["kafuka_group_rebalances_total"]) >= 1 and int(numbers["kafuka_group_appends_total"]) >= 1
    w.finish()


def test_offsets_of_a_deleted_topic_go(cluster):
    from confluent_kafka import Consumer, TopicPartition
    from confluent_kafka.admin import AdminClient

    cluster.create_topic("goes", partitions=1, factor=1)
    cluster.create_topic("stays", partitions=1, factor=1)
    c = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "g-deleted"})
    both = [TopicPartition("goes", 0, 5), TopicPartition("stays", 0, 6)]
    assert all(p.error is None for p in c.commit(offsets=both, asynchronous=False))
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    admin.delete_topics(["goes"])["goes"].result(30)
    wait_until(lambda: [p.offset for p in c.committed(both, timeout=20)] == [-1001, 6], 20, "the offset to go")
    c.close()


def test_too_few_brokers_for_the_offsets_topic_is_said(make_cluster):
    cluster = make_cluster(count=1, options={"offsets.topic.replication.factor": 3})
    kcat("-b", cluster.bootstrap, "-P", "-t", "t", stdin=b"x\n")
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    c = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "g"})
    with pytest.raises(KafkaException):
        c.committed([TopicPartition("t", 0)], timeout=5)
    c.close()
    line = wait_until(lambda: re.search(r".*__consumer_offsets cannot be created.*", cluster.brokers[0].log_text()), 10, "the log line").group()
    assert "offsets.topic.replication.factor=3" in line and "brokers_alive=1" in line and "set offsets.topic.replication.factor lower" in line
