# SPDX-License-Identifier: Apache-2.0
"""Brokers and ZooKeeper: restarts within the session timeout, two brokers with one id, expired sessions, ZooKeeper away."""
import json

from cluster import Cluster, ZooKeeper, kcat, wait_until
from kazoo.client import KazooClient

LONG = {"zookeeper.session.timeout.ms": 30000}


def epoch(zk, number):
    stat = zk.exists(f"/brokers/ids/{number}")
    return stat.creation_transaction_id if stat else None


def expire(cluster, broker, zk):
    """Ends the broker's session as a server does that has not heard of it in time: somebody else takes and closes it. The broker takes
    it back at once, so it is a race, run until it is won."""
    before = epoch(zk, broker.id)

    def won():
        text = dict(line.split("=") for line in (broker.data / ".zookeeper-session").read_text().split())
        thief = KazooClient(hosts=cluster.connect, client_id=(int(text["session"]), bytes.fromhex(text["password"])))
        try:
            thief.start(timeout=5)
        finally:
            thief.stop()
            thief.close()
        return epoch(zk, broker.id) != before

    wait_until(won, 30, f"the session of broker {broker.id} to be ended")


def test_a_killed_broker_is_back_before_its_old_session_would_have_ended(make_cluster):
    c = make_cluster(count=1, options=LONG)
    zk = c.zk_client()
    b, before = c.brokers[0], epoch(zk, 0)
    assert (b.data / ".zookeeper-session").stat().st_mode & 0o777 == 0o600
    b.kill()
    assert epoch(zk, 0) == before
    b.start()
    wait_until(lambda: epoch(zk, 0) not in (None, before), 10, "a new registration")
    assert epoch(zk, 0) > before
    c.create_topic("t")
    kcat("-b", c.bootstrap, "-P", "-t", "t", stdin=b"lives\n")
    b.stop()
    assert not (b.data / ".zookeeper-session").exists() and epoch(zk, 0) is None
    zk.stop()


def test_a_second_broker_with_the_same_id_says_so_and_ends(make_cluster):
    c = make_cluster(count=2)
    zk = c.zk_client()
    before = epoch(zk, 0)
    second = c.brokers[1]
    second.stop()
    (second.data / "meta.properties").unlink()
    second.write_properties(**{"broker.id": 0})
    second.start(wait=False)
    wait_until(lambda: not second.alive(), 30, "the second broker to end")
    assert second.child.returncode != 0
    assert f"is alive and answers at 127.0.0.1:{c.brokers[0].port}" in second.log_text()
    assert epoch(zk, 0) == before
    zk.stop()


def test_a_broker_whose_session_was_expired_registers_again_and_keeps_working(make_cluster):
    c = make_cluster(count=3, options=LONG)
    zk = c.zk_client()
    c.create_topic("t", partitions=3, factor=3)
    c.wait_isr("t", 3, 3)
    controller = json.loads(zk.get("/controller")[0])["brokerid"]
    other = (controller + 1) % 3
    for number in (other, controller):
        before = epoch(zk, number)
        expire(c, c.brokers[number], zk)
        wait_until(lambda: epoch(zk, number) not in (None, before), 20, f"broker {number} to register again")
        c.wait_brokers(ids=[0, 1, 2])
        c.wait_isr("t", 3, 3)
        kcat("-b", c.bootstrap, "-P", "-t", "t", "-X", "acks=all", stdin=b"after an expiry\n")
    assert kcat("-b", c.bootstrap, "-C", "-t", "t", "-e", "-q").stdout.count(b"after") == 2
    zk.stop()


def test_clients_are_served_while_zookeeper_is_away_and_it_may_come_back(make_cluster):
    c = make_cluster(count=3, options=LONG)
    c.create_topic("t", partitions=1, factor=3)
    c.wait_isr("t", 1, 3)
    c.zookeeper.kill()
    for n in range(5):
        kcat("-b", c.bootstrap, "-P", "-t", "t", "-X", "acks=all", stdin=b"record %d\n" % n)
    assert len(kcat("-b", c.bootstrap, "-C", "-t", "t", "-e", "-q").stdout.split(b"\n")) == 6
    c.zookeeper.start()
    wait_until(lambda: c.tool("topics", "--bootstrap-server", c.bootstrap, "--create", "--topic", "later", "--partitions", 3,
                              "--replication-factor", 3, check=False).returncode == 0, 60, "a topic to be created again")
    c.wait_isr("later", 3, 3)
    assert all(b.alive() for b in c.brokers)


def test_brokers_that_start_first_wait_for_zookeeper(tmp_path):
    zookeeper = ZooKeeper(tmp_path / "zk")
    c = Cluster(tmp_path / "cluster", count=2, zookeeper=zookeeper, options={"zookeeper.connection.timeout.ms": 60000})
    try:
        for b in c.brokers:
            b.start(wait=False)
        wait_until(lambda: all("waiting for ZooKeeper" in b.log_text() for b in c.brokers), 30, "the brokers to say what they wait for")
        zookeeper.start()
        for b in c.brokers:
            b.wait_ready()
        c.wait_brokers()
    finally:
        c.stop()
        zookeeper.kill()


def test_a_broker_without_zookeeper_gives_up_after_the_connection_timeout(tmp_path):
    zookeeper = ZooKeeper(tmp_path / "zk")  # not started
    c = Cluster(tmp_path / "cluster", count=1, zookeeper=zookeeper, options={"zookeeper.connection.timeout.ms": 2000})
    b = c.brokers[0]
    b.start(wait=False)
    wait_until(lambda: not b.alive(), 20, "the broker to end")
    assert b.child.returncode != 0
    assert f"ZooKeeper at {c.connect} did not answer within 2000 ms" in b.log_text()
