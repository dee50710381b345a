# SPDX-License-Identifier: Apache-2.0
"""kafuka-reassign-partitions and kafuka-leader-election: Kafka's options, Kafka's words, and what the cluster does."""
import json
import signal

import pytest
from cluster import wait_until


@pytest.fixture(scope="module")
def cluster(shared_cluster):
    shared_cluster.wait_brokers()
    return shared_cluster


def reassign(c, *args, check=True):
    return c.tool("reassign-partitions", "--bootstrap-server", c.bootstrap, *args, check=check)


def elect(c, *args, check=True):
    return c.tool("leader-election", "--bootstrap-server", c.bootstrap, *args, check=check)


def plan_of(*entries):
    return {"version": 1, "partitions": [{"topic": t, "partition": p, "replicas": r} for t, p, r in entries]}


def replicas(c, topic):
    text = c.tool("topics", "--bootstrap-server", c.bootstrap, "--describe", "--topic", topic).stdout
    return [[int(i) for i in line.split("Replicas: ")[1].split()[0].split(",")] for line in text.splitlines() if "\tPartition: " in line]


def test_a_plan_is_generated_executed_and_verified(cluster, tmp_path):
    c = cluster
    c.tool("topics", "--bootstrap-server", c.bootstrap, "--create", "--topic", "travels", "--replica-assignment", "0:1,1:0")
    topics, plan = tmp_path / "topics.json", tmp_path / "plan.json"
    topics.write_text('{"topics": [{"topic": "travels"}], "version": 1}')
    said = reassign(c, "--generate", "--topics-to-move-json-file", topics, "--broker-list", "1,2").stdout.splitlines()
    assert said[0] == "Current partition replica assignment" and said[2] == "" and said[3] == "Proposed partition reassignment configuration"
    assert said[1] == ('{"version":1,"partitions":[{"topic":"travels","partition":0,"replicas":[0,1],"log_dirs":["any","any"]},'
                       '{"topic":"travels","partition":1,"replicas":[1,0],"log_dirs":["any","any"]}]}')
    assert [p["replicas"] for p in json.loads(said[4])["partitions"]] == [[1, 2], [2, 1]] and len(said) == 5
    plan.write_text(said[4])
    r = reassign(c, "--execute", "--reassignment-json-file", plan, "--throttle", 1000000)
    assert r.stdout == (f"Current partition replica assignment\n\n{said[1]}\n\n"
                        "Save this to use as the --reassignment-json-file option during rollback\n"
                        "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed.\n"
                        "The inter-broker throttle limit was set to 1000000 B/s\n"
                        "Successfully started partition reassignments for travels-0,travels-1\n")
    assert len(r.stderr.splitlines()) == 1 and "do not keep to it yet" in r.stderr
    configs = c.tool("configs", "--bootstrap-server", c.bootstrap, "--describe", "--topic", "travels").stdout
    assert "leader.replication.throttled.replicas=0:0,0:1,1:0,1:1 " in configs
    assert "follower.replication.throttled.replicas=0:2,1:2 " in configs
    wait_until(lambda: reassign(c, "--list").stdout == "No partition reassignments found.\n", 60, "the moves to end")
    assert replicas(c, "travels") == [[1, 2], [2, 1]]
    done = "Status of partition reassignment:\n" + "".join(f"Reassignment of partition travels-{p} is completed.\n" for p in (0, 1)) + "\n"
    assert reassign(c, "--verify", "--reassignment-json-file", plan, "--preserve-throttles").stdout == done
    assert reassign(c, "--verify", "--reassignment-json-file", plan).stdout == (
        f"{done}Clearing broker-level throttles on brokers 0,1,2\nClearing topic-level throttles on topic travels\n")
    assert "throttled" not in c.tool("configs", "--bootstrap-server", c.bootstrap, "--describe", "--topic", "travels").stdout
    assert "throttled.rate" not in c.tool("configs", "--bootstrap-server", c.bootstrap, "--describe", "--entity-type", "brokers").stdout
    plan.write_text(json.dumps(plan_of(("travels", 0, [0]), ("travels", 9, [1]), ("nowhere", 0, [1]))))
    assert reassign(c, "--verify", "--reassignment-json-file", plan, "--preserve-throttles").stdout.splitlines()[1:4] == [
        "There is no active reassignment of partition nowhere-0, but replica set is  rather than 1.",
        "There is no active reassignment of partition travels-0, but replica set is 1,2 rather than 0.",
        "There is no active reassignment of partition travels-9, but replica set is  rather than 1."]


def test_what_is_under_way_is_shown_guarded_and_cancelled(make_cluster, tmp_path):
    c = make_cluster(count=3, options={"zookeeper.session.timeout.ms": 60000, "zookeeper.connection.timeout.ms": 60000})
    c.create_topic("other")
    c.tool("topics", "--bootstrap-server", c.bootstrap, "--create", "--topic", "stuck", "--replica-assignment", "0")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(plan_of(("stuck", 0, [1, 2]))))
    controller = int(c.tool("healthcheck", "--bootstrap-server", c.bootstrap).stdout.split("controller ")[1].split(",")[0])
    paused = next(b for b in c.brokers if b.id in (1, 2) and b.id != controller)
    at = ",".join(b.address for b in c.brokers if b is not paused)
    tool = ("reassign-partitions", "--bootstrap-server", at)
    paused.signal(signal.SIGSTOP)  # its session goes on for a minute: it can be chosen, but does not copy
    try:
        assert "Successfully started partition reassignment for stuck-0\n" in c.tool(*tool, "--execute", "--reassignment-json-file", plan).stdout
        assert c.tool(*tool, "--list").stdout == "Current partition reassignments:\nstuck-0: replicas: 1,2,0. adding: 1,2. removing: 0.\n"
        r = c.tool(*tool, "--execute", "--reassignment-json-file", plan, check=False)
        assert r.returncode == 1 and r.stdout.startswith("Cannot execute because there is an existing partition assignment.  Use --additional")
        assert c.tool(*tool, "--verify", "--reassignment-json-file", plan).stdout == (
            "Status of partition reassignment:\nReassignment of partition stuck-0 is still in progress.\n\n")
        r = c.tool(*tool, "--cancel", "--reassignment-json-file", plan, "--preserve-throttles")
        assert r.stdout == ("Successfully cancelled partition reassignment for: stuck-0\nNone of the specified partition moves are active.\n")
        assert c.tool(*tool, "--list").stdout == "No partition reassignments found.\n"
    finally:
        paused.signal(signal.SIGCONT)
    assert c.tool(*tool, "--cancel", "--reassignment-json-file", plan, "--preserve-throttles").stdout == (
        "None of the specified partition reassignments are active.\nNone of the specified partition moves are active.\n")
    assert replicas(c, "stuck") == [[0]]


@pytest.mark.parametrize("args, plan, said", [
    (["--execute"], None, 'Missing required argument "[reassignment-json-file]"'),
    (["--execute", "--verify"], {}, "Command must include exactly one action: --generate, --execute, --verify, --cancel, --list"),
    ([], {}, "Command must include exactly one action"),
    (["--verify", "--throttle", "1000"], {}, 'Option "[throttle]" can\'t be used with action "[verify]"'),
    (["--execute", "--throttle", "fast"], {}, "--throttle"),
    (["--execut"], {}, "did you mean --execute?"),
    (["--execute"], {}, "Error: Partition reassignment list cannot be empty"),
    (["--execute"], plan_of(("quiet", 0, [7])), "Error: Unknown broker id 7"),
    (["--execute"], plan_of(("quiet", 5, [0])), "Error: Unable to find partition: quiet-5"),
    (["--execute"], plan_of(("nowhere", 0, [0])), "Error: Topic nowhere not found."),
    (["--execute"], plan_of(("quiet", 0, [0, 0])), "quiet-0 contains multiple entries for 0"),
    (["--execute"], {"partitions": [{"topic": "quiet", "partition": 0, "replicas": [0], "log_dirs": ["/d"]}]}, "cannot be moved between the log"),
    (["--generate"], None, 'Missing required argument "[topics-to-move-json-file]"'),
])
def test_bad_plans_and_options_change_nothing(cluster, tmp_path, args, plan, said):
    c = cluster
    if "quiet" not in c.tool("topics", "--bootstrap-server", c.bootstrap, "--list").stdout.split():
        c.create_topic("quiet")
    before = replicas(c, "quiet")
    if plan is not None:
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        args = [*args, "--reassignment-json-file", tmp_path / "plan.json"]
    r = reassign(c, *args, check=False)
    assert r.returncode == 1 and said in r.stdout + r.stderr and len((r.stdout + r.stderr).splitlines()) == 1, r
    assert replicas(c, "quiet") == before


def test_files_that_are_no_plan_are_named_with_the_line(cluster, tmp_path):
    path = tmp_path / "plan.json"
    for text, said in (("{\n oops", ", line 2: "), ("", "the file is empty"), ("[1]", "is expected")):
        path.write_text(text)
        r = reassign(cluster, "--execute", "--reassignment-json-file", path, check=False)
        assert r.returncode == 1 and f"--reassignment-json-file {path}" in r.stdout and said in r.stdout, r
    r = reassign(cluster, "--execute", "--reassignment-json-file", tmp_path / "none", check=False)
    assert r.returncode == 1 and "not found" in r.stdout


def test_a_preferred_leader_is_elected(make_cluster, tmp_path):
    c = make_cluster(count=3, options={"auto.leader.rebalance.enable": "false"})
    c.tool("topics", "--bootstrap-server", c.bootstrap, "--create", "--topic", "led", "--replica-assignment", "0:1:2,1:2:0")
    preferred = ("--election-type", "preferred")
    assert elect(c, *preferred, "--topic", "led", "--partition", 0).stdout == "Valid replica already elected for partitions led-0\n"
    c.brokers[0].stop()
    wait_until(lambda: c.leader_and_isr("led", 0, c.brokers[1])[0] == 1, 30, "another leader")
    r = elect(c, *preferred, "--topic", "led", "--partition", 0, check=False)
    assert r.returncode == 1 and r.stderr == "kafuka-leader-election: 1 replica(s) could not be elected\n"
    assert r.stdout.startswith("Error completing leader election (PREFERRED) for partition: led-0: PREFERRED_LEADER_NOT_AVAILABLE: "), r.stdout
    c.brokers[0].start()
    c.wait_brokers()
    c.wait_isr("led", 2, 3)
    assert elect(c, *preferred, "--all-topic-partitions").stdout == "Successfully completed leader election (PREFERRED) for partitions led-0\n"
    assert c.leader_and_isr("led", 0)[0] == 0
    path = tmp_path / "elect.json"
    path.write_text(json.dumps({"partitions": [{"topic": "led", "partition": 0}, {"topic": "led", "partition": 1}]}))
    assert elect(c, "--election-type", "PREFERRED", "--path-to-json-file", path).stdout == (
        "Valid replica already elected for partitions led-0, led-1\n")
    assert elect(c, "--election-type", "unclean", "--path-to-json-file", path).stdout == (
        "Valid replica already elected for partitions led-0, led-1\n")


@pytest.mark.parametrize("args, said", [
    ([], "Missing required option(s): election-type"),
    (["--election-type", "preferred"], "One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file"),
    (["--election-type", "clean", "--all-topic-partitions"], "--election-type is preferred or unclean, not 'clean'"),
    (["--election-type", "unclean", "--topic", "x"], "Missing required option(s): partition"),
    (["--election-type", "unclean", "--all-topic-partitions", "--partition", "1"], "Option partition is only allowed if topic is used"),
    (["--election-type", "unclean", "--topic", "x", "--partition", "one"], "'one'"),
    (["--election-typ", "unclean"], "did you mean --election-type?"),
])
def test_bad_elections_are_one_line(cluster, args, said):
    r = elect(cluster, *args, check=False)
    assert r.returncode == 1 and said in r.stderr and len(r.stderr.splitlines()) == 1 and r.stdout == "", r
