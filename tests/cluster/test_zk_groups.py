# SPDX-License-Identifier: Apache-2.0
"""Consumer groups through ZooKeeper: kafuka-console-consumer --zookeeper as members, kazoo to see what they write and to disturb them."""
import json
import re
import signal
import subprocess
import time

import pytest
from cluster import BUILD, CRASH, TOP, Process, kcat, wait_until

SESSION_MS = 3000
RECORD = re.compile(r"^(\d+):(\d+)$", re.M)


class Member(Process):
    """One console consumer; prints the records' values and, on stderr, what the library tells."""

    count = 0

    def __init__(self, cluster, folder, group, topic="t", extra=(), properties=None):
        Member.count += 1
        values = {"group.id": group, "zookeeper.session.timeout.ms": SESSION_MS, "auto.commit.interval.ms": 300,
                  "auto.offset.reset": "smallest", "kafuka.log.level": "info", **(properties or {})}
        argv = [BUILD / "kafuka", "console-consumer", "--zookeeper", cluster.connect]
        argv += ["--topic", topic] if topic else []
        argv += [x for k, v in values.items() for x in ("--consumer-property", f"{k}={v}")]
        super().__init__(f"member {Member.count}", [*argv, *extra], folder / f"{group}-{Member.count}.log")
        self.start()

    def records(self):
        """(partition, number) of every record printed, in order."""
        return [(int(p), int(n)) for p, n in RECORD.findall(self.log_text())]


class Group:
    def __init__(self, zk, name, topic="t"):
        self.zk, self.name, self.topic = zk, name, topic

    def ids(self):
        return sorted(self.zk.get_children(f"/consumers/{self.name}/ids")) if self.zk.exists(f"/consumers/{self.name}/ids") else []

    def owners(self):
        """partition -> thread id"""
        path = f"/consumers/{self.name}/owners/{self.topic}"
        if not self.zk.exists(path):
            return {}
        return {int(p): self.zk.get(f"{path}/{p}")[0].decode() for p in self.zk.get_children(path)}

    def shares(self):
        """The partitions of each thread, in the order of the threads' ids."""
        shares = {}
        for p, owner in sorted(self.owners().items()):
            shares.setdefault(owner, []).append(p)
        return [shares[o] for o in sorted(shares)]

    def offset(self, partition):
        path = f"/consumers/{self.name}/offsets/{self.topic}/{partition}"
        return int(self.zk.get(path)[0]) if self.zk.exists(path) else None

    def wait_shares(self, shares, timeout, what):
        try:
            wait_until(lambda: self.shares() == shares, timeout, what)
        except AssertionError as e:
            raise AssertionError(f"{e}; the owners are {self.owners()}") from None


class Producer:
    """Numbered records, each with its partition in its text, so that every loss shows."""

    def __init__(self, cluster, topic, partitions):
        self.cluster, self.topic, self.next = cluster, topic, [0] * partitions

    def send(self, each):
        for p, first in enumerate(self.next):
            lines = "".join(f"{p}:{n}\n" for n in range(first, first + each))
            kcat("-b", self.cluster.bootstrap, "-P", "-t", self.topic, "-p", p, "-X", "acks=all", stdin=lines.encode())
            self.next[p] += each

    def all(self):
        return {(p, n) for p, count in enumerate(self.next) for n in range(count)}


@pytest.fixture
def zk(shared_cluster):
    k = shared_cluster.zk_client()
    yield k
    k.stop()
    k.close()


@pytest.fixture
def start(tmp_path):
    """Starts members; ends those that are left, and looks at how they ended."""
    members = []

    def make(cluster, group, **kwargs):
        members.append(Member(cluster, tmp_path, group, **kwargs))
        return members[-1]

    yield make
    problems = []
    for m in members:
        if m.alive():
            m.signal(signal.SIGCONT)
            if m.stop(30) != 0:
                problems.append(f"{m.name} ended with {m.child.returncode}: {m.log_text()[-2000:]}")
        if CRASH.search(m.log_text()):
            problems.append(m.log_text()[-4000:])
    assert not problems, "\n".join(problems)


def seen_by(members):
    return {r for m in members for r in m.records()}


def wait_seen(members, wanted, timeout=40):
    def all_seen():
        return wanted <= seen_by(members)

    try:
        wait_until(all_seen, timeout, "every record to be seen")
    except AssertionError as e:
        missing = sorted(wanted - seen_by(members))
        raise AssertionError(f"{e}; missing {len(missing)}: {missing[:20]}; " + "\n".join(m.log_text()[-1500:] for m in members)) from None


def test_a_group_shares_ten_partitions_through_joins_leaves_and_deaths(make_cluster, start):
    cluster = make_cluster(count=3)
    zk = cluster.zk_client()
    cluster.create_topic("t", partitions=10, factor=3)
    producer = Producer(cluster, "t", 10)
    g = Group(zk, "g")
    a, b, c = (start(cluster, "g") for _ in range(3))
    g.wait_shares([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]], 20, "three to share")
    # what zkCli shows
    ids = g.ids()
    assert len(ids) == 3 and all(re.fullmatch(r"g_.+-\d{13}-[0-9a-f]{8}", i) for i in ids)
    data, stat = zk.get(f"/consumers/g/ids/{ids[0]}")
    assert stat.ephemeralOwner != 0
    assert re.fullmatch(r'\{"version":1,"subscription":\{"t":1\},"pattern":"white_list","timestamp":"\d{13}","assignment":"ceil"\}',
                        data.decode()), data
    assert set(g.owners().values()) == {f"{i}-0" for i in ids}
    producer.send(50)
    wait_seen([a, b, c], producer.all())
    wait_until(lambda: all(g.offset(p) == 50 for p in range(10)), 10, "all offsets to be committed")
    # kill -9: within its session timeout
    members = {re.search(r"claimed \S+ for (\S+)-\d+ at", m.log_text()).group(1): m for m in (a, b, c)}
    first, second, third = (members[i] for i in ids)
    second.kill()
    begun = time.monotonic()
    producer.send(10)
    g.wait_shares([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], SESSION_MS / 1000 + 4, "two to take over from the killed one")
    assert time.monotonic() - begun > 0.5, "a killed member's session does not end at once"
    # SIGTERM: the session ends before the process does
    assert third.stop() == 0
    assert len(g.ids()) == 1, "others would have to wait for the end of the session"
    g.wait_shares([list(range(10))], 30, "one to take over from the one that left")
    producer.send(10)
    wait_seen([a, b, c], producer.all())
    # more join
    d, e = start(cluster, "g"), start(cluster, "g")
    g.wait_shares([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]], 20, "the new ones to get their share")
    # a broker dies: rebalanced, nothing lost
    cluster.brokers[2].kill()
    for m in (first, d, e):
        wait_until(lambda m=m: "broker 2 left" in m.log_text(), 20, f"{m.name} to rebalance for the lost broker")
    producer.send(20)
    wait_seen([a, b, c, d, e], producer.all())
    g.wait_shares([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]], 20, "the shares to stay")
    assert "member " in first.log_text() and "rebalanced in" in first.log_text()
    # another group gets everything again
    other = start(cluster, "other")
    wait_seen([other], producer.all())
    zk.stop()
    zk.close()


def test_a_member_with_broken_json_is_left_out(shared_cluster, zk, start):
    shared_cluster.create_topic("broken-t", partitions=4)
    g = Group(zk, "broken", "broken-t")
    m = start(shared_cluster, "broken", topic="broken-t")
    g.wait_shares([[0, 1, 2, 3]], 20, "the first")
    zk.create("/consumers/broken/ids/x", b'{"version":1,"subscription":{"broken-t":', ephemeral=True)
    wait_until(lambda: "a member is left out" in m.log_text() and "x: not JSON" in m.log_text(), 20, "a log line")
    other = start(shared_cluster, "broken", topic="broken-t")
    g.wait_shares([[0, 1], [2, 3]], 20, "two to share as if x were not there")
    producer = Producer(shared_cluster, "broken-t", 4)
    producer.send(10)
    wait_seen([m, other], producer.all())
    zk.set("/consumers/broken/ids/x", b'{"version":1,"subscription":{"broken-t":1},"pattern":"static","timestamp":"1"}')
    other.stop()
    # x counts now, by Kafka's rule for it does not write ours, and never claims what is its own
    g.wait_shares([[0, 1]], 20, "the one that is left to get half")


def test_a_member_paused_beyond_its_session_hands_out_nothing_of_what_others_have(shared_cluster, zk, start):
    shared_cluster.create_topic("paused-t", partitions=2)
    producer = Producer(shared_cluster, "paused-t", 2)
    g = Group(zk, "paused", "paused-t")
    a, b = start(shared_cluster, "paused", topic="paused-t"), start(shared_cluster, "paused", topic="paused-t")
    g.wait_shares([[0], [1]], 20, "both")
    producer.send(20)
    wait_seen([a, b], producer.all())
    wait_until(lambda: g.offset(0) == 20 and g.offset(1) == 20, 10, "offsets")
    a.signal(signal.SIGSTOP)
    g.wait_shares([[0, 1]], SESSION_MS / 1000 + 4, "the other to take over")
    before = len(a.records())
    producer.send(20)
    wait_seen([b], {(p, n) for p in (0, 1) for n in range(20, 40)})
    a.signal(signal.SIGCONT)
    wait_until(lambda: "session has expired" in a.log_text(), 20, "the paused one to notice")
    g.wait_shares([[0], [1]], 20, "both to share again")
    producer.send(20)
    wait_seen([a, b], producer.all())
    # what the other has done with in the meantime is not seen again
    late = a.records()[before:]
    assert all(n >= 40 for _, n in late) or all(g.offset(p) == 60 for p in (0, 1)), late
    assert [r for r in late if r[1] < 20] == [], "records from before the pause came again"


def test_filters_find_topics_that_come_later(shared_cluster, zk, start):
    shared_cluster.create_topic("logs.a", partitions=2)
    white = start(shared_cluster, "white", topic=None, extra=("--whitelist", r"logs\..*"))
    black = start(shared_cluster, "black", topic=None, extra=("--blacklist", "[^l].*|l[^o].*"))
    wait_until(lambda: Group(zk, "white", "logs.a").shares() == [[0, 1]], 20, "the first topic")
    wait_until(lambda: Group(zk, "black", "logs.a").shares() == [[0, 1]], 20, "the first topic, by black list")
    shared_cluster.create_topic("logs.b", partitions=3)
    wait_until(lambda: Group(zk, "white", "logs.b").shares() == [[0, 1, 2]], 20, "the second topic")
    assert "topic logs.b has 3 partitions (had 0)" in white.log_text()
    for t, n in (("logs.a", 2), ("logs.b", 3)):
        p = Producer(shared_cluster, t, n)
        p.send(5)
        wait_seen([white], p.all())
        wait_seen([black], p.all())
    # more partitions
    shared_cluster.tool("topics", "--bootstrap-server", shared_cluster.bootstrap, "--alter", "--topic", "logs.b", "--partitions", 5)
    wait_until(lambda: Group(zk, "white", "logs.b").shares() == [[0, 1, 2, 3, 4]], 20, "the new partitions")
    grown = Producer(shared_cluster, "logs.b", 5)
    grown.next = [5, 5, 5, 0, 0]
    grown.send(5)
    wait_seen([white], grown.all())
    wait_seen([black], grown.all())
    registration = json.loads(zk.get(f"/consumers/black/ids/{Group(zk, 'black').ids()[0]}")[0])
    assert registration["pattern"] == "black_list"


def test_round_robin_and_kafka_s_range_rule(shared_cluster, zk, start):
    shared_cluster.create_topic("rules-t", partitions=10)
    kafka = {"kafuka.assignment": "kafka"}
    for _ in range(3):
        start(shared_cluster, "rules", topic="rules-t", properties=kafka)
    Group(zk, "rules", "rules-t").wait_shares([[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]], 20, "Kafka's rule")
    for _ in range(2):
        start(shared_cluster, "robin", topic="rules-t", properties={"partition.assignment.strategy": "roundrobin"})
    Group(zk, "robin", "rules-t").wait_shares([[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]], 20, "round robin")
    # one member without our rule: all use Kafka's
    for properties in ({}, {}, kafka):
        start(shared_cluster, "mixed", topic="rules-t", properties=properties)
    Group(zk, "mixed", "rules-t").wait_shares([[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]], 20, "Kafka's rule for all")


def console(cluster, *args, timeout=60):
    return subprocess.run([str(BUILD / "kafuka"), "console-consumer", "--zookeeper", cluster.connect, *map(str, args)], capture_output=True,
                          text=True, timeout=timeout)


def test_the_console_consumer_is_the_old_one(shared_cluster, zk):
    shared_cluster.create_topic("old-t", partitions=1)
    Producer(shared_cluster, "old-t", 1).send(5)
    # its own group is made up, and gone at the end
    before = set(zk.get_children("/consumers"))
    r = console(shared_cluster, "--topic", "old-t", "--from-beginning", "--timeout-ms", 3000)
    assert r.returncode == 0 and r.stdout == "".join(f"0:{n}\n" for n in range(5)), r
    assert r.stderr == "Processed a total of 5 messages\n"
    assert set(zk.get_children("/consumers")) == before
    # a named one goes on where it was
    r = console(shared_cluster, "--topic", "old-t", "--group", "zk-old", "--from-beginning", "--max-messages", 2)
    assert r.returncode == 0 and r.stdout == "0:0\n0:1\n", r
    assert zk.get("/consumers/zk-old/offsets/old-t/0")[0] == b"2"
    r = console(shared_cluster, "--topic", "old-t", "--consumer-property", "group.id=zk-old", "--max-messages", 1, "--property",
                "print.partition=true", "--property", "print.offset=true")
    assert r.returncode == 0 and r.stdout == "Partition:0\tOffset:2\t0:2\n", r
    # a later --from-beginning is refused, as Kafka does, until the offsets are given up
    r = console(shared_cluster, "--topic", "old-t", "--group", "zk-old", "--from-beginning")
    assert r.returncode == 1 and "Found previous offset information for this group zk-old" in r.stderr
    r = console(shared_cluster, "--topic", "old-t", "--group", "zk-old", "--from-beginning", "--delete-consumer-offsets", "--max-messages", 1)
    assert r.returncode == 0 and r.stdout == "0:0\n", r
    # without an offset and without --from-beginning: from the end, and what is there stays unread
    r = console(shared_cluster, "--topic", "old-t", "--timeout-ms", 1500)
    assert r.returncode == 0 and r.stdout == "", r


def test_what_cannot_be_written_out_is_not_committed(shared_cluster, zk):
    """The output's disk is full: no record of it is done."""
    shared_cluster.create_topic("full-t", partitions=1)
    Producer(shared_cluster, "full-t", 1).send(10)
    with open("/dev/full", "wb") as full:
        r = subprocess.run([str(BUILD / "kafuka"), "console-consumer", "--zookeeper", shared_cluster.connect, "--topic", "full-t", "--group", "full",
                            "--from-beginning", "--timeout-ms", "5000"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert b"Unable to write to standard out" in r.stderr
    assert zk.get("/consumers/full/offsets/full-t/0")[0] == b"0"


def test_mistakes_are_one_line(shared_cluster):
    for args, text in (
        (("--topic", "t", "--consumer-property", "rebalance.max.retry=3"), "did you mean 'rebalance.max.retries'?"),
        (("--topic", "t", "--consumer-property", "auto.offset.reset=begin"), "auto.offset.reset=begin is not allowed"),
        (("--topic", "t", "--group", "a/b"), "only letters, digits"),
        (("--whitelist", "(", "--group", "m"), "--"),
        (("--topic", "t", "--consumer-property", "offsets.storage=kafka"), "offsets.storage=kafka is not allowed"),
    ):
        r = console(shared_cluster, *args, "--timeout-ms", 100, "--max-messages", 1)
        assert text in r.stderr or text == "--", (args, r)
        assert r.returncode == 1 or "did you mean" in text, (args, r)


def test_an_offset_that_is_not_in_the_log_is_reset_and_told(shared_cluster, zk, start):
    shared_cluster.create_topic("reset-t", partitions=1)
    Producer(shared_cluster, "reset-t", 1).send(5)
    zk.ensure_path("/consumers/reset/offsets/reset-t")
    zk.create("/consumers/reset/offsets/reset-t/0", b"1000")
    m = start(shared_cluster, "reset", topic="reset-t")
    wait_seen([m], {(0, n) for n in range(5)})
    assert "is not in the log: reset to 0" in m.log_text()
    # written by hand while the group is down: used
    assert m.stop() == 0
    zk.set("/consumers/reset/offsets/reset-t/0", b"3")
    m = start(shared_cluster, "reset", topic="reset-t")
    wait_seen([m], {(0, 3), (0, 4)})
    assert (0, 2) not in m.records()


def test_a_registration_deleted_by_hand_comes_back(shared_cluster, zk, start):
    shared_cluster.create_topic("hand-t", partitions=2)
    g = Group(zk, "hand", "hand-t")
    m = start(shared_cluster, "hand", topic="hand-t")
    g.wait_shares([[0, 1]], 20, "the member")
    owner = g.owners()[0]
    zk.delete(f"/consumers/hand/ids/{g.ids()[0]}")
    wait_until(lambda: g.ids(), 10, "the registration to come back")
    # an owner's znode as well: noticed at the next commit, claimed anew
    zk.delete("/consumers/hand/owners/hand-t/0")
    Producer(shared_cluster, "hand-t", 2).send(1)
    wait_until(lambda: g.owners().get(0) == owner, 15, "the owner to come back")
    assert "somebody deleted the owner of hand-t-0" in m.log_text()


def test_brokers_that_come_after_the_consumer(make_cluster, start):
    cluster = make_cluster(count=1)
    zk = cluster.zk_client()
    cluster.create_topic("t", partitions=2)
    cluster.brokers[0].stop()
    g = Group(zk, "g")
    m = start(cluster, "g")
    wait_until(lambda: len(g.ids()) == 1 and "no broker is registered" in m.log_text(), 20, "the registration")
    assert g.owners() == {}
    cluster.brokers[0].start()
    g.wait_shares([[0, 1]], 20, "the first real rebalance")
    cluster.wait_brokers()
    cluster.wait_isr("t", 2, 1)
    producer = Producer(cluster, "t", 2)
    producer.send(10)
    wait_seen([m], producer.all())
    zk.stop()
    zk.close()


def test_without_zookeeper_records_are_handed_out_as_long_as_nobody_else_can_own_them(make_cluster, start):
    cluster = make_cluster(count=1)
    cluster.create_topic("t", partitions=2)
    producer = Producer(cluster, "t", 2)
    m = start(cluster, "g")
    producer.send(10)
    wait_seen([m], producer.all())
    cluster.zookeeper.kill()
    time.sleep(SESSION_MS / 1000 + 0.5)  # the lease is two thirds of it
    before = len(m.records())
    producer.send(10)  # the broker goes on
    time.sleep(1)
    assert len(m.records()) == before, "handed out although the session may have ended"
    cluster.zookeeper.start()
    wait_seen([m], producer.all())
    zk = cluster.zk_client()
    Group(zk, "g").wait_shares([[0, 1]], 20, "the owners to be there")
    wait_until(lambda: Group(zk, "g").offset(0) == 20, 10, "the offsets")
    zk.stop()
    zk.close()


class Streams(Process):
    """An application of several streams, linked with the shared library."""

    def __init__(self, cluster, folder, group, topic, count, slow=-1, *properties):
        Member.count += 1
        argv = [BUILD / "zkc_streams", cluster.connect, group, topic, count, slow, f"zookeeper.session.timeout.ms={SESSION_MS}",
                "auto.offset.reset=smallest", *properties]
        super().__init__(f"streams {Member.count}", argv, folder / f"{group}-{Member.count}.log")
        self.start()

    def records(self):
        return [(int(p), int(n)) for p, n in re.findall(r"^\d+ (\d+):(\d+)$", self.log_text(), re.M)]

    def by_stream(self):
        seen = {}
        for s, p in re.findall(r"^(\d+) (\d+):\d+$", self.log_text(), re.M):
            seen.setdefault(int(s), set()).add(int(p))
        return seen


def test_several_streams_share_and_a_slow_one_stops_nobody_else(shared_cluster, zk, tmp_path):
    shared_cluster.create_topic("streams-t", partitions=10)
    producer = Producer(shared_cluster, "streams-t", 10)
    g = Group(zk, "streams", "streams-t")
    app = Streams(shared_cluster, tmp_path, "streams", "streams-t", 3, 0, "auto.commit.enable=false")
    try:
        g.wait_shares([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]], 20, "three streams")
        assert sorted(g.owners()[p][-2:] for p in (0, 4, 8)) == ["-0", "-1", "-2"]
        producer.send(100)
        wait_seen([app], {(p, n) for p in range(4, 10) for n in range(100)})
        seen = app.by_stream()
        assert seen[1] == {4, 5, 6, 7} and seen[2] == {8, 9} and len(app.records()) == 601, (seen, len(app.records()))
        # committed by request; the record that is still in use is not
        wait_until(lambda: all(g.offset(p) == 100 for p in range(4, 10)), 10, "the commits")
        assert all(g.offset(p) == 0 for p in range(4))
    finally:
        status = app.stop()
    assert status == 0 and "joined the group: 0 partitions stayed, 0 released, 10 claimed, 1 members" in app.log_text(), app.log_text()[-500:]
    # it left; what was not done is handed out again to who comes next
    assert g.ids() == [] and g.owners() == {}
    again = Streams(shared_cluster, tmp_path, "streams", "streams-t", 1)
    try:
        wait_seen([again], {(p, n) for p in range(4) for n in range(100)})
        assert {p for p, _ in again.records()} == {0, 1, 2, 3}
    finally:
        assert again.stop() == 0 and not CRASH.search(again.log_text())


def test_the_shared_library_shows_only_its_own():
    out = subprocess.run(["nm", "-D", "--defined-only", str(BUILD / "libkafuka-zkconsumer.so")], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].split("@")[0] for line in out.splitlines() if " T " in line}
    header = (TOP / "tools/zkconsumer/zkconsumer.h").read_text()
    assert names == set(re.findall(r"\b(kafuka_zkc_\w+)\(", header)) - {"kafuka_zkc_use"}
