#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The fault test of consumer groups: real ZooKeeper, real brokers, members as processes; one fault after the other, drawn from a seed.

  group_faults.py [--kinds broker,zookeeper] [--seed N] [--seconds N] [--members 4] [--only FAULT,FAULT] [--at-least N] [--build DIR]
                  [--folder DIR] [--kafka JARS]

Kinds: broker (confluent-kafka and kafka-python members, the group coordinator of a broker), zookeeper (kafuka-console-consumer
--zookeeper). Records are written with acks=all all the time. After each fault the group must have seen all that was acknowledged, with
one owner for each partition and even shares; at the end the members' own records (group_member.py, or the printed records and the owner
znodes) must show: nothing lost, never two owners of a partition in one generation, no record from a partition that was not assigned, no
commit forgotten. The pause of a fault is the longest time that an acknowledged record waited for the group after it.

--seconds is for each kind. --at-least N: goes on, up to twice as long, until each fault came N times; fewer is a failure (the draw
takes what was rarest: 15 minutes give ten of each). --kafka JARS: Apache Kafka's brokers from that folder in place of kafuka's, to try the test and for comparison.
Ends with 0 when all held, and prints one line a fault and kind.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

TOPIC, GROUP, PARTITIONS, RATE = "faults", "fault-group", 8, 100
MEMBER_SESSION_MS, ZK_SESSION_MS = 3000, 3000
RECOVERY_SECONDS = 90
ZK_PASSWORD_SECRET = 0xB3415C00  # ZooKeeperServer.superSecret: a session's password is java.util.Random(id ^ this).nextBytes(16)


def session_password(session_id):
    """What lets another connection take a session over, and close it: the same as its expiry, without waiting."""
    mask = (1 << 48) - 1
    state = (session_id ^ ZK_PASSWORD_SECRET ^ 0x5DEECE66D) & mask
    out = b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & mask
        out += struct.pack("<I", state >> 16)
    return out


def receive(s):
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack_from(">i", data)[0]:
        more = s.recv(4096)
        assert more, "closed"
        data += more
    return data[4:]


def end_session(port, session_id):
    """Takes a session over by its id and password, and closes it. False: ZooKeeper would not (its owner took it back in between)."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.settimeout(5)
        body = struct.pack(">iqiqi", 0, 0, 5000, session_id, 16) + session_password(session_id)
        s.sendall(struct.pack(">i", len(body)) + body)
        try:
            timeout_ms, granted = struct.unpack_from(">4xiq", receive(s))
            if timeout_ms <= 0 or granted != session_id:
                return False
            s.sendall(struct.pack(">iii", 8, 1, -11))  # closeSession
            receive(s)
        except (OSError, AssertionError):
            return False
    return True


def find_coordinator(address, group):
    """The broker id of a group's coordinator, by FindCoordinator v0."""
    host, port = address.rsplit(":", 1)
    name = group.encode()
    request = struct.pack(">hhih6sh", 10, 0, 7, 6, b"faults", len(name)) + name
    with socket.create_connection((host, int(port)), timeout=5) as s:
        s.sendall(struct.pack(">i", len(request)) + request)
        s.settimeout(5)
        data = receive(s)
    _, error, node = struct.unpack_from(">ihi", data)
    assert error == 0, f"FindCoordinator: error {error}"
    return node


class Kind:
    """One group under faults. What the two kinds share."""

    def __init__(self, args, folder, rng):
        import cluster
        import groups

        self.groups, self.wait_until, self.args, self.rng = groups, cluster.wait_until, args, rng
        self.folder = pathlib.Path(folder)
        options = {"zookeeper.session.timeout.ms": ZK_SESSION_MS, "offsets.topic.replication.factor": 3, "group.min.session.timeout.ms": 1000,
                   "group.initial.rebalance.delay.ms": 300, "replica.lag.time.max.ms": 3000, "auto.create.topics.enable": "false"}
        self.cluster = cluster.Cluster(folder, 4, options=options)
        if args.kafka:
            for b in self.cluster.brokers:
                b.argv = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{args.kafka}/*", "kafka.Kafka", str(b.properties)]
        self.spare = self.cluster.brokers.pop()  # comes and goes
        self.cluster.start()
        self.members, self.number = [], 0
        self.gone, self.broken = set(), 0  # members that we ended; how many ended by themselves
        self.counts, self.pauses, self.paused = {}, {}, {}  # fault: how often, longest pauses; member: times it was continued
        self.create_topic()
        self.producer = groups.Producer(self.cluster.bootstrap, TOPIC, PARTITIONS, RATE).start()
        self.partitions = {f"{TOPIC}-{p}" for p in range(PARTITIONS)}
        self.seen = groups.Seen()

    def create_topic(self):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3)])[TOPIC].result(60)

    @property
    def live(self):
        return [m for m in self.members if m.alive()]

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.1f} {self.name}: {text}", flush=True)

    def pause_for(self, low, high):
        """A drawn time to let pass: part of a schedule, not a wait for something."""
        time.sleep(self.rng.uniform(low, high))

    def start_member(self):
        self.number += 1
        m = self.new_member(f"m{self.number}")
        self.members.append(m)
        m.start()
        return m

    def kill_members(self, members):
        for m in members:
            self.gone.add(m.name)
            m.signal(signal.SIGKILL)
        for m in members:
            m.kill()

    def signal_member(self, m):
        self.gone.add(m.name)
        m.signal(signal.SIGTERM)

    def wait_ended(self, m):
        try:
            status = m.child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{m.name} does not end after SIGTERM: {m.log_text()[-2000:]}") from None
        if status == -signal.SIGTERM and not m.events():
            return  # it had not come so far as to handle the signal
        assert status == 0, f"{m.name} ended with {status}: {m.log_text()[-2000:]}"

    def stop_member(self, m):
        self.signal_member(m)
        self.wait_ended(m)

    def start_broker(self, b):
        if not self.args.kafka:
            self.pause_for(0.1, 3)
        else:
            time.sleep(ZK_SESSION_MS / 1000 + 2)  # Kafka does not start beside the znode of its own dead session
        b.start()

    # ---- faults, by name; each returns when it is over, the recovery comes after

    def fault_member_killed(self):
        self.kill_members([self.rng.choice(self.live)])
        self.pause_for(0, 2)
        self.start_member()

    def fault_all_members_killed(self):
        count = len(self.live)
        self.kill_members(self.live)
        self.pause_for(0, 1)
        for _ in range(count):
            self.start_member()

    def fault_member_leaves_and_one_joins(self):
        self.stop_member(self.rng.choice(self.live))
        self.start_member()

    def fault_member_paused_beyond_its_session(self):
        m = self.rng.choice(self.live)
        m.signal(signal.SIGSTOP)
        self.pause_for(MEMBER_SESSION_MS / 1000 + 0.5, MEMBER_SESSION_MS / 1000 + 2)
        self.paused.setdefault(m.name, []).append(time.monotonic())
        m.signal(signal.SIGCONT)

    def fault_broker_killed(self):
        b = self.rng.choice(self.cluster.brokers)
        b.kill()
        self.start_broker(b)

    def fault_broker_stopped_in_order(self):
        b = self.rng.choice(self.cluster.brokers)
        status = b.stop()
        assert status in (0, 143), f"{b.name} ended with {status}"
        self.start_broker(b)

    def fault_broker_paused(self):
        b = self.rng.choice(self.cluster.brokers)
        b.signal(signal.SIGSTOP)
        self.pause_for(0.5, ZK_SESSION_MS / 1000 + 2)
        b.signal(signal.SIGCONT)

    def fault_zookeeper_killed(self):
        self.cluster.zookeeper.kill()
        self.pause_for(0.2, ZK_SESSION_MS / 1000 + 1)
        self.cluster.zookeeper.start()

    def fault_broker_set_changed_in_a_rebalance(self):
        """A member joins; while its rebalance runs, brokers come or go. It leaves again under the same circumstances."""
        extra = self.start_member()
        self.pause_for(0, 0.4)
        killed = None
        if self.rng.random() < 0.5:
            killed = self.rng.choice(self.cluster.brokers)
            killed.kill()
        elif self.spare.alive():
            self.spare.stop()
        else:
            self.spare.start(wait=False)
        self.recovered()
        other = self.rng.choice([m for m in self.live if m is not extra])
        self.signal_member(other)
        self.pause_for(0, 0.2)
        if killed:
            self.start_broker(killed)
        self.wait_ended(other)

    def expire_session_of(self, path):
        """Ends the ZooKeeper session that an ephemeral znode belongs to, and waits until its owner is back with another one."""
        from kazoo.exceptions import NoNodeError

        k = self.cluster.zk_client()
        try:
            first = self.wait_until(lambda: k.get(path)[1].ephemeralOwner, 30, path)

            def ended():
                try:
                    return k.get(path)[1].ephemeralOwner != first or (end_session(self.cluster.zookeeper.port, first) and False)
                except NoNodeError:
                    return False

            self.wait_until(ended, 30, f"{path} in another session")
        finally:
            k.stop()
            k.close()

    # ---- one after the other

    def replace_broken(self):
        """A member that a defect of its library ended (group_member.py knows it) is one more death; any other is a failure."""
        import group_member

        for m in [m for m in self.members if not m.alive() and m.name not in self.gone]:
            self.gone.add(m.name)
            assert m.child.returncode == group_member.OWN_DEFECT, f"{m.name} ended with {m.child.returncode}: {m.log_text()[-2000:]}"
            self.broken += 1
            self.say(f"{m.name} ended by a defect of its library; another takes its place")
            self.start_member()

    def recovered(self):
        self.replace_broken()
        self.producer.wait_flowing(RECOVERY_SECONDS)
        self.wait_shares()
        self.groups.wait_caught_up(self.producer.acked, self.members, RECOVERY_SECONDS)

    def longest_wait(self, since):
        """Of the records acknowledged since then: how long one waited, in seconds."""
        self.seen.update(self.members)
        waits = [self.seen.at[p][o] - t for p, acked in list(self.producer.acked.items()) for o, t in list(acked.items())
                 if t >= since and o in self.seen.at.get(p, {})]
        return max(waits, default=0.0)

    def one_fault(self):
        fewest = min(self.counts.values())
        fault = self.rng.choice(sorted(f for f, n in self.counts.items() if n == fewest))
        since = time.monotonic()
        getattr(self, f"fault_{fault}")()
        self.recovered()
        self.counts[fault] += 1
        pause = self.longest_wait(since - 0.2)
        self.pauses[fault] = max(pause, self.pauses.get(fault, 0.0))
        self.say(f"{fault.replace('_', ' ')}: recovered after {time.monotonic() - since:.1f} s, longest pause {pause:.2f} s")
        for b in self.cluster.brokers:  # the next fault must not take the last in-sync replica
            self.wait_until(b.alive, 1, b.name)
        self.cluster.wait_isr(TOPIC, PARTITIONS, 3, RECOVERY_SECONDS)

    def run(self, seconds):
        self.began = time.monotonic()
        names = [n.removeprefix("fault_") for n in dir(self) if n.startswith("fault_")]
        only = self.args.only.split(",") if self.args.only else names
        unknown = set(only) - set(names)
        assert not unknown or len(self.args.kinds.split(",")) > 1, f"no such fault: {unknown}; there are {names}"
        self.counts = {n: 0 for n in sorted(names) if n in only}
        for _ in range(self.args.members):
            self.start_member()
        self.recovered()
        self.say(f"the group is whole: {len(self.live)} members, {PARTITIONS} partitions")
        while time.monotonic() - self.began < seconds or (self.few() and time.monotonic() - self.began < 2 * seconds):
            self.one_fault()
        return self.finish()

    def few(self):
        return {f: n for f, n in self.counts.items() if n < self.args.at_least}

    def finish(self):
        acked = self.producer.stop()
        self.groups.wait_caught_up(acked, self.members, RECOVERY_SECONDS)
        for m in self.live:
            self.stop_member(m)
        result = self.verdict(acked)
        for fault, n in self.counts.items():
            print(f"{self.name:9} {fault.replace('_', ' '):38} n {n:3}  longest pause {self.pauses.get(fault, 0):6.2f} s", flush=True)
        print(f"{self.name:9} {self.producer.count()} records acknowledged, {self.producer.failed} refused, "
              f"{sum(len(s) for s in self.seen.update(self.members).at.values())} seen, {len(self.members)} members "
              f"({self.broken} ended by a defect of their library): "
              + ", ".join(f"{what} {len(found)}" for what, found in result.items()), flush=True)
        return result

    def stop(self):
        self.producer.stopped.set()
        for m in self.members:
            if m.alive():
                m.signal(signal.SIGCONT)
            m.kill()
        if self.spare.alive():
            self.cluster.brokers.append(self.spare)
        if self.args.kafka:
            for b in [*self.cluster.brokers, self.spare]:
                b.kill()
        self.cluster.stop()


class BrokerKind(Kind):
    name = "broker"

    def wait_shares(self):
        self.groups.wait_settled(self.live, self.partitions, RECOVERY_SECONDS)

    def new_member(self, name):
        library = ["confluent", "kafka-python"][self.number % 2]
        return self.groups.python_member(library, name, self.folder, self.cluster.bootstrap, GROUP, TOPIC, self.assignor, session_ms=MEMBER_SESSION_MS)

    def run(self, seconds):
        self.assignor = self.rng.choice(["range", "roundrobin"])
        return super().run(seconds)

    def fault_coordinator_killed(self):
        alive = next(b for b in self.cluster.brokers if b.alive())
        node = self.wait_until(lambda: [find_coordinator(alive.address, GROUP)], 30, "FindCoordinator")[0]
        b = next(b for b in [*self.cluster.brokers, self.spare] if b.id == node)
        b.kill()
        self.start_broker(b)

    def fault_zookeeper_session_of_a_broker_expired(self):
        self.expire_session_of(f"/brokers/ids/{self.rng.choice(self.cluster.brokers).id}")

    def verdict(self, acked):
        g = self.groups
        return {"lost": g.lost(acked, self.members), "two owners": g.two_owners(self.members), "not assigned": g.strays(self.members),
                "commits forgotten": g.went_back(self.members)}


class ZooKeeperKind(Kind):
    name = "zookeeper"

    def __init__(self, *args):
        super().__init__(*args)
        self.owners = self.groups.Owners(self.cluster.connect, GROUP, TOPIC, PARTITIONS)
        self.ended = []  # when a session was ended by us, or ZooKeeper came back

    def new_member(self, name):
        import cluster

        def parse(_, line):
            record = re.match(r"Partition:(\d+)\tOffset:(\d+)\t", line)
            return {"e": "records", "r": [[f"{TOPIC}-{record[1]}", int(record[2])]]} if record else None

        argv = [cluster.BUILD / "kafuka", "console-consumer", "--zookeeper", self.cluster.connect, "--topic", TOPIC, "--group", GROUP]
        for p in (f"consumer.id={name}", "auto.offset.reset=smallest", f"zookeeper.session.timeout.ms={MEMBER_SESSION_MS}",
                  "auto.commit.interval.ms=200", "rebalance.backoff.ms=500", "rebalance.max.retries=20"):
            argv += ["--consumer-property", p]
        for p in ("print.partition=true", "print.offset=true"):
            argv += ["--property", p]
        return self.groups.zookeeper_member(name, argv, self.owners, GROUP, parse, env=dict(os.environ, **cluster.SANITIZER_ENV))

    def fault_zookeeper_session_of_a_member_expired(self):
        m = self.rng.choice(self.live)
        self.paused.setdefault(m.name, []).append(time.monotonic())
        self.expire_session_of(f"/consumers/{GROUP}/ids/{GROUP}_{m.name}")

    def fault_zookeeper_killed(self):
        super().fault_zookeeper_killed()
        for m in self.members:
            self.paused.setdefault(m.name, []).append(time.monotonic())

    def wait_shares(self):
        """By the rule of our members: of n in the order of their ids, each takes ceil(partitions / n), as long as there are any."""
        def shares():
            names = sorted(m.name for m in self.live)
            n = -(-PARTITIONS // len(names))
            return {name: {f"{TOPIC}-{p}" for p in range(i * n, min(PARTITIONS, (i + 1) * n))} for i, name in enumerate(names)}

        try:
            self.wait_until(lambda: {m.name: m.owned() for m in self.live} == shares(), RECOVERY_SECONDS, "shares by the rule")
        except AssertionError as e:
            raise AssertionError(f"{e}; owned: { {m.name: sorted(m.owned()) for m in self.live} }") from None

    def slack(self, m, t):
        """A member may print what it had in hand 1 s after it gave a partition up, and as long as it cannot know that it lost it."""
        since_resumed = [t - r for r in self.paused.get(m.name, []) if 0 <= t - r < 5]
        return 1 + (MEMBER_SESSION_MS / 1000 + 5 + max(since_resumed) if since_resumed else 0)

    def two_owners(self):
        """Partitions that two members read in turns: A, B and A again, while the owner znode did not change as often."""
        reads = {}
        for m in self.members:
            for e in m.events():
                for p, _ in e["r"]:
                    reads.setdefault(p, []).append((e["t"], f"{GROUP}_{m.name}"))
        wrong = []
        for p, list_of in reads.items():
            list_of.sort()
            turns = sum(a[1] != b[1] for a, b in zip(list_of, list_of[1:]))
            owners = [o for _, o in self.owners.history[p] if o]
            changes = sum(a != b for a, b in zip(owners, owners[1:]))
            if turns > changes + 2 * sum(map(len, self.paused.values())):
                wrong.append((p, turns, changes))
        return wrong

    def verdict(self, acked):
        self.owners.read_log(self.cluster.zookeeper.folder / "data")
        return {"lost": self.groups.lost(acked, self.members), "two owners": self.two_owners(),
                "not assigned": self.groups.not_owner(self.members, self.owners, GROUP, self.slack)}

    def write_down(self):
        """What the verdict was read from: one file a member, and the owners."""
        for m in self.members:
            (self.folder / f"{m.name}.jsonl").write_text("".join(json.dumps(e) + "\n" for e in m.events()))
        (self.folder / "owners.json").write_text(json.dumps({"owners": self.owners.history, "paused": self.paused}, indent=1))

    def stop(self):
        self.write_down()
        self.owners.stop()
        super().stop()


KINDS = {"broker": BrokerKind, "zookeeper": ZooKeeperKind}


def run_kind(args, name, folder):
    """True when all held."""
    rng = random.Random(f"{args.seed}/{name}")
    kind = KINDS[name](args, folder, rng)
    good = False
    try:
        result = kind.run(args.seconds)
        few = kind.few()
        for what, found in result.items():
            if found:
                print(f"{name}: {what}: {found[:10]}", flush=True)
        if few:
            print(f"{name}: fewer than {args.at_least}: {few}", flush=True)
        good = not few and not any(result.values())
    finally:
        kind.stop()
    return good


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kinds", default="broker,zookeeper")
    p.add_argument("--seed", type=int, default=None)
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--members", type=int, default=4)
    p.add_argument("--only", default="")
    p.add_argument("--at-least", type=int, default=0)
    p.add_argument("--build")
    p.add_argument("--folder")
    p.add_argument("--kafka")
    args = p.parse_args(argv)
    if args.build:
        os.environ["KAFUKA_BUILD"] = str(pathlib.Path(args.build).resolve())
    args.seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {args.seed}", flush=True)
    folder = pathlib.Path(args.folder or tempfile.mkdtemp(prefix="kafuka-faults-", dir="/var/tmp"))
    good = True
    for name in args.kinds.split(","):
        good = run_kind(args, name, folder / name) and good
    if good and not args.folder:
        shutil.rmtree(folder)
    elif not good:
        print(f"seed {args.seed}; logs: {folder}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
