# SPDX-License-Identifier: Apache-2.0
"""One cluster of Kafka 3.9 and kafuka side by side: our brokers under Kafka's controller, then Kafka's broker under ours.
Both replicate from each other, elect each other, and take over."""
import json
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from cluster import Cluster, Process, answers, free_ports, kcat, wait_until  # noqa: E402

JARS = os.environ["KAFKA_JARS"]
KAFKA = 9  # its broker id; ours are 0 and 1
PARTITIONS = 6


class KafkaBroker(Process):
    def __init__(self, cluster):
        folder = cluster.folder / "kafka"
        folder.mkdir()
        (self.port,) = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        properties = folder / "server.properties"
        properties.write_text(
            f"broker.id={KAFKA}\nlisteners=PLAINTEXT://{self.address}\nlog.dirs={folder}/data\nzookeeper.connect={cluster.connect}\n"
            "zookeeper.session.timeout.ms=6000\nauto.leader.rebalance.enable=false\noffsets.topic.replication.factor=1\n")
        super().__init__("Kafka", ["java", "-Xmx512m", "-cp", f"{JARS}/*", "kafka.Kafka", properties], folder / "kafka.log")

    def start(self):
        super().start()
        wait_until(lambda: answers(self.port) or self.check(), 90, "Kafka to listen")

    def check(self):
        assert self.alive(), self.log_text()[-3000:]


class Mixed:
    """Kafka's broker and two of ours."""

    def __init__(self, folder):
        self.ours = Cluster(folder, count=2, options={"zookeeper.session.timeout.ms": 6000})
        self.ours.zookeeper.start()
        self.kafka = KafkaBroker(self.ours)
        self.zk = self.ours.zk_client()

    @property
    def bootstrap(self):
        return f"{self.kafka.address},{self.ours.bootstrap}"

    def controller(self):
        return json.loads(self.zk.get("/controller")[0])["brokerid"] if self.zk.exists("/controller") else None

    def wait_registered(self, *ids):
        wait_until(lambda: {int(i) for i in self.zk.get_children("/brokers/ids")} == set(ids), 60, f"brokers {ids}")

    def state(self, topic, partition):
        return json.loads(self.zk.get(f"/brokers/topics/{topic}/partitions/{partition}/state")[0])

    def wait_isr(self, topic, ids):
        wait_until(lambda: all(set(self.state(topic, p)["isr"]) == set(ids) for p in range(PARTITIONS)), 90, f"the ISRs of {topic} to be {ids}")

    def create(self, topic):
        rings = [[KAFKA, 0, 1], [0, 1, KAFKA], [1, KAFKA, 0]]
        document = {"version": 1, "partitions": {str(p): rings[p % 3] for p in range(PARTITIONS)}}
        self.zk.create(f"/brokers/topics/{topic}", json.dumps(document).encode())
        for p in range(PARTITIONS):
            wait_until(lambda: self.state(topic, p)["leader"] == rings[p % 3][0], 30, f"{topic}-{p} to have its leader")
        self.wait_metadata(topic)

    def wait_metadata(self, topic):
        """Until every broker, whoever made it, tells clients the same leaders and ISRs as ZooKeeper."""
        from confluent_kafka.admin import AdminClient

        def seen(address):
            partitions = AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(topic, timeout=10).topics[topic].partitions
            return {p: (x.leader, set(x.isrs)) for p, x in partitions.items()}

        for address in self.bootstrap.split(","):
            wait_until(lambda: seen(address) == {p: (self.state(topic, p)["leader"], set(self.state(topic, p)["isr"])) for p in range(PARTITIONS)},
                       30, f"{address} to know {topic}")

    def produce(self, topic, first, count):
        lines = "".join(f"{i}\n" for i in range(first, first + count)).encode()
        kcat("-P", "-b", self.bootstrap, "-t", topic, "-X", "acks=all", stdin=lines)

    def consume(self, topic):
        return sorted(int(x) for x in kcat("-C", "-b", self.bootstrap, "-t", topic, "-e", "-q").stdout.split())

    def stop(self):
        self.kafka.kill()
        self.zk.stop()
        self.zk.close()
        self.ours.stop()


@pytest.fixture
def mixed(tmp_path):
    m = Mixed(tmp_path / "mixed")
    yield m
    m.stop()


def test_kafka_and_kafuka_are_one_cluster_under_either_controller(mixed):
    ours = mixed.ours.brokers
    mixed.kafka.start()  # first: it is controller
    for b in ours:
        b.start()
    mixed.wait_registered(KAFKA, 0, 1)
    assert mixed.controller() == KAFKA
    mixed.create("one")
    mixed.produce("one", 0, 3000)
    mixed.wait_isr("one", [KAFKA, 0, 1])
    ours[0].kill()  # its partitions go on, and it is taken back
    mixed.wait_isr("one", [KAFKA, 1])
    mixed.produce("one", 3000, 1000)
    ours[0].start()
    mixed.wait_isr("one", [KAFKA, 0, 1])

    mixed.kafka.kill()  # ours takes over
    wait_until(lambda: mixed.controller() in (0, 1), 60, "a controller of ours")
    mixed.wait_isr("one", [0, 1])
    kcat("-P", "-b", mixed.ours.bootstrap, "-t", "one", "-X", "acks=all", stdin="".join(f"{i}\n" for i in range(4000, 5000)).encode())
    mixed.kafka.start()
    mixed.wait_isr("one", [KAFKA, 0, 1])  # it follows our leaders, by our controller's orders
    mixed.create("two")
    mixed.wait_metadata("one")
    mixed.produce("two", 0, 3000)
    follower = next(b for b in ours if b.id != mixed.controller())
    follower.kill()
    mixed.wait_isr("two", [KAFKA, mixed.controller()])
    mixed.produce("two", 3000, 1000)
    follower.start()
    mixed.wait_isr("two", [KAFKA, 0, 1])  # partitions that Kafka leads too: it asks our controller
    assert {mixed.state("two", p)["leader"] for p in range(PARTITIONS)} >= {KAFKA}
    assert mixed.consume("one") == list(range(5000)) and mixed.consume("two") == list(range(4000))

    mixed.zk.create("/admin/delete_topics/one")
    wait_until(lambda: not mixed.zk.exists("/brokers/topics/one"), 30, "the topic to go, Kafka's replica too")
    mixed.kafka.child.terminate()  # a controlled shutdown, with our controller
    wait_until(lambda: all(KAFKA not in mixed.state("two", p)["isr"] and mixed.state("two", p)["leader"] != KAFKA for p in range(PARTITIONS)),
               30, "Kafka's leaders to move")
    mixed.wait_registered(0, 1)
    assert "ERROR" not in mixed.kafka.log_text(), [x for x in mixed.kafka.log_text().splitlines() if "ERROR" in x][:5]
