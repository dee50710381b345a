# SPDX-License-Identifier: Apache-2.0
"""Group requests as no client library sends them, one by one over a plain connection: what a coordinator refuses, and that the group
is as it was afterwards. The messages are kafka-python's."""
import struct

import pytest
from cluster import wait_until
from kafka.protocol.admin import CreatePartitionsRequest, DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest
from kafka.protocol.commit import GroupCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest
from kafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest
from kafka.protocol.metadata import MetadataRequest
from test_api_raw import Connection

NONE, UNKNOWN_TOPIC, METADATA_TOO_LARGE, LOADING, NOT_COORDINATOR, ILLEGAL_GENERATION = 0, 3, 12, 14, 16, 22
INCONSISTENT_PROTOCOL, INVALID_GROUP_ID, UNKNOWN_MEMBER, INVALID_SESSION_TIMEOUT, REBALANCE = 23, 24, 25, 26, 27
INVALID_REQUEST, NON_EMPTY_GROUP, GROUP_NOT_FOUND = 42, 68, 69
TOPIC = "groupsraw"
SUBSCRIPTION = struct.pack(">hih", 0, 1, len(TOPIC)) + TOPIC.encode() + struct.pack(">i", -1)


@pytest.fixture(scope="module")
def topic(shared_cluster):
    shared_cluster.create_topic(TOPIC, partitions=2, factor=1)
    return TOPIC


def coordinator(cluster, group):
    """The broker that coordinates the group, found by asking one, and loaded."""
    def found():
        with Connection(cluster.brokers[0]) as c:
            a = c.call(GroupCoordinatorRequest[0](group))
        assert a.error_code == NONE, a
        broker = next(b for b in cluster.brokers if b.id == a.coordinator_id)
        with Connection(broker) as c:
            g = c.call(DescribeGroupsRequest[0]([group])).groups[0]
        return broker if g[0] == NONE else None

    return wait_until(found, 30, f"a coordinator of {group}")


class Member:
    """A member that is stable in a group of its own."""

    def __init__(self, cluster, group, session_ms=30000):
        self.group = group
        self.broker = coordinator(cluster, group)
        self.c = Connection(self.broker)
        joined = self.join("", session_ms=session_ms)
        assert joined.error_code == NONE, joined
        self.id, self.generation = joined.member_id, joined.generation_id
        assert joined.leader_id == self.id and joined.group_protocol == "range"
        synced = self.sync(self.generation, self.id, [(self.id, b"mine")])
        assert (synced.error_code, synced.member_assignment) == (NONE, b"mine")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.c.call(LeaveGroupRequest[1](self.group, self.id))
        self.c.close()

    def join(self, member, version=1, session_ms=30000, kind="consumer", protocols=("range",), group=None, rebalance_ms=10000):
        args = [self.group if group is None else group, session_ms] + ([rebalance_ms] if version >= 1 else [])
        return self.c.call(JoinGroupRequest[version](*args, member, kind, [(p, SUBSCRIPTION) for p in protocols]))

    def sync(self, generation, member, assignment, group=None):
        return self.c.call(SyncGroupRequest[1](self.group if group is None else group, generation, member, assignment))

    def heartbeat(self, generation=None, member=None, group=None):
        return self.c.call(HeartbeatRequest[1](self.group if group is None else group, self.generation if generation is None else generation,
                                               self.id if member is None else member)).error_code

    def commit(self, offsets, generation=None, member=None, metadata="", topic=TOPIC, group=None):
        parts = [(p, o, metadata) for p, o in offsets.items()]
        a = self.c.call(OffsetCommitRequest[2](self.group if group is None else group, self.generation if generation is None else generation,
                                               self.id if member is None else member, -1, [(topic, parts)]))
        return {p: e for _, parts in a.topics for p, e in parts}

    def fetch(self, partitions=(0, 1), topic=TOPIC, version=1):
        a = self.c.call(OffsetFetchRequest[version](self.group, [(topic, list(partitions))]))
        return {p: (o, m, e) for _, parts in a.topics for p, o, m, e in parts}

    def is_undisturbed(self):
        assert self.heartbeat() == NONE
        g = self.c.call(DescribeGroupsRequest[0]([self.group])).groups[0]
        assert (g[0], g[2], g[3], g[4]) == (NONE, "Stable", "consumer", "range"), g
        assert [(m[0], m[4]) for m in g[5]] == [(self.id, b"mine")], g


def test_an_unknown_member_and_an_old_generation(shared_cluster, topic):
    with Member(shared_cluster, "raw-unknown") as m:
        assert m.join("nobody").error_code == UNKNOWN_MEMBER
        assert m.sync(m.generation, "nobody", []).error_code == UNKNOWN_MEMBER
        assert m.heartbeat(member="nobody") == UNKNOWN_MEMBER
        assert m.commit({0: 5}, member="nobody") == {0: UNKNOWN_MEMBER}
        assert m.commit({0: 5}, member="", generation=-1) == {0: UNKNOWN_MEMBER}  # a simple consumer in a group that has members
        assert m.c.call(LeaveGroupRequest[0](m.group, "nobody")).error_code == UNKNOWN_MEMBER
        for generation in (m.generation - 1, m.generation + 1):
            assert m.sync(generation, m.id, []).error_code == ILLEGAL_GENERATION
            assert m.heartbeat(generation=generation) == ILLEGAL_GENERATION
            assert m.commit({0: 5}, generation=generation) == {0: ILLEGAL_GENERATION}
        assert m.fetch() == {0: (-1, "", NONE), 1: (-1, "", NONE)}
        m.is_undisturbed()


def test_inconsistent_protocols(shared_cluster, topic):
    with Member(shared_cluster, "raw-protocols") as m:
        assert m.join("", protocols=("other",)).error_code == INCONSISTENT_PROTOCOL
        assert m.join("", kind="connect").error_code == INCONSISTENT_PROTOCOL
        m.is_undisturbed()
        broker = coordinator(shared_cluster, "raw-no-protocols")
        with Connection(broker) as c:
            for kind, protocols in (("", [("range", b"")]), ("consumer", [])):
                a = c.call(JoinGroupRequest[1]("raw-no-protocols", 30000, 30000, "", kind, protocols))
                assert a.error_code == INCONSISTENT_PROTOCOL, (kind, protocols, a)


def test_an_empty_group_id(shared_cluster, topic):
    with Member(shared_cluster, "raw-empty-id") as m:
        assert m.join("", group="").error_code == INVALID_GROUP_ID
        assert m.sync(1, "m", [], group="").error_code == INVALID_GROUP_ID
        assert m.heartbeat(group="") == INVALID_GROUP_ID
        assert m.c.call(LeaveGroupRequest[1]("", m.id)).error_code == INVALID_GROUP_ID
        m.is_undisturbed()
    # which commits, fetches and describes
    broker = coordinator(shared_cluster, "")
    with Connection(broker) as c:
        a = c.call(OffsetCommitRequest[2]("", -1, "", -1, [(TOPIC, [(0, 7, "x")])]))
        assert a.topics[0][1] == [(0, NONE)], a
        a = c.call(OffsetFetchRequest[1]("", [(TOPIC, [0])]))
        assert a.topics[0][1] == [(0, 7, "x", NONE)], a


def test_session_timeouts_out_of_range(shared_cluster, topic):
    with Member(shared_cluster, "raw-session") as m:
        for ms in (5999, 1800001, 0, -1):
            assert m.join("", session_ms=ms).error_code == INVALID_SESSION_TIMEOUT, ms
            assert m.join("", version=0, session_ms=ms).error_code == INVALID_SESSION_TIMEOUT, ms
        m.is_undisturbed()


def test_oversized_metadata_and_unknown_topics_fail_alone(shared_cluster, topic):
    with Member(shared_cluster, "raw-metadata") as m:
        assert m.commit({0: 3}, metadata="\u00e9" * 4096) == {0: NONE}  # UTF-16 units are counted, not bytes
        assert m.fetch([0]) == {0: (3, "\u00e9" * 4096, NONE)}
        assert m.commit({1: 4}, metadata="m" * 4097) == {1: METADATA_TOO_LARGE}
        assert m.commit({0: 9, 2: 9, -1: 9}, metadata="ok") == {0: NONE, 2: UNKNOWN_TOPIC, -1: UNKNOWN_TOPIC}
        assert m.commit({0: 9}, topic="no-such-topic") == {0: UNKNOWN_TOPIC}
        assert m.fetch() == {0: (9, "ok", NONE), 1: (-1, "", NONE)}
        assert m.fetch([0], topic="no-such-topic") == {0: (-1, "", NONE)}
        m.is_undisturbed()


def test_a_broker_that_is_not_the_coordinator(shared_cluster, topic):
    with Member(shared_cluster, "raw-elsewhere") as m:
        other = next(b for b in shared_cluster.brokers if b.id != m.broker.id)
        with Connection(other) as c:
            assert c.call(HeartbeatRequest[0](m.group, m.generation, m.id)).error_code == NOT_COORDINATOR
            a = c.call(OffsetFetchRequest[1](m.group, [(TOPIC, [0])]))
            assert a.topics[0][1] == [(0, -1, "", NOT_COORDINATOR)], a
            a = c.call(OffsetFetchRequest[3](m.group, [(TOPIC, [0])]))
            assert (a.error_code, a.topics) == (NOT_COORDINATOR, []), a
            a = c.call(DescribeGroupsRequest[0]([m.group])).groups[0]
            assert a[:3] == (NOT_COORDINATOR, m.group, ""), a
            a = c.call(JoinGroupRequest[2](m.group, 30000, 30000, "", "consumer", [("range", b"")]))
            assert (a.error_code, a.generation_id) == (NOT_COORDINATOR, -1), a
            assert m.group not in [g for g, _ in c.call(ListGroupsRequest[0]()).groups]
        m.is_undisturbed()


def test_active_groups_are_not_deleted(shared_cluster, topic):
    with Member(shared_cluster, "raw-delete") as m:
        assert m.commit({0: 1}) == {0: NONE}
        a = m.c.call(DeleteGroupsRequest[1]([m.group, m.group, "raw-never"]))
        told = dict(a.results)
        assert told[m.group] == NON_EMPTY_GROUP and told["raw-never"] in (GROUP_NOT_FOUND, NOT_COORDINATOR), a
        assert (m.group, "consumer") in m.c.call(ListGroupsRequest[1]()).groups
        m.is_undisturbed()
    with Connection(m.broker) as c:
        wait_until(lambda: c.call(DescribeGroupsRequest[0]([m.group])).groups[0][2] == "Empty", 10, "an empty group")
        assert dict(c.call(DeleteGroupsRequest[1]([m.group, m.group])).results) == {m.group: NONE}
        g = c.call(DescribeGroupsRequest[0]([m.group])).groups[0]
        assert (g[0], g[2], g[5]) == (NONE, "Dead", []), g
        assert m.group not in [g for g, _ in c.call(ListGroupsRequest[1]()).groups]
        a = c.call(OffsetFetchRequest[1](m.group, [(TOPIC, [0])]))
        assert a.topics[0][1] == [(0, -1, "", NONE)], a


def test_a_member_that_rebalances_is_told_and_comes_back(shared_cluster, topic):
    """Two members on two connections, with protocol version 0: the second join makes the first one's heartbeat say 27."""
    with Member(shared_cluster, "raw-two") as m, Connection(m.broker) as second:
        request = JoinGroupRequest[0](m.group, 30000, "", "consumer", [("range", SUBSCRIPTION)])
        waiting = second.send(request)
        wait_until(lambda: m.heartbeat() == REBALANCE, 10, "the rebalance")
        rejoined = m.join(m.id)
        other = second.receive(request, waiting)
        assert rejoined.generation_id == other.generation_id == m.generation + 1
        assert rejoined.leader_id == other.leader_id == m.id and len(rejoined.members) == 2 and other.members == []
        assert m.heartbeat(generation=rejoined.generation_id) == NONE  # while the leader works out who gets what
        follower = SyncGroupRequest[0](m.group, other.generation_id, other.member_id, [])
        waiting = second.send(follower)
        synced = m.sync(rejoined.generation_id, m.id, [(m.id, b"a"), (other.member_id, b"b"), ("stranger", b"c")])
        assert synced.member_assignment == b"a"
        assert second.receive(follower, waiting).member_assignment == b"b"
        assert second.call(LeaveGroupRequest[0](m.group, other.member_id)).error_code == NONE
        assert m.heartbeat(generation=rejoined.generation_id) == REBALANCE


def test_a_client_that_is_gone_stays_a_member_until_its_session_ends(shared_cluster, topic):
    broker = coordinator(shared_cluster, "raw-gone")
    with Connection(broker) as c:
        joined = c.call(JoinGroupRequest[1]("raw-gone", 6000, 6000, "", "consumer", [("range", SUBSCRIPTION)]))
        sync = SyncGroupRequest[0]("raw-gone", joined.generation_id, joined.member_id, [(joined.member_id, b"x")])
        assert c.call(sync).error_code == NONE
    with Connection(broker) as c:
        assert len(c.call(DescribeGroupsRequest[0](["raw-gone"])).groups[0][5]) == 1
        wait_until(lambda: c.call(DescribeGroupsRequest[0](["raw-gone"])).groups[0][2] == "Empty", 15, "the end of the session")


def test_partitions_are_not_added_to_the_offsets_topic(shared_cluster, topic):
    coordinator(shared_cluster, "raw-grow")
    with Connection(shared_cluster.brokers[0]) as c:
        controller = c.call(MetadataRequest[1]([])).controller_id
    with Connection(next(b for b in shared_cluster.brokers if b.id == controller)) as c:
        a = c.call(CreatePartitionsRequest[1]([("__consumer_offsets", (60, None))], 10000, False))
        assert a.topic_errors[0][1] == 37 and "lose their offsets" in a.topic_errors[0][2], a


def test_a_negative_offset_is_told_as_it_was_committed(shared_cluster, topic):
    with Member(shared_cluster, "raw-negative") as m:
        assert m.commit({0: -5, 1: -1}, metadata="m") == {0: NONE, 1: NONE}
        assert m.fetch() == {0: (-5, "m", NONE), 1: (-1, "m", NONE)}
        a = m.c.call(OffsetFetchRequest[2](m.group, None))
        assert [(t, sorted(p)) for t, p in a.topics] == [(TOPIC, [(0, -5, "m", NONE), (1, -1, "m", NONE)])], a


def test_a_group_named_again_and_again_does_not_fill_the_memory(make_cluster):
    """What one request is told is bounded by 16 times kafuka.request.memory.bytes and one group."""
    cluster = make_cluster(count=1, options={"kafuka.request.memory.bytes": 1 << 20})
    cluster.create_topic(TOPIC)
    broker = coordinator(cluster, "raw-large")
    with Connection(broker) as c:
        joined = c.call(JoinGroupRequest[1]("raw-large", 30000, 30000, "", "consumer", [("range", b"m" * 1000000)]))
        assert c.call(SyncGroupRequest[0]("raw-large", joined.generation_id, joined.member_id, [])).error_code == NONE
        a = c.call(OffsetCommitRequest[2]("raw-large", joined.generation_id, joined.member_id, -1, [(TOPIC, [(0, 7, "x" * 4096)])]))
        assert a.topics[0][1] == [(0, NONE)], a
        groups = c.call(DescribeGroupsRequest[0](["raw-large"] * 64)).groups
        errors = [g[0] for g in groups]
        assert errors == sorted(errors) and set(errors) == {NONE, INVALID_REQUEST} and 10 < errors.count(NONE) < 20, errors
        assert all(len(g[5]) == (g[0] == NONE) for g in groups)
        parts = c.call(OffsetFetchRequest[1]("raw-large", [(TOPIC, [0] * 20000)])).topics[0][1]
        assert parts[0] == (0, 7, "x" * 4096, NONE) and parts[-1] == (0, -1, "", INVALID_REQUEST), (parts[0], parts[-1])
        assert 2000 < [p[3] for p in parts].count(NONE) < 5000
