# SPDX-License-Identifier: Apache-2.0
"""Kafka 1.1.1's own ZooKeeper consumer (the last release that had it) on our brokers, alone and in one group with ours.

INTEROP_BOOTSTRAP and INTEROP_ZOOKEEPER: another cluster to run against (Apache Kafka itself, to try the test)."""
import os
import pathlib
import re
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import cluster as cluster_module  # noqa: E402
import groups  # noqa: E402
from cluster import Cluster, wait_until  # noqa: E402

OLD_JARS = os.environ["KAFKA_OLD_JARS"]
PARTITIONS, RATE = 10, 100
SESSION_MS = 3000
PROPERTIES = {"zookeeper.session.timeout.ms": SESSION_MS, "auto.commit.interval.ms": 500,
              "rebalance.backoff.ms": 500, "rebalance.max.retries": 20, "zookeeper.sync.time.ms": 200}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """(bootstrap, zookeeper)"""
    if os.environ.get("INTEROP_BOOTSTRAP"):
        yield os.environ["INTEROP_BOOTSTRAP"], os.environ["INTEROP_ZOOKEEPER"]
        return
    c = Cluster(tmp_path_factory.mktemp("old"))
    try:
        c.start()
        yield c.bootstrap, c.connect
    finally:
        c.stop()


class Group:
    def __init__(self, name, folder, system):
        from confluent_kafka.admin import AdminClient, NewTopic

        self.bootstrap, self.connect = system
        self.topic, self.group, self.folder = name, f"g-{name}", folder
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
        self.partitions = {f"{name}-{p}" for p in range(PARTITIONS)}
        self.producer = groups.Producer(self.bootstrap, name, PARTITIONS, RATE, by_value=True).start()
        self.owners = groups.Owners(self.connect, self.group, name, PARTITIONS)
        self.members = []

    def parse(self, _, line):
        return {"e": "records", "r": [[f"{self.topic}-{int(line) % PARTITIONS}", int(line)]]} if re.fullmatch(r"\d+", line) else None

    def start(self, kind):
        name = f"{kind}{len(self.members)}"
        if kind == "old":
            argv = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-cp", f"{OLD_JARS}/*", "kafka.tools.ConsoleConsumer"]
        else:
            argv = [cluster_module.BUILD / "kafuka", "console-consumer"]
        argv += ["--zookeeper", self.connect, "--topic", self.topic, "--group", self.group]
        # Kafka's program refuses to begin at the smallest offset in a group that has some: only the first one is told to
        first = {} if self.members else {"auto.offset.reset": "smallest"}
        for k, v in {**PROPERTIES, **first, "consumer.id": name}.items():
            argv += ["--consumer-property", f"{k}={v}"]
        env = dict(os.environ, **cluster_module.SANITIZER_ENV)
        m = groups.zookeeper_member(name, argv, self.owners, self.group, self.parse, env)
        self.members.append(m)
        m.start()
        return m

    @property
    def live(self):
        return [m for m in self.members if m.alive()]

    def settle(self):
        groups.wait_settled(self.live, self.partitions, 90)
        groups.wait_caught_up(self.producer.acked, self.members)

    def rule(self):
        """Shares by Kafka's own rule: members in the order of their ids, the first ones have one more."""
        names = sorted(m.name for m in self.live)
        each, more = divmod(PARTITIONS, len(names))
        at, shares = 0, {}
        for i, name in enumerate(names):
            n = each + (i < more)
            shares[name], at = {f"{self.topic}-{p}" for p in range(at, at + n)}, at + n
        return shares

    def check_rule(self):
        wait_until(lambda: {m.name: m.owned() for m in self.live} == self.rule(), 60, f"shares by Kafka's rule: {self.rule()}")

    def leave(self, m):
        """In order, while nothing flows: Kafka's program commits what it has been handed, printed or not."""
        self.producer.hold()
        groups.wait_caught_up(self.producer.acked, self.members)
        status = m.stop()
        assert status in (0, 143), m.log_text()  # 143: a JVM after SIGTERM
        self.producer.flow()

    def finish(self):
        acked = self.producer.stop()
        groups.wait_caught_up(acked, self.members)
        assert not groups.not_owner(self.members, self.owners, self.group, lambda m, t: 1)
        for m in self.live:
            assert m.events(), f"{m.name} got nothing"
            m.stop()


@pytest.fixture
def group(request, tmp_path, system):
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-") + f"-{time.time_ns() % 10**6}"
    g = Group(name, tmp_path, system)
    yield g
    g.producer.stopped.set()
    for m in g.members:
        m.kill()
    g.owners.stop()


def come_and_go(g, first, second):
    one = g.start(first)
    g.settle()
    two = g.start(second)
    g.settle()
    g.check_rule()
    third = g.start("old")
    g.settle()
    g.check_rule()
    two.kill()
    g.settle()
    g.start(second)
    g.settle()
    g.check_rule()
    g.leave(one)
    g.settle()
    g.leave(third)
    g.settle()
    g.finish()


def test_old_consumers_alone(group):
    come_and_go(group, "old", "old")


def test_old_and_ours_share_a_group(group):
    come_and_go(group, "old", "ours")


def test_offsets_are_handed_from_one_kind_to_the_other(group):
    """What one has committed in ZooKeeper is where the other begins."""
    g = group
    for kind in ("old", "ours", "old"):
        m = g.start(kind)
        g.settle()
        g.leave(m)
    g.producer.hold()
    g.producer.flow()
    counts = {}
    for m in g.members:
        for e in m.events():
            for _, n in e["r"]:
                counts[n] = counts.get(n, 0) + 1
    assert max(counts.values()) == 1, "a record came twice although each left in order"
    g.start("ours")
    g.settle()
    g.finish()
