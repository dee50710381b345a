# SPDX-License-Identifier: Apache-2.0
"""Real processes for the cluster tests: one ZooKeeper, brokers on free ports, kafuka's tools, and waiting for conditions."""
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KAFUKA_BUILD", TOP / "build"))
ZOOKEEPER_JAR = os.environ.get("KAFUKA_ZOOKEEPER_JAR", "/usr/share/java/zookeeper.jar")
# what a sanitizer or a false ASSERT leaves in a log
CRASH = re.compile(r"PANIC|AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")
SANITIZER_ENV = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}


PATIENCE = 60  # seconds; whatever a healthy cluster does has happened by then, also on a machine whose cores are all busy


def wait_until(condition, timeout, what):
    """Returns condition()'s first true value; fails after timeout seconds, and not before PATIENCE, saying what was waited for. A test that
    bounds a time measures it, generously."""
    timeout = max(timeout, PATIENCE)
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except Exception as e:  # a condition may ask a broker that is just starting
            last = e
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}" + (f"; last error: {last!r}" if last else ""))
        time.sleep(0.02)


_given_ports = set()


def free_ports(count):
    """Ports that nobody listens on now, none given twice. Below those that the kernel takes for outgoing connections, so that none of these
    takes one before its server has started."""
    ports = []
    while len(ports) < count:
        port = random.randrange(10000, 32768)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given_ports:
            _given_ports.add(port)
            ports.append(port)
    return ports


def answers(port):
    with contextlib.suppress(OSError):
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    return False


class Process:
    """One child with a log file; ended by its id only."""

    def __init__(self, name, argv, log, env=None):
        self.name, self.argv, self.log = name, [str(a) for a in argv], pathlib.Path(log)
        self.env = {**os.environ, **SANITIZER_ENV, **(env or {})}
        self.child = None

    def start(self):
        assert not self.alive()
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(self.argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.env)

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        if self.alive():
            self.child.kill()
        if self.child is not None:
            self.child.wait(timeout=30)

    def stop(self, timeout=60):
        """SIGTERM, and the exit status."""
        if self.alive():
            self.child.terminate()
        try:
            return self.child.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.child.send_signal(signal.SIGABRT)
            self.child.wait(timeout=30)
            raise AssertionError(f"{self.name} did not stop {timeout} s after SIGTERM; log: {self.log}")

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class ZooKeeper(Process):
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        config = self.folder / "zoo.cfg"
        config.write_text(
            f"tickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=60000\ndataDir={self.folder}/data\nclientPort={self.port}\n"
            "clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=*\nforceSync=no\n"
        )
        super().__init__(
            "zookeeper",
            ["java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ZOOKEEPER_JAR,
             "org.apache.zookeeper.server.quorum.QuorumPeerMain", config],
            self.folder / "zookeeper.log",
        )

    def start(self):
        super().start()
        wait_until(lambda: answers(self.port) or self._check(), 30, f"ZooKeeper on port {self.port}")

    def _check(self):
        assert self.alive(), f"ZooKeeper ended: {self.log_text()[-2000:]}"


class Broker(Process):
    def __init__(self, cluster, number, port, options):
        self.id, self.port = number, port
        self.folder = cluster.folder / f"b{number}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.properties = self.folder / "server.properties"
        values = {
            "broker.id": number,
            "listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "log.dirs": self.data,
            "zookeeper.connect": cluster.connect,
            "zookeeper.session.timeout.ms": 3000,
            "replica.lag.time.max.ms": 3000,
            "offsets.topic.replication.factor": 1,
        }
        values.update(options)
        self.values = values
        self.write_properties()
        super().__init__(f"broker {number}", [BUILD / "kafuka-broker", self.properties], self.folder / "broker.log", cluster.broker_env)

    def write_properties(self, **more):
        self.values.update({k.replace("_", "."): v for k, v in more.items()})
        self.properties.write_text("".join(f"{k}={v}\n" for k, v in self.values.items()))

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self, wait=True):
        super().start()
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def ready():
            assert self.alive(), f"{self.name} ended: {self.log_text()[-3000:]}"
            return answers(self.port)

        deadline = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < deadline, f"{self.name} does not listen on {self.port}"
            time.sleep(0.02)


class Cluster:
    def __init__(self, folder, count=3, options=None, broker_options=None, env=None, zookeeper=None, chroot=""):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.owns_zookeeper = zookeeper is None
        self.zookeeper = zookeeper or ZooKeeper(self.folder / "zk")
        self.connect = f"127.0.0.1:{self.zookeeper.port}{chroot}"
        self.broker_env = env or {}
        self.options = dict(options or {})
        ports = free_ports(count)
        self.brokers = [Broker(self, n, ports[n], {**self.options, **(broker_options or {}).get(n, {})}) for n in range(count)]

    def start(self):
        if self.owns_zookeeper and not self.zookeeper.alive():
            self.zookeeper.start()
        for b in self.brokers:
            b.start(wait=False)
        for b in self.brokers:
            b.wait_ready()
        self.wait_brokers()
        return self

    @property
    def bootstrap(self):
        return ",".join(b.address for b in self.brokers)

    def wait_brokers(self, ids=None, timeout=30):
        """Until every live broker knows all the given ones (default: those alive) and a controller."""
        from confluent_kafka.admin import AdminClient

        wanted = set(ids) if ids is not None else {b.id for b in self.brokers if b.alive()}
        for b in self.brokers:
            if b.alive():
                client = AdminClient({"bootstrap.servers": b.address, "log_level": 0})
                try:
                    wait_until(lambda: set(client.list_topics(timeout=5).brokers) == wanted, timeout,
                               f"broker {b.id} to know brokers {sorted(wanted)}")
                except AssertionError as e:
                    raise AssertionError(f"{e}\n{b.log}:\n{b.log_text()[-3000:]}") from e

    def tool(self, name, *args, stdin=None, check=True, timeout=60):
        """Runs a kafuka tool; its output. check: fails on a non-zero exit status."""
        r = subprocess.run([str(BUILD / "kafuka"), name, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=timeout,
                           env=dict(os.environ, **SANITIZER_ENV))
        assert not CRASH.search(r.stderr), r.stderr
        if check:
            assert r.returncode == 0, f"kafuka {name} {args} ended with {r.returncode}: {r.stdout}{r.stderr}"
        return r

    def create_topic(self, name, partitions=1, factor=1, **configs):
        args = [x for k, v in configs.items() for x in ("--config", f"{k.replace('_', '.')}={v}")]
        self.tool("topics", "--bootstrap-server", self.bootstrap, "--create", "--topic", name, "--partitions", partitions,
                  "--replication-factor", factor, *args)

    def zk_client(self):
        from kazoo.client import KazooClient

        k = KazooClient(hosts=self.connect)
        k.start(timeout=20)
        return k

    def leader_and_isr(self, topic, partition, broker=None):
        """(leader, isr) as a broker's Metadata says."""
        from confluent_kafka.admin import AdminClient

        address = (broker or next(b for b in self.brokers if b.alive())).address
        meta = AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(topic, timeout=10)
        p = meta.topics[topic].partitions[partition]
        return p.leader, list(p.isrs)

    def wait_isr(self, topic, partitions, count, timeout=60):
        def full():
            return all(len(self.leader_and_isr(topic, p)[1]) == count for p in range(partitions))

        wait_until(full, timeout, f"every ISR of {topic} to have {count} members")

    def stop(self):
        """Ends everything; fails if a broker crashed, leaked or did not end well."""
        problems = []
        for b in self.brokers:
            if b.alive():
                try:
                    status = b.stop()
                    if status != 0:
                        problems.append(f"broker {b.id} ended with {status}: {b.log_text()[-3000:]}")
                except AssertionError as e:
                    problems.append(str(e))
            found = CRASH.search(b.log_text())
            if found:
                text = b.log_text()
                problems.append(f"broker {b.id}: {text[max(0, found.start() - 200):found.start() + 4000]}")
        if self.owns_zookeeper:
            self.zookeeper.kill()
        assert not problems, "\n".join(problems)


def concatenated_logs(broker, topic, partition):
    """The bytes of a replica's segments, in order."""
    folder = broker.data / f"{topic}-{partition}"
    return b"".join(p.read_bytes() for p in sorted(folder.glob("*.log")))


def kcat(*args, stdin=None, timeout=120, check=True):
    assert shutil.which("kcat")
    r = subprocess.run(["kcat", *map(str, args)], input=stdin, capture_output=True, timeout=timeout)
    if check:
        assert r.returncode == 0, f"kcat {args} ended with {r.returncode}: {r.stderr.decode(errors='replace')}"
    return r
