# SPDX-License-Identifier: Apache-2.0
"""The commands against real brokers: what they print is what Kafka's print, and every mistake is one line and a status."""
import json
import pathlib
import re
import subprocess
import time

import pytest
from cluster import BUILD, free_ports, kcat, wait_until


@pytest.fixture
def cli(shared_cluster):
    c = shared_cluster
    c.wait_brokers()

    def run(name, *args, **kwargs):
        return c.tool(name, "--bootstrap-server", c.bootstrap, *args, **kwargs)

    run.zk = lambda name, *args, **kwargs: c.tool(name, "--zookeeper", c.connect, *args, **kwargs)
    run.cluster = c
    return run


def without_ids(text):
    return re.sub(r"TopicId: \S{22}", "TopicId: ID", text)


def test_the_classic_quickstart(cli):
    assert cli("topics", "--create", "--topic", "my-replicated-topic", "--partitions", 1, "--replication-factor", 3).stdout == \
        "Created topic my-replicated-topic.\n"
    assert "my-replicated-topic\n" in cli("topics", "--list").stdout
    cli.cluster.wait_isr("my-replicated-topic", 1, 3)
    assert without_ids(cli("topics", "--describe", "--topic", "my-replicated-topic").stdout) == (
        "Topic: my-replicated-topic\tTopicId: ID\tPartitionCount: 1\tReplicationFactor: 3\tConfigs: \n"
        "\tTopic: my-replicated-topic\tPartition: 0\tLeader: 0\tReplicas: 0,1,2\tIsr: 0,1,2\tElr: N/A\tLastKnownElr: N/A\n")
    assert cli.zk("topics", "--describe", "--topic", "my-replicated-topic").stdout == (
        "Topic: my-replicated-topic\tPartitionCount: 1\tReplicationFactor: 3\tConfigs: \n"
        "\tTopic: my-replicated-topic\tPartition: 0\tLeader: 0\tReplicas: 0,1,2\tIsr: 0,1,2\n")
    r = cli("console-producer", "--topic", "my-replicated-topic", stdin="my test message 1\nmy test message 2\n")
    assert (r.stdout, r.stderr) == ("", "")
    r = cli("console-consumer", "--topic", "my-replicated-topic", "--from-beginning", "--max-messages", 2)
    assert (r.stdout, r.stderr) == ("my test message 1\nmy test message 2\n", "Processed a total of 2 messages\n")


def test_topics_refuses_with_kafkas_words(cli):
    def fails(*args):
        r = cli("topics", *args, check=False)
        assert r.returncode == 1, (args, r.stdout, r.stderr)
        return r.stdout + r.stderr

    cli("topics", "--create", "--topic", "once", "--partitions", 2, "--replication-factor", 1)
    assert fails("--create", "--topic", "once") == "Error while executing topic command : Topic 'once' already exists.\n"
    assert cli("topics", "--create", "--topic", "once", "--if-not-exists").stdout == ""
    assert fails("--describe", "--topic", "nosuch") == "Error while executing topic command : Topic 'nosuch' does not exist as expected\n"
    assert cli("topics", "--describe", "--topic", "nosuch", "--if-exists").stdout == ""
    for text, *args in [("foo.bar", "--create", "--topic", "t", "--config", "foo.bar=1"), ("1", "--alter", "--topic", "once", "--partitions", 1),
                        ("name", "--create", "--topic", "bad/name"), ("9", "--create", "--topic", "far", "--replication-factor", 9)]:
        said = fails(*args)
        assert said.startswith("Error while executing topic command : ") and text in said and len(said.splitlines()) == 1, said
    assert fails("--create", "--topic", "t", "--partitions", 0) == \
        "Error while executing topic command : The partitions must be greater than 0\n"
    assert fails("--create", "--patitions", 3) == \
        "kafuka-topics: --patitions is not a recognized option; did you mean --partitions?\n"


def test_topics_grow_and_go(cli):
    cli("topics", "--create", "--topic", "grow.me", "--partitions", 2, "--replication-factor", 2, "--config", "retention.ms=1000000",
        "--config", "cleanup.policy=delete")
    assert cli("topics", "--alter", "--topic", "grow.me", "--partitions", 5).stdout == ""
    wait_until(lambda: "PartitionCount: 5" in cli("topics", "--describe", "--topic", "grow.me").stdout, 20, "five partitions")
    d = cli("topics", "--describe", "--topic", "grow.*").stdout
    assert "Configs: cleanup.policy=delete,retention.ms=1000000\n" in d
    assert [re.search(rf"Partition: {p}\tLeader: (\d)", d)[1] for p in range(5)] == ["0", "1", "2", "0", "1"]
    assert cli("topics", "--delete", "--topic", "grow\\.me").stdout == ""
    wait_until(lambda: "grow.me" not in cli("topics", "--list").stdout, 20, "the topic to go")


def test_topics_through_zookeeper(cli):
    assert cli.zk("topics", "--create", "--topic", "by-zk", "--partitions", 2, "--replication-factor", 2).stdout == "Created topic by-zk.\n"
    wait_until(lambda: cli.zk("topics", "--describe", "--topic", "by-zk").stdout == (
        "Topic: by-zk\tPartitionCount: 2\tReplicationFactor: 2\tConfigs: \n"
        "\tTopic: by-zk\tPartition: 0\tLeader: 0\tReplicas: 0,1\tIsr: 0,1\n"
        "\tTopic: by-zk\tPartition: 1\tLeader: 1\tReplicas: 1,2\tIsr: 1,2\n"), 20, "leaders of a topic made in ZooKeeper")
    cli("console-producer", "--topic", "by-zk", stdin="x\n")
    assert cli.zk("console-consumer", "--topic", "by-zk", "--from-beginning", "--max-messages", 1).stdout == "x\n"
    assert cli.zk("topics", "--alter", "--topic", "by-zk", "--partitions", 3).stdout.endswith("Adding partitions succeeded!\n")
    wait_until(lambda: "PartitionCount: 3" in cli("topics", "--describe", "--topic", "by-zk").stdout, 20, "the third partition")
    r = cli.zk("topics", "--create", "--topic", "by-zk", "--partitions", 1, "--replication-factor", 1, check=False)
    assert (r.returncode, r.stdout) == (1, "Error while executing topic command : Topic 'by-zk' already exists.\n")
    assert cli.zk("topics", "--delete", "--topic", "by-zk").stdout == (
        "Topic by-zk is marked for deletion.\nNote: This will have no impact if delete.topic.enable is not set to true.\n")
    wait_until(lambda: "by-zk" not in cli.zk("topics", "--list").stdout, 20, "the topic to go")


def test_consoles_keep_keys_headers_nulls_and_order(cli):
    cli("topics", "--create", "--topic", "kv", "--partitions", 1, "--replication-factor", 3)
    cli("console-producer", "--topic", "kv", "--property", "parse.key=true", "--property", "parse.headers=true", "--property",
        "key.separator=:", "--property", "null.marker=NIL", stdin="h1:a,h2:b\tk1:v1\nh:x\tk2:\n\tNIL:NIL\nh:y\t:v4\n")
    r = cli("console-consumer", "--topic", "kv", "--from-beginning", "--max-messages", 4, "--property", "print.key=true", "--property",
            "print.headers=true", "--property", "print.offset=true", "--property", "print.partition=true")
    assert r.stdout == ("Partition:0\tOffset:0\th1:a,h2:b\tk1\tv1\nPartition:0\tOffset:1\th:x\tk2\t\n"
                        "Partition:0\tOffset:2\tNO_HEADERS\tnull\tnull\nPartition:0\tOffset:3\th:y\t\tv4\n")
    r = cli("console-consumer", "--topic", "kv", "--partition", 0, "--offset", 3, "--max-messages", 1, "--property", "print.timestamp=true")
    stamp = re.fullmatch(r"CreateTime:(\d+)\tv4\n", r.stdout)
    assert stamp and abs(int(stamp[1]) - time.time() * 1000) < 600000
    r = cli("console-consumer", "--topic", "kv", "--partition", 0, "--offset", "latest", "--timeout-ms", 300)
    assert (r.stdout, r.stderr) == ("", "Processed a total of 0 messages\n")
    r = cli("console-producer", "--topic", "kv", "--property", "parse.key=true", stdin="nokey\n", check=False)
    assert (r.returncode, r.stderr) == (1, "kafuka-console-producer: No key separator found on line number 1: 'nokey'\n")


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_lines_go_through_with_each_codec(cli, codec):
    lines = "".join(f"{i} {'x' * (i % 97)}\n" for i in range(20000)) + "\n" + "\u00e4\u20ac\n"
    cli("topics", "--create", "--topic", f"lines-{codec}", "--partitions", 3, "--replication-factor", 3)
    cli("console-producer", "--topic", f"lines-{codec}", "--compression-codec", codec, stdin=lines)
    r = cli("console-consumer", "--topic", f"lines-{codec}", "--from-beginning", "--max-messages", 20002)
    assert sorted(r.stdout.split("\n")) == sorted(lines.split("\n"))
    offsets = [int(x.split(":")[2]) for x in cli("get-offsets", "--topic", f"lines-{codec}").stdout.split()]
    assert sum(offsets) == 20002


def test_a_record_that_is_too_large_is_named(cli):
    cli("topics", "--create", "--topic", "small-for-tools", "--partitions", 1, "--replication-factor", 1, "--config", "max.message.bytes=2000")
    r = cli("console-producer", "--topic", "small-for-tools", "--sync", stdin="fine\n" + "x" * 5000 + "\nfine too\n", check=False)
    assert r.returncode == 1
    assert re.fullmatch(r"kafuka-console-producer: record 2 \('x{60}\.\.\.'\) was not delivered: .*[Ss]ize.*\n", r.stderr), r.stderr
    assert cli("console-consumer", "--topic", "small-for-tools", "--from-beginning", "--max-messages", 2).stdout == "fine\nfine too\n"


def test_consumer_sees_new_partitions_and_ends_on_sigterm(cli):
    c = cli.cluster
    cli("topics", "--create", "--topic", "widen", "--partitions", 1, "--replication-factor", 1)
    p = subprocess.Popen([str(BUILD / "kafuka"), "console-consumer", "--bootstrap-server", c.bootstrap, "--topic", "widen",
                          "--from-beginning", "--property", "print.partition=true"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
    try:
        cli("topics", "--alter", "--topic", "widen", "--partitions", 3)
        keyed = "".join(f"k{i}:v{i}\n" for i in range(60))
        wait_until(lambda: "PartitionCount: 3" in cli("topics", "--describe", "--topic", "widen").stdout, 20, "three partitions")
        cli("console-producer", "--topic", "widen", "--property", "parse.key=true", "--property", "key.separator=:", stdin=keyed)
        got = [p.stdout.readline() for _ in range(60)]
        assert {x.split("\t")[0] for x in got} == {"Partition:0", "Partition:1", "Partition:2"}
        assert sorted(x.split("\t")[1] for x in got) == sorted(f"v{i}\n" for i in range(60))
        p.terminate()
        assert p.wait(20) == 0
        assert p.stderr.read() == "Processed a total of 60 messages\n"
    finally:
        p.kill()
        p.wait()


def test_configs_of_topics_and_brokers(cli):
    cli("topics", "--create", "--topic", "conf", "--partitions", 1, "--replication-factor", 1)
    assert cli("configs", "--describe", "--topic", "conf").stdout == "Dynamic configs for topic conf are:\n"
    assert cli("configs", "--alter", "--topic", "conf", "--add-config", "retention.ms=1000,cleanup.policy=[compact,delete]").stdout == \
        "Completed updating config for topic conf.\n"
    assert cli("configs", "--describe", "--entity-type", "topics", "--entity-name", "conf").stdout.startswith(
        "Dynamic configs for topic conf are:\n"
        "  cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, "
        "DEFAULT_CONFIG:log.cleanup.policy=delete}\n  retention.ms=1000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=1000")
    assert cli("configs", "--alter", "--topic", "conf", "--delete-config", "cleanup.policy").returncode == 0
    assert cli.zk("configs", "--alter", "--topic", "conf", "--add-config", "retention.ms=2000").stdout.endswith(
        "Completed updating config for entity: topic 'conf'.\n")
    wait_until(lambda: "retention.ms=2000" in cli("configs", "--describe", "--topic", "conf").stdout, 20, "the change to arrive")
    assert cli.zk("configs", "--describe", "--topic", "conf").stdout.endswith("Configs for topic 'conf' are retention.ms=2000\n")
    option = "log.cleaner.delete.retention.ms"  # every layer is shown
    cli("configs", "--alter", "--broker-defaults", "--add-config", f"{option}=86400123")
    cli("configs", "--alter", "--topic", "conf", "--add-config", "delete.retention.ms=777")
    wait_until(lambda: "synonyms={DYNAMIC_TOPIC_CONFIG:delete.retention.ms=777, DYNAMIC_DEFAULT_BROKER_CONFIG:"
               f"{option}=86400123, DEFAULT_CONFIG:{option}=86400000}}" in cli("configs", "--describe", "--topic", "conf").stdout, 20, "all layers")
    cli("configs", "--alter", "--broker-defaults", "--delete-config", option)
    r = cli("configs", "--alter", "--topic", "conf", "--add-config", "leader.replication.throttled.replicas=[0:1,1:2]")
    assert "leader.replication.throttled.replicas has no effect in this version: replication is not throttled" in r.stderr
    r = cli("configs", "--alter", "--broker-defaults", "--add-config", "some.plugin.option=1")
    assert "some.plugin.option has no effect in this version: this broker does not know it" in r.stderr
    cli("configs", "--alter", "--broker-defaults", "--delete-config", "some.plugin.option")
    r = cli("topics", "--create", "--topic", "slow", "--partitions", 1, "--config", "follower.replication.throttled.replicas=*")
    assert "follower.replication.throttled.replicas has no effect in this version" in r.stderr
    for args, text in [(("--add-config", "bogus.x=1"), "bogus.x"),
                       (("--add-config", "retention.mss=1"), "retention.mss (did you mean retention.ms?)"),
                       (("--add-config", "leader.replication.throttled.replicas=[0:1;1:2]"), "must be partition:broker,partition:broker"),
                       (("--add-config", "retention.ms=abc"), "retention.ms"),
                       (("--delete-config", "segment.ms"), "Invalid config(s): segment.ms")]:
        r = cli("configs", "--alter", "--topic", "conf", *args, check=False)
        assert r.returncode == 1 and text in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr
    assert re.search(r"^  broker.id=1 ", cli("configs", "--describe", "--broker", 1, "--all").stdout, re.M)
    for args, text in [(("--add-config", "log.retention.mss=1"), "did you mean log.retention.ms?"),
                       (("--add-config", "log.retention.ms=0"), "-1 keeps records for ever"),
                       (("--add-config", "authorizer.class.name=x"), "can't be changed while the broker runs"),
                       (("--add-config", "log.cleaner.threads=5"), "in one step it may become 1 to 2")]:
        r = cli("configs", "--alter", "--broker-defaults", *args, check=False)
        assert r.returncode == 1 and text in r.stderr, r.stderr


def test_offsets_log_dirs_and_deleted_records(cli, tmp_path):
    cli("topics", "--create", "--topic", "cut", "--partitions", 2, "--replication-factor", 3)
    keyed = "".join(f"k{i}:v{i}\n" for i in range(100))
    cli("console-producer", "--topic", "cut", "--property", "parse.key=true", "--property", "key.separator=:", stdin=keyed)
    ends = dict(x.rsplit(":", 1) for x in cli("get-offsets", "--topic", "cut").stdout.split())
    assert sum(map(int, ends.values())) == 100
    (tmp_path / "cut.json").write_text(json.dumps({"partitions": [{"topic": "cut", "partition": 0, "offset": 5},
                                                                  {"topic": "cut", "partition": 1, "offset": 100000}]}))
    r = cli("delete-records", "--offset-json-file", tmp_path / "cut.json", check=False)
    assert r.returncode == 1
    assert "partition: cut-0\tlow_watermark: 5\n" in r.stdout
    assert "partition: cut-1\terror: OFFSET_OUT_OF_RANGE" in r.stdout
    assert cli("get-offsets", "--topic", "cut", "--time", "earliest").stdout == "cut:0:5\ncut:1:0\n"
    assert cli("get-offsets", "--topic-partitions", "cut:0-1", "--time", -1).stdout == f"cut:0:{ends['cut:0']}\n"
    text = cli("log-dirs", "--describe", "--topic-list", "cut").stdout
    assert text.startswith("Querying brokers for log directories information\nReceived log directory information from brokers 0,1,2\n")
    dirs = json.loads(text.splitlines()[2])
    assert {p["partition"] for b in dirs["brokers"] for d in b["logDirs"] for p in d["partitions"]} == {"cut-0", "cut-1"}


def test_json_and_properties_files_may_be_pipes(shared_cluster, cli):
    c = shared_cluster
    c.create_topic("piped")
    cli("console-producer", "--topic", "piped", stdin="a\nb\n")
    command = (f"exec {BUILD}/kafuka delete-records --bootstrap-server {c.bootstrap} --command-config <(echo security.protocol=PLAINTEXT) "
               """--offset-json-file <(echo '{"version": 1,'; echo '"partitions": [{"topic": "piped", "partition": 0, "offset": 1}]}')""")
    r = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and "partition: piped-0\tlow_watermark: 1" in r.stdout, r.stdout + r.stderr


def test_perf_tests_print_kafkas_lines(cli):
    c = cli.cluster
    cli("topics", "--create", "--topic", "perf", "--partitions", 3, "--replication-factor", 1)
    r = c.tool("producer-perf-test", "--topic", "perf", "--num-records", 20000, "--record-size", 100, "--throughput", -1,
               "--producer-props", f"bootstrap.servers={c.bootstrap}", "acks=1")
    assert re.fullmatch(r"20000 records sent, [\d.]+ records/sec \([\d.]+ MB/sec\), [\d.]+ ms avg latency, [\d.]+ ms max latency, "
                        r"\d+ ms 50th, \d+ ms 95th, \d+ ms 99th, \d+ ms 99.9th.\n", r.stdout), r.stdout
    lines = cli("consumer-perf-test", "--topic", "perf", "--messages", 20000).stdout.splitlines()
    assert lines[0].startswith("start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms")
    assert lines[1].split(", ")[2] == "1.9073" and lines[1].split(", ")[4] == "20000"
    started = time.monotonic()
    c.tool("producer-perf-test", "--topic", "perf", "--num-records", 1000, "--payload-monotonic", "--throughput", 1000,
           "--bootstrap-server", c.bootstrap)
    assert time.monotonic() - started > 0.9


def test_describe_names_what_is_wrong(make_cluster):
    c = make_cluster()
    c.wait_brokers()
    c.create_topic("well", 3, 3)
    c.wait_isr("well", 3, 3)

    def page(*args, source=("--bootstrap-server", c.brokers[1].address)):
        return c.tool("describe", *source, *args, check=False)

    wait_until(lambda: page().returncode == 0, 20, "a healthy cluster")
    r = page("--json")
    view = json.loads(r.stdout)
    assert (r.returncode, view["healthy"], len(view["brokers"]), view["under_replicated"]) == (0, True, 3, 0)
    c.brokers[2].kill()
    wait_until(lambda: json.loads(page("--json").stdout)["under_replicated"] == 3, 30, "three under-replicated partitions")
    r = page()
    assert r.returncode == 1
    assert "UNHEALTHY" in r.stdout and "start broker 2" in r.stdout and "3 partitions are not fully replicated" in r.stdout, r.stdout
    wait_until(lambda: "broker 2 is not running: 3 replicas are missing" in page().stdout, 30, "broker 2 to be gone")
    r = page(source=("--zookeeper", c.connect))
    assert r.returncode == 1 and "broker 2 is not running" in r.stdout, r.stdout
    under = c.tool("topics", "--bootstrap-server", c.brokers[0].address, "--describe", "--under-replicated-partitions").stdout
    assert len(under.splitlines()) == 3
    c.brokers[2].start()
    c.wait_isr("well", 3, 3)
    wait_until(lambda: page().returncode == 0, 30, "a healthy cluster again")


def test_zookeeper_that_is_away_is_told(make_cluster):
    port = free_ports(1)[0]
    c = make_cluster(options={"zookeeper.session.timeout.ms": 60000}, broker_options={0: {"http.listener": f"127.0.0.1:{port}"}})
    c.wait_brokers()
    c.create_topic("kept", 2, 3)
    c.wait_isr("kept", 2, 3)

    def tool(name, *args):
        return c.tool(name, "--bootstrap-server", c.bootstrap, *args, check=False)

    def ready():
        r = subprocess.run(["curl", "-s", "-w", "%{http_code}", f"http://127.0.0.1:{port}/ready"], capture_output=True, text=True, timeout=30)
        return r.stdout.splitlines()

    wait_until(lambda: ready() == ["ready", "200"], 30, "the broker to be ready")
    wait_until(lambda: tool("describe").returncode == 0, 30, "a healthy cluster")
    c.zookeeper.kill()
    wait_until(lambda: ready() == ["not ready: the broker has no connection to ZooKeeper", "503"], 30, "/ready to say it")
    wait_until(lambda: "brokers 0, 1, 2 have no connection to ZooKeeper" in tool("describe").stdout, 30, "describe to name all brokers")
    r = tool("describe")
    assert r.returncode == 1 and "UNHEALTHY" in r.stdout and "start ZooKeeper" in r.stdout, r.stdout
    view = json.loads(tool("describe", "--json").stdout)
    assert not view["healthy"] and all("ZooKeeper" in b["no_zookeeper"] for b in view["brokers"])
    r = tool("healthcheck")
    assert r.returncode == 1 and "without ZooKeeper" in r.stderr and r.stdout == ""
    r = tool("doctor")
    assert r.returncode == 1 and "FAIL the broker has no connection to ZooKeeper" in r.stdout, r.stdout
    c.zookeeper.start()
    wait_until(lambda: ready() == ["ready", "200"] and tool("healthcheck").returncode == 0 and tool("describe").returncode == 0, 60,
               "all to be well again")
    assert all(b["no_zookeeper"] is None for b in json.loads(tool("describe", "--json").stdout)["brokers"])


@pytest.mark.parametrize("partition", [0, 5])
def test_empty_partitions_do_not_hold_up_the_others(cli, partition):
    """A broker that is asked for an empty partition alone waits, and what another one has must not wait with it."""
    topic = f"sparse-{partition}"
    cli("topics", "--create", "--topic", topic, "--replica-assignment", ",".join("0" * 6))
    kcat("-b", cli.cluster.bootstrap, "-P", "-t", topic, "-p", str(partition), stdin=b"here\n")
    began = time.monotonic()
    r = cli("console-consumer", "--topic", topic, "--from-beginning", "--max-messages", 1, "--consumer-property", "fetch.wait.max.ms=20000")
    assert r.stdout == "here\n" and time.monotonic() - began < 15


def test_a_group_begins_where_auto_offset_reset_says_and_goes_on_where_it_was(cli):
    cli("topics", "--create", "--topic", "resumed", "--partitions", 3, "--replication-factor", 1)
    cli("console-producer", "--topic", "resumed", stdin="1\n2\n3\n")
    group = ("--topic", "resumed", "--group", "resumed-group", "--timeout-ms", 30000)
    assert sorted(cli("console-consumer", *group, "--from-beginning", "--max-messages", 3).stdout.split()) == ["1", "2", "3"]
    cli("console-producer", "--topic", "resumed", stdin="4\n")
    assert cli("console-consumer", *group, "--from-beginning", "--max-messages", 1).stdout.split() == ["4"]
    none = cli("console-consumer", "--topic", "resumed", "--group", "other", "--timeout-ms", 5000)
    assert none.stdout == "" and "Processed a total of 0 messages" in none.stderr


def test_a_consumer_of_a_missing_topic_says_so(cli):
    r = cli("console-consumer", "--topic", "misspelt", "--timeout-ms", 1000, "--consumer-property", "allow.auto.create.topics=false", check=False)
    assert "warning: topic misspelt does not exist; waiting for it\n" in r.stderr
    assert "misspelt" not in cli("topics", "--list").stdout.split()
    r = cli("console-consumer", "--topic", "misspelt", "--group", "g", "--timeout-ms", 500, check=False)
    assert "warning: topic misspelt does not exist; the brokers are asked to create it" in r.stderr


def test_tools_say_that_a_chroot_is_missing_and_do_not_make_it(shared_cluster):
    c = shared_cluster
    at = f"{c.connect}/nowhere"
    for name, *args in (("topics", "--list"), ("topics", "--create", "--topic", "t", "--partitions", 1, "--replication-factor", 1),
                        ("configs", "--describe", "--topic", "t"), ("describe",), ("consumer-groups", "--list"),
                        ("console-consumer", "--topic", "t")):
        r = c.tool(name, "--zookeeper", at, *args, stdin="", check=False)
        assert r.returncode == 1 and f"the chroot /nowhere does not exist in ZooKeeper {c.connect}" in r.stdout + r.stderr, (name, r)
        assert len([line for line in (r.stdout + r.stderr).splitlines() if not re.search("deprecated|^Use --boot|^Processed a total", line)]) == 1, r
    zk = c.zk_client()
    try:
        assert not zk.exists("/nowhere")
    finally:
        zk.stop()
        zk.close()


def test_a_zookeeper_that_does_not_listen_is_told_at_once(shared_cluster):
    (nobody,) = free_ports(1)
    for name, args in (("topics", ("--list",)), ("describe", ()), ("configs", ("--describe", "--topic", "t")),
                       ("consumer-perf-test", ("--topic", "t", "--messages", 1)),
                       ("console-consumer", ("--topic", "t", "--partition", 0, "--timeout-ms", 0))):
        began = time.monotonic()
        r = shared_cluster.tool(name, "--zookeeper", f"127.0.0.1:{nobody}", *args, check=False)
        said = r.stdout + r.stderr
        assert r.returncode == 1 and f"ZooKeeper cannot be reached: 127.0.0.1:{nobody}: connection refused, nothing listens there\n" in said
        assert time.monotonic() - began < 20 and "retcode" not in said


@pytest.mark.parametrize("name, option", [("topics", "--command-config"), ("console-consumer", "--consumer.config"),
                                          ("console-producer", "--producer.config")])
def test_security_files_that_cannot_work_say_what_would(shared_cluster, tmp_path, name, option):
    c = shared_cluster
    jks, p12, pem, file = tmp_path / "store", tmp_path / "store2", tmp_path / "store.pem", tmp_path / "client.properties"
    jks.write_bytes(bytes.fromhex("feedfeed00000002") + b"x" * 100)
    subprocess.run(f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {pem} -out {pem}.crt -days 2 -subj /CN=x &&"
                   f"openssl pkcs12 -export -in {pem}.crt -inkey {pem} -out {p12} -passout pass:x", shell=True, check=True, capture_output=True)
    for text, said in (
            (f"security.protocol=SSL\nssl.truststore.location={jks}\n", "is a Java key store (JKS), but PEM is needed; convert it: keytool"),
            (f"security.protocol=SSL\nssl.truststore.location={p12}\n", f"but PEM is needed; convert it: openssl pkcs12 -in {p12}"),
            (f"security.protocol=SSL\nssl.truststore.location={tmp_path}/none\n", f"{tmp_path}/none: not found"),
            (f"security.protocol=SSL\nssl.keystore.location={jks}\n", "is a Java key store (JKS)"),
            ("security.protocol=SASL_PLAINTEXT\n", "security.protocol=SASL_PLAINTEXT ")):
        file.write_text(text)
        r = c.tool(name, "--bootstrap-server", c.bootstrap, option, file, *(("--list",) if name == "topics" else ("--topic", "t")), stdin="",
                   check=False)
        assert r.returncode == 1 and said in r.stderr and len(r.stderr.splitlines()) == 1, (text, r)
    file.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=x.y.OAuthBearerLoginModule required;\n")
    r = c.tool(name, "--bootstrap-server", c.bootstrap, option, file, *(("--list",) if name == "topics" else ("--topic", "t")), stdin="", check=False)
    assert r.returncode == 1 and ("sasl.jaas.config is understood here as" in r.stderr or name == "topics"), r


def test_healthcheck_and_unreachable_brokers_answer_at_once(cli):
    c = cli.cluster
    r = c.tool("healthcheck", "--bootstrap-server", c.brokers[0].address)
    assert re.fullmatch(r"healthy: 3 brokers, controller \d, cluster \S{22}, answered in [\d.]+ ms\n", r.stdout), r.stdout
    for name, args in [("healthcheck", ()), ("topics", ("--list",)), ("describe", ()), ("get-offsets", ()),
                       ("console-consumer", ("--topic", "t")), ("console-producer", ("--topic", "t"))]:
        started = time.monotonic()
        r = c.tool(name, "--bootstrap-server", "127.0.0.1:1", *args, stdin="", check=False)
        assert r.returncode == 1, name
        assert r.stderr == f"kafuka-{name}: {'no broker can be reached: '}127.0.0.1:1: connection refused, nothing listens there\n"
        assert time.monotonic() - started < 20, name  # --timeout-ms is 30 s


def test_every_command_helps_by_any_of_its_names(cli, tmp_path):
    commands = re.findall(r"^  ([a-z-]+)  +\S", cli.cluster.tool("--help").stdout, re.M)
    assert len(commands) >= 18
    manual = (pathlib.Path(__file__).resolve().parents[2] / "tools/man/kafuka.1").read_text().replace("\\-", "-").replace("\\fB", " ")
    assert [name for name in commands if not re.search(rf"^\.B .*\b{name}\b", manual, re.M)] == []
    for name in commands:
        texts = set()
        for link in (f"kafuka-{name}", f"kafka-{name}.sh", f"kafka-{name}"):
            (tmp_path / link).symlink_to(BUILD / "kafuka")
            texts.add(subprocess.run([tmp_path / link, "--help"], capture_output=True, text=True, check=True).stdout)
        assert len(texts) == 1 and "Example" in texts.pop(), name
