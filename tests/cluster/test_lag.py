# SPDX-License-Identifier: Apache-2.0
"""The lag of groups in /metrics: broker groups by their coordinator, ZooKeeper groups by the controller, in records and in seconds."""
import re
import urllib.request

import pytest
from cluster import Cluster, free_ports, kcat, wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    pages = free_ports(3)
    c = Cluster(tmp_path_factory.mktemp("lag"),
                options={"offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 5, "group.initial.rebalance.delay.ms": 0,
                         "kafuka.lag.interval.ms": 200},
                broker_options={n: {"http.listener": f"127.0.0.1:{pages[n]}"} for n in range(3)})
    c.pages = pages
    try:
        yield c.start()
    finally:
        c.stop()


def claims(cluster):
    """name -> {(group, kind, topic, partition): (value, member)}, from all brokers; each claim by one broker only."""
    found = {}
    for port in cluster.pages:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as r:
            text = r.read().decode()
        for m in re.finditer(r'^(kafuka_group_(?:committed_offset|lag_records|lag_seconds))\{group="((?:[^"\\]|\\.)*)",kind="(\w+)",topic="([^"]*)",'
                             r'partition="(\d+)",member="([^"]*)"\} (\S+)$', text, re.M):
            name, group, kind, topic, partition, member, value = m.groups()
            key = (group, kind, topic, int(partition))
            assert key not in found.setdefault(name, {}), f"{key} is told by two brokers"
            found[name][key] = (float(value), member)
    return found


def records(cluster, key):
    return claims(cluster).get("kafuka_group_lag_records", {}).get(key, (None, None))[0]


def produce(cluster, topic, partition, count):
    kcat("-b", cluster.bootstrap, "-P", "-t", topic, "-p", str(partition), stdin=b"".join(b"%d\n" % i for i in range(count)))


def test_a_broker_group_in_records_and_seconds_on_partitions_of_all_leaders(cluster):
    from confluent_kafka import Consumer, TopicPartition

    cluster.create_topic("far", partitions=3, factor=1)  # one leader each, so two are asked for their ends
    group = 'with "quotes"'
    for p in range(3):
        produce(cluster, "far", p, 10)
    c = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, "enable.auto.commit": False})
    assert all(p.error is None for p in c.commit(offsets=[TopicPartition("far", p, p) for p in range(3)], asynchronous=False))
    keys = [('with \\"quotes\\"', "broker", "far", p) for p in range(3)]
    wait_until(lambda: [records(cluster, k) for k in keys] == [10, 9, 8], 20, "the lags of three leaders' partitions")

    c.commit(offsets=[TopicPartition("far", 0, 10)], asynchronous=False)
    wait_until(lambda: records(cluster, keys[0]) == 0, 20, "no lag after the commit")
    assert claims(cluster)["kafuka_group_lag_seconds"][keys[0]][0] == 0
    produce(cluster, "far", 0, 4)
    wait_until(lambda: records(cluster, keys[0]) == 4, 20, "four new records")
    first = claims(cluster)["kafuka_group_lag_seconds"][keys[0]][0]
    wait_until(lambda: claims(cluster)["kafuka_group_lag_seconds"][keys[0]][0] >= first + 1, 20, "the seconds to rise")
    assert records(cluster, keys[0]) == 4
    c.close()


def test_who_reads_a_partition_is_named(cluster):
    from confluent_kafka import Consumer

    cluster.create_topic("read", partitions=2, factor=1)
    produce(cluster, "read", 0, 5)
    produce(cluster, "read", 1, 5)
    c = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "g-read", "client.id": "reader", "auto.offset.reset": "earliest",
                  "enable.auto.commit": False})
    c.subscribe(["read"])
    got = []
    wait_until(lambda: got.extend(m for m in [c.poll(0.2)] if m is not None) or len(got) == 10, 60, "ten records")
    c.commit(asynchronous=False)

    def owned():
        told = claims(cluster).get("kafuka_group_lag_records", {})
        return all(told.get(("g-read", "broker", "read", p), (None, ""))[1].startswith("reader-") for p in (0, 1))

    wait_until(owned, 20, "both partitions with their member")
    c.close()
    wait_until(lambda: claims(cluster)["kafuka_group_lag_records"][("g-read", "broker", "read", 0)] == (0, ""), 20, "nobody after the close")


def test_a_zookeeper_group_is_told_by_the_controller(cluster):
    cluster.create_topic("old", partitions=2, factor=1)
    produce(cluster, "old", 0, 7)
    zk = cluster.zk_client()
    zk.create("/consumers/g-old/offsets/old/0", b"3", makepath=True)
    zk.create("/consumers/g-old/offsets/old/1", b"not a number", makepath=True)
    zk.create("/consumers/g-old/owners/old/0", b"g-old_host-1700000000000-0a1b2c3d-0", makepath=True)
    key = ("g-old", "zookeeper", "old", 0)
    wait_until(lambda: records(cluster, key) == 4, 20, "the lag of the ZooKeeper group")
    assert claims(cluster)["kafuka_group_committed_offset"][key] == (3, "g-old_host-1700000000000-0a1b2c3d")
    assert ("g-old", "zookeeper", "old", 1) not in claims(cluster)["kafuka_group_committed_offset"]

    controller = int(re.search(r'"brokerid":(\d+)', zk.get("/controller")[0].decode()).group(1))
    cluster.brokers[controller].stop()
    cluster.pages.remove(cluster.pages[controller])
    wait_until(lambda: key in claims(cluster).get("kafuka_group_committed_offset", {}), 40, "the next controller to tell it")
    zk.delete("/consumers/g-old", recursive=True)
    wait_until(lambda: key not in claims(cluster).get("kafuka_group_committed_offset", {}), 20, "the deleted group to go")
    zk.stop()
