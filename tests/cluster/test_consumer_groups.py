# SPDX-License-Identifier: Apache-2.0
"""kafuka-consumer-groups against real groups of both kinds. The texts are those of Kafka 3.9.1's and 1.1.1's own commands.

KAFUKA_TEST_BROKERS=host:port,... and KAFUKA_TEST_ZOOKEEPER=host:port run the same against another cluster, for example of Kafka; what only
kafuka has is left out then."""
import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid

import pytest
from cluster import BUILD, Cluster, free_ports, kcat, wait_until

ELSEWHERE = os.environ.get("KAFUKA_TEST_BROKERS")
only_kafuka = pytest.mark.skipif(bool(ELSEWHERE), reason="against a cluster that is not ours")


class Elsewhere(Cluster):
    """A cluster that somebody else runs."""

    def __init__(self):
        self.connect, self.brokers = os.environ["KAFUKA_TEST_ZOOKEEPER"], []

    bootstrap = ELSEWHERE


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if ELSEWHERE:
        yield Elsewhere()
        return
    pages = free_ports(3)
    c = Cluster(tmp_path_factory.mktemp("groups"), options={"group.initial.rebalance.delay.ms": 0, "offsets.topic.num.partitions": 6},
                broker_options={n: {"http.listener": f"127.0.0.1:{pages[n]}"} for n in range(3)})
    try:
        c.start()
        yield c
    finally:
        c.stop()


@pytest.fixture
def cli(cluster):
    """cli(args) runs kafuka-consumer-groups; names are made for each test so that tests don't meet."""

    def run(*args, check=True, zookeeper=False, **kwargs):
        source = ("--zookeeper", cluster.connect) if zookeeper else ("--bootstrap-server", cluster.bootstrap)
        return cluster.tool("consumer-groups", *source, *args, check=check, **kwargs)

    def fails(*args, **kwargs):
        r = run(*args, check=False, **kwargs)
        assert r.returncode == 1, (args, r.stdout, r.stderr)
        return r.stdout + r.stderr

    run.fails, run.cluster = fails, cluster
    run.mark = uuid.uuid4().hex[:6]
    run.topic, run.group = f"t-{run.mark}", f"g-{run.mark}"
    return run


def produce(cluster, topic, partition, count, timestamp=0):
    from confluent_kafka import Producer

    p = Producer({"bootstrap.servers": cluster.bootstrap})
    for i in range(count):
        p.produce(topic, f"v{i}", partition=partition, timestamp=timestamp)
    assert p.flush(30) == 0


def commit(cluster, group, offsets):
    """Offsets {(topic, partition): offset} of a group without members."""
    from confluent_kafka import Consumer, TopicPartition

    c = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, "enable.auto.commit": False})
    c.commit(offsets=[TopicPartition(t, p, o) for (t, p), o in offsets.items()], asynchronous=False)
    c.close()


def committed(cli, group):
    rows = table(cli("--describe", "--group", group, check=False).stdout)
    return {(r["TOPIC"], int(r["PARTITION"])): int(r["CURRENT-OFFSET"]) for r in rows if r["CURRENT-OFFSET"] != "-"}


def table(text):
    lines = [x.split() for x in text.strip("\n").splitlines() if x.strip()]
    return [dict(zip(lines[0], x)) for x in lines[1:]] if lines else []


@contextlib.contextmanager
def members(cluster, group, topic, count, **config):
    """That many consumers, polled by one thread, once the group is stable and all have partitions."""
    from confluent_kafka import Consumer

    made = [Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, "client.id": f"c{n}", "enable.auto.commit": False,
                      "auto.offset.reset": "earliest", **{k.replace("_", "."): v for k, v in config.items()},
                      **({"group.instance.id": f"i{n}"} if n == 0 else {})}) for n in range(count)]
    done = threading.Event()

    def poll():
        while not done.is_set():
            for c in made:
                c.poll(0.01)

    thread = threading.Thread(target=poll)
    for c in made:
        c.subscribe([topic])
    thread.start()
    try:
        wait_until(lambda: all(c.assignment() for c in made), 60, f"{count} members with partitions")
        yield made
    finally:
        done.set()
        thread.join()
        for c in made:
            c.close()


@pytest.fixture
def topic(cli):
    """Three partitions with 10, 5 and 0 records."""
    cli.cluster.create_topic(cli.topic, 3, 1)
    produce(cli.cluster, cli.topic, 0, 10)
    produce(cli.cluster, cli.topic, 1, 5)
    return cli.topic


# ---- list and describe


def test_group_with_members_is_listed_and_described(cli, topic):
    g = cli.group
    with members(cli.cluster, g, topic, 3):
        assert g in cli("--list").stdout.splitlines()
        wait_until(lambda: re.search(rf"^{g} +Stable", cli("--list", "--state").stdout, re.M), 30, "a stable group")
        assert re.search(rf"^{g} +Classic +Stable +$", cli("--list", "--state", "stable", "--type", "classic").stdout, re.M)
        assert g not in cli("--list", "--state", "Empty").stdout
        text = cli("--describe", "--group", g).stdout
        assert text.splitlines()[1].split() == ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST",
                                                "CLIENT-ID"]
        rows = table(text)
        assert sorted((r["PARTITION"], r["LOG-END-OFFSET"], r["CURRENT-OFFSET"], r["LAG"]) for r in rows) == \
            [("0", "10", "-", "-"), ("1", "5", "-", "-"), ("2", "0", "-", "-")]
        assert {r["CLIENT-ID"] for r in rows} == {"c0", "c1", "c2"} and {r["HOST"] for r in rows} == {"/127.0.0.1"}
        text = cli("--describe", "--group", g, "--members", "--verbose").stdout
        assert text.splitlines()[1].split() == ["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT"]
        lines = text.splitlines()[2:]
        assert sorted(x.split()[-1] for x in lines) == ["(0)", "(1)", "(2)"]
        assert [x.split()[2] for x in lines if x.split()[2] != "/127.0.0.1"] == ["i0"]
        line = cli("--describe", "--group", g, "--state").stdout.splitlines()[2]
        assert re.fullmatch(rf"{g} +127\.0\.0\.1:\d+  \(\d+\) +range +Stable +3", line), line
    r = cli("--describe", "--group", g, "--members", check=False)
    assert f"\nConsumer group '{g}' has no active members.\n" in r.stderr or "rebalancing" in r.stderr or g in r.stdout


def test_group_without_members_is_described_with_its_lag(cli, topic):
    g = cli.group
    commit(cli.cluster, g, {(topic, 0): 4, (topic, 1): 5})
    r = cli("--describe", "--group", g)
    assert r.stderr == f"\nConsumer group '{g}' has no active members.\n"
    width = max(15, len(topic))
    assert r.stdout == (
        "\n" + f"{'GROUP':15} {'TOPIC':{width}} PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID\n"
        f"{g:15} {topic:{width}} 0          4               10              6               -               -               -\n"
        f"{g:15} {topic:{width}} 1          5               5               0               -               -               -\n")
    assert re.search(rf"^{g} +127\.0\.0\.1:\d+  \(\d+\) +Empty +0$", cli("--describe", "--group", g, "--state").stdout, re.M)
    view = json.loads(cli.cluster.tool("describe", "--bootstrap-server", cli.cluster.bootstrap, "--json", check=False).stdout)
    (mine,) = [x for x in view["groups"] if x["name"] == g]
    assert (mine["kind"], mine["state"], mine["members"], mine["lag_records"], mine["most_behind"]) == ("broker", "Empty", 0, 6, f"{topic}-0")
    assert f"group {g} is 6 records behind and has no members" in [x["what"] for x in view["notes"]] or len(view["notes"]) >= 20


def test_lag_is_told_in_seconds_too(cli, tmp_path):
    g, t = cli.group, cli.topic
    cli.cluster.create_topic(t, 3, 1)
    now = int(time.time() * 1000)
    for hours in (3, 2, 1):
        produce(cli.cluster, t, 0, 2, now - hours * 3600 * 1000)
    produce(cli.cluster, t, 1, 3, now - 5000)
    commit(cli.cluster, g, {(t, 0): 3, (t, 1): 0, (t, 2): 0})
    rows = table(cli("--describe", "--group", g, "--verbose").stdout)
    ages = {int(r["PARTITION"]): int(r["LAG-SECONDS"]) for r in rows}
    assert 7200 <= ages[0] < 7260 and 5 <= ages[1] < 65 and ages[2] == 0, ages
    (tmp_path / "delete.json").write_text(json.dumps({"partitions": [{"topic": t, "partition": 0, "offset": 4}]}))
    cli.cluster.tool("delete-records", "--bootstrap-server", cli.cluster.bootstrap, "--offset-json-file", tmp_path / "delete.json")
    rows = table(cli("--describe", "--group", g, "--verbose").stdout)
    assert 3600 <= int(rows[0]["LAG-SECONDS"]) < 3660, rows[0]  # what was deleted will not be read any more


def test_missing_group_is_said(cli):
    for what in ((), ("--members",), ("--state",)):
        assert cli.fails("--describe", "--group", "nosuch", *what) == "\nError: Consumer group 'nosuch' does not exist.\n"
    assert cli.fails("--explain", "--group", "nosuch") == "\nError: Consumer group 'nosuch' does not exist.\n"


# ---- reset


def test_offsets_are_reset_by_every_rule(cli, topic, tmp_path):
    g = cli.group
    start = {(topic, 0): 4, (topic, 1): 5}
    commit(cli.cluster, g, start)

    def reset(*args):
        r = cli("--reset-offsets", "--group", g, *args)
        return {(x["TOPIC"], int(x["PARTITION"])): int(x["NEW-OFFSET"]) for x in table(r.stdout)}

    rules = {
        ("--to-earliest", "--all-topics"): {(topic, 0): 0, (topic, 1): 0},
        ("--to-latest", "--topic", topic): {(topic, 0): 10, (topic, 1): 5, (topic, 2): 0},
        ("--to-current", "--topic", topic): {(topic, 0): 4, (topic, 1): 5, (topic, 2): 0},
        ("--to-offset", "3", "--topic", f"{topic}:0,1"): {(topic, 0): 3, (topic, 1): 3},
        ("--shift-by", "-2", "--all-topics"): {(topic, 0): 2, (topic, 1): 3},
        ("--to-datetime", "2020-01-01T00:00:00.000", "--topic", f"{topic}:0"): {(topic, 0): 0},
        ("--by-duration", "P1DT1H", "--topic", f"{topic}:0", "--topic", f"{topic}:1"): {(topic, 0): 0, (topic, 1): 0},
    }
    for args, wanted in rules.items():
        assert reset(*args, "--dry-run") == wanted, args
        assert committed(cli, g) == start, args
    r = cli("--reset-offsets", "--group", g, "--to-earliest", "--all-topics")
    assert "--execute is missing" in r.stderr and committed(cli, g) == start
    r = cli("--reset-offsets", "--group", g, "--to-offset", 99, "--topic", f"{topic}:0", "--dry-run")
    assert f"New offset (99) is higher than latest offset for topic partition {topic}-0. Value will be set to 10" in r.stderr
    r = cli("--reset-offsets", "--group", g, "--shift-by", -99, "--topic", f"{topic}:0", "--dry-run")
    assert f"New offset (-95) is lower than earliest offset for topic partition {topic}-0. Value will be set to 0" in r.stderr
    r = cli("--reset-offsets", "--group", g, "--to-datetime", "2100-01-01T00:00:00.000", "--topic", f"{topic}:0", "--dry-run")
    assert f"\nWarn: Partition 0 from topic {topic} is empty. Falling back to latest known offset.\n" in r.stdout

    exported = cli("--reset-offsets", "--group", g, "--to-latest", "--topic", f"{topic}:0,1", "--dry-run", "--export").stdout
    assert exported == f"{topic},0,10\n{topic},1,5\n"
    plan = tmp_path / "plan.csv"
    plan.write_text(f"{topic},0,7\n{topic},2,0\n")
    assert reset("--from-file", plan, "--execute") == {(topic, 0): 7, (topic, 2): 0}
    assert committed(cli, g) == {(topic, 0): 7, (topic, 1): 5, (topic, 2): 0}
    other = f"{g}-other"
    plan.write_text(f"{g},{topic},0,1\n{other},{topic},0,2\n")
    cli("--reset-offsets", "--group", g, "--group", other, "--from-file", plan, "--execute")
    assert committed(cli, g)[topic, 0] == 1 and committed(cli, other) == {(topic, 0): 2}
    assert reset("--to-earliest", "--all-topics", "--execute") == {(topic, p): 0 for p in range(3)}
    assert committed(cli, g) == {(topic, p): 0 for p in range(3)}


def test_resets_that_cannot_be_change_nothing_and_say_why(cli, topic, tmp_path):
    g = cli.group
    commit(cli.cluster, g, {(topic, 0): 4})
    bad = tmp_path / "bad.csv"
    bad.write_text(f"{topic},0,1\n{topic},zero,1\n")
    for said, *args in [
        (f"topic 'no-{cli.mark}' does not exist", "--to-latest", "--topic", f"no-{cli.mark}"),
        (f"partition 7 of topic '{topic}' does not exist: it has the partitions 0 to 2", "--to-latest", "--topic", f"{topic}:7"),
        (f"Invalid partition 'x' specified in topic arg '{topic}:x'", "--to-latest", "--topic", f"{topic}:x"),
        (f"Cannot shift offset for partition {topic}-1 since there is no current committed offset", "--shift-by", "1", "--topic", topic),
        ("'yesterday' is not a time: YYYY-MM-DDTHH:mm:SS.sss is expected", "--to-datetime", "yesterday", "--topic", topic),
        ("'1D' is not a duration: PnDTnHnMnS is expected", "--by-duration", "1D", "--topic", topic),
        ("bad.csv: line 2: ", "--from-file", bad),
        ("not found", "--from-file", tmp_path / "none.csv"),
        ("One of the reset scopes should be defined: --all-topics, --topic.", "--to-latest"),
        ("--to-earliest can't be used with --to-latest", "--to-earliest", "--to-latest", "--all-topics"),
        ("--reset-offsets requires one of --to-offset", "--all-topics"),
        ("--to-offset takes a whole number", "--to-offset", "ten", "--all-topics"),
    ]:
        text = cli.fails("--reset-offsets", "--group", g, *args, "--execute")
        assert said in text, (args, text)
        assert committed(cli, g) == {(topic, 0): 4}, args
    assert "only accepts one of --execute and --dry-run" in cli.fails("--reset-offsets", "--group", g, "--to-latest", "--all-topics", "--execute",
                                                                      "--dry-run")


def test_active_group_is_left_alone(cli, topic):
    g = cli.group
    commit(cli.cluster, g, {(topic, 0): 4})
    with members(cli.cluster, g, topic, 1):
        wait_until(lambda: re.search(rf"^{g} +Stable", cli("--list", "--state").stdout, re.M), 30, "a stable group")
        assert cli.fails("--reset-offsets", "--group", g, "--to-earliest", "--all-topics", "--execute") == \
            f"\nError: Assignments can only be reset if the group '{g}' is inactive, but the current state is Stable.\n"
        assert cli.fails("--delete", "--group", g) == ("\nError: Deletion of some consumer groups failed:\n"
                                                       f"* Group '{g}' could not be deleted due to: The group is not empty.\n")
        text = cli.fails("--delete-offsets", "--group", g, "--topic", topic)
        assert "Encounter some partition level error, see the follow-up details:" in text
        assert re.search(rf"^{topic} +0 +Error: .*actively subscribed to it\.$", text, re.M), text
        assert committed(cli, g) == {(topic, 0): 4}


# ---- delete


def test_groups_and_their_offsets_are_deleted(cli, topic):
    g, other = cli.group, f"{cli.group}-b"
    commit(cli.cluster, g, {(topic, 0): 4, (topic, 1): 1, (topic, 2): 0})
    commit(cli.cluster, other, {(topic, 0): 4})
    assert cli("--delete-offsets", "--group", g, "--topic", f"{topic}:1,2").stdout == (
        f"Request succeed for deleting offsets with topic {topic}:1,2 group {g}\n\n"
        f"{'TOPIC':30} PARTITION       STATUS         \n{topic:30} 1               Successful     \n{topic:30} 2               Successful     \n")
    assert committed(cli, g) == {(topic, 0): 4}
    assert cli.fails("--delete-offsets", "--group", "nosuch", "--topic", topic) == "\nError: 'nosuch' does not exist.\n"
    assert "has committed nothing for it" in cli.fails("--delete-offsets", "--group", g, "--topic", f"no-{cli.mark}")
    assert cli("--delete", "--group", g).stdout == f"Deletion of requested consumer groups ('{g}') was successful.\n"
    assert g not in cli("--list").stdout.splitlines()
    assert cli.fails("--delete", "--group", g, "--group", other) == (
        f"\nError: Deletion of some consumer groups failed:\n* Group '{g}' could not be deleted due to: The group id does not exist.\n"
        f"\nThese consumer groups were deleted successfully: '{other}'\n")


def test_mistakes_in_options_are_one_line(cli):
    for said, *args in [
        ("Command must include exactly one action", ), ("Command must include exactly one action", "--list", "--describe"),
        ("Invalid state list 'foo'. Valid states are: PreparingRebalance,", "--list", "--state", "foo"),
        ("Invalid type list 'foo'. Valid types are: Classic, Consumer, ZooKeeper", "--list", "--type", "foo"),
        ("--describe takes one of these options: --group, --all-groups", "--describe"),
        ("--describe takes at most one of", "--describe", "--group", "g", "--members", "--state"),
        ("--describe does not take a value for --state", "--describe", "--group", "g", "--state", "stable"),
        ("--group can't be used with --list", "--list", "--group", "g"),
        ("--delete takes one of these options: --group, --all-groups", "--delete"),
        ("--delete-offsets takes --group and --topic", "--delete-offsets", "--group", "g"),
        ("did you mean --describe?", "--descrbe", "--group", "g"),
    ]:
        text = cli.fails(*args)
        assert said in text and len(text.splitlines()) == 1, (args, text)
    r = cli.cluster.tool("consumer-groups", "--list", check=False)
    assert r.returncode == 1 and "--bootstrap-server must be specified" in r.stderr


# ---- groups in ZooKeeper


@contextlib.contextmanager
def old_group(cli, topic, with_members):
    """A group as consumers of Kafka 1.1 leave it: offsets, and with members their registrations and what they own."""
    z = cli.cluster.zk_client()
    g = f"old-{cli.mark}"
    ids = [f"{g}_web01-1731000000000-3f2b9c1d", f"{g}_web-02-1731000000001-00000001"]
    for p, offset in enumerate([b"4", b"5", b"0"]):
        z.create(f"/consumers/{g}/offsets/{topic}/{p}", offset, makepath=True)
    z.ensure_path(f"/consumers/{g}/ids")
    z.ensure_path(f"/consumers/{g}/owners/{topic}")
    for n, owned in enumerate([[0, 1], [2]] if with_members else []):
        z.create(f"/consumers/{g}/ids/{ids[n]}", json.dumps({"version": 1, "subscription": {topic: 1}, "pattern": "static",
                                                             "timestamp": "1731000000000"}).encode(), ephemeral=True)
        for p in owned:
            z.create(f"/consumers/{g}/owners/{topic}/{p}", f"{ids[n]}-0".encode(), ephemeral=True)
    try:
        yield g, ids, z
    finally:
        z.delete(f"/consumers/{g}", recursive=True)
        z.stop()
        z.close()


def test_both_kinds_are_in_one_list(cli, topic):
    commit(cli.cluster, cli.group, {(topic, 0): 4})
    with old_group(cli, topic, True) as (g, ids, z):
        names = cli("--list").stdout.splitlines()
        assert g in names and cli.group in names and names == sorted(names)
        both = cli("--zookeeper", cli.cluster.connect, "--list", "--type", "--state").stdout
        assert re.search(rf"^{g} +ZooKeeper +Stable +$", both, re.M) and re.search(rf"^{cli.group} +Classic +Empty +$", both, re.M)
        assert g not in cli("--list", "--no-zookeeper").stdout and g not in cli("--list", "--type", "classic").stdout
        assert cli("--list", zookeeper=True).stdout.splitlines().count(g) == 1 and cli.group not in cli("--list", zookeeper=True).stdout
        rows = table(cli("--describe", "--group", g).stdout)
        assert [(r["PARTITION"], r["CURRENT-OFFSET"], r["LOG-END-OFFSET"], r["LAG"], r["CONSUMER-ID"], r["HOST"]) for r in rows] == [
            ("0", "4", "10", "6", ids[0], "web01"), ("1", "5", "5", "0", ids[0], "web01"), ("2", "0", "0", "0", ids[1], "web-02")]
        text = cli("--describe", "--group", g, zookeeper=True).stdout
        assert text.splitlines()[1].split() == ["TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID"]
        assert [(r["PARTITION"], r["LAG"]) for r in table(text)] == [("0", "6"), ("1", "0"), ("2", "0")]
        view = json.loads(cli.cluster.tool("describe", "--zookeeper", cli.cluster.connect, "--json", check=False).stdout)
        (mine,) = [x for x in view["groups"] if x["name"] == g]
        assert (mine["kind"], mine["state"], mine["members"], mine["lag_records"]) == ("zookeeper", "Stable", 2, 6)
        assert "Stable, 2 members, kept in ZooKeeper" in cli("--explain", "--group", g).stdout
        z.delete(f"/consumers/{g}/owners/{topic}/2")
        text = cli("--explain", "--group", g).stdout
        assert "! 1 of 2 members has no partition" in text and "! 1 partition of its topics has no owner: the members are rebalancing" in text, text


def test_group_of_one_kind_is_not_taken_for_the_other(cli, topic):
    commit(cli.cluster, cli.group, {(topic, 0): 4})
    with old_group(cli, topic, False) as (g, _, z):
        for action in (("--delete",), ("--delete-offsets", "--topic", topic), ("--reset-offsets", "--to-latest", "--topic", topic, "--execute")):
            text = cli.fails(*action, "--group", g)
            assert f"'{g}' is not a group of the brokers: it lives in ZooKeeper (/consumers/{g}). Give --zookeeper" in text, text
            text = cli.fails(*action, "--group", cli.group, zookeeper=True)
            assert f"'{cli.group}' is not a group in ZooKeeper but one of the brokers. Give --bootstrap-server" in text, text
        text = cli.fails("--describe", "--group", cli.group, zookeeper=True)
        assert "not a group in ZooKeeper but one of the brokers: use --bootstrap-server" in text
        assert z.get(f"/consumers/{g}/offsets/{topic}/0")[0] == b"4" and committed(cli, cli.group) == {(topic, 0): 4}


def test_group_in_zookeeper_is_reset_and_deleted_without_members_only(cli, topic):
    with old_group(cli, topic, True) as (g, _, z):
        assert cli.fails("--reset-offsets", "--group", g, "--to-earliest", "--all-topics", "--execute", zookeeper=True) == \
            f"\nError: Assignments can only be reset if the group '{g}' is inactive, but the current state is Stable.\n"
        assert cli.fails("--delete", "--group", g, zookeeper=True) == \
            f"\nError: Delete for group '{g}' failed because its consumers are still active.\n"
        assert z.get(f"/consumers/{g}/offsets/{topic}/0")[0] == b"4"
    with old_group(cli, topic, False) as (g, _, z):
        cli("--reset-offsets", "--group", g, "--to-latest", "--all-topics", "--execute", zookeeper=True)
        assert [z.get(f"/consumers/{g}/offsets/{topic}/{p}")[0] for p in range(3)] == [b"10", b"5", b"0"]
        cli("--delete-offsets", "--group", g, "--topic", f"{topic}:1", zookeeper=True)
        assert z.get_children(f"/consumers/{g}/offsets/{topic}") == ["0", "2"] or sorted(z.get_children(f"/consumers/{g}/offsets/{topic}")) == ["0", "2"]
        z.set(f"/consumers/{g}/offsets/{topic}/0", b"ten")
        r = cli("--describe", "--group", g, zookeeper=True)
        assert f"/consumers/{g}/offsets/{topic}/0 holds 'ten', which is no offset; it is left out" in r.stderr
        assert cli("--delete", "--group", g, zookeeper=True).stdout == \
            f"Deleted all consumer group information for group '{g}' in zookeeper.\n"
        assert not z.exists(f"/consumers/{g}")
        assert cli.fails("--delete", "--group", g, zookeeper=True) == \
            f"\nError: Delete for group '{g}' failed because group does not exist.\n"
        z.ensure_path(f"/consumers/{g}")


# ---- what the records say


def test_records_of_the_offsets_topic_are_readable(cli, topic):
    g = cli.group
    commit(cli.cluster, g, {(topic, 0): 4})

    def lines(formatter):
        r = cli.cluster.tool("console-consumer", "--bootstrap-server", cli.cluster.bootstrap, "--topic", "__consumer_offsets", "--from-beginning",
                             "--timeout-ms", 1500, "--formatter", formatter)
        return [x for x in r.stdout.splitlines() if g in x]

    (line,) = lines("org.apache.kafka.tools.consumer.OffsetsMessageFormatter")
    record = json.loads(line)
    assert record["key"] == {"version": 1, "data": {"group": g, "topic": topic, "partition": 0}}
    assert record["value"]["version"] == 3 and record["value"]["data"]["offset"] == 4
    (line,) = lines("kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter")
    assert line.startswith(f"[{g},{topic},0]::OffsetAndMetadata(offset=4, leaderEpoch=Optional")


# ---- the console consumer as a member


def test_a_console_consumer_does_not_commit_what_it_could_not_write(cli):
    from confluent_kafka import Consumer, TopicPartition

    c, g, t = cli.cluster, f"{cli.group}-full", f"{cli.group}-full"
    c.create_topic(t, partitions=1)
    kcat("-b", c.bootstrap, "-P", "-t", t, stdin=b"".join(b"%d\n" % i for i in range(10)))
    args = [str(BUILD / "kafuka"), "console-consumer", "--bootstrap-server", c.bootstrap, "--topic", t, "--group", g, "--from-beginning"]
    with open("/dev/full", "wb") as full:
        r = subprocess.run([*args, "--timeout-ms", "10000"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert b"Unable to write to standard out" in r.stderr, r.stderr
    asked = Consumer({"bootstrap.servers": c.bootstrap, "group.id": g})
    assert asked.committed([TopicPartition(t, 0)], timeout=20)[0].offset < 0
    r = subprocess.run([*args, "--max-messages", "4"], stdout=subprocess.PIPE, timeout=60)
    assert r.stdout == b"0\n1\n2\n3\n"
    assert asked.committed([TopicPartition(t, 0)], timeout=20)[0].offset == 4
    asked.close()


def test_console_consumers_share_a_topic_and_go_on_where_the_group_left_off(cli):
    g, t, c = cli.group, cli.topic, cli.cluster
    c.create_topic(t, 4, 1)
    for p in range(4):
        produce(c, t, p, 10)
    args = ("console-consumer", "--bootstrap-server", c.bootstrap, "--topic", t, "--group", g)
    first = c.tool(*args, "--from-beginning", "--max-messages", 15).stdout.splitlines()
    assert len(first) == 15 and sum(committed(cli, g).values()) == 15
    rest = c.tool(*args, "--from-beginning", "--max-messages", 25).stdout.splitlines()
    assert sorted(first + rest) == sorted(f"v{i}" for i in range(10) for _ in range(4))
    assert committed(cli, g) == {(t, p): 10 for p in range(4)}

    # two share; the one that is told to stop leaves at once, long before its session of 45 s would end
    both = [subprocess.Popen([BUILD / "kafuka", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        def owners():
            rows = table(cli("--describe", "--group", g, "--members").stdout)
            return sorted(int(r["#PARTITIONS"]) for r in rows)

        wait_until(lambda: owners() == [2, 2], 60, "two members with two partitions each")
        both[0].terminate()
        _, said = both[0].communicate(timeout=20)
        assert both[0].returncode == 0 and said == "Processed a total of 0 messages\n"
        wait_until(lambda: owners() == [4], 20, "the other member to have all four")
        for p in range(4):
            produce(c, t, p, 1)
        wait_until(lambda: "v0" in both[1].stdout.readline(), 20, "a record at the member that is left")
    finally:
        for p in both:
            if p.poll() is None:
                p.terminate()
                p.communicate(timeout=20)


def test_member_that_can_never_join_ends_and_says_why(cli, topic):
    def consume(*args):
        r = cli.cluster.tool("console-consumer", "--bootstrap-server", cli.cluster.bootstrap, "--topic", topic, *args, check=False)
        return r.returncode, r.stderr

    rc, said = consume("--group", cli.group, "--consumer-property", "session.timeout.ms=100", "--consumer-property", "heartbeat.interval.ms=50")
    assert rc == 1 and "Invalid session timeout" in said and "group.min.session.timeout.ms" in said, said
    rc, said = consume("--group", "")
    assert (rc, said) == (1, "kafuka-console-consumer: --group takes the name of a group, not an empty text\n")
    with members(cli.cluster, cli.group, topic, 1, partition_assignment_strategy="range"):
        rc, said = consume("--group", cli.group, "--consumer-property",
                           "partition.assignment.strategy=org.apache.kafka.clients.consumer.RoundRobinAssignor")
        assert rc == 1 and "Inconsistent group protocol" in said and "choose a partition.assignment.strategy" in said, said


# ---- kafuka only


@only_kafuka
def test_rebalances_are_explained(cli, topic):
    g = cli.group
    with members(cli.cluster, g, topic, 2):
        wait_until(lambda: re.search(rf"^{g} +Stable", cli("--list", "--state").stdout, re.M), 30, "a stable group")
        text = cli("--explain", "--group", g).stdout
        assert re.search(rf"^Group {g}: Stable, 2 members, coordinator broker \d \(127\.0\.0\.1:\d+\), assignor range$", text, re.M), text
        assert re.search(r"^ +\S+Z +\d+ +\d+->\d+ +\d+ ms +\S.*joined", text, re.M), text


@only_kafuka
def test_without_a_page_explain_says_which_option_to_set(make_cluster):
    c = make_cluster(count=1)
    c.create_topic("t")
    commit(c, "g", {("t", 0): 0})
    r = c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--explain", "--group", "g", check=False)
    assert r.returncode == 1 and "Group g: Empty, 0 members" in r.stdout
    assert "broker 0, the group's coordinator, has no page to ask: set http.listener" in r.stderr


@only_kafuka
def test_without_a_coordinator_the_command_ends_in_time_and_says_why(make_cluster):
    c = make_cluster(count=1, options={"offsets.topic.replication.factor": 3})
    for args in (("--describe", "--group", "g"), ("--delete", "--group", "g"),
                 ("--reset-offsets", "--group", "g", "--to-latest", "--topic", "t", "--execute")):
        started = time.monotonic()
        r = c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, *args, "--timeout", 1000, check=False)
        assert r.returncode == 1 and time.monotonic() - started < 25, (args, r.stdout, r.stderr)
        assert "offsets.topic.replication.factor 3 is not possible: 1 broker is alive; start more brokers or set" in r.stdout, (args, r.stdout)
    r = c.tool("console-consumer", "--bootstrap-server", c.bootstrap, "--topic", "t", "--group", "g", "--timeout-ms", 500)
    assert "no coordinator for groups at the moment (offsets.topic.replication.factor 3 is not possible" in r.stderr, r.stderr
    assert c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--list").stdout == ""


@only_kafuka
def test_zookeeper_that_does_not_answer_costs_a_second_and_a_warning(make_cluster):
    c = make_cluster(count=1, options={"zookeeper.session.timeout.ms": 20000})
    c.create_topic("t")
    commit(c, "g", {("t", 0): 0})
    c.zookeeper.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        r = c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--list")
        assert r.stdout == "g\n" and "groups in ZooKeeper are not looked at" in r.stderr and "--no-zookeeper leaves them out" in r.stderr, r
        assert time.monotonic() - started < 18  # less than the session, let alone for ever
        r = c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--list", "--no-zookeeper")
        assert (r.stdout, r.stderr) == ("g\n", "")
        assert c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--describe", "--group", "g").stderr == \
            "\nConsumer group 'g' has no active members.\n"  # the brokers know it: nobody else is asked
        r = c.tool("consumer-groups", "--zookeeper", c.connect, "--list", "--timeout", 1000, check=False)
        assert r.returncode == 1 and "kafuka-consumer-groups: " in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr
    finally:
        c.zookeeper.signal(signal.SIGCONT)


@only_kafuka
def test_list_that_is_not_whole_is_shown_and_not_acted_upon(make_cluster):
    c = make_cluster(count=2, options={"zookeeper.session.timeout.ms": 30000, "offsets.topic.num.partitions": 2})
    c.create_topic("t")
    for n in range(4):
        commit(c, f"g{n}", {("t", 0): 0})
    whole = c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--list").stdout.splitlines()
    assert whole == ["g0", "g1", "g2", "g3"]
    c.brokers[1].signal(signal.SIGSTOP)
    try:
        ask = ("consumer-groups", "--bootstrap-server", c.brokers[0].address, "--timeout", 1000)
        r = c.tool(*ask, "--list", check=False)
        assert r.returncode == 1 and "the list is not complete: " in r.stderr and c.brokers[1].address in r.stderr, r
        assert 0 < len(r.stdout.splitlines()) < 4 and set(r.stdout.splitlines()) < set(whole)
        r = c.tool(*ask, "--delete", "--all-groups", check=False)
        assert r.returncode == 1 and r.stderr.endswith("kafuka-consumer-groups: nothing is changed\n") and r.stdout == "", r
    finally:
        c.brokers[1].signal(signal.SIGCONT)
    wait_until(lambda: c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--list").stdout.splitlines() == whole, 60, "all groups, as before")


@only_kafuka
def test_another_coordinator_is_found(make_cluster):
    c = make_cluster(options={"offsets.topic.replication.factor": 3, "offsets.topic.num.partitions": 3})
    c.create_topic("t", 1, 3)
    produce(c, "t", 0, 3)
    for n in range(6):
        commit(c, f"g{n}", {("t", 0): n % 3})
    c.wait_isr("__consumer_offsets", 3, 3)
    c.brokers[0].kill()

    def lags():
        r = c.tool("consumer-groups", "--bootstrap-server", ",".join(b.address for b in c.brokers[1:]), "--describe", "--all-groups",
                   "--timeout", 20000, check=False)
        return r.returncode == 0 and sorted(x.split()[5] for x in r.stdout.splitlines() if x.startswith("g"))

    assert wait_until(lags, 60, "all groups to be described") == ["1", "1", "2", "2", "3", "3"]


def test_a_page_on_a_port_that_the_broker_chose_cannot_be_found_and_that_is_said(make_cluster):
    c = make_cluster(count=1, options={"http.listener": "127.0.0.1:0", "offsets.topic.replication.factor": 1})
    c.create_topic("t")
    c.tool("console-consumer", "--bootstrap-server", c.bootstrap, "--topic", "t", "--group", "g", "--timeout-ms", 3000)
    r = c.tool("consumer-groups", "--bootstrap-server", c.bootstrap, "--explain", "--group", "g", check=False)
    assert "chose the port of its page itself (http.listener=127.0.0.1:0)" in r.stdout + r.stderr, r
    assert "give http.listener a port" in r.stdout + r.stderr
