# SPDX-License-Identifier: Apache-2.0
"""Every option of the broker and of topics, with good and bad values, set on Kafka 3.9 and on kafuka: both must take or refuse it, with the
same error. In a properties file (Kafka's own KafkaConfig against `kafuka-broker --check-config`), and while running (the same Java client
against a broker of each). Where kafuka answers differently on purpose, ALLOWED names it with the reason; an allowance that is not needed
fails, so the list is what docs/compatibility.md sums up under "Options"."""
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cluster"))
from cluster import BUILD, Cluster, Process, answers, free_ports, wait_until  # noqa: E402

JARS = os.environ["KAFKA_JARS"]
NULL = "\\e"
Option = collections.namedtuple("Option", "kind name type default validator dynamic")

LIMITS = {"SHORT": 1 << 15, "INT": 1 << 31, "LONG": 1 << 63}
MALFORMED = {"SHORT", "INT", "LONG", "DOUBLE"}
VERSIONS = ["3.9", "3.9-IV0", "2.8.1", "0.10.2", "0.10.2-IV0", "0.8.2", "4.0-IV1", "4.0", "3.9-IV9", "0.10", "2", "2.8.", "latest", ""]
REPLICAS = ["*", "0:0", "0:0,1:2", " 0:0 , 1:2 ", "", "0-1", "zero:1", "0:1;1:2", "*,0:1", "0:", ":1", "0:1,,1:2", "0:1,*", "-1:0", "0:1:2"]
SPECIAL = {
    "leader.replication.throttled.replicas": REPLICAS,
    "follower.replication.throttled.replicas": REPLICAS,
    "message.format.version": VERSIONS,
    "log.message.format.version": VERSIONS,
    "inter.broker.protocol.version": VERSIONS,
    "listeners": ["PLAINTEXT://:9092", "PLAINTEXT://127.0.0.1:0", "PLAINTEXT://h:1,PLAINTEXT://h:2", "PLAINTEXT://:9092,OTHER://:9093", "h:9092",
                  "PLAINTEXT:9092", "", "PLAINTEXT://h:x", "PLAINTEXT://h:70000", "PLAINTEXT://a:9092,SSL://b:9092"],
    "advertised.listeners": ["PLAINTEXT://h:9092", "PLAINTEXT://h:1,PLAINTEXT://i:2", "OTHER://h:1", "h:9092", "PLAINTEXT://0.0.0.0:9092", "",
                             "PLAINTEXT://:9092", "PLAINTEXT://h:9092,"],
    "listener.security.protocol.map": ["PLAINTEXT:PLAINTEXT", "PLAINTEXT:SSL", "PLAINTEXT:NOSUCH", "PLAINTEXT", "", "A:PLAINTEXT",
                                       "PLAINTEXT:PLAINTEXT,B:SSL", "plaintext:plaintext"],
    "inter.broker.listener.name": ["PLAINTEXT", "plaintext", "OTHER", ""],
    "security.inter.broker.protocol": ["PLAINTEXT", "SSL", "plaintext", "NOSUCH", ""],
    "control.plane.listener.name": ["OTHER", "PLAINTEXT"],
    "max.connections.per.ip.overrides": ["", "127.0.0.1:5", "127.0.0.1:5,host:0", " a : 5 , b:6", "127.0.0.1", "h:x", "h:-1", "::1:5", "h:2147483648", "h/i:5", ":5", "h:"],
    "zookeeper.connect": ["z:2181", "a:1,b:2/chroot", "z"],
    "broker.rack": ["r1", ""],
    "log.dirs": ["/tmp/a", "/tmp/a,/tmp/b"],
    "log.dir": ["/tmp/a"],
    "offsets.topic.compression.codec": ["0", "1", "2", "3", "4"],
    "metrics.recording.level": ["INFO", "DEBUG"],
    "group.consumer.migration.policy": ["disabled", "DISABLED", "Upgrade", "nosuch", ""],
    "controller.quorum.voters": ["", "1@h:9093", "1@h:9093,2@i:9093"],
    "controller.quorum.bootstrap.servers": ["", "h:9093"],
    "process.roles": ["", "nosuch", "Broker"],
}


def values(o):
    """Good and bad values of an option, by its type and by what Kafka's validator says of itself."""
    if o.name in SPECIAL:
        return SPECIAL[o.name]
    if o.type == "BOOLEAN":
        return ["true", "false", "TRUE", " false ", "yes", "1", "0", "t", ""]
    if o.type in LIMITS:
        top = LIMITS[o.type]
        numbers = {-1, 0, 1, 2, 1000, -2, top - 1, top, -top, -top - 1}
        for bound in re.findall(r"-?\d+", o.validator if "default value" not in o.validator else ""):
            numbers |= {int(bound) - 1, int(bound), int(bound) + 1}
        return sorted(map(str, numbers)) + [" 5 ", "+5", "05", "5.0", "5x", "0x5", "1e3", "5_000", "", "-", "null"]
    if o.type == "DOUBLE":
        return ["0", "0.5", "1", "-0.1", "1.1", "5", " 0.5 ", "+0.5", ".5", "1e-1", "1.7976931348623157E308", "x", "", "0,5", "1e400", "-1e400"]
    choices = re.match(r"(?:\(.*\) )?\[(\w+(?:, \w+)*)\]$", o.validator)
    if choices:
        words = choices.group(1).split(", ")
        some = words + [words[0].swapcase(), words[0] + "x", " " + words[0] + " ", ""]
        return some + [",".join(words[:2]), f"{words[0]}, {words[1]}", f"{words[0]},,{words[1]}", f"{words[0]},"]
    return ["", "a", "a,b", " a , b ", "a,,b"]


STOPS = ("authorizer.class.name|ssl.keystore.key|ssl.keystore.certificate.chain|ssl.truststore.certificates|"
         "zookeeper.clientCnxnSocket|zookeeper.set.acl|zookeeper.ssl.client.enable|remote.log.storage.system.enable")
CLASSES = r".*\.class|.*\.class\.name|group\.consumer\.assignors|metric\.reporters"
AT_START = ("listeners|advertised.listeners|listener.security.protocol.map|num.io.threads|num.network.threads|num.recovery.threads.per.data.dir|"
            "num.replica.fetchers|producer.id.expiration.ms|ssl.cipher.suites|ssl.client.auth|ssl.enabled.protocols|ssl.endpoint.identification.algorithm|"
            "unclean.leader.election.enable")
# (names as a regular expression, values as one, where: in a file, on a running broker, as the default of all, on a topic): why
ALLOWED = [
    (STOPS, ".+", "file", "kafuka refuses what it would only pretend to do: protection, tiered storage"),
    (CLASSES, ".*", "file|broker|default", "kafuka looks for no Java classes, and an empty one is none"),
    ("advertised.listeners", "", "file", "an empty text is the option not set"),
    ("early.start.listeners", ".+", "file", "of KRaft, has no meaning here"),
    ("inter.broker.protocol.version", "0\\..*", "file", "has no meaning here"),
    ("listeners", "PLAINTEXT://h:70000", "file", "Kafka takes it and cannot bind it"),
    ("listeners", "PLAINTEXT://a:9092,SSL://b:9092", "file", "two addresses may share a port here"),
    (AT_START, ".*", "broker|default", "kafuka changes it at a start only, and says so"),
    ("log.flush.interval.ms", "-.*", "broker|default", "Kafka takes it and cannot start again with it"),
    ("log.local.retention.ms", ".*", "broker|default", "of tiered storage, has no effect yet"),
    ("sasl.jaas.config", ".*", "broker", "kafuka stores no secrets in ZooKeeper"),
]


def allowance(where, name, value, used):
    for i, (names, these, places, _) in enumerate(ALLOWED):
        if where in places.split("|") and re.fullmatch(names, name) and re.fullmatch(these, value, re.S):
            used.add(i)
            return True
    return False


class Java:
    """A run of Options.java: lines in, lines out."""

    def __init__(self, classes):
        self.classes = classes

    def run(self, *args, lines=()):
        text = "".join(line + "\n" for line in lines)
        r = subprocess.run(["java", "-Xmx512m", "-cp", f"{JARS}/*:{self.classes}", "Options", *map(str, args)], input=text, capture_output=True,
                           text=True, timeout=300)
        assert r.returncode == 0, r.stderr[-3000:]
        return r.stdout.splitlines()


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    subprocess.run(["javac", "-nowarn", "-cp", f"{JARS}/*", "-d", folder, HERE / "options" / "Options.java"], check=True, timeout=120)
    return Java(folder)


@pytest.fixture(scope="module")
def options(java):
    """Kafka's options: [Option]."""
    return [Option(*(line + "\t" * (5 - line.count("\t"))).split("\t")) for line in java.run("list")]


def ours_in_files(folder, cases):
    """What kafuka says of each option alone in a properties file: "" or the error."""
    files = []
    for i, (name, value) in enumerate(cases):
        files.append(folder / f"{i}.properties")
        escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
        files[-1].write_text(f"broker.id=0\nzookeeper.connect=127.0.0.1:1\n{name}={escaped}\n")
    said = {}
    for i in range(0, len(files), 500):
        r = subprocess.run([str(BUILD / "kafuka-broker"), "--check-config", *files[i:i + 500]], capture_output=True, text=True, timeout=120)
        assert r.returncode in (0, 1) and "Sanitizer" not in r.stderr, r.stderr[-3000:]
        for line in r.stdout.splitlines():
            said[line.split(": ")[0]] = ""
        for line in r.stderr.splitlines():
            error = re.match(r"kafuka-broker: (\S+\.properties): (.*)", line)
            if error:
                said[error.group(1)] = error.group(2)
    return [said[str(f)] for f in files]


def compare(where, rows, used):
    """rows: (name, value, Kafka's, ours), both "" or an error. The differences without an allowance, as lines."""
    return [f"{name}={value!r}: Kafka {kafka or 'takes it'}; kafuka {ours or 'takes it'}" for name, value, kafka, ours in rows
            if kafka.split(":")[0] != ours.split(":")[0] and not allowance(where, name, value, used)]


class KafkaBroker(Process):
    """A Kafka 3.9 of its own, beside the kafuka broker, with the same ZooKeeper under another path."""

    def __init__(self, folder, zookeeper):
        folder.mkdir()
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        properties = folder / "server.properties"
        properties.write_text(f"broker.id=0\nlisteners=PLAINTEXT://{self.address}\nlog.dirs={folder}/data\n"
                              f"zookeeper.connect=127.0.0.1:{zookeeper.port}/peer\n{STATIC}")
        super().__init__("Kafka", ["java", "-Xmx512m", "-cp", f"{JARS}/*", "kafka.Kafka", properties], folder / "kafka.log")
        self.start()
        wait_until(lambda: answers(port), 90, "Kafka to listen")


STATIC = "log.retention.hours=200\nlog.roll.hours=100\nlog.segment.bytes=500000000\ncompression.type=lz4\nmin.insync.replicas=1\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(Kafka's address, ours), both broker 0 with topic t."""
    c = Cluster(tmp_path_factory.mktemp("options"), count=1, options=dict(line.split("=") for line in STATIC.splitlines()))
    kafka = None
    try:
        c.start()
        kafka = KafkaBroker(c.folder / "kafka", c.zookeeper)
        for address in (kafka.address, c.brokers[0].address):
            c.tool("topics", "--bootstrap-server", address, "--create", "--topic", "t", "--partitions", 1, "--replication-factor", 1)
        yield kafka.address, c.brokers[0].address
    finally:
        if kafka:
            kafka.kill()
        c.stop()


def on_both(java, pair, *args, lines):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda address: java.run(*args, address, lines=lines), pair))


def without_none(answer):
    return "" if answer == "NONE" else answer


USED = {}


def test_the_same_values_are_taken_in_a_file(java, options, tmp_path):
    cases = [(o.name, v) for o in options if o.kind == "broker" for v in values(o)]
    kafka = java.run("static", lines=[f"{name}\t{value}" for name, value in cases])
    assert len(kafka) == len(cases)
    ours = ours_in_files(tmp_path, cases)
    used = USED.setdefault("file", set())
    rows = [(*c, "" if k == "taken" else "refused: " + k, "" if not o else "refused: " + o) for c, k, o in zip(cases, kafka, ours)]
    differences = compare("file", rows, used)
    print(f"\n{len(cases)} values of {len({c[0] for c in cases})} options in a file, {len(differences)} differences, "
          f"{sum(k != 'taken' for k in kafka)} refused by Kafka")
    assert not differences, "\n" + "\n".join(differences)


@pytest.mark.parametrize("kind,entity", [("broker", "0"), ("default", "")])
def test_the_same_changes_of_a_running_broker_are_taken(java, options, pair, kind, entity):
    cases = [(o.name, v) for o in options if o.kind == "broker" for v in values(o)]
    lines = ["\t".join(("broker", entity, name, "SET", value, "true")) for name, value in cases]
    kafka, ours = on_both(java, pair, "alter", lines=lines)
    rows = [(*c, without_none(k), without_none(o)) for c, k, o in zip(cases, kafka, ours, strict=True)]
    differences = compare(kind, rows, USED.setdefault(kind, set()))
    # and in earnest: two values that both take, and back again
    taken = {}
    for name, value, k, o in rows:
        if not k and not o and not re.search("listener|ssl|sasl|principal|num\\.|reporters", name):
            taken.setdefault(name, []).append(value)
    real = [(name, value, op) for name, those in taken.items() for value, op in [(those[0], "SET"), (those[-1], "SET"), (NULL, "DELETE")]]
    kafka_real, ours_real = on_both(java, pair, "alter", lines=["\t".join(("broker", entity, name, op, value, "false")) for name, value, op in real])
    assert len(real) > 90
    differences += compare(kind, [(name, value, without_none(k), without_none(o)) for (name, value, _), k, o in
                                  zip(real, kafka_real, ours_real, strict=True)], USED[kind])
    print(f"\n{len(cases)} values of {len({c[0] for c in cases})} options on a running broker ({kind}), {len(real)} in earnest, "
          f"{len(differences)} differences, "
          f"{sum(k != 'NONE' for k in kafka)} refused by Kafka")
    assert not differences, "\n" + "\n".join(differences)


def test_the_same_topic_configs_are_taken(java, options, pair):
    cases = [(o.name, v) for o in options if o.kind == "topic" for v in values(o)] + [("no.such", "1"), ("retention.mss", "1"), ("", "1")]
    used = USED.setdefault("topic", set())
    kafka, ours = on_both(java, pair, "alter", lines=["\t".join(("topic", "t", name, "SET", value, "false")) for name, value in cases])
    rows = [(*c, without_none(k), without_none(o)) for c, k, o in zip(cases, kafka, ours, strict=True)]
    differences = compare("topic", rows, used)
    print(f"\n{len(cases)} values of topic configs, {len(differences)} differences, {sum(k != 'NONE' for k in kafka)} refused by Kafka")
    names = sorted({c[0] for c in cases})
    kafka, ours = on_both(java, pair, "alter", lines=["\t".join(("topic", "t", name, "DELETE", NULL, "false")) for name in names])
    differences += compare("topic", [(n, "(deleted)", without_none(k), without_none(o)) for n, k, o in zip(names, kafka, ours)], used)
    kafka, ours = on_both(java, pair, "create", lines=["\t".join(("new", name, value)) for name, value in cases])
    rows = [(*c, without_none(k), without_none(o)) for c, k, o in zip(cases, kafka, ours, strict=True)]
    differences += compare("topic", rows, used)
    assert not differences, "\n" + "\n".join(differences)


# What is set, as (kind, entity, name, value): every layer over every other one.
LAYERS = [
    ("broker", "", "log.segment.bytes", "400000000"), ("broker", "0", "log.segment.bytes", "300000000"), ("topic", "t", "segment.bytes", "200000000"),
    ("broker", "", "log.retention.ms", "360000000"), ("broker", "0", "log.roll.ms", "36000000"), ("topic", "t", "retention.ms", "3600000"),
    ("broker", "", "log.cleaner.delete.retention.ms", "86400123"), ("topic", "t", "cleanup.policy", "compact,delete"),
    ("broker", "0", "compression.type", "zstd"), ("broker", "", "log.flush.interval.ms", "777777"), ("topic", "t", "flush.messages", "5"),
    ("broker", "0", "leader.replication.throttled.rate", "1000"), ("topic", "t", "leader.replication.throttled.replicas", "0:0"),
    ("broker", "", "some.plugin.option", "1"), ("broker", "", "log.roll.jitter.ms", "5"),
]


ENTITIES = [("topic", "t"), ("broker", "0"), ("broker", "")]
# Described differently on purpose, or because this test has set them so.
DESCRIBED_APART = {
    **dict.fromkeys(AT_START.split("|"), "read-only: changed at a start only"),
    **dict.fromkeys(["ssl.key.password", "ssl.keystore.location", "ssl.keystore.password", "ssl.truststore.location"], "changed at a start only"),
    **dict.fromkeys(["ssl.keystore.type", "ssl.truststore.type"], "PEM by default, changed at a start only"),
    **dict.fromkeys(["log.retention.hours", "log.roll.hours"], "Kafka shows its default as the value of a static option"),
    "leader.replication.throttled.rate": "Kafka knows it only while it is set",
    "offsets.topic.compression.codec": "a text here: names of codecs are taken too",
    **dict.fromkeys(["log.dirs", "offsets.topic.replication.factor", "replica.lag.time.max.ms", "zookeeper.connect",
                     "zookeeper.session.timeout.ms"], "set otherwise in this test"),
}


def entries(java, address):
    """Every entry of DescribeConfigs, for each of ENTITIES: {name: fields}."""
    found = [{}]
    for line in java.run("describe", address, lines=["\t".join(e) for e in ENTITIES]):
        f = line.split("\t")
        if line:
            found[-1][f[0]] = tuple(f[1:6]) + (tuple(f[6].split("\x01")),)
        else:
            found.append({})
    return dict(zip(ENTITIES, found))


def test_every_layer_is_described_as_kafka_does(java, pair):
    lines = ["\t".join((kind, entity, name, "SET", value, "false")) for kind, entity, name, value in LAYERS]
    for answers_of_one in on_both(java, pair, "alter", lines=lines):
        assert answers_of_one == ["NONE"] * len(LAYERS)

    def settled(address):
        found = entries(java, address)
        return all(found[kind, entity][name][0] in (value, NULL) for kind, entity, name, value in LAYERS) and found

    kafka, ours = (wait_until(lambda: settled(address), 60, f"{address} to show what was set") for address in pair)
    differences, count = [], 0
    for entity in ENTITIES:
        both = set(kafka[entity]) & set(ours[entity])
        count += len(both)
        differences += [f"{entity} {name}: Kafka {kafka[entity][name]}, kafuka {ours[entity][name]}"
                        for name in sorted(both) if name not in DESCRIBED_APART and kafka[entity][name] != ours[entity][name]]
    print(f"\n{count} described options, {len(differences)} differences")
    assert count > 300 and not differences, "\n" + "\n".join(differences)


def test_every_allowance_is_needed():
    needed = set().union(*USED.values())
    if set(USED) == {"file", "broker", "default", "topic"}:  # all of the tests above have run
        assert [a for i, a in enumerate(ALLOWED) if i not in needed] == []
