# SPDX-License-Identifier: Apache-2.0
"""One broker of Kafka 3.9 and one of kafuka, each a cluster of its own behind one ZooKeeper, to be asked the same."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from cluster import Cluster, Process, answers, free_ports, wait_until  # noqa: E402
from wire import Closed, Peer  # noqa: E402

JARS = os.environ["KAFKA_JARS"]
OPTIONS = {"offsets.topic.num.partitions": 5, "offsets.topic.replication.factor": 1, "group.initial.rebalance.delay.ms": 0,
           "auto.create.topics.enable": "false", "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
           "transaction.state.log.num.partitions": 3}


class Kafka(Process):
    def __init__(self, folder, connect):
        folder.mkdir()
        (self.port,) = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        values = {"broker.id": 0, "listeners": f"PLAINTEXT://{self.address}", "log.dirs": folder / "data", "zookeeper.connect": connect, **OPTIONS}
        (folder / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in values.items()))
        super().__init__("Kafka", ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*", "kafka.Kafka",
                                   folder / "server.properties"], folder / "kafka.log")

    def start(self):
        super().start()
        wait_until(lambda: answers(self.port) or self.check(), 90, "Kafka to listen")

    def check(self):
        assert self.alive(), self.log_text()[-3000:]


class Both:
    """addresses: Kafka's and kafuka's."""

    def __init__(self, folder):
        self.ours = Cluster(folder, count=1, options=OPTIONS, chroot="/ours")
        self.ours.zookeeper.start()
        self.kafka = Kafka(folder / "kafka", f"127.0.0.1:{self.ours.zookeeper.port}/kafka")
        self.kafka.start()
        self.ours.start()
        self.addresses = [self.kafka.address, self.ours.brokers[0].address]

    def create_topic(self, name, partitions=1, **configs):
        """On both; returns when both lead all of it."""
        request = {"topics": [{"name": name, "num_partitions": partitions, "replication_factor": 1,
                               "configs": [{"name": k.replace("_", "."), "value": str(v)} for k, v in configs.items()]}], "timeout_ms": 30000}
        for address in self.addresses:
            with Peer(address) as c:
                answer = wait_until(lambda: self._created(c, request), 60, f"{address} to create {name}")
                wait_until(lambda: self._led(c, name, partitions), 60, f"{address} to lead {name}")
        return answer

    def find_group(self, group):
        """Until both say where the group's coordinator is and it has loaded the group's partition."""
        for address in self.addresses:
            with Peer(address) as c:
                wait_until(lambda: c.call("FindCoordinator", 1, {"key": group, "key_type": 0})["error_code"] == 0, 60, f"{address}: coordinator")
                wait_until(lambda: c.call("DescribeGroups", 0, {"groups": [group]})["groups"][0]["error_code"] == 0, 60, f"{address}: group")

    @staticmethod
    def _created(c, request):
        (topic,) = c.call("CreateTopics", 5, request)["topics"]
        assert topic["error_code"] in (0, 36, 41), topic  # done, there already, no controller yet
        return topic["error_code"] != 41

    @staticmethod
    def _led(c, name, partitions):
        (topic,) = c.call("ListOffsets", 1, {"replica_id": -1, "topics": [
            {"name": name, "partitions": [{"partition_index": p, "timestamp": -1} for p in range(partitions)]}]})["topics"]
        return all(p["error_code"] == 0 for p in topic["partitions"])

    def ask(self, question, timeout=30):
        """question(connection) of Kafka and of kafuka; "closed" where the connection was, "silent" where no answer came in time."""
        said = []
        for address in self.addresses:
            with Peer(address, timeout) as c:
                try:
                    said.append(question(c))
                except Closed:
                    said.append("closed")
                except TimeoutError:
                    said.append("silent")
        return said

    def stop(self):
        self.kafka.kill()
        self.ours.stop()
