# SPDX-License-Identifier: Apache-2.0
"""A disk fails: its partitions move, those on the broker's other disk stay, nothing acknowledged is lost."""
from cluster import wait_until
from test_failover import Load, assert_replicas_are_identical, everything


def leaders_and_isrs(c, partitions):
    return [c.leader_and_isr("t", p, c.brokers[0]) for p in range(partitions)]


def test_a_failed_log_dir_gives_its_partitions_away_and_the_broker_goes_on(make_cluster, tmp_path):
    dirs = [tmp_path / "disk1", tmp_path / "disk2"]
    for d in dirs:
        d.mkdir()
    c = make_cluster(count=3, broker_options={2: {"log.dirs": f"{dirs[0]},{dirs[1]}"}})
    victim = c.brokers[2]
    assert victim.stop() == 0
    victim.env["KAFUKA_FAULT"] = "log.append.write=eio:300"  # the 300th write of records
    victim.start()
    c.wait_brokers()
    c.create_topic("t", partitions=8, factor=3)
    with Load(c, "t") as load:
        wait_until(lambda: "log dir is offline" in victim.log_text(), 60, "the disk to fail")
        load.wait_acked(1000)
        # half of the partitions are on the failed disk: nobody waits for those replicas any more, the others stay
        wait_until(lambda: sum(2 not in isr for _, isr in leaders_and_isrs(c, 8)) == 4, 30, "the failed replicas to leave their ISRs")
        assert all(leader != 2 or 2 in isr for leader, isr in leaders_and_isrs(c, 8))
        assert victim.alive()
        load.wait_acked(1000)
        victim.stop()
        del victim.env["KAFUKA_FAULT"]
        victim.start()
        c.wait_isr("t", 8, 3)
        load.wait_acked(500)
    assert not load.failed
    missing = set(load.acked) - everything(c, "t")
    assert not missing, f"{len(missing)} acknowledged records are lost"
    victim.data = tmp_path / "both"
    victim.data.mkdir()
    for d in dirs:
        for replica in d.glob("t-*"):
            (victim.data / replica.name).symlink_to(replica)
    assert_replicas_are_identical(c, "t", 8)


def test_a_broker_without_any_log_dir_left_stops(make_cluster):
    c = make_cluster(count=3)
    victim = c.brokers[2]
    assert victim.stop() == 0
    victim.env["KAFUKA_FAULT"] = "log.append.write=eio:100"
    victim.start()
    c.wait_brokers()
    c.create_topic("t", partitions=3, factor=3)
    with Load(c, "t") as load:
        wait_until(lambda: not victim.alive(), 60, "the broker to stop")
        load.wait_acked(1000)
        del victim.env["KAFUKA_FAULT"]
        victim.start()
        c.wait_isr("t", 3, 3)
        load.wait_acked(500)
    assert not load.failed
    assert set(load.acked) <= everything(c, "t")
    assert_replicas_are_identical(c, "t", 3)
