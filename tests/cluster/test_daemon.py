# SPDX-License-Identifier: Apache-2.0
"""The daemon itself: what stops a start, what it prints, TLS, readiness, topics that must exist, going to the background."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from cluster import BUILD, TOP, Cluster, ZooKeeper, answers, free_ports, kcat, wait_until


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory):
    z = ZooKeeper(tmp_path_factory.mktemp("daemon") / "zk")
    z.start()
    yield z
    z.kill()


def run_broker(tmp_path, zookeeper, *overrides, properties="", timeout=30):
    """Runs a broker that is expected to end by itself: its status and its output."""
    file = tmp_path / "server.properties"
    file.write_text(
        f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:0\nlog.dirs={tmp_path}/data\n"
        f"zookeeper.connect=127.0.0.1:{zookeeper.port}/{tmp_path.name}\n{properties}"
    )
    argv = [BUILD / "kafuka-broker", file]
    for o in overrides:
        argv += ["--override", o]
    r = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    return r.returncode, r.stderr


BAD_STARTS = [
    (["num.network.threads=0"], "", r"num.network.threads=0 is not allowed: it must be a whole number from 1 on"),
    (["log.cleanup.policy=shred"], "", r"log.cleanup.policy=shred is not allowed: it must be some of compact\|delete"),
    (["auto.create.topics.enable=maybe"], "", r"must be true or false"),
    ([], "x=\\u00zz\n", r"server.properties: line 5: a bad \\u escape"),
    (["zookeeper.connect="], "", r"zookeeper.connect is needed"),
    (["listeners=PLAINTEXT:9092"], "", r"NAME://host:port is needed"),
    (["listeners=NOSUCH://:0"], "", r"listener.security.protocol.map has no security protocol for NOSUCH"),
    (["listeners=SSL://:0", "security.inter.broker.protocol=SSL"], "", r"ssl.keystore.location is needed"),
    (["advertised.listeners=PLAINTEXT://0.0.0.0:1"], "", r"nobody can connect to 0.0.0.0"),
    (["inter.broker.listener.name=OTHER"], "", r"no such listener: OTHER"),
    (["log.dirs=/proc/no/such"], "", r"log.dirs: .*/proc/no/such"),
    (["log.dirs=/dev/null/logs"], "", r"log.dirs: make /dev/null/logs: Not a directory"),
    (["topics=a:b"], "", r"topics: name:partitions:replicas is needed, not a:b"),
    (["process.roles=broker"], "", r"KRaft"),
    ([], "authorizer.class.name=kafka.security.authorizer.AclAuthorizer\n", r"authorizer.class.name=.* is not possible: .*every client could"),
    ([], "super.users=User:admin\n", r"super.users=User:admin is not possible"),
    ([], "zookeeper.set.acl=true\n", r"zookeeper.set.acl=true is not possible: .*znodes would stay open"),
    ([], "create.topic.policy.class.name=org.example.Policy\n", r"create.topic.policy.class.name=.* is not possible"),
    ([], "listener.name.plaintext.ssl.client.auth=required\n", r"listener.name.plaintext.ssl.client.auth is not possible"),
    (["enable.zookeeper=false"], "", r"enable.zookeeper=false"),
]


@pytest.mark.parametrize("overrides,properties,message", BAD_STARTS)
def test_a_bad_start_is_one_line_that_says_what_is_wrong(tmp_path, zookeeper, overrides, properties, message):
    status, output = run_broker(tmp_path, zookeeper, *overrides, properties=properties)
    assert status == 1
    errors = [line for line in output.splitlines() if line.startswith("kafuka-broker: ")]
    assert len(errors) == 1 and re.search(message, errors[0]), output


def test_a_java_key_store_is_named_with_the_way_to_pem(tmp_path, zookeeper):
    store = tmp_path / "broker.keystore"  # no type is set, and Kafka's default is JKS
    store.write_bytes(bytes.fromhex("feedfeed00000002") + b"x" * 100)
    status, output = run_broker(tmp_path, zookeeper, "listeners=SSL://127.0.0.1:0", "security.inter.broker.protocol=SSL",
                                f"ssl.keystore.location={store}", "ssl.keystore.password=x")
    assert status == 1 and f"{store} is a Java key store (JKS), but PEM is needed; convert it: keytool -importkeystore -srckeystore {store} " in output
    store.write_text("nothing of that kind\n")
    status, output = run_broker(tmp_path, zookeeper, "listeners=SSL://127.0.0.1:0", "security.inter.broker.protocol=SSL",
                                f"ssl.keystore.location={store}")
    assert status == 1 and f"certificate chain {store}: it holds no such PEM block (-----BEGIN ...)" in output


def test_a_taken_port_and_a_locked_folder_are_named(make_cluster, tmp_path):
    c = make_cluster(count=1)
    status, output = run_broker(tmp_path, c.zookeeper, f"listeners=PLAINTEXT://{c.brokers[0].address}")
    assert status == 1 and "the port is taken by another process" in output
    status, output = run_broker(tmp_path, c.zookeeper, f"log.dirs={c.brokers[0].data}")
    assert status == 1 and "is locked by another process" in output


def test_log_dirs_of_another_broker_or_cluster_are_refused_with_both_ids(make_cluster, tmp_path):
    c = make_cluster(count=1)
    c.brokers[0].stop()
    data = c.brokers[0].data
    cluster_id = re.search(r"cluster.id=(.*)", (data / "meta.properties").read_text()).group(1).strip()
    status, output = run_broker(tmp_path, c.zookeeper, f"zookeeper.connect={c.connect}", f"log.dirs={data}", "broker.id=7")
    assert status == 1 and "broker.id is 7 in the configuration, but 0 in" in output
    status, output = run_broker(tmp_path, c.zookeeper, f"log.dirs={data}", "broker.id=0")
    assert status == 1 and f"belong to cluster {cluster_id}" in output and "cluster.id" in output
    # and the advice works: without that line the data join the other cluster
    meta = data / "meta.properties"
    meta.write_text("".join(line for line in meta.read_text().splitlines(True) if not line.startswith("cluster.id")))
    c.brokers[0].write_properties(**{"zookeeper.connect": f"127.0.0.1:{c.zookeeper.port}/other"})
    c.brokers[0].start()
    wait_until(lambda: "broker ready" in c.brokers[0].log_text(), 30, "the broker to be ready in the other cluster")


def test_wrong_arguments_are_status_2_and_the_help_is_complete(tmp_path):
    def run(*args):
        return subprocess.run([str(BUILD / "kafuka-broker"), *args], capture_output=True, text=True, timeout=30)

    for args in [[], ["--override", "x", "f"], ["--nonsense", "f"], ["a", "b"]]:
        assert run(*args).returncode == 2
    assert run("--version").stdout.startswith("kafuka-broker ")
    assert "--override KEY=VALUE" in run("--help").stdout
    file = tmp_path / "server.properties"
    file.write_text("zookeeper.connect=z\nmax.connection.creation.rate=5\n")
    good = run("--check-config", str(file))
    assert good.returncode == 0 and "a broker would take these options" in good.stdout
    assert "options=max.connection.creation.rate" in good.stderr
    bad = run("--check-config", str(file), "--override", "advertised.listeners=OTHER://h:1")
    assert bad.returncode == 1 and "no such listener: OTHER" in bad.stderr
    options = run("--help-config").stdout
    for name in ["broker.id", "zookeeper.connect", "log.retention.hours", "min.insync.replicas", "replica.lag.time.max.ms"]:
        assert re.search(rf"^{re.escape(name)}$", options, re.M)
    assert run("no-such-file").returncode == 1


def test_an_unknown_option_is_a_warning_with_the_nearest_name(make_cluster):
    c = make_cluster(count=1, options={"log.retention.hour": 5})
    assert re.search(r"WARN .*unknown option, it has no effect option=log.retention.hour did_you_mean=log.retention.hours", c.brokers[0].log_text())


def test_options_without_effect_are_one_line_and_those_in_zookeeper_stop_nothing(make_cluster):
    c = make_cluster(count=1, options={"max.connection.creation.rate": 50, "replica.selector.class": "org.example.S", "ssl.protocol": "TLS",
                                       "com.example.plugin.colour": "red"})
    b = c.brokers[0]
    wait_until(lambda: "have no effect in this version options=" in b.log_text() and "have no meaning here options=" in b.log_text() and
               "option=com.example.plugin.colour" in b.log_text(), 30, "the lines of the options")
    text = b.log_text()
    assert re.findall(r"WARN .*have no effect in this version options=(.*)", text) == ["max.connection.creation.rate,replica.selector.class"]
    assert re.search(r"INFO .*have no meaning here options=ssl.protocol", text)
    assert re.search(r"WARN .*unknown option, it has no effect; no known option has a similar name.* option=com.example.plugin.colour", text)
    assert "did_you_mean=\"\"" not in text
    r = c.tool("configs", "--bootstrap-server", b.address, "--alter", "--broker", "0", "--add-config", "leader.replication.throttled.rate=1000000")
    assert r.returncode == 0 and "leader.replication.throttled.rate has no effect in this version: replication is not throttled" in r.stderr
    wait_until(lambda: "options=leader.replication.throttled.rate" in b.log_text(), 30, "the line of the dynamic option")
    b.stop()
    zk = c.zk_client()
    zk.set("/config/brokers/0", b'{"version":1,"config":{"authorizer.class.name":"X","leader.replication.throttled.rate":"1"}}')
    zk.stop()
    zk.close()
    b.start()
    wait_until(lambda: re.search(r"WARN .*is not possible in this version and has no effect option=authorizer.class.name", b.log_text()), 30, "the line of it")


def test_port_0_is_any_and_is_printed(make_cluster):
    c = make_cluster(count=1)
    b = c.brokers[0]
    b.stop()
    b.write_properties(listeners="PLAINTEXT://127.0.0.1:0")
    before = len(b.log_text())
    b.start(wait=False)
    line = wait_until(lambda: re.search(r"listening listener=PLAINTEXT .*?port=(\d+) advertised_host=127.0.0.1 advertised_port=(\d+)",
                                        b.log_text()[before:]), 30, "the line with the port")
    assert line.group(1) == line.group(2) and answers(int(line.group(1)))


def test_metrics_and_readiness(make_cluster):
    started = time.time()
    (port,) = free_ports(1)
    c = make_cluster(count=1, options={"http.listener": f"127.0.0.1:{port}", "kafuka.lag.interval.ms": 100})

    def get(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, ""

    wait_until(lambda: get("/ready")[0] == 200, 30, "/ready")
    assert get("/live")[0] == 200 and get("/nothing")[0] == 404
    c.create_topic("m", partitions=3)
    kcat("-b", c.bootstrap, "-P", "-t", "m", stdin=b"one\ntwo\n")

    def number(name):
        return float(re.search(rf"^{re.escape(name)} (\S+)$", get("/metrics")[1], re.M).group(1))

    wait_until(lambda: number("kafuka_leaders") == 3, 10, "three leaders in the metrics")
    assert number("kafuka_produce_bytes_total") > 0
    assert number("kafuka_controller_active") == 1 and number("kafuka_zookeeper_connected") == 1
    assert number("kafuka_produce_records_total") == 2
    assert number('kafuka_request_seconds_count{api="Produce"}') >= 1
    assert (number("kafuka_controller_topics"), number("kafuka_controller_partitions")) == (1, 3)
    assert number("kafuka_controller_offline_partitions") == 0 and number("kafuka_broker_id") == 0
    version = c.tool("--version").stdout.split()[-1]
    assert number(f'kafuka_build_info{{version="{version}"}}') == 1
    assert 20 < number("process_open_fds") < number("process_max_fds")
    assert abs(number("process_start_time_seconds") - started) < 60 and number("process_cpu_seconds_total") > 0
    assert number("process_resident_memory_bytes") < number("process_virtual_memory_bytes")
    for path in ("/", "/health"):
        status, text = get(path)
        assert status == 200 and '<a href="/metrics">' in text and "/groups/history?group=" in text
    # docs/metrics.md says the same as the page
    wait_until(lambda: "kafuka_group_lag_records" in get("/metrics")[1], 30, "the lag of groups")
    text = get("/metrics")[1]
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    rows = [f"| `{name}` | {types[name]} | {words} |" for name, words in re.findall(r"^# HELP (\S+) (.*)$", text, re.M)]
    documented = [line for line in (TOP / "docs" / "metrics.md").read_text().splitlines() if line.startswith("| `")]
    assert "\n".join(documented) == "\n".join(rows), "docs/metrics.md is not what /metrics says; its table must be:\n" + "\n".join(rows)


def test_partitions_without_a_leader_and_elections_are_counted(make_cluster):
    ports = free_ports(2)
    c = make_cluster(count=2, broker_options={n: {"http.listener": f"127.0.0.1:{p}"} for n, p in enumerate(ports)})

    def number(broker, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[broker]}/metrics", timeout=10) as r:
            return float(re.search(rf"^{re.escape(name)} (\S+)$", r.read().decode(), re.M).group(1))

    controller = next(n for n in (0, 1) if number(n, "kafuka_controller_active") == 1)
    other = 1 - controller
    c.tool("topics", "--bootstrap-server", c.bootstrap, "--create", "--topic", "both", "--replica-assignment", f"{other}:{controller}")
    c.tool("topics", "--bootstrap-server", c.bootstrap, "--create", "--topic", "alone", "--replica-assignment", f"{other},{other}")
    c.wait_isr("both", 1, 2)
    wait_until(lambda: number(other, 'kafuka_request_seconds_count{api="FetchFollower"}') >= 1, 30, "a follower's fetch")
    before = number(controller, "kafuka_controller_leader_elections_total")
    c.brokers[other].kill()
    wait_until(lambda: number(controller, "kafuka_controller_offline_partitions") == 2, 30, "two partitions without a leader")
    wait_until(lambda: number(controller, "kafuka_controller_leader_elections_total") > before, 30, "the election of the third one's leader")
    assert number(controller, "kafuka_controller_unclean_leader_elections_total") == 0
    assert number(controller, "kafuka_controller_brokers") == 1


def test_wanted_topics_are_there_when_the_broker_is_ready(tmp_path):
    c = Cluster(tmp_path / "c", options={"topics": "orders:6:3,logs:2:2:compact,plain"})
    try:
        c.start()
        wait_until(lambda: all("broker ready" in b.log_text() for b in c.brokers), 30, "all brokers to be ready")
        described = c.tool("topics", "--bootstrap-server", c.bootstrap, "--describe").stdout
        for name, partitions, factor in [("orders", 6, 3), ("logs", 2, 2), ("plain", 1, 1)]:
            assert re.search(rf"Topic: {name}\s.*PartitionCount: {partitions}\s+ReplicationFactor: {factor}\s", described), described
        assert "cleanup.policy=compact" in described
    finally:
        c.stop()


def test_daemon_returns_when_it_serves_and_errors_are_still_printed(tmp_path, zookeeper):
    (port,) = free_ports(1)
    file = tmp_path / "server.properties"
    file.write_text(f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={tmp_path}/data\n"
                    f"zookeeper.connect=127.0.0.1:{zookeeper.port}/{tmp_path.name}\n")
    argv = [str(BUILD / "kafuka-broker"), "--daemon", str(file)]
    assert subprocess.run(argv, timeout=60).returncode == 0
    log = pathlib.Path(f"{tmp_path}/data/kafuka-broker.log")
    try:
        assert answers(port)
        r = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert r.returncode == 1 and "the port is taken" in r.stderr
    finally:
        pid = find_process(str(file))
        old = log.rename(f"{log}.1")  # as logrotate does
        os.kill(pid, signal.SIGHUP)
        wait_until(log.exists, 30, "a new log file")
        size = old.stat().st_size
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: "broker stopped" in log.read_text(), 30, "the daemon to stop")
        assert old.stat().st_size == size and "broker started" in old.read_text()


def test_a_hangup_without_a_log_file_or_with_one_that_cannot_be_opened_again_changes_nothing(make_cluster, tmp_path):
    c = make_cluster(count=1)
    b = c.brokers[0]
    b.signal(signal.SIGHUP)
    c.create_topic("after-hangup")
    assert b.stop() == 0
    folder = tmp_path / "logs"
    folder.mkdir()
    b.argv += ["--log-file", str(folder / "broker.log")]
    b.start()
    kept = (folder / "broker.log").open()
    shutil.rmtree(folder)
    b.signal(signal.SIGHUP)
    seen = []
    wait_until(lambda: seen.append(kept.read()) or "cannot open the log file again after SIGHUP" in "".join(seen), 30, "a line about it")
    assert b.stop() == 0
    assert "broker stopped" in kept.read()


def find_process(text):
    for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in p.read_bytes() and b"kafuka-broker" in p.read_bytes():
                return int(p.parent.name)
        except OSError:
            continue
    raise AssertionError("no such process")


def test_the_service_manager_is_told(tmp_path, zookeeper):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = str(tmp_path / "notify")
    s.bind(path)
    s.settimeout(30)
    c = Cluster(tmp_path / "c", count=1, zookeeper=zookeeper, chroot=f"/{tmp_path.name}", env={"NOTIFY_SOCKET": path})
    try:
        c.start()
        assert s.recv(100) == b"READY=1"
    finally:
        c.stop()
    assert s.recv(100) == b"STOPPING=1"


def test_a_second_signal_does_not_wait_for_the_controller(make_cluster):
    c = make_cluster(count=2, options={"zookeeper.session.timeout.ms": 60000})
    zk = c.zk_client()
    controller = json.loads(zk.get("/controller")[0])["brokerid"]
    zk.stop()
    silent, b = c.brokers[controller], c.brokers[1 - controller]
    c.create_topic("led", partitions=2, factor=2)
    c.wait_isr("led", 2, 2)
    silent.signal(signal.SIGSTOP)
    try:
        b.signal(signal.SIGTERM)
        asks = "asking the controller to move this broker's leaders away"
        wait_until(lambda: asks in b.log_text(), 30, "the question to the controller")
        assert b.stop(timeout=60) == 0  # without the signal: four times request.timeout.ms
        assert "a second signal came" in b.log_text()
    finally:
        silent.signal(signal.SIGCONT)


# ---- TLS

@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """A CA, a certificate for 127.0.0.1 and one for a client, as PEM files with their keys."""
    d = tmp_path_factory.mktemp("tls")

    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, cwd=d)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    (d / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, subject in [("broker", "/CN=broker"), ("client", "/CN=alice")]:
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.crt",
                "-days", "2", "-extfile", "ext")
        (d / f"{name}.pem").write_text((d / f"{name}.crt").read_text() + (d / f"{name}.key").read_text())
    return d


@pytest.mark.parametrize("client_auth", ["none", "required"])
def test_clients_and_brokers_speak_tls(pems, client_auth):
    ports = free_ports(2)
    options = {"security.inter.broker.protocol": "SSL", "ssl.keystore.location": pems / "broker.pem",
               "ssl.truststore.location": pems / "ca.pem", "ssl.client.auth": client_auth}
    c = Cluster(pems / f"cluster-{client_auth}", count=2, options=options)
    for n, b in enumerate(c.brokers):
        b.write_properties(listeners=f"PLAINTEXT://127.0.0.1:{b.port},SSL://127.0.0.1:{ports[n]}")  # PLAINTEXT for the checks
    try:
        c.start()
        c.create_topic("s", partitions=2, factor=2)
        lines = b"".join(b"line %d of a message that crosses TLS\n" % i for i in range(20000))
        tls = ["-X", "security.protocol=ssl", "-X", f"ssl.ca.location={pems}/ca.pem"]
        if client_auth == "required":
            bad = kcat("-b", f"127.0.0.1:{ports[0]}", *tls, "-L", "-m", "3", check=False)
            assert bad.returncode != 0  # without a certificate
            tls += ["-X", f"ssl.certificate.location={pems}/client.crt", "-X", f"ssl.key.location={pems}/client.key"]
        kcat("-b", f"127.0.0.1:{ports[0]}", *tls, "-P", "-t", "s", "-X", "acks=all", stdin=lines)
        read = kcat("-b", f"127.0.0.1:{ports[1]}", *tls, "-C", "-t", "s", "-e", "-q").stdout
        assert sorted(read.splitlines()) == sorted(lines.splitlines())
    finally:
        c.stop()
