# SPDX-License-Identifier: Apache-2.0
"""A short run of hostile.py: nobody notices."""
import hostile


def test_hostile_requests_disturb_nobody(shared_cluster):
    shared_cluster.create_topic("calm", partitions=1, factor=3)
    shared_cluster.create_topic("target", partitions=1, factor=1)
    bystander = hostile.Bystander(shared_cluster.bootstrap, "calm")
    bystander.start()
    addresses = [("127.0.0.1", b.port) for b in shared_cluster.brokers]
    try:
        assert hostile.attack(addresses, b"target", 4000, seed=7) > 10  # golden frames were found
    finally:
        bystander.stopping.set()
        bystander.join()
    assert not bystander.errors, bystander.errors[:5]
    assert bystander.acked > 0
    assert all(b.alive() for b in shared_cluster.brokers)
