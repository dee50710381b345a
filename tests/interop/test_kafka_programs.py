# SPDX-License-Identifier: Apache-2.0
"""Kafka 3.9's own programs against kafuka: its producer, consumer and admin tools, and its reader of log files."""
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from cluster import Cluster, kcat, wait_until  # noqa: E402

JARS = os.environ["KAFKA_JARS"]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def java(main, *args, stdin=None, timeout=180):
    r = subprocess.run(["java", "-Xmx512m", "-cp", f"{JARS}/*", main, *map(str, args)], input=stdin, capture_output=True, text=True,
                       timeout=timeout)
    return r


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("interop"))
    try:
        yield c.start()
    finally:
        c.stop()


def dump(files, *options):
    r = java("kafka.tools.DumpLogSegments", "--files", ",".join(map(str, files)), *options)
    assert r.returncode == 0, r.stdout[-2000:] + r.stderr[-2000:]
    complaints = [line for line in (r.stdout + r.stderr).splitlines()
                  if re.search(r"mismatch|corrupt|invalid|Non-consecutive|out of order|sanity check failed|Exception|isvalid: false", line, re.I)
                  and "isvalid: true" not in line]
    assert not complaints, complaints[:5]
    return r.stdout


@pytest.mark.parametrize("codec", CODECS)
def test_console_producer_writes_and_console_consumer_reads(cluster, codec):
    topic = f"java-{codec}"
    cluster.create_topic(topic, partitions=2, factor=3)
    lines = [f"{codec} {i} {'z' * (i % 50)}" for i in range(2000)]
    r = java("kafka.tools.ConsoleProducer", "--bootstrap-server", cluster.bootstrap, "--topic", topic, "--compression-codec", codec,
             stdin="\n".join(lines) + "\n")
    assert r.returncode == 0 and "ERROR" not in r.stderr, r.stderr[-2000:]
    assert sorted(kcat("-b", cluster.bootstrap, "-C", "-t", topic, "-e", "-q").stdout.decode().splitlines()) == sorted(lines)
    got = []
    for p in (0, 1):
        count = len(kcat("-b", cluster.bootstrap, "-C", "-t", topic, "-p", p, "-e", "-q").stdout.splitlines())
        if count == 0:
            continue
        r = java("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", cluster.bootstrap, "--topic", topic,
                 "--partition", p, "--offset", "earliest", "--max-messages", count, "--timeout-ms", 60000)
        got += r.stdout.splitlines()
    assert sorted(got) == sorted(lines)


def test_topic_command_sees_what_we_keep(cluster):
    bootstrap = ("--bootstrap-server", cluster.bootstrap)
    r = java("org.apache.kafka.tools.TopicCommand", *bootstrap, "--create", "--topic", "by-java", "--partitions", 3, "--replication-factor", 3,
             "--config", "retention.ms=86400000")
    assert r.returncode == 0 and "Created topic by-java." in r.stdout, r.stdout + r.stderr
    theirs = java("org.apache.kafka.tools.TopicCommand", *bootstrap, "--describe", "--topic", "by-java").stdout
    ours = cluster.tool("topics", *bootstrap, "--describe", "--topic", "by-java").stdout
    assert theirs == ours
    assert "by-java" in java("org.apache.kafka.tools.TopicCommand", *bootstrap, "--list").stdout.split()
    r = java("org.apache.kafka.tools.TopicCommand", *bootstrap, "--alter", "--topic", "by-java", "--partitions", 5)
    assert r.returncode == 0, r.stdout + r.stderr
    r = java("org.apache.kafka.tools.TopicCommand", *bootstrap, "--delete", "--topic", "by-java")
    assert r.returncode == 0, r.stdout + r.stderr


def test_dump_log_segments_reads_everything_after_a_kill(cluster):
    topic = "dumped"
    cluster.create_topic(topic, partitions=1, factor=3, segment_bytes=65536, index_interval_bytes=1024)
    for codec in CODECS:
        text = b"\n".join(f"{codec} {i} {'y' * (i % 200)}".encode() for i in range(3000)) + b"\n"
        kcat("-b", cluster.bootstrap, "-P", "-t", topic, "-z", codec, "-X", "acks=all", "-X", "batch.size=4000", stdin=text)
    cluster.wait_isr(topic, 1, 3)
    broker = cluster.brokers[0]
    broker.kill()
    try:
        folder = broker.data / f"{topic}-0"
        logs = sorted(folder.glob("*.log"))
        assert len(logs) > 3
        out = dump(logs, "--deep-iteration", "--print-data-log")
        assert len(re.findall(r"^\|? ?offset: ", out, re.M)) == 3000 * len(CODECS)
        indexes = sorted(folder.glob("*.index")) + sorted(folder.glob("*.timeindex"))
        dump(indexes)
        dump(indexes, "--index-sanity-check")
        dump(indexes, "--verify-index-only")
        ours = cluster.tool("dump-log", "--files", ",".join(map(str, logs)), "--deep-iteration", "--print-data-log").stdout
        assert ours == out
    finally:
        broker.start()
    cluster.wait_isr(topic, 1, 3)
    broker.stop()
    snapshots = sorted((broker.data / f"{topic}-0").glob("*.snapshot"))
    assert snapshots
    dump(snapshots)
    broker.start()
    wait_until(lambda: len(cluster.leader_and_isr(topic, 0)[1]) == 3, 30, "the ISR to be whole")


def test_perf_tools_run(cluster):
    cluster.create_topic("perf", partitions=3, factor=3)
    r = java("org.apache.kafka.tools.ProducerPerformance", "--topic", "perf", "--num-records", 50000, "--record-size", 100, "--throughput", -1,
             "--producer-props", f"bootstrap.servers={cluster.bootstrap}", "acks=all")
    assert r.returncode == 0 and "50000 records sent" in r.stdout, r.stdout + r.stderr


def test_kafkas_reassignment_tool_moves_replicas(cluster, tmp_path):
    cluster.create_topic("moved", partitions=3, factor=2)
    kcat("-b", cluster.bootstrap, "-P", "-t", "moved", "-X", "acks=all", stdin="".join(f"{i}\n" for i in range(1000)).encode())
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": "moved", "partition": p, "replicas": [2, 0, 1]} for p in range(3)]}))
    tool = ("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", "--bootstrap-server", cluster.bootstrap)
    r = java(*tool, "--reassignment-json-file", plan, "--execute")
    assert "Successfully started partition reassignments for moved-0,moved-1,moved-2" in r.stdout, r.stdout + r.stderr
    wait_until(lambda: java(*tool, "--reassignment-json-file", plan, "--verify").stdout.count("is completed.") == 3, 60, "the moves to end")
    assert "No partition reassignments found." in java(*tool, "--list").stdout
    # a leader that is in the new list stays, as with Kafka; only the periodic check (5 s after the controller's election, then every 300 s) or
    # an election moves it to the first replica
    for p in range(3):
        r = java("org.apache.kafka.tools.LeaderElectionCommand", "--bootstrap-server", cluster.bootstrap, "--election-type", "preferred",
                 "--topic", "moved", "--partition", p)
        assert r.returncode == 0, r.stdout + r.stderr
        said = r.stdout

        def is_moved():
            leader, isr = cluster.leader_and_isr("moved", p)
            assert leader == 2 and len(isr) == 3, f"leader {leader}, isr {isr}; the election said {said!r}"
            return True

        wait_until(is_moved, 60, f"moved-{p}")
    assert len(kcat("-b", cluster.bootstrap, "-C", "-t", "moved", "-e", "-q").stdout.split()) == 1000


def test_a_transactional_producer_ends_at_once_with_the_reason(cluster):
    cluster.create_topic("java-txn")
    began = time.monotonic()
    r = java("org.apache.kafka.tools.ProducerPerformance", "--topic", "java-txn", "--num-records", 10, "--record-size", 10, "--throughput", -1,
             "--transactional-id", "java", "--transaction-duration-ms", 1000, "--producer-props",
             f"bootstrap.servers={cluster.bootstrap}", "max.block.ms=60000")
    assert r.returncode != 0 and "TransactionalIdAuthorizationException" in r.stderr, r.stdout[-2000:] + r.stderr[-2000:]
    assert time.monotonic() - began < 55


def test_our_reassign_and_election_tools_print_what_kafkas_do(cluster, tmp_path):
    cluster.tool("topics", "--bootstrap-server", cluster.bootstrap, "--create", "--topic", "twice", "--replica-assignment", "0:1,1:2")
    topics, plan, empty = tmp_path / "topics.json", tmp_path / "plan.json", tmp_path / "empty.json"
    topics.write_text('{"topics": [{"topic": "twice"}]}')
    plan.write_text(json.dumps({"partitions": [{"topic": "twice", "partition": 0, "replicas": [2, 0]},
                                               {"topic": "twice", "partition": 1, "replicas": [1, 2]}]}))
    empty.write_text('{"partitions": []}')

    def theirs(main, *args):
        r = java(f"org.apache.kafka.tools.{main}", "--bootstrap-server", cluster.bootstrap, *args)
        return r.returncode, [line for line in r.stdout.splitlines() if not line.startswith("\tat ") and "Exception: " not in line]

    def ours(name, *args):
        r = cluster.tool(name, "--bootstrap-server", cluster.bootstrap, *args, check=False)
        return r.returncode, r.stdout.splitlines()

    def both(*args, main="reassign.ReassignPartitionsCommand", name="reassign-partitions"):
        a, b = theirs(main, *args), ours(name, *args)
        # theirs ends an error with an empty line behind the stack trace
        assert (a[0], [x for x in a[1] if x]) == (b[0], [x for x in b[1] if x]), args

    both("--list")
    both("--verify", "--reassignment-json-file", plan)
    both("--execute", "--reassignment-json-file", empty)
    generated = [said[1] for said in (tool("--generate", "--topics-to-move-json-file", topics, "--broker-list", "0,2") for tool in (
        lambda *a: theirs("reassign.ReassignPartitionsCommand", *a), lambda *a: ours("reassign-partitions", *a)))]
    assert generated[0][:4] == generated[1][:4]
    assert all({i for p in json.loads(g[4])["partitions"] for i in p["replicas"]} == {0, 2} for g in generated)
    # the second of them finds what the first one did
    a = theirs("reassign.ReassignPartitionsCommand", "--execute", "--reassignment-json-file", plan, "--throttle", "5000")
    wait_until(lambda: "No partition" in ours("reassign-partitions", "--list")[1][0], 60, "the moves to end")
    b = ours("reassign-partitions", "--execute", "--reassignment-json-file", plan, "--throttle", "5000")
    assert a[0] == b[0] == 0 and len(a[1]) == len(b[1]) and [x for x in a[1] if "replicas" not in x] == [x for x in b[1] if "replicas" not in x]
    wait_until(lambda: "No partition" in ours("reassign-partitions", "--list")[1][0], 60, "the moves to end")
    both("--verify", "--reassignment-json-file", plan)
    election = dict(main="LeaderElectionCommand", name="leader-election")
    wait_until(lambda: cluster.leader_and_isr("twice", 1)[0] == 1, 30, "the preferred leader")
    both("--election-type", "preferred", "--topic", "twice", "--partition", "1", **election)
    both("--election-type", "unclean", "--all-topic-partitions", **election)


ABOUT_WHAT_IS_NOT_THERE = [
    # program, its arguments, whether it succeeds, what it says
    ("kafka.admin.ConfigCommand", ["--entity-type", "users", "--describe"], True, ""),
    ("kafka.admin.ConfigCommand", ["--entity-type", "clients", "--describe"], True, ""),
    ("kafka.admin.ConfigCommand", ["--entity-type", "ips", "--describe"], True, ""),
    ("kafka.admin.ConfigCommand", ["--entity-type", "clients", "--entity-name", "x", "--alter", "--add-config", "producer_byte_rate=1000"], False,
     "client quotas are not supported"),
    ("kafka.admin.ConfigCommand", ["--entity-type", "users", "--entity-name", "x", "--alter", "--add-config", "SCRAM-SHA-256=[password=x]"], False,
     "SASL is not supported"),
    ("kafka.admin.AclCommand", ["--list"], False, "no authorizer is configured"),
    ("org.apache.kafka.tools.TransactionsCommand", ["list"], True, "TransactionalId"),
    ("org.apache.kafka.tools.TransactionsCommand", ["describe", "--transactional-id", "x"], False, "authorization failure"),
    ("org.apache.kafka.tools.TransactionsCommand", ["describe-producers", "--topic", "java-ids", "--partition", "0"], True, "ProducerId"),
    ("org.apache.kafka.tools.DelegationTokenCommand", ["--describe"], False, "Delegation Token requests are not allowed"),
]


@pytest.mark.parametrize("program, args, succeeds, says", ABOUT_WHAT_IS_NOT_THERE)
def test_programs_that_ask_for_what_is_not_there_are_told_so(cluster, tmp_path, program, args, succeeds, says):
    if "describe-producers" in args:
        cluster.create_topic("java-ids")
        r = java("org.apache.kafka.tools.ProducerPerformance", "--topic", "java-ids", "--num-records", 3, "--record-size", 10, "--throughput", -1,
                 "--producer-props", f"bootstrap.servers={cluster.bootstrap}", "enable.idempotence=true")
        assert r.returncode == 0, r.stderr[-2000:]
    (tmp_path / "empty.properties").touch()
    more = ["--command-config", tmp_path / "empty.properties"] if "Token" in program else []
    r = java(program, "--bootstrap-server", cluster.bootstrap, *more, *args, timeout=60)
    failed = r.returncode != 0 or "Exception" in r.stdout + r.stderr
    assert failed != succeeds and says in r.stdout + r.stderr, r.stdout[-2000:] + r.stderr[-2000:]
