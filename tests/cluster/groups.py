# SPDX-License-Identifier: Apache-2.0
"""Groups of consumers as processes, and what must hold of them: read from the members' own records (see group_member.py)."""
import json
import pathlib
import re
import struct
import subprocess
import threading
import time

from cluster import Process, wait_until

HERE = pathlib.Path(__file__).resolve().parent


class Member(Process):
    """A consumer that writes the log of group_member.py. One incarnation: a restarted member is a new Member."""

    def __init__(self, name, argv, folder, env=None, instance=None):
        self.identity = instance or name  # who it is to the group: a static member is the same after a restart
        self.name, self.events_path = name, pathlib.Path(folder) / f"{name}.jsonl"
        self.seen, self.read_bytes = [], 0
        super().__init__(name, [*argv, "--name", name, "--log", self.events_path], pathlib.Path(folder) / f"{name}.out", env)

    def events(self):
        """All of them; each is read from the log once."""
        if self.events_path.exists():
            with open(self.events_path, "rb") as f:
                f.seek(self.read_bytes)
                whole, end, _ = f.read().rpartition(b"\n")  # what is behind the last line end is being written
            self.seen += [json.loads(line) for line in whole.split(b"\n") if line]
            self.read_bytes += len(whole) + len(end)
        return self.seen

    def owned(self):
        for e in reversed(self.events()):
            if "owned" in e:
                return set(e["owned"])
        return set()

    def generation(self):
        return max((e["generation"] for e in self.events() if e["e"] == "assigned"), default=-1)


def python_member(library, name, folder, bootstrap, group, topic, assignor="range", instance=None, session_ms=6000):
    argv = ["/usr/bin/python3", HERE / "group_member.py", "--library", library, "--bootstrap", bootstrap, "--group", group, "--topic", topic,
            "--assignor", assignor, "--session-ms", session_ms]
    return Member(name, argv + (["--instance-id", instance] if instance else []), folder, instance=instance)


class LineMember:
    """A program that prints its records (kcat, a console consumer). Records and rebalances come through one pipe, for their order counts;
    each line must be one write."""

    def __init__(self, name, argv, parse, env=None):
        self.name, self.identity, self.argv, self.parse, self.env = name, name, [str(a) for a in argv], parse, env
        self.lock, self.seen, self.lines, self.now = threading.Lock(), [], [], set()
        self.child = None

    def start(self):
        self.child = subprocess.Popen(self.argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.env, text=True)
        self.reader = threading.Thread(target=self.read, args=(self.child.stdout,), daemon=True)
        self.reader.start()

    def read(self, stream):
        for line in stream:
            event = self.parse(self, line.rstrip("\n"))
            with self.lock:
                self.lines.append(line)
                del self.lines[:-200]
                if event:
                    self.seen.append({"t": time.monotonic(), **event})

    def events(self):
        """All of them so far. A copy: the reader appends."""
        with self.lock:
            return list(self.seen)

    owned, generation = Member.owned, Member.generation

    def alive(self):
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self):
        return self.child.pid

    def signal(self, number):
        self.child.send_signal(number)

    def end(self):
        self.reader.join(timeout=20)
        return self.child.returncode

    def kill(self):
        if self.alive():
            self.child.kill()
        self.child.wait(timeout=30)
        return self.end()

    def stop(self, timeout=60):
        if self.alive():
            self.child.terminate()
        self.child.wait(timeout=timeout)
        return self.end()

    def log_text(self):
        with self.lock:
            return "".join(self.lines)


def kcat_member(name, bootstrap, group, topic, assignor="range", session_ms=6000, instance=None):
    def parse(member, line):
        rebalanced = re.search(r"rebalanced(?: \(memberid .*?\))?: (?:incremental )?(assign|revoke)\w*[^:]*: ?(.*)", line)
        if rebalanced:
            partitions = {f"{t}-{p}" for t, p in re.findall(r"(\S+) \[(\d+)\]", rebalanced[2])}
            member.now = member.now | partitions if rebalanced[1] == "assign" else member.now - partitions
            return {"e": {"assign": "assigned", "revoke": "revoked"}[rebalanced[1]], "generation": -1, "partitions": sorted(partitions), "owned": sorted(member.now)}
        record = re.fullmatch(r"(\S+) (\d+) (\d+)", line)
        return {"e": "records", "r": [[f"{record[1]}-{record[2]}", int(record[3])]]} if record else None

    argv = ["stdbuf", "-oL", "kcat", "-b", bootstrap, "-f", "%t %p %o\n", "-X", "auto.offset.reset=earliest", "-X", f"session.timeout.ms={session_ms}",
            "-X", f"heartbeat.interval.ms={session_ms // 6}", "-X", f"partition.assignment.strategy={assignor}", "-X",
            "auto.commit.interval.ms=200", "-X", "topic.metadata.refresh.interval.ms=2000", "-X", "reconnect.backoff.max.ms=1000"]
    argv += ["-X", f"group.instance.id={instance}"] if instance else []
    return LineMember(name, [*argv, "-G", group, topic], parse)


class Producer:
    """Writes numbered records to every partition in turn, until stopped, and keeps what was acknowledged (acks=all) and when."""

    def __init__(self, bootstrap, topic, partitions, rate, by_value=False):
        self.by_value = by_value  # records are known by their text (a number; its partition is the number modulo partitions), not their offset
        self.bootstrap, self.topic, self.partitions, self.rate = bootstrap, topic, partitions, rate
        self.acked, self.failed = {}, 0  # "topic-partition" -> {offset: time of the ack}
        self.stopped, self.flowing, self.held = threading.Event(), threading.Event(), threading.Event()
        self.flowing.set()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def delivered(self, error, message):
        if error is not None:
            self.failed += 1
        else:
            name = int(message.value()) if self.by_value else message.offset()
            self.acked.setdefault(f"{message.topic()}-{message.partition()}", {})[name] = time.monotonic()

    def run(self):
        import confluent_kafka

        producer = confluent_kafka.Producer({
            "bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 5, "message.timeout.ms": 120000, "retry.backoff.ms": 50,
            "topic.metadata.refresh.interval.ms": 1000, "reconnect.backoff.max.ms": 500, "socket.timeout.ms": 5000, "log_level": 0})
        due, number, before = 0.0, 0, time.monotonic()
        while not self.stopped.is_set():
            if not self.flowing.is_set():
                producer.flush(120)
                self.held.set()
                self.flowing.wait(0.1)
                before = time.monotonic()
                continue
            now = time.monotonic()
            due, before = due + (now - before) * self.rate, now
            while number < due:
                try:
                    producer.produce(self.topic, f"{number}".encode(), partition=number % self.partitions, on_delivery=self.delivered)
                except (BufferError, confluent_kafka.KafkaException):  # full; or its metadata forgot the topic while brokers came and went
                    break
                number += 1
            producer.poll(0.01)
        producer.flush(120)

    def hold(self):
        """Nothing is on its way and nothing is written until flow()."""
        self.held.clear()
        self.flowing.clear()
        assert self.held.wait(150), "the producer does not get rid of its records"

    def flow(self):
        self.flowing.set()

    def stop(self):
        """The acknowledged records."""
        self.stopped.set()
        self.thread.join(timeout=150)
        assert not self.thread.is_alive(), "the producer does not end"
        return self.acked

    def wait_flowing(self, timeout):
        """Until every partition has taken a record after now."""
        names = [f"{self.topic}-{p}" for p in range(self.partitions)]
        known = {n: len(self.acked.get(n, {})) for n in names}

        def flowing():
            assert self.thread.is_alive(), "the producer ended"
            return all(len(self.acked.get(n, {})) > known[n] for n in names)

        wait_until(flowing, timeout, "every partition to be written")

    def count(self):
        return sum(len(offsets) for offsets in list(self.acked.values()))


class Owners:
    """The owner znodes of a ZooKeeper group as they are now, through watches, which survive ZooKeeper's absence; and, from ZooKeeper's own
    log of transactions, as they ever were (a watch misses whoever came and went at once)."""

    def __init__(self, connect, group, topic, partitions):
        from kazoo.client import KazooClient

        base = self.base = f"/consumers/{group}/owners/{topic}"
        self.history = {f"{topic}-{p}": [(0.0, None)] for p in range(partitions)}  # [(since, consumer id or None)]
        self.lock = threading.Lock()
        self.zk = KazooClient(hosts=connect, timeout=30, connection_retry={"max_tries": -1, "max_delay": 1})
        self.zk.start(timeout=20)
        for p in range(partitions):
            self.zk.DataWatch(f"{base}/{p}", self.watcher(f"{topic}-{p}"))

    def watcher(self, partition):
        return lambda data, stat, event: self.changed(partition, data)

    def changed(self, partition, data):
        with self.lock:
            self.history[partition].append((time.monotonic(), consumer_of(data)))

    def owned(self, consumer):
        with self.lock:
            return {p for p, h in self.history.items() if h[-1][1] == consumer}

    def was_owner(self, partition, consumer, begin, end):
        """Whether consumer owned partition at some time between begin and end."""
        with self.lock:
            h = list(self.history[partition])
        ends = [t for t, _ in h[1:]] + [float("inf")]
        return any(o == consumer and since <= end and until >= begin for (since, o), until in zip(h, ends))

    def read_log(self, data_folder):
        """The whole history in place of what the watches saw. data_folder: ZooKeeper's dataDir."""
        to_monotonic = time.monotonic() - time.time()
        history = {p: [(0.0, None)] for p in self.history}
        for ms, path, data in zookeeper_log(data_folder):
            folder, _, partition = path.rpartition("/")
            name = f"{self.base.rpartition('/')[2]}-{partition}"
            if folder == self.base and name in history:
                history[name].append((ms / 1000 + to_monotonic, consumer_of(data)))
        with self.lock:
            self.history = history

    def stop(self):
        self.zk.stop()
        self.zk.close()


def consumer_of(data):
    """A thread id is CONSUMER-NUMBER."""
    return data.decode().rpartition("-")[0] if data else None


def zookeeper_log(data_folder):
    """(time in ms, path, data or None) of each znode that was made or deleted, in order: what FileTxnLog has written (jute)."""
    for path in sorted(pathlib.Path(data_folder, "version-2").glob("log.*"), key=lambda p: int(p.suffix[1:], 16)):
        log, at = path.read_bytes(), 16
        while at + 12 <= len(log):
            (size,) = struct.unpack_from(">i", log, at + 8)
            if size <= 0:
                break  # what follows was only reserved
            entry = log[at + 12:at + 12 + size]
            ms, kind = struct.unpack_from(">qi", entry, 20)
            yield from ((ms, *change) for change in zookeeper_changes(kind, entry[32:]))
            at += 12 + size + 1


def zookeeper_changes(kind, body):
    def text(at):
        (n,) = struct.unpack_from(">i", body, at)
        return body[at + 4:at + 4 + max(n, 0)], at + 4 + max(n, 0)

    if kind in (1, 15):  # create, create2
        path, at = text(0)
        yield path.decode(), text(at)[0]
    elif kind == 2:  # delete
        yield text(0)[0].decode(), None
    elif kind == -11 and body:  # closeSession, with its ephemerals
        at = 4
        for _ in range(struct.unpack_from(">i", body)[0]):
            path, at = text(at)
            yield path.decode(), None
    elif kind == 14:  # multi
        at, ops = 4, []
        for _ in range(struct.unpack_from(">i", body)[0]):
            (inner,) = struct.unpack_from(">i", body, at)
            data, at = text(at + 4)
            ops.append((inner, data))
        if all(inner != -1 for inner, _ in ops):  # else it was refused: what stands before the error was not done either
            for inner, data in ops:
                yield from zookeeper_changes(inner, data)


def zookeeper_member(name, argv, owners, group, parse, env=None):
    """A program that consumes through ZooKeeper with consumer.id NAME; what it owns is what the owner znodes say."""
    m = LineMember(name, argv, parse, env)
    m.owned = lambda: owners.owned(f"{group}_{name}")
    return m


def not_owner(members, owners, group, slack):
    """Records printed by a member that did not own the partition slack(member, time) seconds before (what it had in hand), by the znodes.
    ZooKeeper's clock counts in ms: a tenth of a second is granted."""
    return [(m.name, p, o, e["t"]) for m in members for e in m.events() for p, o in e.get("r", ())
            if not owners.was_owner(p, f"{group}_{m.name}", e["t"] - slack(m, e["t"]), e["t"] + 0.1)]


class Seen:
    """What a group has had, and when first; reads each event of each member once."""

    def __init__(self):
        self.at, self.done = {}, {}  # "topic-partition" -> {offset: time}; member -> events read

    def update(self, members):
        for m in members:
            events = m.events()
            for e in events[self.done.get(m.name, 0):]:
                for p, o in e.get("r", ()):
                    known = self.at.setdefault(p, {})
                    known[o] = min(e["t"], known.get(o, e["t"]))
            self.done[m.name] = len(events)
        return self

    def missing(self, acked):
        return sorted((p, o) for p, offsets in list(acked.items()) for o in list(offsets) if o not in self.at.get(p, {}))


def lost(acked, members):
    """What was acknowledged and no member has had."""
    return Seen().update(members).missing(acked)


def strays(members):
    """Records from a partition that the member did not own when it was handed them."""
    wrong = []
    for m in members:
        owned = set()
        for e in m.events():
            owned = set(e["owned"]) if "owned" in e else owned
            wrong += [(m.name, p, o) for p, o in e.get("r", ()) if p not in owned]
    return wrong


def two_owners(members):
    """(generation, partition, members) where one generation gave a partition to more than one member. Members that do not know their
    generation (kcat) are left out."""
    owners = {}
    for m in members:
        for e in m.events():
            if e["e"] == "assigned" and e.get("generation", -1) >= 0:
                for p in e["owned"]:
                    owners.setdefault((e["generation"], p), set()).add(m.identity)
    return sorted((g, p, sorted(names)) for (g, p), names in owners.items() if len(names) > 1)


def went_back(members):
    """Assignments that began below an offset whose commit had succeeded before: a committed offset was lost."""
    commits = sorted((e["t"], p, o) for m in members for e in m.events() if e["e"] == "committed" for p, o in e["offsets"].items())
    wrong = []
    for m in members:
        fresh = {}  # partition -> when it was assigned, until its first record
        for e in m.events():
            if e["e"] == "assigned":
                fresh.update({p: e["t"] for p in e["partitions"]})
            for p, o in e.get("r", ()):
                if p in fresh:
                    since = fresh.pop(p)
                    floor = max((c for t, q, c in commits if q == p and t < since), default=0)
                    if o < floor:
                        wrong.append((m.name, p, o, floor))
    return wrong


def settled(members, partitions):
    """Every partition has one owner among the live members, and no member has two more than another."""
    shares = [m.owned() for m in members]
    even = max(map(len, shares)) - min(map(len, shares)) <= 1
    return even and sum(map(len, shares)) == len(partitions) and set().union(*shares) == set(partitions)


def wait_settled(members, partitions, timeout=60):
    def even_or_dead():
        return settled(members, partitions) or dead(members)

    try:
        wait_until(even_or_dead, timeout, f"one owner for each of {len(partitions)} partitions")
    except AssertionError as e:
        raise AssertionError(f"{e}; owned: { {m.name: sorted(m.owned()) for m in members} }") from None
    assert not dead(members), dead(members)


def dead(members):
    return [(m.name, m.log_text()[-1500:]) for m in members if not m.alive()]


def wait_caught_up(acked, members, timeout=60):
    """Until the members have seen all that is acknowledged by now."""
    missing, seen = [(p, o) for p, offsets in list(acked.items()) for o in list(offsets)], Seen()

    def caught_up():
        nonlocal missing
        seen.update(members)
        missing = [(p, o) for p, o in missing if o not in seen.at.get(p, {})]
        return not missing

    try:
        wait_until(caught_up, timeout, "the group to see every record that was acknowledged")
    except AssertionError as e:
        raise AssertionError(f"{e}: {len(missing)} missing, from {sorted(missing)[:5]}") from None


def check(members, acked):
    """All of it; members: every incarnation there was."""
    problems = {"lost": lost(acked, members), "strays": strays(members), "two owners": two_owners(members), "went back": went_back(members)}
    assert not any(problems.values()), {k: (len(v), v[:5]) for k, v in problems.items() if v}
