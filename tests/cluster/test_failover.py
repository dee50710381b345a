# SPDX-License-Identifier: Apache-2.0
"""Brokers die and come back: nothing acknowledged is lost, leaders move, ISRs shrink and grow, replicas end up the same."""
import threading

import confluent_kafka
import pytest
from cluster import concatenated_logs, kcat, wait_until


class Load:
    """Produces numbered records with acks=all until stopped; knows which were acknowledged."""

    def __init__(self, cluster, topic):
        self.topic, self.acked, self.failed, self.sent = topic, [], [], 0
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 2, "message.timeout.ms": 60000,
            "retry.backoff.ms": 50, "reconnect.backoff.max.ms": 500, "enable.idempotence": True})
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stopping.is_set() and self.sent < 200000:
            value = b"%08d" % self.sent
            try:
                self.producer.produce(self.topic, value, key=value, on_delivery=self.delivered)
                self.sent += 1
            except BufferError:
                pass
            self.producer.poll(0.001)

    def delivered(self, error, message):
        (self.failed if error else self.acked).append(message.value())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.thread.join(60)
        self.producer.flush(90)

    def wait_acked(self, more, timeout=60):
        target = len(self.acked) + more
        wait_until(lambda: len(self.acked) >= target, timeout, f"{more} more acknowledged records")


def everything(cluster, topic):
    return set(kcat("-b", cluster.bootstrap, "-C", "-t", topic, "-e", "-q").stdout.split())


def assert_replicas_are_identical(cluster, topic, partitions):
    for p in range(partitions):
        first = concatenated_logs(cluster.brokers[0], topic, p)
        wait_until(lambda: len({concatenated_logs(b, topic, p) for b in cluster.brokers}) == 1, 30,
                   f"the replicas of {topic}-{p} to be byte-identical (broker 0 has {len(first)} bytes)")


def test_nothing_acknowledged_is_lost_when_a_leader_is_killed_and_comes_back(make_cluster):
    c = make_cluster(count=3)
    c.create_topic("t", partitions=6, factor=3, segment_bytes=65536)
    with Load(c, "t") as load:
        load.wait_acked(2000)
        leader = c.leader_and_isr("t", 0)[0]
        c.brokers[leader].kill()
        load.wait_acked(2000)
        alive = next(b for b in c.brokers if b.alive())
        assert c.leader_and_isr("t", 0, alive)[0] != leader
        assert leader not in c.leader_and_isr("t", 0, alive)[1]
        c.brokers[leader].start()
        c.wait_isr("t", 6, 3)
        load.wait_acked(2000)
    assert not load.failed
    missing = set(load.acked) - everything(c, "t")
    assert not missing, f"{len(missing)} acknowledged records are lost, {sorted(missing)[:5]}..."
    assert_replicas_are_identical(c, "t", 6)


def test_the_controller_dies_and_another_takes_over(make_cluster):
    c = make_cluster(count=3)
    c.create_topic("t", partitions=3, factor=3)
    zk = c.zk_client()
    try:
        import json

        first = json.loads(zk.get("/controller")[0])["brokerid"]
        epoch = int(zk.get("/controller_epoch")[0])
        with Load(c, "t") as load:
            load.wait_acked(500)
            c.brokers[first].kill()
            wait_until(lambda: zk.exists("/controller") and json.loads(zk.get("/controller")[0])["brokerid"] != first, 30, "another controller")
            load.wait_acked(500)
            c.brokers[first].start()
            c.wait_isr("t", 3, 3)
        assert int(zk.get("/controller_epoch")[0]) > epoch
        assert not load.failed
        assert set(load.acked) <= everything(c, "t")
    finally:
        zk.stop()
        zk.close()


def test_a_planned_stop_moves_the_leaders_first_and_fails_no_request(make_cluster):
    c = make_cluster(count=3)
    c.create_topic("t", partitions=6, factor=3)
    with Load(c, "t") as load:
        load.wait_acked(500)
        assert c.brokers[1].stop() == 0
        load.wait_acked(500)
        for p in range(6):
            leader, isr = c.leader_and_isr("t", p, c.brokers[0])
            assert leader != 1 and 1 not in isr
        c.brokers[1].start()
        c.wait_isr("t", 6, 3)
        load.wait_acked(500)
    assert not load.failed
    assert set(load.acked) <= everything(c, "t")
    assert_replicas_are_identical(c, "t", 6)


def test_zookeeper_goes_away_and_comes_back(make_cluster):
    c = make_cluster(count=3)
    c.create_topic("t", partitions=3, factor=3)
    with Load(c, "t") as load:
        load.wait_acked(500)
        c.zookeeper.kill()
        load.wait_acked(500)  # brokers go on serving
        c.zookeeper.start()
        load.wait_acked(500)
    assert not load.failed
    c.wait_brokers(timeout=60)
    # the broker that is asked may not have its connection back yet, and says so
    wait_until(lambda: "Created topic after" in c.tool("topics", "--bootstrap-server", c.bootstrap, "--create", "--topic", "after", "--partitions", 3,
                                                       "--replication-factor", 3, check=False).stdout, 60, "a topic to be created")
    c.wait_isr("t", 3, 3)
    assert set(load.acked) <= everything(c, "t")


@pytest.mark.parametrize("fault", ["log.append.after_write", "log.roll.create", "log.snapshot.write", "fsx.replace.before_sync"])
def test_a_broker_killed_at_a_named_point_recovers(make_cluster, fault):
    c = make_cluster(count=3)
    c.create_topic("t", partitions=3, factor=3, segment_bytes=65536)
    victim = c.brokers[2]
    assert victim.stop() == 0
    victim.env["KAFUKA_FAULT"] = f"{fault}=kill:5"
    victim.start(wait=False)
    with Load(c, "t") as load:
        wait_until(lambda: not victim.alive(), 60, f"broker 2 to reach {fault}")
        load.wait_acked(500)
        del victim.env["KAFUKA_FAULT"]
        victim.start()
        c.wait_isr("t", 3, 3)
    assert not load.failed
    assert set(load.acked) <= everything(c, "t")
    assert_replicas_are_identical(c, "t", 3)
