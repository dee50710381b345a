# SPDX-License-Identifier: Apache-2.0
"""Broker groups of consumers that nobody here wrote: Kafka 3.9's Java consumer, librdkafka through confluent-kafka and kcat, and
kafka-python; each alone and, where their protocols meet, in one group.

INTEROP_BOOTSTRAP: the address of another cluster to run against (Apache Kafka itself, to try the test)."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import groups  # noqa: E402
from cluster import Cluster, wait_until  # noqa: E402

JARS = os.environ["KAFKA_JARS"]
HERE = pathlib.Path(__file__).resolve().parent
PARTITIONS = 6


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    subprocess.run(["javac", "-nowarn", "-cp", f"{JARS}/*", "-d", folder, HERE / "groups" / "GroupMember.java"], check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory):
    if os.environ.get("INTEROP_BOOTSTRAP"):
        yield os.environ["INTEROP_BOOTSTRAP"]
        return
    c = Cluster(tmp_path_factory.mktemp("groups"), options={"offsets.topic.replication.factor": 3, "group.initial.rebalance.delay.ms": 500})
    try:
        yield c.start().bootstrap
    finally:
        c.stop()


class World:
    """A topic that is written to all the time, and the members there have ever been."""

    def __init__(self, name, folder, bootstrap, classes):
        from confluent_kafka.admin import AdminClient, NewTopic

        self.topic, self.group, self.folder, self.bootstrap, self.classes = name, f"g-{name}", folder, bootstrap, classes
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
        self.partitions = [f"{name}-{p}" for p in range(PARTITIONS)]
        self.producer = groups.Producer(bootstrap, name, PARTITIONS, 300).start()
        self.members = []

    def start(self, kind, assignor, instance=None, session_ms=6000):
        name = f"{kind}{len(self.members)}"
        if kind == "java":
            argv = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{self.classes}:{JARS}/*", "GroupMember", "--bootstrap",
                    self.bootstrap, "--group", self.group, "--topic", self.topic, "--assignor", assignor, "--session-ms", session_ms]
            m = groups.Member(name, argv + (["--instance-id", instance] if instance else []), self.folder,
                              instance=instance)
        elif kind == "kcat":
            m = groups.kcat_member(name, self.bootstrap, self.group, self.topic, assignor, session_ms, instance)
        else:
            m = groups.python_member(kind, name, self.folder, self.bootstrap, self.group, self.topic, assignor, instance, session_ms)
        self.members.append(m)
        m.start()
        return m

    @property
    def live(self):
        return [m for m in self.members if m.alive()]

    def settle(self):
        groups.wait_settled(self.live, self.partitions)
        groups.wait_caught_up(self.producer.acked, self.members)

    def leave(self, m):
        """m leaves in order. kcat drops the record it has in hand at SIGTERM and commits it all the same: it leaves while nothing flows."""
        self.producer.hold()
        groups.wait_caught_up(self.producer.acked, self.members)
        m.stop()
        self.producer.flow()

    def finish(self):
        acked = self.producer.stop()
        assert len(acked) == PARTITIONS and self.producer.failed == 0
        groups.wait_caught_up(acked, self.members)
        for m in self.live:
            assert m.stop() in (0, 143), m.log_text()[-2000:]  # 143: a JVM after SIGTERM
        groups.check(self.members, acked)


@pytest.fixture
def world(request, tmp_path, bootstrap, classes):
    made = []

    def make():
        name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-") + f"-{time.time_ns() % 10**6}"
        made.append(World(name, tmp_path, bootstrap, classes))
        return made[-1]

    yield make
    for w in made:
        w.producer.stopped.set()
        for m in w.members:
            m.kill()


def come_and_go(w, kinds, assignor):
    """Members join one after the other; one is killed, one leaves in order."""
    for kind in kinds:
        w.start(kind, assignor)
    w.settle()
    first, *others = w.live
    w.leave(others[-1])
    w.settle()
    if first.argv[0] != "kcat":  # which commits what it is about to print
        first.kill()
        w.settle()
    w.start(kinds[0], assignor)
    w.settle()
    w.finish()


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "sticky", "cooperative-sticky"])
def test_java_alone(world, assignor):
    come_and_go(world(), ["java"] * 3, assignor)


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "cooperative-sticky"])
def test_librdkafka_alone(world, assignor):
    come_and_go(world(), ["confluent"] * 3, assignor)


@pytest.mark.parametrize("assignor", ["range", "roundrobin"])
def test_kafka_python_alone(world, assignor):
    come_and_go(world(), ["kafka-python"] * 3, assignor)


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "cooperative-sticky"])
def test_kcat_alone(world, assignor):
    come_and_go(world(), ["kcat"] * 3, assignor)


@pytest.mark.parametrize("assignor", ["range", "roundrobin"])
def test_all_in_one_group(world, assignor):
    come_and_go(world(), ["kafka-python", "java", "confluent", "kcat"], assignor)


def test_all_that_are_cooperative_in_one_group(world):
    come_and_go(world(), ["java", "confluent", "kcat"], "cooperative-sticky")


@pytest.mark.parametrize("kind", ["java", "confluent"])
def test_a_protocol_is_chosen_that_all_know(world, kind):
    w = world()
    w.start(kind, "range,roundrobin")
    w.start("kafka-python", "roundrobin")
    w.settle()
    w.finish()


@pytest.mark.parametrize("kind", ["java", "confluent"])
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_static_member_comes_back_without_a_rebalance(world, kind, ending):
    w = world()
    for i in range(3):
        w.start(kind, "range", instance=f"i{i}", session_ms=20000)
    w.settle()
    one, *others = w.live
    share, generation = one.owned(), max(m.generation() for m in w.live)
    assigned = {m.name: sum(e["e"] == "assigned" for e in m.events()) for m in others}
    before = [e for e in one.events() if e["e"] == "assigned"][-1]
    one.signal(ending)
    one.child.wait(timeout=30)
    again = w.start(kind, "range", instance="i0", session_ms=20000)
    w.settle()
    assert again.owned() == share == set(before["owned"])
    assert again.generation() == generation
    assert {m.name: sum(e["e"] == "assigned" for e in m.events()) for m in others} == assigned, "the others were rebalanced"
    w.finish()


def test_a_second_static_member_of_the_same_name_takes_over(world):
    w = world()
    w.start("confluent", "range", instance="twin")
    w.settle()
    second = w.start("confluent", "range", instance="twin")
    wait_until(lambda: second.owned() == set(w.partitions), 60, "the new process to own all")
    wait_until(lambda: any("fenced" in e.get("error", "").lower() for e in w.members[0].events()) or not w.members[0].alive(), 60,
               "the old process to be told that it is fenced")
    w.members[0].kill()
    w.settle()
    w.finish()
