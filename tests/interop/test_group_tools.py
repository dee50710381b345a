# SPDX-License-Identifier: Apache-2.0
"""Kafka 3.9's group tools and ours ask the same kafuka cluster and must print the same; where ours differ on purpose (tools/README.md), the
difference is taken out here by name."""
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from cluster import Cluster, wait_until  # noqa: E402

JARS = os.environ["KAFKA_JARS"]
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
OFFSETS = "org.apache.kafka.tools.GetOffsetShell"


def java(main, *args, timeout=180):
    r = subprocess.run(["java", "-Xmx512m", "-cp", f"{JARS}/*", main, *map(str, args)], capture_output=True, text=True, timeout=timeout)
    r.stderr = "".join(x for x in r.stderr.splitlines(True) if "SLF4J" not in x and not x.startswith("log4j"))
    return r


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """g-active with three members (one static), g-empty without."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    c = Cluster(tmp_path_factory.mktemp("group-tools"), options={"group.initial.rebalance.delay.ms": 0})
    made, done = [], threading.Event()
    try:
        c.start()
        c.create_topic("t1", 3, 1)
        c.create_topic("a-topic-with-a-longer-name", 12, 1)
        p = Producer({"bootstrap.servers": c.bootstrap})
        for i in range(30):
            p.produce("t1", f"v{i}", partition=i % 3)
            p.produce("a-topic-with-a-longer-name", f"v{i}", partition=i % 12)
        assert p.flush(30) == 0

        def member(group, **config):
            return Consumer({"bootstrap.servers": c.bootstrap, "group.id": group, "enable.auto.commit": False, **config})

        empty = member("g-empty")
        empty.commit(offsets=[TopicPartition("t1", 0, 4), TopicPartition("t1", 1, 10), TopicPartition("a-topic-with-a-longer-name", 7, 0)],
                     asynchronous=False)
        empty.close()
        made.extend(member("g-active", **{"client.id": f"c{n}", **({"group.instance.id": "static-1"} if n == 1 else {})}) for n in range(3))

        def poll():
            while not done.is_set():
                for m in made:
                    m.poll(0.01)

        for m in made:
            m.subscribe(["t1", "a-topic-with-a-longer-name"])
        thread = threading.Thread(target=poll)
        thread.start()
        wait_until(lambda: all(m.assignment() for m in made), 60, "three members with partitions")
        wait_until(lambda: re.search(r"^g-active +Stable", c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--list", "--state").stdout,
                                     re.M), 30, "a stable group")
        made[0].commit(offsets=[TopicPartition("t1", x.partition, 3) for x in made[0].assignment() if x.topic == "t1"], asynchronous=False)
        yield c
    finally:
        done.set()
        if made:
            thread.join()
        for m in made:
            m.close()
        c.stop()


def lines(text):
    """Kafka's lines come in the order of its hash tables, the last one without an end."""
    return sorted(x for x in text.splitlines() if x)


@pytest.mark.parametrize("args", [
    "--list", "--list --state", "--list --type classic --state empty", "--describe --group g-active", "--describe --group g-empty",
    "--describe --all-groups", "--describe --group g-active --members", "--describe --group g-active --members --verbose",
    "--describe --group g-empty --members", "--describe --all-groups --state", "--describe --group nosuch", "--describe --group nosuch --state",
])
def test_groups_are_shown_alike(world, args):
    theirs = java(GROUPS, "--bootstrap-server", world.bootstrap, *args.split())
    ours = world.tool("consumer-groups", "--bootstrap-server", world.bootstrap, "--no-zookeeper", *args.split(), check=False)
    assert lines(ours.stdout) == lines(theirs.stdout)
    assert lines(ours.stderr) == lines(theirs.stderr)
    assert ours.returncode == ("Error" in ours.stdout)


RESET = "--reset-offsets --group g-empty --dry-run"


@pytest.mark.parametrize("args", [
    f"{RESET} --all-topics --to-earliest", f"{RESET} --topic t1 --to-latest", f"{RESET} --topic t1:0,1 --to-offset 100",
    f"{RESET} --topic t1:0,1 --shift-by -100", f"{RESET} --topic t1 --to-current", f"{RESET} --topic t1 --to-datetime 2020-01-01T00:00:00.000",
    f"{RESET} --topic t1 --to-datetime 2100-01-01T00:00:00.000+01:00", f"{RESET} --topic t1 --by-duration P1DT1H",
    "--reset-offsets --group g-active --all-topics --to-earliest --execute", f"{RESET} --topic t1:2 --shift-by 1",
])
def test_offsets_are_reset_alike(world, args):
    theirs = java(GROUPS, "--bootstrap-server", world.bootstrap, *args.split()).stdout
    ours = world.tool("consumer-groups", "--bootstrap-server", world.bootstrap, "--no-zookeeper", *args.split(), check=False).stdout
    if "Cannot shift" in ours:  # theirs prints it with the usage on stderr
        assert theirs == "" and ours == "\nError: Cannot shift offset for partition t1-2 since there is no current committed offset\n"
        return
    # theirs puts all rows of the table into one line, and the head of an empty one
    rows = [tuple(x) for x in re.findall(r"(g-empty) +(\S+) +(\d+) +(\d+)", theirs)]
    assert sorted(tuple(x.split()) for x in ours.splitlines() if x.startswith("g-empty")) == sorted(rows)
    assert [x for x in lines(ours) if x.startswith(("Warn", "Error"))] == [x for x in lines(theirs) if x.startswith(("Warn", "Error"))]


def test_exported_plans_are_read_by_either(world, tmp_path):
    args = "--reset-offsets --group g-empty --dry-run --topic t1 --to-latest --export".split()
    theirs = java(GROUPS, "--bootstrap-server", world.bootstrap, *args).stdout
    ours = world.tool("consumer-groups", "--bootstrap-server", world.bootstrap, *args).stdout
    assert lines(ours) == lines(theirs) == ["t1,0,10", "t1,1,10", "t1,2,10"]
    plan = tmp_path / "plan.csv"
    plan.write_text(ours)
    args = ["--reset-offsets", "--group", "g-empty", "--dry-run", "--from-file", plan]
    theirs = java(GROUPS, "--bootstrap-server", world.bootstrap, *args).stdout
    assert len(re.findall(r"g-empty +t1 +\d +10", theirs)) == 3
    plan.write_text(java(GROUPS, "--bootstrap-server", world.bootstrap, *"--reset-offsets --group g-empty --dry-run --topic t1:0,1 --to-offset 3 "
                         "--export".split()).stdout)
    table = world.tool("consumer-groups", "--bootstrap-server", world.bootstrap, *args).stdout.splitlines()[2:]
    assert [x.split()[1:] for x in table] == [["t1", "0", "3"], ["t1", "1", "3"]]


@pytest.mark.parametrize("args", [
    "", "--topic t1 --time earliest", "--topic t1 --time max-timestamp", "--topic a-topic-with-a-longer-name", "--topic t1 --time 99999999999999",
    "--topic t1 --time 1", "--exclude-internal-topics", "--topic-partitions t1:0-2,a-topic-with-a-longer-name:-3", "--topic-partitions :1",
    "--topic nosuch", "--time foo",
])
def test_offsets_are_got_alike(world, args):
    theirs = java(OFFSETS, "--bootstrap-server", world.bootstrap, *args.split())
    ours = world.tool("get-offsets", "--bootstrap-server", world.bootstrap, *args.split(), check=False)
    assert (ours.stdout, ours.returncode) == (theirs.stdout, theirs.returncode)


def offsets_of(world, tool, formatter):
    args = ["--bootstrap-server", world.bootstrap, "--topic", "__consumer_offsets", "--from-beginning", "--timeout-ms", "5000", "--formatter",
            formatter]
    r = java("org.apache.kafka.tools.consumer.ConsoleConsumer", *args) if tool == "theirs" else world.tool("console-consumer", *args)
    text = r.stdout.replace("}{", "}\n{")  # theirs forgets the line ends
    return sorted(x for x in text.splitlines() if "g-active" in x or "g-empty" in x)


@pytest.mark.parametrize("formatter", [
    "org.apache.kafka.tools.consumer.OffsetsMessageFormatter", "org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter",
    "kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter",
])
def test_records_of_the_offsets_topic_are_printed_alike(world, formatter):
    theirs = offsets_of(world, "theirs", formatter)
    assert theirs and offsets_of(world, "ours", formatter) == theirs


def test_segments_of_the_offsets_topic_are_dumped_alike(world):
    logs = [f for b in world.brokers for f in b.data.glob("__consumer_offsets-*/*.log") if f.stat().st_size > 0]
    assert len(logs) >= 2
    files = ",".join(map(str, logs))
    theirs = java("kafka.tools.DumpLogSegments", "--files", files, "--offsets-decoder")
    ours = world.tool("dump-log", "--files", files, "--offsets-decoder")
    assert ours.stdout == theirs.stdout
