# SPDX-License-Identifier: Apache-2.0
"""The image's entry point without Docker: what it makes of the environments that people write for the images of confluentinc,
wurstmeister, bitnami and apache, and that a broker serves with them."""
import os
import re
import shutil
import subprocess

import pytest

from cluster import BUILD, TOP, Process, ZooKeeper, free_ports, kcat, wait_until

ENTRYPOINT = TOP / "deploy" / "docker-entrypoint"
ZK = {"KAFKA_ZOOKEEPER_CONNECT": "zk:2181"}
# a broker that shows its properties and ends; it knows the options that the true one knows
STUB = f"""#!/bin/sh
case $1 in --help-config*) exec {BUILD}/kafuka-broker "$@" ;; esac
cp "$1" "$OUT/properties"
"""


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)


def environment(folder, **more):
    return {"PATH": f"{folder}/bin:/usr/bin:/bin", "OUT": str(folder), "KAFUKA_PROPERTIES": f"{folder}/server.properties",
            "KAFUKA_DATA": f"{folder}/data", "ASAN_OPTIONS": "detect_leaks=0", **more}


def run(folder, env, *arguments):
    """The entry point with a stub for the broker: its status, the properties as a dictionary, and what it said."""
    (folder / "bin").mkdir(exist_ok=True)
    program(folder / "bin" / "kafuka-broker", STUB)
    for name in ("kafuka-healthcheck", "kafuka-topics"):
        if not (folder / "bin" / name).exists():
            program(folder / "bin" / name, "#!/bin/sh\n")
    r = subprocess.run(["sh", str(ENTRYPOINT), *arguments], env={**environment(folder), **env}, capture_output=True, text=True, timeout=60)
    file = folder / "properties"
    lines = file.read_text().split("\n") if file.exists() else []
    return r.returncode, dict(line.split("=", 1) for line in lines if line and not line.startswith("#")), r.stderr


# environment, properties that come of it (None: absent), what is said
STYLES = {
    "cp-kafka": (
        {**ZK, "KAFKA_BROKER_ID": "1", "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://kafka:29092,PLAINTEXT_HOST://localhost:9092",
         "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
         "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT", "KAFKA_JMX_PORT": "9101", "KAFKA_HEAP_OPTS": "-Xmx512M",
         "KAFKA_LOG4J_LOGGERS": "kafka.controller=INFO", "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1"},
        {"broker.id": "1", "zookeeper.connect": "zk:2181", "listeners": "PLAINTEXT://0.0.0.0:29092,PLAINTEXT_HOST://0.0.0.0:9092",
         "advertised.listeners": "PLAINTEXT://kafka:29092,PLAINTEXT_HOST://localhost:9092", "inter.broker.listener.name": "PLAINTEXT",
         "transaction.state.log.min.isr": "1", "jmx.port": None, "heap.opts": None, "log4j.loggers": None,
         "offsets.topic.replication.factor": None}, ""),
    "cp-kafka-ipv6-and-blanks": (
        {**ZK, "KAFKA_ADVERTISED_LISTENERS": "IN://[fe80::1]:1, OUT://:2"}, {"listeners": "IN://0.0.0.0:1, OUT://0.0.0.0:2"}, ""),
    "bitnami": (
        {"KAFKA_CFG_ZOOKEEPER_CONNECT": "zk:2181", "ALLOW_PLAINTEXT_LISTENER": "yes", "KAFKA_BROKER_ID": "2",
         "KAFKA_CFG_LISTENERS": "CLIENT://:9092,EXTERNAL://:9093", "KAFKA_CFG_ADVERTISED_LISTENERS": "CLIENT://kafka:9092,EXTERNAL://localhost:9093",
         "KAFKA_CFG_LISTENER_NAME_SASL_SSL_SSL_KEYSTORE_LOCATION": "/k", "KAFKA_ENABLE_KRAFT": "no"},
        {"zookeeper.connect": "zk:2181", "broker.id": "2", "listeners": "CLIENT://:9092,EXTERNAL://:9093", "enable.kraft": None,
         "advertised.listeners": "CLIENT://kafka:9092,EXTERNAL://localhost:9093", "listener.name.sasl_ssl.ssl.keystore.location": "/k",
         "offsets.topic.replication.factor": "1", "cfg.zookeeper.connect": None}, "offsets.topic.replication.factor=1"),
    "bitnami-goes-first": (
        {**ZK, "KAFKA_CFG_ZOOKEEPER_CONNECT": "other:2181", "KAFKA_CFG_OFFSETS_TOPIC_REPLICATION_FACTOR": "3"},
        {"zookeeper.connect": "other:2181", "offsets.topic.replication.factor": "3"},
        "KAFKA_ZOOKEEPER_CONNECT is not used: KAFKA_CFG_ZOOKEEPER_CONNECT sets zookeeper.connect too"),
    "wurstmeister-names": (
        {**ZK, "KAFKA_ADVERTISED_HOST_NAME": "192.168.1.7", "KAFKA_PORT": "9095"},
        {"listeners": "PLAINTEXT://0.0.0.0:9095", "advertised.listeners": "PLAINTEXT://192.168.1.7:9095", "port": None,
         "offsets.topic.replication.factor": "1"}, ""),
    "wurstmeister-advertised-port": (
        {**ZK, "KAFKA_ADVERTISED_HOST_NAME": "me", "KAFKA_ADVERTISED_PORT": "32001"},
        {"listeners": "PLAINTEXT://0.0.0.0:9092", "advertised.listeners": "PLAINTEXT://me:32001"}, ""),
    "wurstmeister-listeners-and-host-name": (
        {**ZK, "KAFKA_ADVERTISED_HOST_NAME": "me", "KAFKA_LISTENERS": "PLAINTEXT://:9093"},
        {"listeners": "PLAINTEXT://:9093", "advertised.listeners": "PLAINTEXT://me:9093"}, ""),
    "wurstmeister-commands": (
        {**ZK, "HOSTNAME_COMMAND": "echo host-7 | cut -d- -f1-2", "PORT_COMMAND": "[[ x == x ]] && echo 32007",
         "BROKER_ID_COMMAND": "echo 7", "RACK_COMMAND": "echo r1", "KAFKA_LISTENERS": "INSIDE://:9092,OUTSIDE://:9094",
         "KAFKA_ADVERTISED_LISTENERS": "INSIDE://:9092,OUTSIDE://_{HOSTNAME_COMMAND}:_{PORT_COMMAND}"},
        {"broker.id": "7", "broker.rack": "r1", "advertised.listeners": "INSIDE://:9092,OUTSIDE://host-7:32007"}, ""),
    "wurstmeister-commands-are-the-second-choice": (
        {**ZK, "HOSTNAME_COMMAND": "echo host-7", "BROKER_ID_COMMAND": "echo 7", "KAFKA_BROKER_ID": "4"},
        {"broker.id": "4", "advertised.listeners": "PLAINTEXT://host-7:9092"}, ""),
    "topics-with-three-replicas-have-three-brokers": (
        {**ZK, "KAFKA_CREATE_TOPICS": "orders:6:3"}, {"offsets.topic.replication.factor": None, "create.topics": None}, ""),
    "port-beside-listeners": (
        {**ZK, "KAFKA_PORT": "9095", "KAFKA_LISTENERS": "PLAINTEXT://:9092"}, {"listeners": "PLAINTEXT://:9092", "port": None},
        "KAFKA_PORT=9095 is not used: KAFKA_LISTENERS says where to listen"),
    "kubernetes": (
        {**ZK, "KAFKA_PORT": "tcp://10.0.0.1:9092", "KAFKA_SERVICE_HOST": "10.0.0.1", "KAFKA_PORT_9092_TCP_ADDR": "10.0.0.1"},
        {"port": None, "listeners": None, "service.host": None}, "KAFKA_PORT=tcp://10.0.0.1:9092 is a Kubernetes service link"),
    "underscores-and-dashes": (
        {**ZK, "KAFKA_LISTENER_NAME_SASL__SSL_SSL_KEYSTORE_LOCATION": "/k", "KAFKA_LISTENER_NAME_X_SCRAM___SHA___256_SASL_JAAS_CONFIG": "j",
         "KAFKA_ZOOKEEPER_CLIENT_CNXN_SOCKET": "org.Netty"},
        {"listener.name.sasl_ssl.ssl.keystore.location": "/k", "listener.name.x.scram-sha-256.sasl.jaas.config": "j",
         "zookeeper.clientCnxnSocket": "org.Netty"}, ""),
    "values": (
        {**ZK, "KAFKA_SSL_KEYSTORE_PASSWORD": "p#a$s\"s\\w'o=rd !", "KAFKA_SSL_KEYSTORE_KEY": "-----BEGIN\nKAFKA_NUM_PARTITIONS=9\n-----END\n",
         "KAFKA_LOG_DIRS": "/data\r"},
        {"ssl.keystore.password": "p#a$s\"s\\\\w'o=rd !", "ssl.keystore.key": "-----BEGIN\\nKAFKA_NUM_PARTITIONS=9\\n-----END",
         "num.partitions": None, "log.dirs": "/data"}, "KAFKA_LOG_DIRS: carriage returns"),
    "near-an-option": (
        {**ZK, "KAFKA_BROKR_ID": "1"}, {"broker.id": None}, "KAFKA_BROKR_ID: the broker has no option brokr.id; did you mean KAFKA_BROKER_ID?"),
    "beginning-of-an-option": (
        {**ZK, "KAFKA_ADVERTISED_HOST": "me"}, {"advertised.listeners": None},
        "KAFKA_ADVERTISED_HOST: the broker has no option advertised.host; did you mean KAFKA_ADVERTISED_HOST_NAME?"),
    "without-the-prefix": (
        {**ZK, "ADVERTISED_LISTENERS": "x", "PATH_TO_X": "y"}, {"advertised.listeners": None},
        "ADVERTISED_LISTENERS is not read; did you mean KAFKA_ADVERTISED_LISTENERS?"),
    "misspelt-prefix": ({**ZK, "KAKFA_BROKER_ID": "1"}, {"broker.id": None}, "KAKFA_BROKER_ID is not read; did you mean KAFKA_BROKER_ID?"),
    "small-letters": ({**ZK, "kafka_broker_id": "1"}, {"broker.id": None}, "kafka_broker_id is not read; did you mean KAFKA_BROKER_ID?"),
    "plain": ({**ZK, "HOME": "/root", "LANG": "C", "HOSTNAME": "h"}, {"zookeeper.connect": "zk:2181"}, ""),
}


@pytest.mark.parametrize("style", STYLES)
def test_what_each_style_becomes(tmp_path, style):
    env, expected, said = STYLES[style]
    status, properties, output = run(tmp_path, env)
    assert status == 0, output
    for option, value in expected.items():
        assert properties.get(option) == value, f"{option}: {properties}"
    if said:
        assert said in output
    else:
        assert "did you mean" not in output and "not used" not in output
    if style == "plain":
        assert output == ""


STOPS = {
    "kraft": ({"KAFKA_PROCESS_ROLES": "broker,controller", "KAFKA_NODE_ID": "1", "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@x:9093"},
              "KAFKA_PROCESS_ROLES belongs to KRaft, which kafuka does not have"),
    "kraft-of-bitnami": ({"KAFKA_CFG_PROCESS_ROLES": "broker", "KAFKA_CFG_NODE_ID": "1"}, "KAFKA_CFG_PROCESS_ROLES belongs to KRaft"),
    "kraft-enabled": ({"KAFKA_ENABLE_KRAFT": "yes"}, "KAFKA_ENABLE_KRAFT belongs to KRaft"),
    "kraft-voters": ({"KAFKA_CONTROLLER_QUORUM_VOTERS": "1@x:9093"}, "KAFKA_CONTROLLER_QUORUM_VOTERS belongs to KRaft"),
    "no-zookeeper": ({"ZOOKEEPER_CONNECT": "zk:2181"}, "ZOOKEEPER_CONNECT is not read; did you mean KAFKA_ZOOKEEPER_CONNECT?\n"
                     "kafuka-entrypoint: KAFKA_ZOOKEEPER_CONNECT (zookeeper.connect) is needed: host:port"),
    "port": ({**ZK, "KAFKA_PORT": "nine"}, "KAFKA_PORT=nine is no port: a number from 1 to 65535 is expected"),
    "advertised-port": ({**ZK, "KAFKA_ADVERTISED_PORT": "0"}, "KAFKA_ADVERTISED_PORT=0 is no port"),
    "topics": ({**ZK, "KAFKA_CREATE_TOPICS": "good:1:1,bad:one:1"}, 'KAFKA_CREATE_TOPICS: "bad:one:1" is not name:partitions:replicas'),
    "command-fails": ({**ZK, "HOSTNAME_COMMAND": "exit 3"}, "HOSTNAME_COMMAND failed with status 3: exit 3"),
    "command-is-silent": ({**ZK, "BROKER_ID_COMMAND": "true"}, "BROKER_ID_COMMAND printed nothing: true"),
    "command-is-missing": ({**ZK, "KAFKA_ADVERTISED_LISTENERS": "A://_{HOSTNAME_COMMAND}:1"}, "that command is not set"),
    "zookeeper-protocol": ({**ZK, "KAFKA_ZOOKEEPER_PROTOCOL": "SASL"}, "KAFKA_ZOOKEEPER_PROTOCOL=SASL is not possible"),
}


@pytest.mark.parametrize("stop", STOPS)
def test_what_stops_the_start_leaves_nothing_behind(tmp_path, stop):
    env, said = STOPS[stop]
    status, properties, output = run(tmp_path, env)
    assert status == 1 and said in output, output
    assert properties == {} and not (tmp_path / "server.properties").exists() and not (tmp_path / "data").exists()


def test_other_commands(tmp_path):
    status, properties, _ = run(tmp_path, ZK, "start-kafka.sh")
    assert status == 0 and properties["zookeeper.connect"] == "zk:2181"
    r = subprocess.run(["sh", str(ENTRYPOINT), "echo", "a  b"], env=environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert r.stdout == "a  b\n" and r.returncode == 0


@pytest.mark.parametrize("listeners,address", [
    ("listeners=PLAINTEXT://:9095", "127.0.0.1:9095"),
    ("listeners=PLAINTEXT://0.0.0.0:1", "127.0.0.1:1"),
    ("listeners=PLAINTEXT://broker-1:29092,OUT://:9092", "broker-1:29092"),
    ("listeners=SECURE://:9093,OPEN://[::]:9092\nlistener.security.protocol.map=SECURE:SSL,OPEN:PLAINTEXT", "127.0.0.1:9092"),
    ("zookeeper.connect=zk", "127.0.0.1:9092"),
])
def test_the_health_check_asks_a_listener_that_it_can_speak_to(tmp_path, listeners, address):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "kafuka-healthcheck", "#!/bin/sh\necho $2\n")
    (tmp_path / "server.properties").write_text(listeners + "\n")
    r = subprocess.run(["sh", str(ENTRYPOINT), "healthcheck"], env=environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert r.stdout.strip() == address


TOPICS = {
    "one-line": ("orders:6:3,audit:1:1:compact", None, ["orders 6 3", "audit 1 1 compact"]),
    "lines": ("\n    orders:6:3\n\n    audit:1:1:compact\n", None, ["orders 6 3", "audit 1 1 compact"]),
    "blanks": ("orders:6:3, audit:1:1", None, ["orders 6 3", "audit 1 1"]),
    "short": ("orders,audit:2", None, ["orders 1 1", "audit 2 1"]),
    "windows": ("orders:6:3\r\naudit:1:1:compact\r\n", None, ["orders 6 3", "audit 1 1 compact"]),
    "bash-newline": ("orders:6:3\n audit:1:1:compact,delete", "$'\n'", ["orders 6 3", "audit 1 1 compact,delete"]),
    "written-newline": ("orders:6:3\naudit:1:1", "$'\\n'", ["orders 6 3", "audit 1 1"]),
    "semicolon": ("orders:6:3;audit:1:1", ";", ["orders 6 3", "audit 1 1"]),
    "none": (" \n", None, []),
}


@pytest.mark.parametrize("form", TOPICS)
def test_topics_are_asked_for_once_the_broker_answers(tmp_path, form):
    text, separator, expected = TOPICS[form]
    (tmp_path / "bin").mkdir()
    # the broker ends when all have been asked for; the last is asked for twice, for the first attempt fails
    program(tmp_path / "bin" / "kafuka-healthcheck", "#!/bin/sh\nexit 0\n")
    program(tmp_path / "bin" / "kafuka-topics", '#!/bin/sh\necho "$*" >>"$OUT/topics"\n[ "$1" = --zookeeper ]\n')
    env = {**ZK, "KAFKA_CREATE_TOPICS": text, **({"KAFKA_CREATE_TOPICS_SEPARATOR": separator} if separator else {})}
    status, _, output = run(tmp_path, env)
    assert status == 0, output
    file = tmp_path / "topics"

    def made():
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith("--zookeeper zk:2181 --create --if-not-exists ")]

    if expected:
        wait_until(lambda: len(made()) == len(expected), 30, "the topics")
    assert [" ".join(re.fullmatch(r".*--topic (\S+) --partitions (\S+) --replication-factor (\S+)(?: --config cleanup.policy=(\S+))?",
                                  line).groups("")).strip() for line in made()] == expected


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory):
    z = ZooKeeper(tmp_path_factory.mktemp("entrypoint") / "zk")
    z.start()
    yield z
    z.kill()


def served(style, connect, port, inner):
    """The environment of a compose file of that style, for ports of this machine."""
    return {
        "cp-kafka": {"KAFKA_BROKER_ID": "1", "KAFKA_ZOOKEEPER_CONNECT": connect,
                     "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{inner},PLAINTEXT_HOST://localhost:{port}",
                     "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
                     "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT", "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
                     "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0"},
        "bitnami": {"KAFKA_CFG_ZOOKEEPER_CONNECT": connect, "ALLOW_PLAINTEXT_LISTENER": "yes", "KAFKA_CFG_LISTENERS": f"PLAINTEXT://:{port}",
                    "KAFKA_CFG_ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}", "KAFKA_CFG_AUTO_CREATE_TOPICS_ENABLE": "true"},
        "wurstmeister": {"KAFKA_ADVERTISED_HOST_NAME": "127.0.0.1", "KAFKA_PORT": str(port), "KAFKA_ZOOKEEPER_CONNECT": connect,
                         "KAFKA_CREATE_TOPICS": "through:2:1,kept:1:1:compact"},
        "wurstmeister-commands": {"KAFKA_ZOOKEEPER_CONNECT": connect, "HOSTNAME_COMMAND": "echo localhost", "BROKER_ID_COMMAND": "echo 5",
                                  "RACK_COMMAND": "echo north", "KAFKA_LISTENERS": f"INSIDE://127.0.0.1:{inner},OUTSIDE://127.0.0.1:{port}",
                                  "KAFKA_ADVERTISED_LISTENERS": f"INSIDE://:{inner},OUTSIDE://_{{HOSTNAME_COMMAND}}:{port}",
                                  "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
                                  "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE"},
    }[style]


@pytest.mark.parametrize("style", ["cp-kafka", "bitnami", "wurstmeister", "wurstmeister-commands"])
def test_a_broker_serves_with_each_style(tmp_path, zookeeper, style):
    port, inner = free_ports(2)
    (tmp_path / "bin").mkdir()
    for name in ("kafuka-broker", "kafuka-healthcheck", "kafuka-topics"):
        (tmp_path / "bin" / name).symlink_to(BUILD / ("kafuka-broker" if name == "kafuka-broker" else "kafuka"))
    env = {**environment(tmp_path), **served(style, f"127.0.0.1:{zookeeper.port}/{style}", port, inner)}
    broker = Process("broker", ["env", "-i", *(f"{k}={v}" for k, v in env.items()), "sh", ENTRYPOINT], tmp_path / "log")
    broker.start()
    try:
        def healthy():
            assert broker.alive(), broker.log_text()
            return subprocess.run(["sh", str(ENTRYPOINT), "healthcheck"], env=env, capture_output=True, timeout=60).returncode == 0

        wait_until(healthy, 30, "the health check")
        address = f"localhost:{port}"
        if style == "wurstmeister":
            wait_until(lambda: b"kept" in kcat("-b", address, "-L").stdout, 30, "the topics of KAFKA_CREATE_TOPICS")
            assert re.search(r'"through" with 2 partitions', kcat("-b", address, "-L").stdout.decode())
        kcat("-b", address, "-P", "-t", "through", stdin=b"a message\n")
        # a group, whose offsets topic a single broker has to be able to make
        r = kcat("-b", address, "-G", "g", "-c", "1", "-X", "auto.offset.reset=earliest", "through")
        assert r.stdout == b"a message\n"
        if style == "wurstmeister-commands":
            assert "broker=5" in broker.log_text() and (tmp_path / "server.properties").read_text().count("broker.rack=north") == 1
    finally:
        assert broker.stop() == 0, broker.log_text()


@pytest.mark.parametrize("env,expected,said", [
    ({}, ["clientPort=2181", "tickTime=500"], None),
    ({"ZOOKEEPER_CLIENT_PORT": "2182", "ZOOKEEPER_TICK_TIME": "2000", "ALLOW_ANONYMOUS_LOGIN": "yes"}, ["clientPort=2182", "tickTime=2000"], None),
    ({"ZOO_PORT_NUMBER": "2183", "ZOO_ENABLE_AUTH": "no", "ZOOKEEPER_SERVERS": "zk:2888:3888"}, ["clientPort=2183"], None),
    ({"ZOOKEEPER_CLIENT_PORT": "two"}, None, "'two' is not a number"),
    ({"ZOOKEEPER_SERVERS": "a:2888:3888;b:2888:3888"}, None, "this image runs one alone"),
    ({"ZOO_ENABLE_AUTH": "yes"}, None, "has no SASL"),
])
def test_the_image_of_zookeeper(tmp_path, env, expected, said):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "java", '#!/bin/sh\nfor last; do :; done\ncp "$last" "$OUT/seen"\n')
    env = {**environment(tmp_path), "KAFUKA_ZOO_SAMPLE": str(TOP / "deploy" / "zoo.cfg"), "KAFUKA_ZOO_CFG": f"{tmp_path}/zoo.cfg", **env}
    r = subprocess.run(["sh", str(TOP / "deploy" / "zookeeper-entrypoint")], env=env, capture_output=True, text=True, timeout=60)
    if said:
        assert r.returncode == 1 and said in r.stderr and not (tmp_path / "zoo.cfg").exists()
    else:
        assert r.returncode == 0 and set(expected) <= set((tmp_path / "seen").read_text().split("\n")), r.stderr


def test_waiting_for_a_cluster_as_compose_files_do(tmp_path):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "kafuka-healthcheck", '#!/bin/sh\n[ "$2" = b:1 ] && echo "healthy: 2 brokers, controller 1"\n')
    program(tmp_path / "bin" / "kafuka-topics", '#!/bin/sh\n[ "$2" = zk:2181 ]\n')

    def cub(*args):
        r = subprocess.run(["sh", str(TOP / "deploy" / "cub"), *args], env=environment(tmp_path), capture_output=True, text=True, timeout=60)
        return r.returncode, r.stderr

    assert cub("kafka-ready", "-b", "b:1", "2", "20") == (0, "")
    assert cub("kafka-ready", "1", "20", "-b", "b:1") == (0, "")
    assert cub("kafka-ready", "-b", "b:1", "3", "0") == (1, "cub: kafka-ready: not ready after 0 s\n")
    assert cub("zk-ready", "zk:2181", "20") == cub("zk-ready", "zk:2181/not-yet", "20") == (0, "")
    assert cub("zk-ready", "other:2181", "0")[0] == 1
    assert cub("kafka-ready", "1", "20")[0] == 1 and cub("sr-ready", "x", "1")[0] == 2 and cub()[0] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_volume_of_another_user_is_named(tmp_path):
    os.chmod(tmp_path, 0o777)
    for parent in tmp_path.parents[:2]:
        os.chmod(parent, 0o755)
    (tmp_path / "volume").mkdir(mode=0o755)
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "kafuka-broker", "#!/bin/sh\nexit 3\n")
    shutil.copy(ENTRYPOINT, tmp_path / "docker-entrypoint")
    shutil.copy(ENTRYPOINT.parent / "environment.awk", tmp_path)
    env = environment(tmp_path, KAFKA_LOG_DIRS=f"{tmp_path}/new,{tmp_path}/volume", **ZK)
    r = subprocess.run(["sh", str(tmp_path / "docker-entrypoint")], env=env, capture_output=True, text=True, timeout=60, user="nobody")
    assert r.returncode == 1 and f"{tmp_path}/volume cannot be written: it belongs to user root (0), the broker runs as user nobody" in r.stderr
    assert not (tmp_path / "server.properties").exists()
