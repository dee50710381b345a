# SPDX-License-Identifier: Apache-2.0
"""What the controller decides, seen in ZooKeeper and by clients: topics that grow and go, elections and reassignments that
old tools ask for by znodes, brokers that stop answering."""
import json
import signal

import pytest
from cluster import kcat, wait_until


@pytest.fixture
def cluster(make_cluster):
    return make_cluster(count=3)


@pytest.fixture
def zk(cluster):
    k = cluster.zk_client()
    yield k
    k.stop()
    k.close()


def state(zk, topic, partition):
    return json.loads(zk.get(f"/brokers/topics/{topic}/partitions/{partition}/state")[0])


def controller(zk):
    return json.loads(zk.get("/controller")[0])["brokerid"] if zk.exists("/controller") else None


def make_topic(cluster, zk, name, partitions):
    document = {"version": 1, "partitions": {str(i): replicas for i, replicas in enumerate(partitions)}}
    zk.create(f"/brokers/topics/{name}", json.dumps(document).encode())
    for b in cluster.brokers:  # a client may ask any of them
        for p, replicas in enumerate(partitions):
            wait_until(lambda: not b.alive() or cluster.leader_and_isr(name, p, b) == (replicas[0], replicas), 20, f"broker {b.id} to know {name}-{p}")


def produce(cluster, topic, lines):
    kcat("-b", cluster.bootstrap, "-P", "-t", topic, "-X", "acks=all", stdin="".join(f"{x}\n" for x in lines).encode())


def consume(cluster, topic):
    return sorted(kcat("-b", cluster.bootstrap, "-C", "-t", topic, "-e", "-q").stdout.decode().split())


def test_a_topic_grows_by_its_znode_and_goes_with_its_files(cluster, zk):
    make_topic(cluster, zk, "t", [[0, 1, 2]])
    document = json.loads(zk.get("/brokers/topics/t")[0])
    document["partitions"]["1"] = [2, 1]
    zk.set("/brokers/topics/t", json.dumps(document).encode())
    wait_until(lambda: cluster.leader_and_isr("t", 1) == (2, [2, 1]), 20, "the new partition")
    produce(cluster, "t", range(100))
    zk.create("/admin/delete_topics/t")
    wait_until(lambda: not zk.exists("/brokers/topics/t") and not zk.exists("/admin/delete_topics/t"), 20, "t to be deleted")
    for b in cluster.brokers:
        wait_until(lambda: not list(b.data.glob("t-[0-9]")), 20, f"broker {b.id} to have no replica of t")
    make_topic(cluster, zk, "t", [[1, 2]])  # the name is free again, and empty
    assert consume(cluster, "t") == []


def test_deletion_waits_for_an_absent_broker_and_ends_when_it_is_back(cluster, zk):
    make_topic(cluster, zk, "t", [[0, 1, 2]])
    cluster.brokers[1].kill()
    wait_until(lambda: state(zk, "t", 0)["isr"] == [0, 2], 20, "the ISR to shrink")
    zk.create("/admin/delete_topics/t")
    wait_until(lambda: not list(cluster.brokers[0].data.glob("t-[0-9]")), 20, "the live replicas to go")
    assert zk.exists("/brokers/topics/t")
    cluster.brokers[1].start()
    wait_until(lambda: not zk.exists("/brokers/topics/t"), 20, "the znode to go")
    wait_until(lambda: not list(cluster.brokers[1].data.glob("t-[0-9]")), 20, "the last replica to go")


def test_the_preferred_leader_gets_its_place_back_by_an_old_tools_znode(cluster, zk):
    make_topic(cluster, zk, "t", [[0, 1, 2], [0, 2, 1]])
    cluster.brokers[0].stop()
    wait_until(lambda: state(zk, "t", 0)["leader"] == 1 and state(zk, "t", 1)["leader"] == 2, 20, "other leaders")
    cluster.brokers[0].start()
    cluster.wait_isr("t", 2, 3)
    zk.create("/admin/preferred_replica_election", b'{"version":1,"partitions":[{"topic":"t","partition":0}]}')
    wait_until(lambda: state(zk, "t", 0)["leader"] == 0, 20, "0 to lead partition 0")
    wait_until(lambda: not zk.exists("/admin/preferred_replica_election"), 20, "the request to go")
    assert state(zk, "t", 1)["leader"] == 2


def test_a_reassignment_by_an_old_tools_znode_moves_the_data(cluster, zk):
    make_topic(cluster, zk, "t", [[0]])
    produce(cluster, "t", range(1000))
    zk.create("/admin/reassign_partitions", b'{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[2,1]}]}')
    wait_until(lambda: json.loads(zk.get("/brokers/topics/t")[0])["partitions"]["0"] == [2, 1], 30, "the reassignment to end")
    document = json.loads(zk.get("/brokers/topics/t")[0])
    assert document["adding_replicas"] == {} and document["removing_replicas"] == {}
    assert state(zk, "t", 0)["leader"] == 2 and sorted(state(zk, "t", 0)["isr"]) == [1, 2]
    assert not zk.exists("/admin/reassign_partitions")
    wait_until(lambda: not list(cluster.brokers[0].data.glob("t-[0-9]")), 20, "the old replica to go")
    assert consume(cluster, "t") == sorted(str(i) for i in range(1000))
    produce(cluster, "t", ["more"])


def test_unclean_election_waits_until_the_topic_allows_it(cluster, zk):
    make_topic(cluster, zk, "t", [[1, 2]])
    cluster.brokers[2].kill()
    wait_until(lambda: state(zk, "t", 0)["isr"] == [1], 20, "the ISR to shrink")
    produce(cluster, "t", ["only on 1"])
    cluster.brokers[1].kill()
    wait_until(lambda: state(zk, "t", 0)["leader"] == -1, 20, "no leader")
    cluster.brokers[2].start()
    cluster.wait_brokers([0, 2])
    assert state(zk, "t", 0)["leader"] == -1 and state(zk, "t", 0)["isr"] == [1]
    zk.ensure_path("/config/topics/t")
    zk.set("/config/topics/t", b'{"version":1,"config":{"unclean.leader.election.enable":"true"}}')
    zk.create("/config/changes/config_change_", b'{"version":2,"entity_path":"topics/t"}', sequence=True)
    wait_until(lambda: state(zk, "t", 0)["leader"] == 2, 20, "an unclean leader")
    assert state(zk, "t", 0)["isr"] == [2] and state(zk, "t", 0)["leader_recovery_state"] == 1
    produce(cluster, "t", ["after"])


def test_a_controller_that_slept_does_no_harm_when_it_wakes(cluster, zk):
    make_topic(cluster, zk, "t", [[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    asleep = controller(zk)
    cluster.brokers[asleep].signal(signal.SIGSTOP)
    try:
        wait_until(lambda: controller(zk) not in (None, asleep), 30, "another controller")
        wait_until(lambda: all(asleep not in state(zk, "t", p)["isr"] for p in range(3)), 30, "it to leave the ISRs")
        epochs = [state(zk, "t", p)["leader_epoch"] for p in range(3)]
    finally:
        cluster.brokers[asleep].signal(signal.SIGCONT)
    cluster.wait_isr("t", 3, 3)
    assert controller(zk) != asleep
    for p in range(3):
        assert state(zk, "t", p)["leader_epoch"] >= epochs[p]
    produce(cluster, "t", range(300))
    assert len(consume(cluster, "t")) == 300


def test_a_state_edited_by_hand_is_taken_over(cluster, zk):
    make_topic(cluster, zk, "t", [[0, 1, 2]])
    edited = state(zk, "t", 0)
    edited["isr"] = [0, 1]
    zk.set("/brokers/topics/t/partitions/0/state", json.dumps(edited).encode())
    cluster.brokers[1].kill()  # the next decision meets the edit
    wait_until(lambda: 1 not in state(zk, "t", 0)["isr"], 20, "1 to leave the ISR")
    cluster.brokers[1].start()
    cluster.wait_isr("t", 1, 3)
    produce(cluster, "t", range(10))
    assert len(consume(cluster, "t")) == 10


def test_everybody_dies_and_comes_back(cluster, zk):
    make_topic(cluster, zk, "t", [[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    produce(cluster, "t", range(1000))
    for b in cluster.brokers:
        b.kill()
    for b in reversed(cluster.brokers):
        b.start()
    cluster.wait_brokers()
    cluster.wait_isr("t", 3, 3)
    assert consume(cluster, "t") == sorted(str(i) for i in range(1000))
