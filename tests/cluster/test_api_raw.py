# SPDX-License-Identifier: Apache-2.0
"""Requests as no client library sends them, one by one over a plain connection: old versions, fetch sessions, errors and their
order. The messages are kafka-python's."""
import struct
import time

import pytest
from cluster import kcat, wait_until
from kafka.protocol.admin import CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest
from kafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from kafka.protocol.fetch import FetchRequest
from kafka.protocol.metadata import MetadataRequest
from kafka.protocol.offset import OffsetRequest
from kafka.protocol.produce import ProduceRequest
from raw import Connection


def leader_of(cluster, topic, partition=0):
    leader, _ = cluster.leader_and_isr(topic, partition)
    return next(b for b in cluster.brokers if b.id == leader)


def fetch(version, topic, positions, session=(0, -1), wait=0, forgotten=(), min_bytes=1):
    """positions: (partition, offset, max bytes)"""
    if version < 5:
        parts = [(p, o, m) for p, o, m in positions]
    elif version < 9:
        parts = [(p, o, -1, m) for p, o, m in positions]
    else:
        parts = [(p, -1, o, -1, m) for p, o, m in positions]
    args = [-1, wait, min_bytes] + ([1 << 20] if version >= 3 else []) + ([0] if version >= 4 else [])
    topics = [(topic, parts)] if parts else []
    args += [session[0], session[1], topics, []] if version >= 7 else [topics]
    if version >= 11:
        args += [""]
    request = FetchRequest[version](*args)
    if forgotten:  # which kafka-python cannot encode: in version 7 they are the last field
        assert version == 7
        plain, name = request.encode(), topic.encode()
        more = struct.pack(">ih", 1, len(name)) + name + struct.pack(">i", len(forgotten))
        more += b"".join(struct.pack(">i", p) for p in forgotten)
        request.encode = lambda: plain[:-4] + more
    return request


def told(response):
    """partition -> (error, high watermark, bytes of records)"""
    out = {}
    for _, parts in response.topics:
        for p in parts:
            out[p[0]] = (p[1], p[2], len(p[-1] or b""))
    return out


def produce(broker, topic, partition, lines):
    kcat("-b", broker.address, "-P", "-t", topic, "-p", partition, "-X", "acks=all", stdin=b"".join(b"%d\n" % i for i in range(lines)))


@pytest.fixture(scope="module")
def one_leader(shared_cluster):
    """A topic whose four partitions have one leader, and that broker."""
    shared_cluster.create_topic("raw", partitions=1, factor=1)
    broker = leader_of(shared_cluster, "raw")
    other = "raw4"
    admin = next(b for b in shared_cluster.brokers if b.alive())
    with Connection(broker) as c:
        controller = c.call(MetadataRequest[1]([])).controller_id
    admin = next(b for b in shared_cluster.brokers if b.id == controller)
    with Connection(admin) as c:
        assignment = [(p, [broker.id]) for p in range(4)]
        answer = c.call(CreateTopicsRequest[1]([(other, -1, -1, assignment, [])], 10000, False))
        assert answer.topic_errors[0][1] == 0, answer
    return broker, other


def test_every_fetch_version_brings_the_records(one_leader):
    broker, topic = one_leader
    produce(broker, topic, 0, 10)
    with Connection(broker) as c:
        for version in range(12):
            error, hw, size = told(c.call(fetch(version, topic, [(0, 0, 1 << 20)])))[0]
            assert (error, hw) == (0, 10) and size > 100, version
            assert told(c.call(fetch(version, topic, [(0, 99, 1 << 20)])))[0][:2] == (1, -1), version
            assert told(c.call(fetch(version, topic, [(77, 0, 1 << 20)])))[77][0] == 3, version


def test_the_first_batch_comes_whole_whatever_the_limits(one_leader):
    broker, topic = one_leader
    kcat("-b", broker.address, "-P", "-t", topic, "-p", 1, stdin=b"x" * 50000 + b"\n")
    with Connection(broker) as c:
        assert told(c.call(fetch(4, topic, [(1, 0, 1)])))[1][2] > 50000


def test_a_session_tells_what_is_new_and_ends_as_it_should(one_leader):
    broker, topic = one_leader
    with Connection(broker) as c:
        everything = [(2, 0, 1 << 20), (3, 0, 1 << 20)]
        first = c.call(fetch(7, topic, everything, (0, 0)))
        assert first.session_id > 0 and set(told(first)) == {2, 3}
        session = first.session_id
        assert told(c.call(fetch(7, topic, [], (session, 1)))) == {}
        produce(broker, topic, 3, 5)
        second = c.call(fetch(7, topic, [], (session, 2), wait=10000))
        assert set(told(second)) == {3} and told(second)[3][1] == 5
        # told again as long as the position does not move, and then no more
        assert set(told(c.call(fetch(7, topic, [], (session, 3))))) == {3}
        assert told(c.call(fetch(7, topic, [(3, 5, 1 << 20)], (session, 4)))) == {}
        # a waiting fetch is woken by the partition it did not name
        request = fetch(7, topic, [], (session, 5), wait=20000)
        before = time.monotonic()
        waiting = c.send(request)
        produce(broker, topic, 2, 1)
        assert set(told(c.receive(request, waiting))) == {2}
        assert time.monotonic() - before < 15
        # forgotten: not told any more
        assert told(c.call(fetch(7, topic, [], (session, 6), forgotten=[2]))) == {}
        wrong = c.call(fetch(7, topic, [], (session, 6)))
        assert (wrong.error_code, wrong.topics) == (71, [])
        assert c.call(fetch(7, topic, [], (session + 1, 1))).error_code == 70
        closing = c.call(fetch(7, topic, [(3, 0, 100)], (session, -1)))
        assert closing.session_id == 0 and set(told(closing)) == {3}
        assert c.call(fetch(7, topic, [], (session, 7))).error_code == 70


def test_a_fetch_without_news_takes_its_time(one_leader):
    broker, topic = one_leader
    with Connection(broker) as c:
        end = told(c.call(fetch(4, topic, [(0, 0, 1)])))[0][1]
        before = time.monotonic()
        assert told(c.call(fetch(4, topic, [(0, end, 1 << 20)], wait=300)))[0] == (0, end, 0)
        assert 0.25 < time.monotonic() - before < 10


def test_old_metadata_means_all_topics_by_an_empty_list(shared_cluster, one_leader):
    broker, topic = one_leader
    with Connection(broker) as c:
        for version in range(len(MetadataRequest)):
            names = [] if version == 0 else None
            args = [names] if version < 4 else [names, True]
            answer = c.call(MetadataRequest[version](*args))
            assert topic in [t[1] for t in answer.topics], version
            assert len(answer.brokers) == len(shared_cluster.brokers), version
        assert c.call(MetadataRequest[1]([])).topics == []


def test_offsets_in_every_version(one_leader):
    broker, topic = one_leader
    produce(broker, topic, 0, 3)
    with Connection(broker) as c:
        def ask(version, timestamp, partition=0):
            extra = {0: (10,)}.get(version, ())
            part = (partition, timestamp) + extra
            args = [-1, [(topic, [part])]] if version < 2 else [-1, 0, [(topic, [part])]]
            return c.call(OffsetRequest[version](*args)).topics[0][1][0]

        end = told(c.call(fetch(4, topic, [(0, 0, 1)])))[0][1]
        assert ask(0, -1)[2] == [end, 0] and ask(0, -2)[2] == [0]
        for version in range(1, 4):  # kafka-python's 4 and 5 are not Kafka's
            assert ask(version, -1)[1] == 0 and ask(version, -1)[3] == end, version
            assert ask(version, -2)[3] == 0, version
            assert ask(version, 1)[3] == 0, version
            assert ask(version, int(time.time() * 1000) + 100000)[3] == -1, version
            assert ask(version, -1, 77)[1] == 3, version


def test_version_0_keeps_a_groups_offsets_in_zookeeper(shared_cluster, one_leader):
    _, topic = one_leader
    zk = shared_cluster.zk_client()
    others = [b for b in shared_cluster.brokers if b.alive()]

    def commit(broker, group, offsets, metadata=""):
        with Connection(broker) as c:
            answer = c.call(OffsetCommitRequest[0](group, [(topic, [(p, o, metadata) for p, o in offsets])]))
            return {p: error for _, parts in answer.topics for p, error in parts}

    def fetch_offsets(broker, group, partitions):
        with Connection(broker) as c:
            answer = c.call(OffsetFetchRequest[0](group, [(topic, partitions)]))
            return {p: (offset, error) for _, parts in answer.topics for p, offset, _, error in parts}

    try:
        assert fetch_offsets(others[0], "old", [0]) == {0: (-1, 3)}
        assert commit(others[0], "old", [(0, 1523), (3, 7), (77, 1)], "lost") == {0: 0, 3: 0, 77: 3}
        assert zk.get(f"/consumers/old/offsets/{topic}/0")[0] == b"1523"
        assert sorted(zk.get_children(f"/consumers/old/offsets/{topic}")) == ["0", "3"]
        assert commit(others[1], "old", [(0, 1000)]) == {0: 0}
        assert zk.get(f"/consumers/old/offsets/{topic}/0")[0] == b"1000"
        zk.set(f"/consumers/old/offsets/{topic}/3", b"12")
        for broker in others:  # any broker, and what another program wrote
            assert fetch_offsets(broker, "old", [3, 0, 1, 77]) == {3: (12, 0), 0: (1000, 0), 1: (-1, 3), 77: (-1, 3)}
        assert commit(others[0], "old", [(0, 5)], "x" * 4097) == {0: 12}
        assert commit(others[0], "a/b", [(0, 5)]) == {0: 24}
        many = [(p, p) for p in range(4)] * 300
        assert set(commit(others[0], "many", many).values()) == {0}
        assert fetch_offsets(others[0], "many", [0, 1, 2, 3]) == {p: (p, 0) for p in range(4)}
    finally:
        zk.stop()
        zk.close()


def test_topics_are_administered_through_the_controller_only(shared_cluster, one_leader):
    broker, _ = one_leader
    with Connection(broker) as c:
        controller = c.call(MetadataRequest[1]([])).controller_id
    other = next(b for b in shared_cluster.brokers if b.id != controller)
    with Connection(other) as c:
        create = c.call(CreateTopicsRequest[1]([("elsewhere", 1, 1, [], [])], 1000, False))
        assert create.topic_errors[0][1] == 41 and "controller" in create.topic_errors[0][2]
        assert c.call(DeleteTopicsRequest[1](["raw"], 1000)).topic_error_codes == [("raw", 41)]
        assert c.call(CreatePartitionsRequest[1]([("raw", (9, None))], 1000, False)).topic_errors[0][1] == 41
    at = next(b for b in shared_cluster.brokers if b.id == controller)
    with Connection(at) as c:
        def create(topic, **kwargs):
            return c.call(CreateTopicsRequest[1]([topic], 10000, kwargs.get("validate", False))).topic_errors[0]

        assert create(("only-checked", 1, 1, [], []), validate=True)[1] == 0
        assert create(("only-checked", 1, 1, [], []))[1] == 0
        assert create(("only-checked", 1, 1, [], []))[1] == 36
        assert create(("only.checked", 1, 1, [], []))[1] == 0
        assert create(("only_checked", 1, 1, [], []))[1] == 17  # its metrics would have the name of another's
        assert create(("bad name", 1, 1, [], []))[1] == 17
        assert create(("wide", 1, 9, [], []))[1] == 38
        assert create(("none", 0, 1, [], []))[1] == 37
        assert create(("both", 1, 1, [(0, [controller])], []))[1] == 42
        assert create(("gap", -1, -1, [(1, [controller])], []))[1] == 39
        assert create(("twice", -1, -1, [(0, [controller, controller])], []))[1] == 39
        assert create(("odd", 1, 1, [], [("no.such.config", "1")]))[1] == 40
        assert all(create(("wide", 1, 9, [], []))[2] for _ in range(1))
        # with no time to wait the topic is created all the same
        late = c.call(CreateTopicsRequest[1]([("late", 1, 1, [], [])], 0, False)).topic_errors[0]
        assert late[1] in (0, 7)
        wait_until(lambda: ("late" in [t[1] for t in c.call(MetadataRequest[1](None)).topics]), 20, "the topic late")
        assert c.call(DeleteTopicsRequest[3](["late", "never", "late"], 20000)).topic_error_codes == [
            ("late", 0), ("never", 3), ("late", 0)]
        assert "late" not in [t[1] for t in c.call(MetadataRequest[1](None)).topics]


def test_answers_leave_in_the_order_of_the_requests(one_leader):
    broker, topic = one_leader
    with Connection(broker) as c:
        end = told(c.call(fetch(4, topic, [(0, 0, 1)])))[0][1]
        slow = fetch(4, topic, [(0, end, 1000)], wait=400)
        quick = MetadataRequest[1]([])
        ids = [(r, c.send(r)) for r in (slow, quick, slow, quick)]
        for request, correlation_id in ids:
            c.receive(request, correlation_id)


def test_broken_records_are_refused_by_name_and_the_rest_is_taken(one_leader):
    broker, topic = one_leader
    with Connection(broker) as c:
        for records, errors in ((b"", {87}), (b"x" * 20, {2, 87}), (b"\0" * 100, {2, 87})):
            answer = c.call(ProduceRequest[5](None, 1, 1000, [(topic, [(0, records)])]))
            part = answer.topics[0][1][0]
            assert part[1] in errors and part[2] == -1, (records, part)
        # acks=0: no answer, and the connection ends with the first error
        c.send(ProduceRequest[5](None, 0, 1000, [(topic, [(0, b"x" * 100)])]))
        with pytest.raises(ConnectionError):
            c.receive(MetadataRequest[1]([]), c.send(MetadataRequest[1]([])))


def test_configs_are_described_in_every_version(one_leader):
    broker, topic = one_leader
    with Connection(broker) as c:
        for version in range(len(DescribeConfigsRequest)):
            args = [[(2, topic, ["segment.bytes"]), (2, "never-made", None), (4, str(broker.id), None), (4, "77", None)]]
            answer = c.call(DescribeConfigsRequest[version](*args, *([True] if version else [])))
            errors = [r[0] for r in answer.resources]
            assert errors == [0, 3, 0, 42], version
            assert answer.resources[0][4][0][:2] == ("segment.bytes", "1073741824")
            assert all(r[1] for r in answer.resources if r[0])
