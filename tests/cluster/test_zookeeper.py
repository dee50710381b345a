# SPDX-License-Identifier: Apache-2.0
"""What a person sees with zkCli, and what writing znodes by hand does."""
import json

import pytest
from cluster import kcat, wait_until


@pytest.fixture
def zk(shared_cluster):
    k = shared_cluster.zk_client()
    yield k
    k.stop()
    k.close()


def test_the_znodes_are_those_of_kafka(shared_cluster, zk):
    shared_cluster.create_topic("zt", partitions=2, factor=3)
    broker = json.loads(zk.get("/brokers/ids/0")[0])
    assert broker["host"] == "127.0.0.1" and broker["port"] == shared_cluster.brokers[0].port and broker["version"] == 5
    assert broker["endpoints"] == [f"PLAINTEXT://127.0.0.1:{shared_cluster.brokers[0].port}"]
    controller = json.loads(zk.get("/controller")[0])
    assert controller["version"] == 2 and controller["brokerid"] in (0, 1, 2)
    topic = json.loads(zk.get("/brokers/topics/zt")[0])
    assert topic["partitions"] == {"0": [0, 1, 2], "1": [1, 2, 0]} and topic["version"] == 3 and len(topic["topic_id"]) == 22
    state = json.loads(zk.get("/brokers/topics/zt/partitions/1/state")[0])
    assert state["leader"] == 1 and state["isr"] == [1, 2, 0] and state["leader_epoch"] == 0 and state["version"] == 1
    assert state["controller_epoch"] == int(zk.get("/controller_epoch")[0])
    assert json.loads(zk.get("/config/topics/zt")[0]) == {"version": 1, "config": {}}
    for path in ("/consumers", "/isr_change_notification", "/log_dir_event_notification", "/admin/delete_topics", "/config/changes",
                 "/latest_producer_id_block", "/brokers/seqid", "/config/users", "/config/clients", "/config/brokers", "/config/ips"):
        assert zk.exists(path), path
    assert json.loads(zk.get("/cluster/id")[0])["version"] == "1"


def test_a_topic_written_by_hand_comes_to_life(shared_cluster, zk):
    zk.create("/brokers/topics/by-hand", b'{"version":1,"partitions":{"0":[2,0],"1":[0,1]}}')
    wait_until(lambda: shared_cluster.leader_and_isr("by-hand", 1) == (0, [0, 1]), 20, "a leader")
    assert shared_cluster.leader_and_isr("by-hand", 0)[0] == 2
    wait_until(lambda: json.loads(zk.get("/brokers/topics/by-hand")[0]).get("topic_id"), 20, "a topic id")
    kcat("-b", shared_cluster.bootstrap, "-P", "-t", "by-hand", stdin=b"lives\n")
    assert kcat("-b", shared_cluster.bootstrap, "-C", "-t", "by-hand", "-e", "-q").stdout == b"lives\n"


def test_broken_znodes_disturb_nobody(shared_cluster, zk):
    zk.create("/brokers/topics/broken", b'{"version":1,"partitions":{"0":[')
    zk.create("/brokers/topics/odd", b'{"version":1,"partitions":{"zero":["a"],"-1":[0]}}')
    zk.create("/brokers/topics/good", b'{"version":1,"partitions":{"0":[1]}}')
    wait_until(lambda: shared_cluster.leader_and_isr("good", 0) == (1, [1]), 20, "the good one to get a leader")
    for t in ("broken", "odd"):
        zk.delete(f"/brokers/topics/{t}", recursive=True)
