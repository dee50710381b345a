# SPDX-License-Identifier: Apache-2.0
"""Burrow, LinkedIn's watcher of consumer lag (Debian package burrow), sees the lag that kafuka-consumer-groups shows: of a group of the
brokers, from the records of __consumer_offsets, and of a ZooKeeper group, from its znodes."""
import contextlib
import json
import re
import shutil
import urllib.request

import confluent_kafka
import pytest
from cluster import Process, free_ports, kcat, wait_until

BURROW = shutil.which("Burrow")
TOPIC, PARTITIONS, RECORDS = "watched", 4, 400

pytestmark = pytest.mark.skipif(not BURROW, reason="Burrow is not installed (Debian: burrow)")


@contextlib.contextmanager
def burrow_on(cluster, tmp_path):
    """Its address; it watches the cluster, refreshing each second. /consumers and __consumer_offsets must exist, or it ends."""
    (port,) = free_ports(1)
    brokers = json.dumps([b.address for b in cluster.brokers])
    zookeeper = json.dumps([cluster.connect])
    (tmp_path / "burrow.toml").write_text(f"""
[general]
pidfile="{tmp_path}/burrow.pid"
[logging]
filename="{tmp_path}/burrow.log"
level="debug"
[zookeeper]
servers={zookeeper}
timeout=6
root-path="/burrow"
[client-profile.test]
client-id="burrow-test"
kafka-version="2.0.0"
[cluster.local]
class-name="kafka"
servers={brokers}
client-profile="test"
topic-refresh=2
offset-refresh=1
[consumer.brokers]
class-name="kafka"
cluster="local"
servers={brokers}
client-profile="test"
[consumer.zookeeper]
class-name="kafka_zk"
cluster="local"
servers={zookeeper}
zookeeper-timeout=6
[httpserver.default]
address="127.0.0.1:{port}"
[storage.default]
class-name="inmemory"
workers=2
intervals=3
expire-group=3600
min-distance=0
""")
    p = Process("burrow", [BURROW, "-config-dir", tmp_path], tmp_path / "burrow.out")
    p.start()

    def knows():
        """Burrow 1.2.1 ends with a panic of its own (a nil *storage.brokerOffset) when it meets an offset of a partition whose end it has not
        asked for yet: it is started again then."""
        if not p.alive():
            assert p.log_text().count("panic:") <= 5 and "nil, not *storage.brokerOffset" in p.log_text(), p.log_text()
            p.start()
        return ask(f"http://127.0.0.1:{port}", f"topic/{TOPIC}")["offsets"]

    try:
        # what a group committed before Burrow knows the topic is dropped
        wait_until(knows, 60, f"Burrow to know {TOPIC}")
        yield f"http://127.0.0.1:{port}"
        assert p.alive(), p.log_text()
    finally:
        p.kill()


def ask(address, path):
    with urllib.request.urlopen(f"{address}/v3/kafka/local/{path}", timeout=5) as answer:
        return json.load(answer)


def burrow_lag(address, group):
    """{partition: lag} of TOPIC."""
    status = ask(address, f"consumer/{group}/lag")["status"]
    return {p["partition"]: p["current_lag"] for p in status["partitions"] if p["topic"] == TOPIC}


def our_lag(cluster, *args):
    out = cluster.tool("consumer-groups", *args).stdout
    return {int(m[1]): int(m[2]) for m in re.finditer(rf"^(?:\S+ +)?{TOPIC} +(\d+) +\d+ +\d+ +(\d+) ", out, re.M)}


def write(cluster):
    kcat("-b", cluster.bootstrap, "-P", "-t", TOPIC, "-X", "acks=all", "-X", "partitioner=random",
         "-X", "sticky.partitioning.linger.ms=0",  # each record is placed by itself, however fast they come
         stdin="".join(f"{i}\n" for i in range(RECORDS)).encode())


def commit(cluster, at):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "watched-brokers", "enable.auto.commit": False})
    consumer.commit(offsets=[confluent_kafka.TopicPartition(TOPIC, p, at + p) for p in range(PARTITIONS)], asynchronous=False)
    consumer.close()


def consume(cluster, count):
    cluster.tool("console-consumer", "--zookeeper", cluster.connect, "--topic", TOPIC, "--group", "watched-zookeeper", "--consumer-property",
                 "auto.offset.reset=smallest", "--max-messages", count)


def test_burrow_and_we_see_the_same_lag(shared_cluster, tmp_path):
    c = shared_cluster
    c.create_topic(TOPIC, partitions=PARTITIONS, factor=3)
    write(c)
    commit(c, 3)
    consume(c, RECORDS)  # so that every partition has an offset
    with burrow_on(c, tmp_path) as burrow:
        commit(c, 7)
        write(c)
        consume(c, 80)
        write(c)
        brokers = ("--bootstrap-server", c.bootstrap, "--describe", "--group", "watched-brokers")
        zookeeper = ("--zookeeper", c.connect, "--describe", "--group", "watched-zookeeper")
        for group, args in (("watched-brokers", brokers), ("watched-zookeeper", zookeeper)):
            ours = our_lag(c, *args)
            assert len(ours) == PARTITIONS, c.tool("consumer-groups", *args).stdout
            try:
                wait_until(lambda: burrow_lag(burrow, group) == ours, 20, f"Burrow to see {ours}")
            except AssertionError as e:
                raise AssertionError(f"{e}; it sees {burrow_lag(burrow, group)}") from None
    assert sum(our_lag(c, *brokers).values()) == 3 * RECORDS - sum(7 + p for p in range(PARTITIONS))
    assert sum(our_lag(c, *zookeeper).values()) == 2 * RECORDS - 80
